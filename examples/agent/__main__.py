"""python -m examples.agent: see --help."""

import argparse
import asyncio
import random
from pathlib import Path

from examples.agent import __doc__ as about
from examples.agent import customers, service
from examples.agent.desk import OVER_BUDGET, SUCCESS
from examples.kit import serving, trial

FOLDER = Path(__file__).parent
ROWS = (
    trial.outcome("error"),
    trial.score(SUCCESS),
    trial.event(OVER_BUDGET),
    trial.mean_ms("duration", "request_duration_seconds"),
)
ORDERS = 100_000


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.agent",
        description=about,
        epilog="First try it: python -m examples.agent try examples/agent/tries/thorough.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("try", help="two prompts side by side on this machine, without a cluster")
    trial.options(one, FOLDER, rate=5)
    one.set_defaults(run=_try)

    one = commands.add_parser("serve", help="the service: /conversations, /metrics, /healthz")
    serving.listening_options(one, 8080)
    serving.option(
        one, "--model-url", "http://127.0.0.1:9000", "an OpenAI-compatible server that can call tools"
    )
    serving.option(one, "--prompts", "etc/prompts/order-desk", "the directory where the ConfigMap is mounted")
    serving.option(one, "--database", ":memory:", "the file with orders and conversations")
    serving.option(one, "--orders", str(ORDERS), "how many orders are made up when there are none", int)
    one.set_defaults(run=_serve)

    one = commands.add_parser("customers", help="customers who talk to the service")
    serving.option(one, "--desk-url", "http://127.0.0.1:8080", "the service")
    serving.option(one, "--rate", "8", "customers a second", float)
    serving.option(one, "--seconds", "86400", "how long they come", float)
    serving.option(one, "--orders", str(ORDERS), "how many orders there are", int)
    one.set_defaults(run=_customers)

    given = parser.parse_args()
    given.run(given)


def _serve(given: argparse.Namespace) -> None:
    application = service.application(given.prompts, given.model_url, given.database, given.orders)
    serving.run(application, given.host, given.port)


def _customers(given: argparse.Namespace) -> None:
    seed = random.getrandbits(32)
    asyncio.run(customers.come(given.desk_url, given.rate, given.seconds, given.orders, seed))


def _try(given: argparse.Namespace) -> None:
    with trial.prompts(FOLDER, given.patch) as prompts, trial.Programs() as programs:
        model = programs.serve("examples.kit.model")
        desk = programs.serve("examples.agent", "serve", MODEL_URL=model, PROMPTS=str(prompts))
        programs.run(
            "examples.agent", "customers", DESK_URL=desk, RATE=str(given.rate), SECONDS=str(given.seconds)
        )
        print(trial.table(trial.Seen.of(desk), ROWS))


if __name__ == "__main__":
    main()
