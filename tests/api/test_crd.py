import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
import yaml
from pydantic import BaseModel

from promptrollout.analysis.plan import (
    EVENT_MARGIN,
    EVENT_PROMOTE_MARGIN,
    HISTOGRAM_MARGIN,
    SCORE_MARGIN,
    SUM_MARGIN,
)
from promptrollout.api.crd import FOLDERS, custom_resource_definition, files, main, render, stale
from promptrollout.api.policy import LOCKABLE
from promptrollout.api.resource import CLUSTER_POLICY, POLICY, PROMPT_ROLLOUT, RESOURCES, Resource
from promptrollout.api.spec import RolloutSpec
from promptrollout.sources.presets import PRESETS

MARGINS = {
    "margin": (SCORE_MARGIN.delta, EVENT_MARGIN.d, HISTOGRAM_MARGIN.ridit),
    "ratio": (EVENT_MARGIN.r, HISTOGRAM_MARGIN.exceedance, SUM_MARGIN.r),
    "promoteMargin": (EVENT_PROMOTE_MARGIN.d,),
    "promoteRatio": (EVENT_PROMOTE_MARGIN.r,),
}
ROOT = Path(__file__).resolve().parents[2]
Schema = Mapping[str, object]


def schema_of(part: str) -> Schema:
    crd = yaml.safe_load(render(PROMPT_ROLLOUT))
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    return cast("Schema", schema["properties"][part] if part else schema)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """This schema and every one below it, with its path; items and values of maps have [] in theirs."""
    yield path, schema
    for name, field in cast("Mapping[str, Schema]", schema.get("properties", {})).items():
        yield from fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from fields(cast("Schema", schema[key]), f"{path}[]")


SPEC = dict(fields(schema_of("spec"), "spec"))
STATUS = dict(fields(schema_of("status"), "status"))


def test_the_committed_files_are_what_the_models_say():
    assert stale(ROOT) == []


def test_the_chart_has_the_very_same_bytes():
    for resource in RESOURCES:
        first, *copies = [(ROOT / folder / f"{resource.name}.yaml").read_bytes() for folder in FOLDERS]
        assert copies
        assert all(copy == first for copy in copies)


def test_the_same_models_give_the_same_bytes():
    assert render(PROMPT_ROLLOUT) == render(PROMPT_ROLLOUT)
    assert yaml.safe_load(render(PROMPT_ROLLOUT)) == custom_resource_definition(PROMPT_ROLLOUT)


class TestCommand:
    def test_writes_what_it_then_finds_current(self, tmp_path: Path):
        assert main(["--check", "--root", str(tmp_path)]) == 1
        assert main(["--write", "--root", str(tmp_path)]) == 0
        assert main(["--check", "--root", str(tmp_path)]) == 0

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_finds_a_file_that_differs_and_names_it(
        self, tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
    ):
        main(["--write", "--root", str(tmp_path)])
        edited = tmp_path / folder / f"{PROMPT_ROLLOUT.name}.yaml"
        edited.write_text(edited.read_text().replace("maxItems: 64", "maxItems: 65"))

        assert main(["--check", "--root", str(tmp_path)]) == 1
        assert str(edited) in capsys.readouterr().err

    def test_finds_a_file_that_nothing_generates(self, tmp_path: Path):
        main(["--write", "--root", str(tmp_path)])
        (first, *_) = files(tmp_path)
        shutil.copy(first, first.parent / "left-over.yaml")

        assert main(["--check", "--root", str(tmp_path)]) == 1


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_described(part: str):
    every = SPEC if part == "spec" else STATUS

    assert [
        path for path, schema in every.items() if not path.endswith("[]") and not schema.get("description")
    ] == []
    assert [path for path, schema in every.items() if "title" in schema] == []


@pytest.mark.parametrize("part", ["spec", "status"])
def test_everything_is_bounded(part: str):
    every = SPEC if part == "spec" else STATUS
    unbounded = [
        path
        for path, schema in every.items()
        if (schema.get("type") == "string" and not ({"maxLength", "enum", "format"} & schema.keys()))
        or (schema.get("type") == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    ]

    assert unbounded == []


@pytest.mark.parametrize("resource", [POLICY, CLUSTER_POLICY], ids=lambda resource: resource.kind)
def test_a_policy_is_described_bounded_and_applies_no_default_of_its_own(resource: Resource):
    schema = custom_resource_definition(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]  # type: ignore[index]
    every = dict(fields(schema["properties"]["spec"], "spec"))

    assert [p for p, s in every.items() if not p.endswith("[]") and not s.get("description")] == []
    assert [p for p, s in every.items() if "default" in s] == []
    assert [p for p, s in every.items() if s.get("type") == "array" and not {"maxItems"} <= s.keys()] == []
    assert {path.partition(".")[2] for path in every} >= set(LOCKABLE)
    shared = {path for path in every if not path.startswith("spec.locked")}
    assert shared <= set(SPEC), "each stands at the same place in a rollout's spec"


def test_every_rule_has_a_plain_message():
    for schema in [schema_of(""), *SPEC.values()]:
        for rule in cast("list[dict[str, str]]", schema.get("x-kubernetes-validations", [])):
            assert rule["message"]
            assert "self" not in rule["message"]
            assert "\n" not in rule["message"]


def test_every_list_says_how_it_is_merged():
    assert [
        p for p, s in SPEC.items() if s.get("type") == "array" and "x-kubernetes-list-type" not in s
    ] == []


def model_fields(model: type[BaseModel], path: str) -> Iterator[tuple[str, object]]:
    """Every field of the model and of the models in it, with its default on the wire; None for one without."""
    for field in model.model_fields.values():
        at = f"{path}.{field.alias}"
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        yield at, default
        for found in models_in(field.annotation):
            single = field.annotation is found or is_optional(field.annotation, found)
            yield from model_fields(found, at if single else f"{at}[]")


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in models_in(inner)]


def is_optional(annotation: object, model: type[BaseModel]) -> bool:
    return set(getattr(annotation, "__args__", ())) == {model, type(None)}


def wire(default: object) -> object:
    """As a schema has it: {} for a model of defaults, whose own fields have them; None for what says nothing."""
    if isinstance(default, BaseModel):
        return {}
    if isinstance(default, list):
        return [item.to_wire() if hasattr(item, "to_wire") else item for item in default] or None
    return None if default in ("", {}) else default


MODEL = dict(model_fields(RolloutSpec, "spec"))
#: What a policy may fill (the rollout's own wishes must stay visible), and what lists hold: see api/schema.py.
BY_OPERATOR = ("spec.analysis", "spec.assignment", "spec.progressDeadline", "spec.strategy")


def by_operator(path: str) -> bool:
    return path.startswith(BY_OPERATOR) or "steps[]" in path or "metrics[]" in path or "[]" in path


def test_models_and_schema_have_the_same_fields():
    assert set(MODEL) == {path for path in SPEC if path != "spec" and not path.endswith("[]")}


@pytest.mark.parametrize("path", [path for path in MODEL if not by_operator(path)])
def test_the_api_server_applies_the_default_of_the_model(path: str):
    assert SPEC[path].get("default") == wire(MODEL[path])


@pytest.mark.parametrize("path", [path for path in MODEL if by_operator(path)])
def test_a_default_that_the_operator_applies_is_not_the_api_servers_but_described(path: str):
    default, schema = wire(MODEL[path]), SPEC[path]

    assert "default" not in schema
    if isinstance(default, str | int):
        assert f"Default: {default}." in str(schema["description"])
    elif isinstance(default, list):
        assert "Default:" in str(schema["description"])


def test_the_status_schema_never_stands_in_the_way_of_another_version():
    unobserved = STATUS["status"]["default"]
    assert unobserved == {"observedGeneration": -1}, "so that a new object does not look as if it were done"
    for path, schema in STATUS.items():
        default = set() if path == "status" else {"default"}
        assert not {"enum", *default, "pattern", "minimum", "maximum", "minLength"} & schema.keys(), path
        assert schema.get("required", []) in ([], ["type"]), path
        assert "properties" not in schema or schema["x-kubernetes-preserve-unknown-fields"] is True, path


def test_the_status_schema_names_the_values_that_it_does_not_enforce():
    assert "Pending, Delivering, Progressing" in str(STATUS["status.phase"]["description"])


def test_conditions_are_merged_by_type():
    assert STATUS["status.conditions"]["x-kubernetes-list-type"] == "map"
    assert STATUS["status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]


def test_free_objects_are_kept_as_they_are():
    tool = SPEC["spec.prompt.inline.tools[]"]

    assert tool["type"] == "object"
    assert tool["x-kubernetes-preserve-unknown-fields"] is True
    assert "additionalProperties" not in tool


def test_the_margins_described_are_those_of_the_analysis():
    described = {name: str(SPEC[f"spec.analysis.metrics[].{name}"]["description"]) for name in MARGINS}

    for name, numbers in MARGINS.items():
        assert re.findall(r"(?:default|for events) ([0-9.]*[0-9])", described[name]) == [
            f"{n:g}" for n in numbers
        ]


def test_the_presets_described_are_those_there_are():
    described = str(SPEC["spec.analysis.metrics[].preset"]["description"])
    assert re.findall("sdk/[a-z-]+", described) == [name for name in PRESETS if name.startswith("sdk/")]
    others = {name.partition("/")[0].partition("-")[0] for name in PRESETS} - {"sdk"}
    assert set(re.findall("([a-z]+)/…", described)) == others
