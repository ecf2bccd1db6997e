"""What this example's dashboard shows: `make generate` writes dashboard.json."""

from examples.kit.dashboards import Dashboard, Panel, sdk, total


def _of(part: str, whole: str) -> str:
    return f"{total(part)} / {total(whole)}"


DASHBOARD = Dashboard(
    "promptrollout-batch",
    "Prompt rollout: batch job",
    (
        Panel("Items", "What each revision has worked on, all runs together.", total(sdk("requests_total"))),
        Panel(
            "Items by run",
            "Each run has counters of its own, under its name in the Pushgateway.",
            f"sum by (run, revision) (max_over_time({sdk('requests_total')}[$__range]))",
            by="{{run}} {{revision}}",
        ),
        Panel(
            "Invalid answers",
            "Answers that are not the JSON they should be, of all items.",
            _of(sdk("events_total", metric="invalid_json"), sdk("requests_total")),
            "percentunit",
        ),
        Panel(
            "Agreement",
            "Mean share of a label's attributes that are right; no JSON agrees with nothing.",
            _of(sdk("score_sum", score="agreement"), sdk("score_count", score="agreement")),
            "percentunit",
        ),
        Panel(
            "Errors",
            "Items without an answer after all tries, of all.",
            _of(sdk("requests_total", outcome="error"), sdk("requests_total")),
            "percentunit",
        ),
        Panel("Tokens", "Both directions, all runs together.", total(sdk("tokens_total"))),
        Panel(
            "Last push",
            "When each run pushed last, in seconds before now.",
            'time() - max by (run) (push_time_seconds{run!=""})',
            "s",
            by="{{run}}",
        ),
    ),
    service=False,
)
