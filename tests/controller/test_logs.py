import io
import json
import logging

import pytest

from promptrollout.controller import logs


@pytest.fixture
def written():
    """Configures logging into a text that is returned line by line; what there was before is restored."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()

    def configure(form, level="info"):
        logs.configure(level, form, stream)
        return lambda: stream.getvalue().splitlines()

    yield configure
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


log = logging.getLogger("promptrollout.controller.feed")


def broken(message):
    raise ValueError(message)


def test_text_has_time_level_place_and_message(written):
    lines = written("text")
    log.warning("%s: pods wait", "shop/support")
    assert lines()[0].split(maxsplit=1)[1] == "WARNING controller.feed: shop/support: pods wait"
    assert lines()[0].split("T")[1].split()[0].endswith("Z")


def test_a_message_with_line_breaks_stays_one_line_so_that_nobody_can_forge_another(written):
    for form in ("text", "json"):
        lines = written(form)
        count = len(lines())
        log.info("first\n2026-11-24T00:00:00.000Z INFO controller: forged\r\n")
        assert len(lines()) == count + 1


def test_json_is_one_object_a_line_with_the_traceback_inside(written):
    lines = written("json")
    try:
        broken("no")
    except ValueError:
        log.exception("shop/support: turn failed")
    (line,) = lines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("error", "controller.feed")
    assert entry["message"] == "shop/support: turn failed"
    assert entry["exception"].endswith("ValueError: no")


def test_a_traceback_in_text_is_indented_below_its_line(written):
    lines = written("text")
    try:
        broken("no")
    except ValueError:
        log.exception("failed")
    assert lines()[0].endswith("failed")
    assert all(line.startswith("    ") for line in lines()[1:])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("sent Authorization: Bearer abc.def", "sent Authorization: Bearer [hidden]"),
        ("{'authorization': 'Basic dXNlcjpwdw=='}", "{'authorization': 'Basic [hidden]'}"),
        ("http://me:hunter2@prometheus:9090/api", "http://me:[hidden]@prometheus:9090/api"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln of the account", "token [hidden] of the account"),
        ("http://prometheus:9090/api?x=user@host", "http://prometheus:9090/api?x=user@host"),
        ("used bearer abcdefgh.x now", "used bearer [hidden] now"),
        ("the bearer of shop/support", "the bearer of shop/support"),
        ("nothing to hide: 12 % against 2 %", "nothing to hide: 12 % against 2 %"),
    ],
)
def test_what_looks_like_a_credential_is_blotted_out(said, shown):
    assert logs.without_secrets(said) == shown


def test_no_credential_comes_through_a_traceback(written):
    for form in ("text", "json"):
        lines = written(form)
        try:
            broken("GET http://me:hunter2@prometheus:9090")
        except ValueError:
            log.exception("failed")
        assert "hunter2" not in "\n".join(lines())


def test_libraries_are_heard_from_warnings_on_and_ours_from_the_level_that_was_asked_for(written):
    lines = written("text", "debug")
    log.debug("ours")
    logging.getLogger("kopf._core.reactor.running").info("noise")
    logging.getLogger("somewhere").info("noise")
    logging.getLogger("kopf._core.reactor.observation").warning("kept")
    assert [line.rsplit(" ", 1)[1] for line in lines()] == ["ours", "kept"]
