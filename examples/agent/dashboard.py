"""What this example's dashboard shows: `make generate` writes dashboard.json."""

from examples.kit.dashboards import Dashboard, Panel, rate, sdk, share

DASHBOARD = Dashboard(
    "promptrollout-agent",
    "Prompt rollout: agent",
    (
        Panel(
            "Task success",
            "Customers who have what they came for, by the database at the end of the conversation.",
            share(sdk("score_sum", score="task_success"), sdk("score_count", score="task_success")),
            "percentunit",
        ),
        Panel(
            "Turns that run out of calls",
            "The planner came to no end within its budget, of all turns.",
            share(sdk("events_total", metric="over_budget"), sdk("requests_total")),
            "percentunit",
        ),
        Panel("Tokens a turn", "All calls together.", share(sdk("tokens_total"), sdk("requests_total"))),
        Panel("Conversations that ended", "A second.", rate(sdk("score_count", score="task_success"))),
    ),
)
