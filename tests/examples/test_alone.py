"""What the examples do without a cluster: their command lines, the model, the judge, the search, and `try`."""

import importlib
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest
import uvicorn

from examples.kit import documents
from examples.kit.model.conversation import Call, Reply
from examples.kit.model.server import SKILLS, Model, Speed
from examples.rag.judge import groundedness
from examples.rag.retrieval import Index
from examples.rag.users import QUESTIONS
from promptrollout.api.parse import parse_spec
from promptrollout.api.spec import RolloutSpec

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(file.parent.name for file in EXAMPLES.glob("*/__main__.py"))


@pytest.fixture
def helped(monkeypatch, capsys):
    """What `python -m examples.NAME ... --help` says."""

    def ask(name, *command):
        monkeypatch.setattr(sys, "argv", ["__main__", *command, "--help"])
        with pytest.raises(SystemExit, match=r"^0$"):
            importlib.import_module(f"examples.{name}.__main__").main()
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_names_the_commands_and_each_of_them_has_its_own(name, helped):
    said = helped(name)
    commands = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    assert "try" in commands, said
    for command in commands:
        assert f"python -m examples.{name} {command}" in helped(name, command)


@pytest.mark.parametrize(
    "file", sorted(EXAMPLES.glob("*/tries/*.yaml")), ids=lambda f: f"{f.parts[-3]}/{f.stem}"
)
def test_each_try_is_a_valid_rollout_with_another_prompt(file):
    rollout = documents.rollout_of(file.parents[1])
    changed = documents.patched(rollout, file)
    for one in (rollout, changed):
        assert isinstance(parse_spec(one["spec"]), RolloutSpec)
    assert changed["spec"]["prompt"] != rollout["spec"]["prompt"]
    assert {**changed["spec"], "prompt": 0} == {**rollout["spec"], "prompt": 0}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/dashboard.json")), ids=lambda f: f.parent.name)
def test_a_dashboard_finds_its_rollouts_by_itself_and_its_panels_ask_for_one(file):
    dashboard = json.loads(file.read_text())
    (variable,) = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
    assert variable["name"] == "rollout"
    assert variable["refresh"] in (1, 2)
    assert re.search(variable["regex"].strip("/"), "shop/answers")
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert [one for one in asked if "promptrollout_" in one and 'rollout="$rollout"' not in one] == []


def figures(name, patch):
    command = [sys.executable, "-m", f"examples.{name}", "try", f"examples/{name}/tries/{patch}.yaml"]
    done = subprocess.run([*command, "--seconds=4"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S.*?)  +([\d.]+)(?:%| ms)? +([\d.]+)(?:%| ms)?$", done.stdout, re.MULTILINE)
    return {name: (float(stable), float(candidate)) for name, stable, candidate in rows}


def test_a_try_shows_that_only_the_judge_sees_what_leaves_the_passages():
    found = figures("rag", "ungrounded")
    stable, candidate = found["groundedness"]
    assert min(found["requests"]) > 0
    assert stable > 0.9
    assert 0 < candidate < 0.7
    assert found["error"] == (0, 0)


def test_a_try_shows_that_people_leave_answers_that_do_not_end():
    found = figures("streaming", "rambles")
    stable, candidate = found["abandoned"]
    assert candidate > 50 > stable
    assert found["error"] == (0, 0)


def test_a_try_shows_that_a_planner_without_an_end_uses_up_its_calls():
    found = figures("agent", "thorough")
    stable, candidate = found["over_budget"]
    assert candidate > 20 > stable
    assert found["error"] == (0, 0)


def test_a_try_of_a_batch_shows_that_an_explanation_makes_answers_invalid():
    words = ["try", "examples/batch/tries/explain.yaml", "--runs=1"]
    command = [sys.executable, "-m", "examples.batch", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    invalid = {arm: int(n) for arm, n in re.findall(r"(\w+) \w+: \d+ items, (\d+) invalid", done.stdout)}
    assert invalid["candidate"] > 10 > invalid["stable"]


def test_every_question_finds_a_page_and_general_words_find_none():
    index = Index()
    assert [question for question in QUESTIONS if not index.search(question, 3)] == []
    assert index.search("tent warranty", 1)[0].page == "warranty"
    assert index.search("enquiry assistance circumstances", 3) == []
    assert index.search("", 3) == []


def test_the_judge_wants_each_sentence_carried_by_one_passage():
    passages = ["Returns are free within the country.", "A repair takes about two weeks."]
    assert groundedness("A repair takes two weeks. Returns are free within the country.", passages) == 1
    assert groundedness("A repair takes two weeks. Elephants deliver vouchers at midnight.", passages) == 0.5
    assert groundedness("Repair country weeks returns elephants deliver.", passages) == 0
    assert groundedness("Our help pages do not answer this.", []) == 1


@pytest.fixture
def model():
    """OpenAI's client of a model that calls a tool when it may."""

    def look_up(conversation, _chance):
        return Reply(calls=[Call("lookup", {"order": "12"})]) if "lookup" in conversation.tools else None

    application = Model(Speed(0.0, 0.0), skills=(look_up, *SKILLS)).application()
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with openai.OpenAI(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}/v1", api_key="none", max_retries=5
        ) as client:
            yield client
        server.should_exit = True
        thread.join()


QUESTION = [
    {"role": "system", "content": "Plan your answer first."},
    {"role": "user", "content": "Where is my parcel?"},
]
TOOLS = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]


def test_the_model_says_the_same_whole_and_streamed_and_its_thoughts_are_no_content(model):
    whole = model.chat.completions.create(model="m", messages=QUESTION)
    chunks = list(model.chat.completions.create(model="m", messages=QUESTION, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert "parcel" in said
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens > len(said.split())


def test_the_model_calls_tools_whole_and_streamed(model):
    whole = model.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS)
    chunks = model.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS, stream=True)
    [call] = whole.choices[0].message.tool_calls
    [streamed] = [one for chunk in chunks for one in chunk.choices[0].delta.tool_calls or []]
    assert whole.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == ("lookup", '{"order": "12"}')
    assert streamed.function.arguments == call.function.arguments


def test_the_model_refuses_what_is_no_request(model):
    with pytest.raises(openai.BadRequestError, match="at least one"):
        model.chat.completions.create(model="m", messages=[])
