"""Grafana dashboards of the examples: `python -m examples.kit.dashboards --write` makes each dashboard.json.

An example says what it shows in its dashboard.py; what every rollout shows is added here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard as Builder
from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

FOLDER = Path(__file__).parents[1]
_SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")


@dataclass(frozen=True)
class Panel:
    """One picture. `expression`: PromQL, `$rollout` is namespace/name; one line for each `by` label's value.

    `unit`: Grafana's name of it: percentunit, s, reqps, short.
    """

    title: str
    about: str
    expression: str
    unit: str = "short"
    by: str = "{{revision}}"


@dataclass(frozen=True)
class Dashboard:
    """An example's dashboard; `panels` come before those that every service has, unless it is none."""

    uid: str
    title: str
    panels: Sequence[Panel]
    service: bool = True


def share(part: str, whole: str) -> str:
    """PromQL: how much of `whole` is `part`, by revision; two selectors of counters."""
    return f"{rate(part)} / {rate(whole)}"


def total(selector: str) -> str:
    """PromQL: all that was counted in the dashboard's time, by revision.

    For counters that come by pushes: each run has its own, and a rate would miss what the first push of each brings.
    """
    return f"sum by (revision) (max_over_time({selector}[$__range]))"


def rate(selector: str) -> str:
    """PromQL: a counter's rate by revision."""
    return f"sum by (revision) (rate({selector}[$__rate_interval]))"


def quantile(q: float, histogram: str) -> str:
    """PromQL: a quantile of a histogram of the SDK's by revision."""
    buckets = f'promptrollout_{histogram}_bucket{{rollout="$rollout"}}'
    return f"histogram_quantile({q}, sum by (revision, le) (rate({buckets}[$__rate_interval])))"


def sdk(name: str, **labels: str) -> str:
    """A selector of one of the SDK's metrics, of this rollout."""
    matchers = "".join(f', {label}="{value}"' for label, value in labels.items())
    return f'promptrollout_{name}{{rollout="$rollout"{matchers}}}'


COMMON = (
    Panel("Requests", "What each revision answers.", rate(sdk("requests_total")), "reqps"),
    Panel(
        "Errors",
        "Requests that ended in an error, of all.",
        share(sdk("requests_total", outcome="error"), sdk("requests_total")),
        "percentunit",
    ),
    Panel(
        "Duration, 90 %", "Nine of ten requests are faster.", quantile(0.9, "request_duration_seconds"), "s"
    ),
    Panel(
        "Pods that have loaded each payload",
        "A change of weights has arrived when one line is left.",
        'count by (sequence) (promptrollout_loaded{rollout="$rollout"} > 0)',
        by="sequence {{sequence}}",
    ),
)


def document(dashboard: Dashboard) -> str:
    """The dashboard as Grafana imports it."""
    builder = (
        Builder(dashboard.title)
        .uid(dashboard.uid)
        .tags(["promptrollout"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            QueryVariable("rollout")
            .label("Rollout")
            .datasource(_SOURCE)
            .query("label_values(promptrollout_requests_total, rollout)")
            .regex("/.+\\/.+/")  # without a slash it is a pod's default, from before its first payload
            .refresh(
                VariableRefresh.ON_TIME_RANGE_CHANGED
            )  # else Grafana never asks, and no panel knows its rollout
        )
    )
    for panel in (*dashboard.panels, *(COMMON if dashboard.service else ())):
        builder = builder.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(builder.build()) + "\n"


def _panel(panel: Panel) -> TimeSeries:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return (
        TimeSeries()
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .legend(legend.show_legend(show_legend=True))
        .span(12)
        .height(8)
        .with_target(Dataquery().ref_id("A").expr(panel.expression).legend_format(panel.by))
    )


def dashboards() -> dict[Path, Dashboard]:
    """Each example's, by the file that it is kept in."""
    found = {}
    for source in sorted(FOLDER.glob("*/dashboard.py")):
        module = importlib.import_module(f"examples.{source.parent.name}.dashboard")
        found[source.with_name("dashboard.json")] = module.DASHBOARD
    return found


def main() -> int:
    """Write the files, or fail when they are not what their sources say."""
    parser = argparse.ArgumentParser(prog="python -m examples.kit.dashboards", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write each example's dashboard.json")
    what.add_argument("--check", action="store_true", help="fail when one is old")
    given = parser.parse_args()
    old = []
    for file, dashboard in dashboards().items():
        text = document(dashboard)
        if given.write:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            old.append(file.relative_to(FOLDER.parent))
    for name in old:
        print(f"{name} is old: run make generate", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
