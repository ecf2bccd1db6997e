"""python -m examples.streaming: see --help."""

import argparse
import asyncio
import random
from pathlib import Path

from examples.kit import serving, trial
from examples.streaming import __doc__ as about
from examples.streaming import service, users

FOLDER = Path(__file__).parent
ROWS = (
    trial.outcome("error"),
    trial.event(service.ABANDONED),
    trial.mean_ms("time to first token", "time_to_first_token_seconds"),
)


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.streaming",
        description=about,
        epilog="First try it: python -m examples.streaming try examples/streaming/tries/thinks-first.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("try", help="two prompts side by side on this machine, without a cluster")
    trial.options(one, FOLDER, rate=4)
    one.set_defaults(run=_try)

    one = commands.add_parser("serve", help="the service: POST /chat, /metrics, /healthz")
    serving.listening_options(one, 8080)
    serving.option(one, "--model-url", "http://127.0.0.1:9000", "an OpenAI-compatible server")
    serving.option(
        one, "--prompts", "etc/prompts/chat-answer", "the directory where the ConfigMap is mounted"
    )
    one.set_defaults(run=_serve)

    one = commands.add_parser("users", help="users who chat, lose patience, and stop reading")
    serving.option(one, "--chat-url", "http://127.0.0.1:8080", "the service; several, with commas between")
    serving.option(one, "--rate", "3", "conversations a second, of two turns on average", float)
    serving.option(one, "--seconds", "86400", "how long they come", float)
    one.set_defaults(run=_users)

    given = parser.parse_args()
    given.run(given)


def _serve(given: argparse.Namespace) -> None:
    serving.run(service.application(given.prompts, given.model_url), given.host, given.port)


def _users(given: argparse.Namespace) -> None:
    asyncio.run(users.come(given.chat_url, given.rate, given.seconds, random.getrandbits(32)))


def _try(given: argparse.Namespace) -> None:
    with trial.prompts(FOLDER, given.patch) as prompts, trial.Programs() as programs:
        model = programs.serve("examples.kit.model")
        chat = programs.serve("examples.streaming", "serve", MODEL_URL=model, PROMPTS=str(prompts))
        programs.run(
            "examples.streaming", "users", CHAT_URL=chat, RATE=str(given.rate), SECONDS=str(given.seconds)
        )
        print(trial.table(trial.Seen.of(chat), ROWS))


if __name__ == "__main__":
    main()
