"""The batch example's own logic: its feed, what a good answer is, what is counted for an item."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from examples.batch import feed
from examples.batch.extraction import agreement, parse
from examples.batch.labels import score
from examples.batch.results import Results
from examples.batch.work import AGREEMENT, INVALID, ModelError, Worker
from examples.kit import trial
from examples.kit.model.conversation import Conversation
from examples.kit.model.extracting import extract
from promptrollout.cli.main import run
from promptrollout_sdk import Judge, PromptRollout
from tests.examples.counters import counted

FOLDER = Path(feed.__file__).parent
GOOD = '{"category": "lamp", "colour": "red", "material": "glass", "price": 12.5}'
LABEL = json.loads(GOOD)


# The feed


def test_a_feed_is_read_line_by_line(tmp_path):
    file = tmp_path / "feed.jsonl"
    file.write_text('{"id": "a", "text": "one"}\n\n{"id": "b", "text": "two", "label": {"colour": "red"}}\n')
    assert list(feed.read(file)) == [feed.Item("a", "one"), feed.Item("b", "two", {"colour": "red"})]


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"id": "", "text": "t"}',
        '{"id": "b", "text": 1}',
        '{"id": "b", "text": "t", "label": 1}',
    ],
)
def test_a_line_that_is_no_item_is_named(tmp_path, line):
    file = tmp_path / "feed.jsonl"
    file.write_text(f'{{"id": "a", "text": "one"}}\n{line}\n')
    with pytest.raises(feed.FeedError, match=r"feed\.jsonl, line 2: "):
        list(feed.read(file))


def test_made_up_items_are_the_same_for_a_run_and_other_ones_for_another():
    first, again, other = (list(feed.drawn(seed, 400, 0.25)) for seed in ("a", "a", "b"))
    assert first == again
    assert not {item.id for item in first} & {item.id for item in other}
    assert 70 <= sum(item.label is not None for item in first) <= 130


def test_what_is_done_is_left_out_and_each_id_comes_once():
    items = [feed.Item(name, "text") for name in "abcab"]
    assert [item.id for item in feed.without(items, {"b"})] == ["a", "c"]


# Answers


def test_only_json_of_the_schema_and_nothing_else_is_an_answer():
    assert parse(GOOD) is not None
    for bad in (
        f"Here it is:\n```json\n{GOOD}\n```",
        GOOD[:-1],
        GOOD.replace("12.5", '"12.5"'),
        GOOD.replace("12.5", "-1"),
        GOOD.replace("red", "reddish"),
        GOOD.replace("}", ', "size": 3}'),
        "",
    ):
        assert parse(bad) is None


def test_agreement_is_the_share_of_labelled_attributes_that_are_right():
    assert agreement(parse(GOOD), LABEL) == 1.0
    assert agreement(parse(GOOD), {**LABEL, "colour": "blue", "price": 1.0}) == 0.5
    assert agreement(None, LABEL) == 0.0


def said(system, items):
    chance = random.Random(1)  # noqa: S311 - a simulation
    for item in items:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": item.text}]
        reply = extract(Conversation(messages), chance)
        assert reply is not None
        yield parse(reply.text), item.label


def test_the_simulated_model_reads_descriptions_and_fails_as_it_is_told():
    def system(file):
        return trial.documents.read(FOLDER / file)[0]["spec"]["prompt"]["inline"]["messages"][0]["content"]

    items = list(feed.drawn("items", 2_000, 1.0))
    stable, colours, explain = (
        list(said(system(file), items))
        for file in ("rollout.yaml", "tries/colours.yaml", "tries/explain.yaml")
    )
    invalid = [
        sum(found is None for found, _ in answers) / len(items) for answers in (stable, colours, explain)
    ]
    agreed = [
        sum(agreement(*answer) for answer in answers) / len(items) for answers in (stable, colours, explain)
    ]
    assert max(invalid[:2]) < 0.02
    assert invalid[2] > 0.08
    assert min(agreed[:2]) > 0.96


def test_it_extracts_nothing_when_it_is_not_told_to():
    chat = Conversation([{"role": "user", "content": "Where is my parcel?"}])
    assert extract(chat, random.Random(1)) is None  # noqa: S311 - a simulation


# Items


class Scripted:
    """Answers by the item's text; what is an exception is raised."""

    def __init__(self, answers):
        self._answers = answers

    async def __call__(self, assignment, description, r):
        answer = self._answers[description]
        if isinstance(answer, Exception):
            raise answer
        r.tokens(input=10, output=5)
        return answer


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def rollout(registry):
    with trial.prompts(FOLDER, FOLDER / "tries" / "explain.yaml") as prompts:
        loaded = PromptRollout.from_directory(
            prompts, registry=registry, events=[INVALID], scores=[AGREEMENT], watch=False
        )
        yield loaded
        loaded.close()


async def test_each_item_is_one_request_with_its_event_and_its_score(rollout, registry):
    answers = {"good": GOOD, "prose": f"Sure! {GOOD}", "gone": ModelError("no answer"), "unlabelled": GOOD}
    items = [feed.Item(text, text, None if text == "unlabelled" else LABEL) for text in answers]
    kept = []
    summary = await Worker(rollout, Scripted(answers), kept.append).run(items, 2)
    assert counted(registry, "requests_total") == 4
    assert counted(registry, "requests_total", outcome="error") == 1
    assert counted(registry, "events_total", metric=INVALID) == 1
    assert (
        counted(registry, "score_count", score=AGREEMENT) == 2
    )  # not of what has no answer, nor of what has no label
    assert counted(registry, "score_sum", score=AGREEMENT) == 1.0  # what is no JSON agrees with nothing
    assert counted(registry, "tokens_total", direction="input") == 30
    assert {one["id"]: bool(one["attributes"]) for one in kept} == {
        "good": True,
        "prose": False,
        "gone": False,
        "unlabelled": True,
    }
    assert sum(arm.items for arm in summary.values()) == 4


async def test_an_item_that_is_tried_again_meets_the_same_prompt(rollout):
    items = [feed.Item(f"item-{n}", "text") for n in range(50)]
    kept = []
    for _ in range(2):
        await Worker(rollout, Scripted({"text": GOOD}), kept.append).run(items, 4)
    revisions = {}
    for one in kept:
        revisions.setdefault(one["id"], set()).add(one["revision"])
    assert all(len(seen) == 1 for seen in revisions.values())
    assert len({revision for seen in revisions.values() for revision in seen}) == 2


# Results


def test_an_attempt_goes_on_where_the_one_before_was_cut_off(tmp_path):
    file = tmp_path / "results.jsonl"
    first = Results(file)
    first.add({"id": "a", "attributes": {"colour": "red"}})
    first.add({"id": "b", "attributes": None})  # no answer yet: tried again
    first.close()
    with file.open("a") as cut:
        cut.write('{"id": "c", "attr')
    again = Results(file)
    assert again.done == {"a"}
    again.close()


def test_labels_that_come_later_score_by_token_what_they_can(tmp_path, rollout, registry):
    results, labels = tmp_path / "results.jsonl", tmp_path / "labels.jsonl"
    kept = Results(results)
    for name, attributes in (("a", LABEL), ("b", None), ("unlabelled", LABEL)):
        kept.add({"id": name, "token": rollout.assign(unit=name).token, "attributes": attributes})
    kept.close()
    labels.write_text("\n".join(json.dumps({"id": name, "label": LABEL}) for name in ("a", "b", "unknown")))
    judge = Judge()
    assert score(results, labels, judge) == 2
    assert counted(judge.registry, "score_count", score=AGREEMENT, step="1") == 2
    assert counted(judge.registry, "score_sum", score=AGREEMENT) == 1.0
    labels.write_text('{"id": "a"}')
    with pytest.raises(feed.FeedError, match=r"labels\.jsonl, line 1: a label is"):
        score(results, labels, judge)


def test_without_a_file_nothing_is_kept_and_nothing_done():
    results = Results(None)
    results.add({"id": "a", "attributes": {}})
    assert results.done == set()
    results.close()


# The ramp


def test_the_ramp_is_what_the_planner_says_of_it(capsys):
    readme = (FOLDER / "README.md").read_text()
    (command,) = re.findall(r"^kubectl promptrollout (plan(?:[^\n]*\\\n)*[^\n]*)$", readme, re.MULTILINE)
    quoted = " ".join(line.removeprefix("> ") for line in readme.splitlines() if line.startswith("> "))
    root = FOLDER.parents[1]
    assert run(shlex.split(command.replace("\\\n", "").replace("examples/", f"{root}/examples/"))) == 0
    said = capsys.readouterr().out
    assert quoted in " ".join(said.split())
    assert "No better ramp found." in said
    assert "It finds no better ramp." in readme
