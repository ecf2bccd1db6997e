"""python -m examples.rag: see --help."""

import argparse
import asyncio
import random
from pathlib import Path

from examples.kit import serving, trial
from examples.rag import __doc__ as about
from examples.rag import judge, service, users
from promptrollout_sdk import Judge

FOLDER = Path(__file__).parent
ROWS = (trial.outcome("error"), trial.score(judge.SCORE), trial.event(service.MISS))


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.rag",
        description=about,
        epilog="First try it: python -m examples.rag try examples/rag/tries/ungrounded.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("try", help="two prompts side by side on this machine, without a cluster")
    trial.options(one, FOLDER, rate=10)
    one.set_defaults(run=_try)

    one = commands.add_parser("serve", help="the service: POST /ask, /metrics, /healthz")
    serving.listening_options(one, 8080)
    serving.option(one, "--model-url", "http://127.0.0.1:9000", "an OpenAI-compatible server")
    serving.option(one, "--judge-url", "", "the judge; without one nothing is scored")
    serving.option(
        one, "--prompts", "etc/prompts/help-answer", "the directory where the ConfigMap is mounted"
    )
    one.set_defaults(run=_serve)

    one = commands.add_parser("judge", help="the judge: POST /answers, /metrics, /healthz")
    serving.listening_options(one, 8081)
    one.set_defaults(run=_judge)

    one = commands.add_parser("users", help="users who ask the service")
    serving.option(one, "--rag-url", "http://127.0.0.1:8080", "the service; several, with commas between")
    serving.option(one, "--rate", "8", "questions a second", float)
    serving.option(one, "--seconds", "86400", "how long they come", float)
    one.set_defaults(run=_users)

    given = parser.parse_args()
    given.run(given)


def _serve(given: argparse.Namespace) -> None:
    serving.run(service.application(given.prompts, given.model_url, given.judge_url), given.host, given.port)


def _judge(given: argparse.Namespace) -> None:
    serving.run(judge.application(Judge()), given.host, given.port)


def _users(given: argparse.Namespace) -> None:
    asyncio.run(users.come(given.rag_url, given.rate, given.seconds, random.getrandbits(32)))


def _try(given: argparse.Namespace) -> None:
    with trial.prompts(FOLDER, given.patch) as prompts, trial.Programs() as programs:
        model = programs.serve("examples.kit.model")
        judging = programs.serve("examples.rag", "judge")
        urls = {"MODEL_URL": model, "JUDGE_URL": judging, "PROMPTS": str(prompts)}
        rag = programs.serve("examples.rag", "serve", **urls)
        programs.run("examples.rag", "users", RAG_URL=rag, RATE=str(given.rate), SECONDS=str(given.seconds))
        print(trial.table(trial.Seen.of(rag, judging), ROWS))


if __name__ == "__main__":
    main()
