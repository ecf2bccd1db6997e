"""What this example's dashboard shows: `make generate` writes dashboard.json."""

from examples.kit.dashboards import Dashboard, Panel, quantile, sdk, share

DASHBOARD = Dashboard(
    "promptrollout-streaming",
    "Prompt rollout: streaming chat",
    (
        Panel(
            "Time to first token, median",
            "Of those who stayed to see it: who left before is among the abandoned.",
            quantile(0.5, "time_to_first_token_seconds"),
            "s",
        ),
        Panel(
            "Time to first token, 90 %", "The slow ones.", quantile(0.9, "time_to_first_token_seconds"), "s"
        ),
        Panel(
            "Abandoned answers",
            "People who left before the answer was complete, of all.",
            share(sdk("events_total", metric="abandoned"), sdk("requests_total")),
            "percentunit",
        ),
        Panel(
            "Tokens of an answer",
            "What the model wrote, thoughts included, for each answer that was complete.",
            share(sdk("tokens_total", direction="output"), sdk("requests_total", outcome="ok")),
        ),
    ),
)
