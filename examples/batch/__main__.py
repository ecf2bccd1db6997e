"""python -m examples.batch: see --help."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from examples.batch import __doc__ as about
from examples.batch import feed, job, labels
from examples.batch.gateway import JOB
from examples.kit import serving, trial
from promptrollout_sdk import Judge

FOLDER = Path(__file__).parent


def main() -> int:
    """Parse the command line and do it. Exit code 2: the feed is none; 3: done, but the counts could not be pushed."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.batch",
        description=about,
        epilog="First try it: python -m examples.batch try examples/batch/tries/explain.yaml",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("try", help="two prompts side by side on this machine, without a cluster")
    one.add_argument("patch", type=Path, help="a patch of the PromptRollout, such as tries/explain.yaml")
    one.add_argument("--runs", type=int, default=3, help="how many runs")
    one.set_defaults(run_command=_try)

    one = commands.add_parser("run", help="one run, as the CronJob starts it every night")
    serving.option(one, "--prompts", "etc/prompts/catalogue", "the directory where the ConfigMap is mounted")
    serving.option(one, "--model-url", "http://127.0.0.1:9000", "an OpenAI-compatible server")
    serving.option(one, "--gateway", "", "the Pushgateway's URL; without one nothing is pushed")
    serving.option(
        one, "--run", f"run-{int(time.time())}", "this run's name, another for each: the group of its counts"
    )
    serving.option(
        one, "--feed", "", 'a file of items, JSON lines {"id", "text", "label"}; else they are made up'
    )
    serving.option(one, "--items", "500", "how many are made up", int)
    serving.option(one, "--labelled", "0.25", "which share of those has a label", float)
    serving.option(one, "--results", "", "a file to add results to; items that have one are not done again")
    serving.option(one, "--at-once", "16", "items at a time", int)
    serving.option(one, "--push-every", "15", "seconds between two pushes; one more comes at the end", float)
    one.set_defaults(run_command=_run)

    one = commands.add_parser("label", help="score results by labels that people have written since")
    one.add_argument("results", type=Path, help="what runs have added to with --results")
    one.add_argument(
        "labels", type=Path, help='JSON lines {"id", "label"}; its name is the group of its scores'
    )
    serving.option(one, "--gateway", "http://127.0.0.1:9091", "the Pushgateway's URL")
    one.set_defaults(run_command=_label)

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    given = parser.parse_args()
    return int(given.run_command(given) or 0)


def _run(given: argparse.Namespace) -> int:
    settings = job.Settings(
        given.prompts,
        given.model_url,
        given.gateway,
        given.run,
        Path(given.results) if given.results else None,
        given.at_once,
        given.push_every,
    )
    # Of a pod that is ended in the middle: what it has counted is pushed in the time of grace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        summary = asyncio.run(job.work(settings, _items(given)))
    except (feed.FeedError, job.NotPushedError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, feed.FeedError) else 3
    print(f"{given.run}: {summary}")
    return 0


def _label(given: argparse.Namespace) -> int:
    """The same labels again replace what they pushed before, so nothing is counted twice."""
    judge = Judge()
    try:
        scored = labels.score(given.results, given.labels, judge)
    except (feed.FeedError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        judge.push(given.gateway, job=JOB, grouping={"run": given.labels.stem})
    except OSError as error:
        print(f"{given.gateway}: {error}", file=sys.stderr)
        return 3
    print(f"{scored} results scored")
    return 0


def _items(given: argparse.Namespace) -> Sequence[feed.Item]:
    """All of them before the first is worked on: a broken feed costs nothing."""
    if given.feed:
        return list(feed.read(Path(given.feed)))
    return list(feed.drawn(given.run, given.items, given.labelled))


def _try(given: argparse.Namespace) -> None:
    with trial.prompts(FOLDER, given.patch) as prompts, trial.Programs() as programs:
        model = programs.serve("examples.kit.model")
        for number in range(1, given.runs + 1):
            own = {"RUN": f"run-{number}", "PROMPTS": str(prompts), "MODEL_URL": model, "LABELLED": "1"}
            programs.run("examples.batch", "run", **own)


if __name__ == "__main__":
    sys.exit(main())
