"""The chart's alerts: real promtool lets them fire, they name metrics that there are, and a page says what to do."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.controlplane import binaries
from promptrollout.controller.telemetry import PREFIX, Gauges, Telemetry
from tests.charts.values_table import CHART

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(600)]  # promtool is built once, and cached

RUNBOOK = Path(__file__).parents[2] / "docs" / "alerts.md"
PAGE = RUNBOOK.read_text()
URL = "https://git.example.com/docs/alerts.md"
FILE = yaml.safe_load((CHART / "alerts.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in FILE["groups"] for rule in group["rules"]}
HERE = 'namespace="ops"'


def phase(name, value):
    return {"series": f'{PREFIX}_rollouts{{{HERE},pod="a",phase="{name}"}}', "values": f"{value}x200"}


def series(metric, values, **labels):
    more = "".join(f',{name}="{value}"' for name, value in labels.items())
    return {"series": f'{PREFIX}_{metric}{{{HERE},pod="a"{more}}}', "values": values}


def queries(result, values):
    return series("source_queries_total", values, source="default", purpose="sample", result=result)


WELL = [
    series("ready", "1x200"),
    {"series": f'{PREFIX}_ready{{{HERE},pod="standby"}}', "values": "0x200"},
    series("reconciles_failing", "0x200"),
    series("queue_lag_seconds", "0.2x200"),
    *(phase(name, 0) for name in ("RollingBack", "Degraded", "Invalid", "Paused", "AwaitingApproval")),
    phase("Healthy", 7),
    queries("ok", "0+30x200"),
    queries("Timeout", "0+3x200"),
    series("notifications_total", "0+1x200", channel="team", result="sent"),
    series("notifications_total", "2x200", channel="team", result="failed"),
]
#: What is so for each alert, in place of the same series above; (fires after, labels, a part of its words).
TROUBLES = {
    "PromptRolloutOperatorDown": ([series("ready", "1x20 0x200")], "25m", {}, "in namespace ops"),
    "PromptRolloutRollbackNotLoaded": ([phase("RollingBack", 2)], "15m", {}, "2 rollouts are RollingBack"),
    "PromptRolloutTurnsFailing": ([series("reconciles_failing", "3x200")], "10m", {}, "3 rollouts are stuck"),
    "PromptRolloutMetricsUnreadable": (
        [queries("ok", "0x200"), queries("Timeout", "0+30x200")], "11m", {"source": "default"}, "source default fail",
    ),
    "PromptRolloutQueueSlow": ([series("queue_lag_seconds", "90x200")], "10m", {}, "90 s"),
    "PromptRolloutDegraded": ([phase("Degraded", 1)], "5m", {}, "1 rollouts are Degraded"),
    "PromptRolloutInvalid": ([phase("Invalid", 4)], "15m", {}, "4 rollouts are Invalid"),
    "PromptRolloutNotificationsFailing": (
        [series("notifications_total", "2+1x200", channel="team", result="failed")], "6m", {"channel": "team"}, "team",
    ),
    "PromptRolloutWaitsForSomebody": (
        [phase("Paused", 1), phase("AwaitingApproval", 2)], "60m", {}, "3 rollouts are Paused",
    ),
}  # fmt: skip


def minutes(text):
    return int(text.removesuffix("m"))


def expected(alert, labels, value=""):
    """An alert as promtool shall see it; `$value` and labels stand in its words as Prometheus writes them."""
    rule = ALERTS[alert]

    def written(text):
        for name, label in labels.items():
            text = text.replace(f"{{{{ $labels.{name} }}}}", label)
        return text.replace("{{ $value }}", value).replace("NAMESPACE", "ops")

    notes = {name: written(text) for name, text in rule["annotations"].items()}
    notes["runbook_url"] = f"{URL}#{alert.lower()}"
    return {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": notes}


def with_trouble(troubles):
    wrong = {one["series"] for one in troubles}
    return [*(one for one in WELL if one["series"] not in wrong), *troubles]


@pytest.fixture(scope="module")
def rules(helm, tmp_path_factory):
    """What the chart gives to the Prometheus operator, as a rule file."""
    given = {"prometheusRule": {"enabled": True, "labels": {"release": "x"}, "runbookUrl": URL}}
    rule = helm.template(given).one("PrometheusRule")
    assert rule.texts("metadata.labels")["release"] == "x"
    file = tmp_path_factory.mktemp("alerts") / "rules.yaml"
    file.write_text(yaml.safe_dump(rule.raw["spec"]))
    return file


def promtool(*words):
    program = binaries.find(["promtool"])["promtool"]
    done = subprocess.run([program, *words], check=False, capture_output=True, text=True, timeout=120)  # noqa: S603 - our own build
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_after_its_time_and_none_does_while_all_is_well(rules):
    assert set(TROUBLES) == set(ALERTS)
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(rules))
    quiet = [
        {"eval_time": f"{at}m", "alertname": alert, "exp_alerts": []}
        for alert in ALERTS
        for at in (1, 90, 190)
    ]
    tests = [{"interval": "1m", "input_series": WELL, "alert_rule_test": quiet}]
    for alert, (troubles, after, labels, words) in TROUBLES.items():
        value = words.split()[0] if words[0].isdigit() else ""
        found = expected(alert, labels, value)
        assert words in json.dumps(found)
        asked = [
            {"eval_time": f"{minutes(after) - 1}m", "alertname": alert, "exp_alerts": []},
            {"eval_time": f"{minutes(after) + 1}m", "alertname": alert, "exp_alerts": [found]},
        ]
        tests.append({"interval": "1m", "input_series": with_trouble(troubles), "alert_rule_test": asked})
    file = rules.parent / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_there_are_none_unless_they_are_asked_for(helm):
    assert not helm.template().of("PrometheusRule")


def families():
    """The operator's own, without their suffixes."""
    page = Telemetry().page(Gauges()).decode()
    names = re.findall(rf"^# TYPE {PREFIX}_(\w+) ", page, re.MULTILINE)
    return {name for name in names if not name.endswith("_created")}


def test_alerts_read_metrics_that_the_operator_has():
    known = families()
    for alert, rule in ALERTS.items():
        named = set(re.findall(rf"{PREFIX}_(\w+)\{{", rule["expr"]))
        assert named, alert
        assert named <= known, alert


def test_the_runbook_has_a_section_for_each_alert_and_names_every_metric():
    assert set(re.findall(r"^## (PromptRollout\w+)$", PAGE, re.MULTILINE)) == set(ALERTS)
    table = PAGE[PAGE.index("## The operator's metrics") :]
    assert set(re.findall(r"`([a-z_]+)(?:\{[a-z, ]+\})?`[,| ]", table)) >= families()
