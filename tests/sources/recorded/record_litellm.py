"""Records litellm.prom: LiteLLM's own logger, fed with answers and failures. Run it where litellm is installed.

LITELLM_LOCAL_MODEL_COST_MAP=True python record_litellm.py >litellm.prom     (pip install litellm==1.110.2)
"""

import asyncio
import sys
from datetime import datetime, timedelta
from importlib.metadata import version

import litellm
from litellm.integrations.prometheus import PrometheusLogger
from prometheus_client import REGISTRY, generate_latest

LABELS = ["metadata.prompt_rollout", "metadata.prompt_revision"]
SHOWN = (
    "litellm_request_total_latency_metric",
    "litellm_llm_api_time_to_first_token_metric",
    "litellm_total_tokens_metric_total",
    "litellm_spend_metric_total",
    "litellm_llm_api_failed_requests_metric_total",
    "litellm_proxy_failed_requests_metric_total",
)
#: Rollout, revision, answers, failures.
STORY = (
    ("shop/answers", "cccccccccc", 90, 10),
    ("shop/answers", "5555555555", 190, 10),
    ("shop/failing", "cccccccccc", 0, 40),
    ("shop/failing", "5555555555", 60, 0),
)
START = datetime(2026, 11, 24, 10)  # noqa: DTZ001 - as LiteLLM's


def call(rollout: str, revision: str) -> dict:
    """What the proxy hands its loggers of one call: 1.4 s, the first token after .3 s, 120 tokens, $0.25."""
    metadata = {
        "user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_alias": "support",
        "user_api_key_user_id": "default_user_id",
        "user_api_key_team_id": None,
        "user_api_key_team_alias": None,
        "user_api_key_user_email": None,
        "requester_metadata": {"prompt_rollout": rollout, "prompt_revision": revision},
    }
    payload = {
        "metadata": metadata, "model_group": "gpt-5-mini", "model_id": "1", "api_base": "", "request_tags": [],
        "completion_tokens": 20, "prompt_tokens": 100, "total_tokens": 120, "response_cost": 0.25,
        "custom_llm_provider": "openai", "hidden_params": {"additional_headers": {}},
        "model_parameters": {"stream": True},
        "exception": TimeoutError("no answer"), "stream": True, "cache_hit": None, "status": "success",
    }  # fmt: skip
    return {
        "model": "gpt-5-mini",
        "stream": True,
        "litellm_params": {"metadata": {}},
        "standard_logging_object": payload,
        "start_time": START,
        "api_call_start_time": START,
        "completion_start_time": START + timedelta(seconds=0.3),
        "end_time": START + timedelta(seconds=1.4),
        "exception": TimeoutError("no answer"),
    }


async def main() -> None:
    litellm.custom_prometheus_metadata_labels = LABELS
    logger = PrometheusLogger()
    for rollout, revision, answers, failures in STORY:
        for _ in range(answers):
            told = call(rollout, revision)
            await logger.async_log_success_event(told, None, told["start_time"], told["end_time"])
        for _ in range(failures):
            told = call(rollout, revision)
            await logger.async_log_failure_event(told, None, told["start_time"], told["end_time"])
    page = generate_latest(REGISTRY).decode().splitlines()
    lines = [
        f"# LiteLLM {version('litellm')}, its own PrometheusLogger: record_litellm.py. litellm_settings:",
        f"# custom_prometheus_metadata_labels: {LABELS}",
        *(line for line in page if line.removeprefix("# TYPE ").startswith(SHOWN) and "_created" not in line),
    ]
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    asyncio.run(main())
