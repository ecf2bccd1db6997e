"""What is counted, and that nothing raises."""

import asyncio
import math
from contextlib import nullcontext, suppress
from datetime import date
from decimal import Decimal

import pytest
from jinja2.exceptions import SecurityError

from promptrollout.delivery import PinnedRevision, bucket_of
from promptrollout.revision import seal
from promptrollout_sdk import PromptRollout
from promptrollout_sdk.pins import parse_pin
from promptrollout_sdk.templates import compile_template
from testkit import NAME, NEW, OLD, payload, unit_of

STABLE = {"revision": OLD.short, "arm": "stable", "step": "1"}
CANDIDATE = {"revision": NEW.short, "arm": "candidate", "step": "1"}


class ClientGoneError(Exception):
    pass


def fail(really):
    if really:
        raise TimeoutError


def call(a, raises=None, aborts=(), outcome=""):
    with a.request(aborts=aborts) as r:
        if outcome:
            r.outcome(outcome)
        if raises:
            raise raises("said by the test")


class CancelledElsewhere(BaseException):
    """Cancellation of another framework."""


def group_of(*kinds):
    """Raises what a task group raises when its tasks end so."""
    return lambda said: BaseExceptionGroup(said, [kind(said) for kind in kinds])


class Unspeakable:
    """No text, and no number either."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __float__ = __str__


def test_a_unit_keeps_its_arm_and_the_shares_are_the_weights(rollout):
    arms = [rollout.assign(f"user-{i}").arm for i in range(20_000)]
    assert arms == ["candidate" if bucket_of("s", f"user-{i}") < 500 else "stable" for i in range(20_000)]


def test_without_a_unit_one_is_drawn_and_the_answer_says_so(rollout):
    first, second = rollout.assign(), rollout.assign()
    assert not first.unit_given
    assert first.unit != second.unit
    assert rollout.assign("u").unit_given


@pytest.mark.parametrize("unit", [7, 1.5, b"x", "\ud800", "", object()])
def test_a_strange_unit_is_served(rollout, unit):
    with rollout.assign(unit).request():
        pass


@pytest.mark.parametrize(
    ("raised", "aborts", "outcome"),
    [
        (None, (), "ok"),
        (ValueError, (), "error"),
        (TimeoutError, (), "error"),
        (asyncio.CancelledError, (), "aborted"),
        (GeneratorExit, (), "aborted"),
        (KeyboardInterrupt, (), "aborted"),
        (ClientGoneError, (ClientGoneError,), "aborted"),
        (ClientGoneError, (), "error"),
        (ClientGoneError, ClientGoneError, "aborted"),
        (ClientGoneError, [KeyError, ClientGoneError], "aborted"),
        (ClientGoneError, None, "error"),
        (ClientGoneError, ("gone",), "error"),
        (CancelledElsewhere, (), "aborted"),
        (group_of(ClientGoneError, asyncio.CancelledError), (ClientGoneError,), "aborted"),
        (group_of(ClientGoneError, ValueError), (ClientGoneError,), "error"),
    ],
)
def test_how_a_request_ends(rollout, value, raised, aborts, outcome):
    a = rollout.assign(unit_of(rollout, "stable"))
    with pytest.raises(type(raised(""))) if raised else nullcontext():
        call(a, raised, aborts)
    assert value("requests_total", **STABLE, outcome=outcome) == 1
    assert value("request_duration_seconds_count", **STABLE) == (outcome != "aborted")


def test_the_application_may_say_what_a_request_came_to(rollout, value):
    a = rollout.assign(unit_of(rollout, "stable"))
    with a.request() as r:
        r.outcome("error")
    with pytest.raises(ValueError, match="said"):
        call(a, ValueError, outcome="ok")
    assert value("requests_total", **STABLE, outcome="error") == 1
    assert value("requests_total", **STABLE, outcome="ok") == 1


def test_a_request_ends_once(rollout, value):
    request = rollout.assign(unit_of(rollout, "stable")).request()
    for _ in range(2):
        with request as r:
            r.tokens(input=5)
    assert value("requests_total", **STABLE, outcome="ok") == 1
    assert value("tokens_total", **STABLE, direction="input") == 5


def test_what_is_told_after_the_end_is_reported(rollout, value):
    with rollout.assign(unit_of(rollout, "stable")).request() as r:
        pass
    r.tokens(input=1)
    r.cost(usd=1)
    r.event("refusals")
    r.outcome("error")
    assert value("sdk_problems_total", reason="ended") == 4


@pytest.mark.parametrize(
    "amount", [None, math.inf, -math.inf, math.nan, -1, "many", 10**400, [], Unspeakable()]
)
def test_an_amount_that_is_none_is_reported_and_spoils_no_counter(rollout, value, amount):
    with rollout.assign(unit_of(rollout, "stable")).request() as r:
        r.tokens(input=3)
        r.tokens(input=amount)
        r.cost(usd=Decimal("0.5"))
        r.cost(usd=amount)
    assert value("requests_total", **STABLE, outcome="ok") == 1
    assert value("tokens_total", **STABLE, direction="input") == 3
    assert value("cost_usd_total", **STABLE) == 0.5
    assert value("sdk_problems_total", reason="usage") == 2


@pytest.mark.parametrize("thing", [None, 5, b"x", [], {}, object(), Unspeakable()])
def test_whatever_an_application_hands_over_nothing_raises(rollout, thing):
    a = rollout.assign(thing, thing)
    with a.request() as r:
        r.event(thing)
        r.outcome(thing)
        assert a.render(thing)
        assert a.render(shop=thing)
        assert a.render_text(part=thing)
    a.score(thing, thing)
    a.score("helpfulness", thing)
    rollout.score(thing, "helpfulness", 0.5)
    assert not a.shadow(thing)


def test_a_tool_loop_with_retries_is_one_request(rollout, value):
    with rollout.assign(unit_of(rollout, "candidate")).request() as r:
        for attempt in range(3):
            with suppress(TimeoutError):
                r.tokens(input=10, output=attempt)
                r.cost(usd=0.5)
                r.first_token()
                fail(attempt < 2)
    assert value("requests_total", **CANDIDATE, outcome="ok") == 1
    assert value("requests_total", **CANDIDATE, outcome="error") == 0
    assert value("tokens_total", **CANDIDATE, direction="input") == 30
    assert value("tokens_total", **CANDIDATE, direction="output") == 3
    assert value("cost_usd_total", **CANDIDATE) == 1.5
    assert value("time_to_first_token_seconds_count", **CANDIDATE) == 1


def test_a_stream_in_asyncio_notes_its_first_chunk_and_an_abort_is_no_error(rollout, value):
    async def chunks():
        for chunk in "abc":
            yield chunk

    a = rollout.assign(unit_of(rollout, "stable"))

    async def answer():
        async with a.request() as r:
            async for chunk in r.astream(chunks()):
                yield chunk

    async def scenario():
        stream = answer()
        assert await anext(stream) == "a"
        await stream.aclose()
        return [chunk async for chunk in answer()]

    # Not asyncio.run: it would drop, unclosed, the loop that the looptime plugin made for this thread.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(scenario()) == ["a", "b", "c"]
    assert value("requests_total", **STABLE, outcome="aborted") == 1
    assert value("requests_total", **STABLE, outcome="ok") == 1
    assert value("time_to_first_token_seconds_count", **STABLE) == 2


def test_scores_are_counted_with_their_histogram_and_cluster(rollout, value):
    a = rollout.assign(unit_of(rollout, "stable"))
    a.score("helpfulness", 0.63)
    rollout.score(a.token, "helpfulness", 1)
    labels = {**STABLE, "score": "helpfulness"}
    assert value("score_count", **labels) == 2
    assert value("score_sum", **labels) == 1.63
    assert value("score_sumsq", **labels) == pytest.approx(1 + 0.63**2)
    assert value("score_nodes_total", **labels, node="7") == pytest.approx(0.6)
    assert value("score_nodes_total", **labels, node="8") == pytest.approx(0.4)
    assert value("score_nodes_total", **labels, node="0") == 1
    assert value("cluster_score_count", arm="stable", cluster=str(a.cluster), score="helpfulness") == 2


def test_a_late_score_counts_in_the_step_of_its_answer(mount, rollout, value):
    token = rollout.assign(unit_of(rollout, "stable")).token
    mount.deliver(payload(2, weight=2500))
    rollout.refresh()
    rollout.score(token, "helpfulness", 0.5)
    assert value("score_count", **STABLE, score="helpfulness") == 1


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("helpfulness", 1.01),
        ("helpfulness", -0.1),
        ("helpfulness", math.nan),
        ("helpfulness", "good"),
        ("a b", 0.5),
    ],
)
def test_a_score_that_is_none_is_reported_and_not_counted(rollout, value, name, score):
    rollout.assign(unit_of(rollout, "stable")).score(name, score)
    assert value("sdk_problems_total", reason="score") == 1
    assert value("score_count", **STABLE, score="helpfulness") == 0


@pytest.mark.parametrize("token", ["", "x", None, f"1.{OLD.short}.1.stable.3.other/rollout"])
def test_a_token_that_is_none_of_ours_is_reported(rollout, value, token):
    rollout.score(token, "helpfulness", 0.5)
    assert value("sdk_problems_total", reason="token") == 1


def test_forged_tokens_cannot_fill_the_registry(rollout, registry):
    for i in range(500):
        rollout.score(f"1.{i:010x}.{i}.arm{i}.3.{NAME}", "helpfulness", 0.5)
        rollout.score(f"1.{OLD.short}.1.stable.3.{NAME}", f"score{i}", 0.5)
    assert sum(len(m.samples) for m in registry.collect()) < 20_000


def test_a_pin_keeps_the_revision_over_a_ramp_and_counts_in_its_own_step(mount, rollout, value):
    moved = next(f"u{i}" for i in range(100_000) if 500 <= bucket_of("s", f"u{i}") < 2500)
    pin = rollout.assign(moved).pin
    mount.deliver(payload(2, weight=2500))
    rollout.refresh()
    assert rollout.assign(moved).arm == "candidate"
    kept = rollout.assign(moved, pin)
    assert (kept.arm, kept.pinned, kept.pin) == ("stable", True, pin)
    with kept.request():
        pass
    assert value("requests_total", **STABLE, outcome="ok") == 1


def rolled_back(sequence=2, **changes):
    return payload(sequence, arms=(payload().arms[1].__class__("stable", OLD.short, 10_000),), **changes)


def test_a_rollback_migrates_pinned_conversations(mount, rollout):
    unit = unit_of(rollout, "candidate")
    pin = rollout.assign(unit).pin
    mount.deliver(rolled_back())
    rollout.refresh()
    assert rollout.assign(unit, pin).revision == OLD.short


@pytest.mark.parametrize(
    ("until", "revision"), [("2999-01-01T00:00:00Z", NEW), ("2020-01-01T00:00:00Z", OLD)]
)
def test_a_drained_revision_keeps_its_conversations_for_its_time(mount, rollout, until, revision):
    unit = unit_of(rollout, "candidate")
    pin = rollout.assign(unit).pin
    mount.deliver(rolled_back(pinned=(PinnedRevision(NEW.short, until),)))
    rollout.refresh()
    assert rollout.assign(unit, pin).revision == revision.short
    assert rollout.assign(unit).revision == OLD.short


@pytest.mark.parametrize("pin", ["", "x", "9.zz", 5, "1." + "0" * 10 + ".1.candidate"])
def test_a_pin_that_is_none_is_ignored(rollout, pin):
    assert not rollout.assign("u", pin).pinned


def test_a_unit_is_exposed_until_its_first_event(rollout, value):
    a = rollout.assign(unit_of(rollout, "stable"))
    for fails in (False, True, True, False):
        with a.request() as r:
            if fails:
                r.event("refusals")
                r.event("refusals")
    labels = {**STABLE, "metric": "refusals"}
    assert (value("unit_exposure_total", **labels), value("unit_events_total", **labels)) == (2, 1)
    assert value("events_total", **labels) == 2
    assert value("unit_exposure_total", **{**labels, "metric": "errors"}) == 4
    cluster = {"arm": "stable", "cluster": str(a.cluster)}
    assert value("cluster_requests_total", **cluster) == 4
    assert value("cluster_events_total", **cluster, metric="refusals") == 2
    assert value("cluster_unit_exposure_total", **cluster, metric="refusals") == 2


def test_the_pin_tells_another_pod_of_a_units_event(mount, rollout, value):
    unit = unit_of(rollout, "stable")
    a = rollout.assign(unit)
    with a.request() as r:
        r.event("refusals")
    pin = a.pin
    assert pin.endswith(".refusals")
    rollout._ledger.arm(a.served.series.key)._affected.clear()  # what another pod knows
    with rollout.assign(unit, pin).request() as r:
        r.event("refusals")
    assert value("unit_events_total", **STABLE, metric="refusals") == 1


def test_events_that_a_pin_cannot_name_leave_it_a_pin(mount, registry):
    names = ["overBudget", "tool.error", "too many words", *(f"e{i}" for i in range(20))]
    mount.deliver(payload())
    rollout = PromptRollout.from_directory(mount.path, registry=registry, events=names, watch=False)
    a = rollout.assign("conversation")
    with a.request() as r:
        for name in names:
            r.event(name)
    assert len(parse_pin(a.pin).events) == 16
    assert rollout.assign("conversation", a.pin).pinned


def test_an_event_nobody_announced_is_reported(rollout, value):
    with rollout.assign("u").request() as r:
        r.event("surprise")
    assert value("sdk_problems_total", reason="event") == 1


def test_a_missing_variable_is_empty_and_reported(rollout, value):
    a = rollout.assign(unit_of(rollout, "stable"))
    assert a.render() == [{"role": "system", "content": "Old "}]
    assert a.render({"shop": "S"}) == a.render(shop="S")
    assert value("sdk_problems_total", reason="missing_variable") == 1


def test_a_part_is_rendered_with_its_own_variables_alone(mount, rollout, value):
    parts = {"search": {"text": "Search {{question}}"}, "answer": {"text": "{{question}} {{passages}}"}}
    both = seal({"parts": parts, "variables": ["question", "passages"]})
    arm = payload().arms[0].__class__
    mount.deliver(payload(2, arms=(arm("stable", both.short, 10_000),)), {both.short: both.document})
    rollout.refresh()
    a = rollout.assign("u")
    assert a.render_text(part="search", question="Q") == "Search Q"
    assert value("sdk_problems_total", reason="missing_variable") is None
    assert a.render_text(part="answer", question="Q") == "Q "
    assert value("sdk_problems_total", reason="missing_variable") == 1


def test_a_prompt_that_cannot_be_rendered_counts_as_its_error_and_stable_answers(mount, rollout, value):
    bad = seal({"text": "{{ 1 / zero }}", "templateFormat": "jinja2", "variables": ["zero"]})
    arm = payload().arms[0].__class__
    arms = (arm("candidate", bad.short, 9999), arm("stable", OLD.short, 1))
    mount.deliver(payload(2, arms=arms), {OLD.short: OLD.document, bad.short: bad.document})
    rollout.refresh()
    a = rollout.assign(unit_of(rollout, "candidate"))
    with a.request():
        assert a.render(zero=0, shop="S") == [{"role": "system", "content": "Old S"}]
    labels = {"revision": bad.short, "arm": "candidate", "step": "2"}
    assert value("requests_total", **labels, outcome="error") == 1


class Order:
    """What an application might hand to a template."""

    number = 7

    def __init__(self):
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


@pytest.mark.parametrize(
    "text",
    ["{{ order.cancel() }}", "{{ cancel() }}", "{{ order|attr('cancel')() }}", "{{ order.__class__() }}"],
)
def test_a_template_calls_nothing_of_the_applications(text):
    order = Order()
    with pytest.raises(SecurityError):
        compile_template(text, "jinja2").render({"order": order, "cancel": order.cancel})
    assert not order.cancelled


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ order.number }} {{ name.upper() }} {{ tags.get('a') }}", "7 ANN 1"),
        ("{% for k, v in tags.items() %}{{ k }}={{ v }}{{ loop.cycle('!', '?') }}{% endfor %}", "a=1!"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice(name) }}", "annann"),
        ("{% for i in range(3) recursive %}{{ i }}{% endfor %}", "012"),
        ("{{ day.strftime('%Y') }} {{ day.isoformat() }}", "2026 2026-11-28"),
        ("{% set n = namespace(x=1) %}{{ n.x }} {{ dict(a=2).a }}", "1 2"),
    ],
)
def test_a_template_may_use_plain_data_and_what_is_its_own(text, rendered):
    values = {"order": Order(), "name": "ann", "tags": {"a": 1}, "day": date(2026, 11, 28)}
    assert compile_template(text, "jinja2").render(values) == rendered


def test_what_is_handed_out_may_be_changed(rollout):
    a = rollout.assign(unit_of(rollout, "stable"))
    a.messages[0]["content"] = "x"
    a.render(shop="S").clear()
    a.parameters["temperature"] = 2
    assert a.messages[0]["content"] == "Old {{shop}}"
    assert a.parameters == {"temperature": 0.2}
    assert a.model == "m1"
