"""What the chart's files say of themselves, without helm."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from promptrollout.notify import KINDS as CHANNEL_KINDS
from promptrollout.notify import ChannelConfig
from promptrollout.registries import KINDS, RegistryConfig
from promptrollout.sources.config import PrometheusConfig
from tests.charts import values_table
from tests.charts.values_table import CHART

GENERATED = Path(__file__).parents[2] / "crds"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
REFERENCES = {"tokenSecret", "passwordSecret", "caSecret", "caConfigMap", "clientCertificateSecret"}


def test_the_charts_definitions_are_the_generated_ones_byte_for_byte():
    ours = {file.name: file.read_bytes() for file in (CHART / "crds").iterdir()}
    assert ours == {file.name: file.read_bytes() for file in GENERATED.glob("*.yaml")}
    assert ours


def test_every_value_is_described_and_the_readme_says_the_same():
    is_, should = values_table.current()
    assert is_ == should


def test_the_schema_knows_every_value_and_no_other():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(SCHEMA["properties"]) == set(values) | {"global"}
    for name, value in values.items():
        parts = SCHEMA["properties"][name].get("properties")
        if parts:
            assert set(parts) == set(value), name


@pytest.mark.parametrize(("name", "kind"), [("source", PrometheusConfig), ("registry", RegistryConfig)])
def test_a_source_and_a_registry_take_what_the_operator_takes_and_references_to_secrets(name, kind):
    def camel(name):
        head, *rest = name.split("_")
        return head + "".join(part.capitalize() for part in rest)

    known = {camel(field.name) for field in fields(kind)}
    assert set(SCHEMA["$defs"][name]["properties"]) == known | REFERENCES


def test_a_channel_takes_what_the_operator_takes_and_references_to_secrets():
    known = {one.alias for one in ChannelConfig.model_fields.values()}
    references = {"urlSecret", "signingSecret", "tokenSecret", "caSecret", "caConfigMap"}
    properties = SCHEMA["$defs"]["channel"]["properties"]
    assert set(properties) == known | references
    assert set(properties["type"]["enum"]) == set(CHANNEL_KINDS)


def test_the_chart_knows_every_kind_of_registry():
    assert SCHEMA["$defs"]["registry"]["properties"]["type"]["enum"] == list(KINDS)
