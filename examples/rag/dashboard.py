"""What this example's dashboard shows: `make generate` writes dashboard.json."""

from examples.kit.dashboards import Dashboard, Panel, rate, sdk, share

DASHBOARD = Dashboard(
    "promptrollout-rag",
    "Prompt rollout: RAG",
    (
        Panel(
            "Groundedness",
            "Mean share of an answer's sentences that its passages carry, by the judge.",
            share(sdk("score_sum", score="groundedness"), sdk("score_count", score="groundedness")),
            "percentunit",
        ),
        Panel(
            "Retrieval misses",
            "Questions whose search found nothing, of all.",
            share(sdk("events_total", metric="retrieval_miss"), sdk("requests_total")),
            "percentunit",
        ),
        Panel(
            "Answers that are judged",
            "Fewer of one revision's make its scores a biased sample: guarded by itself.",
            share(sdk("score_count", score="groundedness"), sdk("requests_total", outcome="ok")),
            "percentunit",
        ),
        Panel("Tokens", "A second, both directions.", rate(sdk("tokens_total"))),
    ),
)
