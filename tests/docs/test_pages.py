"""What the pages show is so: links lead somewhere, YAML is accepted, and targets, commands and options exist."""

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from promptrollout.api.parse import read_spec
from promptrollout.api.policy import PolicySpec
from promptrollout.cli.main import build, run

ROOT = Path(__file__).parents[2]
_NAMES = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
PAGES = {name: (ROOT / name).read_text() for name in _NAMES.stdout.split()}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
CRDS = {
    one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for one in (yaml.safe_load(file.read_text()) for file in (ROOT / "crds").glob("*.yaml"))
}
ROLLOUT = "PromptRollout"
BASE = {"prompt": {"inline": {"text": "Hello"}}, "strategy": {"immediate": {}}}
#: What a page leaves out, in YAML's reading.
LEFT_OUT = [("{...}", "{text: Hello}"), ("[...]", "[{weight: 10, duration: 1h}]")]
STRATEGIES = set(CRDS[ROLLOUT]["properties"]["spec"]["properties"]["strategy"]["properties"])


def fences_of(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each, in order."""
    for indent, language, text in FENCE.findall(PAGES[page]):
        yield language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def fences(page: str, *languages: str) -> Iterator[str]:
    return (text for language, text in fences_of(page) if language in languages)


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", PAGES[page]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
            if not re.match(r"[a-z]+:", target):
                yield page, target


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_a_link_leads_to_what_is_there(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    assert found.exists(), f"{page} -> {target}"
    if anchor:
        assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{page} -> {target}"


def unknown(value: object, schema: dict[str, object], at: str) -> Iterator[str]:
    """Fields that the API server would drop or, asked strictly, refuse."""
    if isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, child in value.items():
            inner = known.get(key, more)
            if inner is None:
                yield f"{at}.{key}"
            elif isinstance(inner, dict):
                yield from unknown(child, inner, f"{at}.{key}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, child in enumerate(value):
            yield from unknown(child, schema["items"], f"{at}[{index}]")


def specs(document: object) -> Iterator[tuple[str, dict[str, object]]]:
    """(kind, spec) of what a fence shows of our kinds, whole or in part; of anything else nothing."""
    if isinstance(document, list):
        yield ROLLOUT, {**BASE, "analysis": {"metrics": document}}
    elif "kind" in document:
        if document["kind"] in CRDS:
            yield document["kind"], document["spec"]
    elif "healthChecks" in document.get("spec", {}):  # Flux
        return
    elif "spec" in document:
        yield ROLLOUT, {**BASE, **document["spec"]}
    elif STRATEGIES & set(document):
        yield ROLLOUT, {**BASE, "strategy": document}
    elif "strategy" in document:
        yield ROLLOUT, {**BASE, **document}


def _in_full(text: str, left_out: tuple[str, str]) -> str:
    return text.replace(*left_out)


def shown() -> Iterator[tuple[str, str, dict[str, object]]]:
    for page in PAGES:
        for text in fences(page, "yaml", "yml"):
            for document in yaml.safe_load_all(functools.reduce(_in_full, LEFT_OUT, text)):
                for kind, spec in specs(document):
                    yield page, kind, spec


@pytest.mark.parametrize(("page", "kind", "spec"), list(shown()))
def test_yaml_that_is_shown_is_accepted(page: str, kind: str, spec: dict[str, object]) -> None:
    assert list(unknown(spec, CRDS[kind]["properties"]["spec"], "spec")) == []
    if kind == ROLLOUT:
        assert read_spec(spec).problems == (), page
    else:
        PolicySpec.model_validate(spec, by_alias=True, by_name=False)


def test_most_fences_of_yaml_are_ours_and_checked() -> None:
    assert len(list(shown())) >= 10


def test_a_target_that_is_named_is_in_the_makefile() -> None:
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in PAGES.items():
        # In code only: "make it anew" is none.
        code = [*re.findall(r"`([^`\n]+)`", FENCE.sub("", text)), *fences(page, "sh", "console", "")]
        named = {
            name for piece in code for name in re.findall(r"^make ([a-z][a-z0-9-]*)", piece, re.MULTILINE)
        }
        assert named <= known, page


def commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for text in fences(page, "sh", "console", ""):
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith("kubectl promptrollout "):
                    yield page, shlex.split(line, comments=True)[2:]


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_a_command_of_the_plugin_that_is_shown_exists_with_its_options(page: str, words: list[str]) -> None:
    group = typer.main.get_command(build())
    command = group.commands[words[0]]
    known = {option for parameter in command.params for option in parameter.opts}
    options = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    assert options <= known, page


def test_columns_are_those_that_kubectl_shows() -> None:
    (crd,) = (ROOT / "crds").glob("promptrollouts.*")
    columns = yaml.safe_load(crd.read_text())["spec"]["versions"][0]["additionalPrinterColumns"]
    (shown,) = re.findall(r"^NAME +PHASE.*$", PAGES["README.md"], re.MULTILINE)
    assert shown.split() == ["NAME", *(column["name"].upper() for column in columns)]


def plans() -> Iterator[tuple[str, str, list[str]]]:
    """(the rollout, the command's words, the lines that are shown of its answer) of docs/cli.md."""
    files: dict[str, str] = {}
    asked: list[str] = []
    for language, text in fences_of("docs/cli.md"):
        if name := re.match(r"# (\w+\.yaml)\n", text):
            files[name[1]] = text
        elif language == "sh":
            asked = shlex.split(text.replace("\\\n", " "))[2:]
        elif not language and asked[:1] == ["plan"]:
            yield files[asked[asked.index("-f") + 1]], " ".join(asked), text.splitlines()
            asked = []


@pytest.mark.parametrize(("rollout", "command", "shown"), list(plans()))
def test_a_plan_is_quoted_as_the_plugin_gives_it(
    rollout: str, command: str, shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(rollout)
    words = shlex.split(command)
    words[words.index("-f") + 1] = str(file)
    assert run(words) == 0
    said = iter([line.rstrip() for line in capsys.readouterr().out.splitlines()])
    for line in shown:
        assert line == "..." or line in said, line  # in this order
