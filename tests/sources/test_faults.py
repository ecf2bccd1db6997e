"""A Prometheus in every kind of trouble: each has its own reason, none raises, none is taken for data."""

import asyncio
import gzip
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from promptrollout.analysis import EventCounts
from promptrollout.sources.client import QueryDone
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.protocol import MetricQuery, NoData, Reason, Sample, SourceError, Subject
from tests.sources.doubles import subject
from tests.sources.misbehaving import Handler, Server, serving, success

NAN = {"metric": {"rollout": "shop/support", "revision": "c" * 10}, "values": [[100, "NaN"]]}


def redirect(handler: Handler) -> None:
    handler.reply(b"", 302, Location="http://127.0.0.1:1/elsewhere")


def drop(handler: Handler) -> None:
    handler.close_connection = True


def drip_headers(handler: Handler) -> None:
    handler.drip(b"X")


def drip_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.drip(b" ")


def cut_short(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"status":')
    handler.close_connection = True


BOMB = gzip.compress(b" " * 10_000_000)


def bomb(handler: Handler) -> None:
    handler.reply(BOMB, Content_Encoding="gzip")


TROUBLES: dict[str, tuple[Callable[[Handler], None], Reason, str]] = {
    "hangs": (Handler.hang, Reason.TIMEOUT, "no complete answer within 0.3 s"),
    "drips headers": (drip_headers, Reason.TIMEOUT, "no complete answer within 0.3 s"),
    "drips the body": (drip_body, Reason.TIMEOUT, "no complete answer within 0.3 s"),
    "drops the connection": (drop, Reason.UNREACHABLE, ""),
    "cuts the answer short": (cut_short, Reason.UNREACHABLE, ""),
    "500": (lambda h: h.reply(b"boom", 500), Reason.UNAVAILABLE, "HTTP 500"),
    "429": (lambda h: h.reply(b"", 429), Reason.UNAVAILABLE, "HTTP 429"),
    "query timed out": (
        lambda h: h.reply({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503),
        Reason.TIMEOUT,
        "query timed out",
    ),
    "400": (
        lambda h: h.reply({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400),
        Reason.REJECTED,
        "HTTP 400: parse error",
    ),
    "401": (lambda h: h.reply(b"", 401), Reason.UNAUTHORIZED, "HTTP 401"),
    "redirects": (redirect, Reason.REJECTED, "a redirect, which is not followed"),
    "garbage": (lambda h: h.reply(b"\x00\xff{"), Reason.MALFORMED, "not the JSON of the Prometheus API"),
    "a login page": (lambda h: h.reply(b"<html>"), Reason.MALFORMED, "is the address right?"),
    "other JSON": (lambda h: h.reply([1]), Reason.MALFORMED, "not the JSON of the Prometheus API"),
    "deep JSON": (lambda h: h.reply(b"[" * 100_000), Reason.MALFORMED, "not the JSON"),
    "warnings": (
        lambda h: h.reply(success(warnings=["store 2 is down"])),
        Reason.PARTIAL,
        "store 2 is down",
    ),
    "NaN": (lambda h: h.reply(success(NAN)), Reason.NOT_FINITE, "nan at 100.000"),
    "huge": (lambda h: h.reply(b" " * 2_000_000), Reason.TOO_LARGE, "more than 100,000 bytes"),
    "a compressed bomb": (bomb, Reason.TOO_LARGE, "more than 100,000 bytes"),
}

#: Only those that never answer are waited for in vain; the others may take their time on a busy machine.
PATIENCE = dict.fromkeys(["hangs", "drips headers", "drips the body"], 0.3)


@asynccontextmanager
async def source_at(
    server: Server, done: list[QueryDone] | None = None, **settings: object
) -> AsyncIterator[PrometheusSource]:
    config = PrometheusConfig(server.url, **{"timeout": 20.0, "max_bytes": 100_000, **settings})  # type: ignore[arg-type]
    source = PrometheusSource(config, done.append if done is not None else None)
    try:
        yield source
    finally:
        await source.close()


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_each_trouble_has_its_reason_and_is_over_in_time(trouble: str) -> None:
    answer, reason, said = TROUBLES[trouble]
    done: list[QueryDone] = []
    with serving(answer) as server:
        async with source_at(server, done, timeout=PATIENCE.get(trouble, 20.0)) as source:
            begun = time.monotonic()
            found = (await source.sample([subject()], 90, 120))["shop/support"]
            took = time.monotonic() - begun
    problem = found.problems["errors"]
    assert isinstance(problem, SourceError), problem
    assert (problem.reason, found.windows) == (reason, ())
    assert said in problem.message
    assert took < 15
    if reason is not Reason.NOT_FINITE:
        assert [d.reason for d in done] == [reason.value]


@pytest.mark.parametrize("trouble", ["hangs", "500", "warnings", "garbage"])
async def test_acknowledgements_and_history_name_the_trouble_too(trouble: str) -> None:
    answer, reason, _ = TROUBLES[trouble]
    with serving(answer) as server:
        async with source_at(server, timeout=PATIENCE.get(trouble, 20.0)) as source:
            words = await source.acknowledgements(["shop/support"])
            past = await source.history(subject(), 0, 3600)
    assert isinstance(words, SourceError)
    assert words.reason is reason
    assert isinstance(past["errors"], SourceError)
    assert past["errors"].reason is reason


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        source = PrometheusSource(PrometheusConfig(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout=2))
        found = (await source.sample([subject()], 90, 120))["shop/support"]
        await source.close()
    assert found.unreadable == SourceError(Reason.UNREACHABLE, "Connection refused")


async def test_tls_where_there_is_none() -> None:
    with serving(lambda h: h.reply(success())) as server:
        source = PrometheusSource(PrometheusConfig(server.url.replace("http:", "https:"), timeout=2))
        found = (await source.sample([subject()], 90, 120))["shop/support"]
        await source.close()
    assert found.unreadable is not None
    assert found.unreadable.reason is Reason.UNREACHABLE
    assert found.unreadable.message.startswith("TLS: ")


async def test_messages_never_name_the_query_or_a_secret(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    with serving(drop) as server:
        async with source_at(server, bearer_token_file=token, method="GET") as source:
            found = (await source.sample([subject()], 90, 120))["shop/support"]
    assert found.unreadable is not None
    assert not re.search("sesame|promptrollout_|api/v1", found.unreadable.message)


async def test_closing_does_not_wait_for_a_store_that_hangs() -> None:
    with serving(Handler.hang) as server:
        async with source_at(server, timeout=60) as source:
            asking = asyncio.ensure_future(source.sample([subject()], 90, 120))
            await asyncio.to_thread(server.was_asked.wait)
            begun = time.monotonic()
            await source.close()
            found = (await asking)["shop/support"]
    assert time.monotonic() - begun < 20
    assert found.unreadable is not None


async def test_a_cancelled_question_ends_at_once() -> None:
    with serving(Handler.hang) as server:
        async with source_at(server, timeout=60) as source:
            asking = asyncio.ensure_future(source.sample([subject()], 90, 120))
            await asyncio.to_thread(server.was_asked.wait)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking


def errors_of(handler: Handler) -> None:
    """A store in which every rollout has one pod: as a coalesced query asks."""
    query, at = handler.asked["query"], float(handler.asked["time"])
    found = []
    for rollout in re.search(r'rollout=~?"([^"]*)"', query)[1].split("|"):  # type: ignore[index]
        for revision, growth in (("c" * 10, 1), ("s" * 10, 10)):
            labels = {"rollout": rollout, "revision": revision, "step": "3", "outcome": "ok"}
            times = [at] if query.startswith("last_over_time(") else [at - 15, at]
            values = [[t, str(growth * t)] for t in times]
            found.append({"metric": labels, "values": values})
    handler.reply(success(*found))


def many(count: int) -> list[Subject]:
    return [subject(key=f"shop/r{i:03}") for i in range(count)]


def candidates(samples: object) -> set[EventCounts]:
    assert isinstance(samples, dict)
    found = [s for s in samples.values() if isinstance(s, Sample)]
    assert all(not s.problems for s in found)
    return {s.windows[0].metrics["errors"].candidate for s in found}  # type: ignore[misc]


async def test_rollouts_share_queries() -> None:
    done: list[QueryDone] = []
    with serving(errors_of) as server:
        async with source_at(server, done) as source:
            first = await source.sample(many(120), 90, 120)
            assert [d.purpose for d in done].count("lookback") == 3
            assert [d.purpose for d in done].count("sample") == 3
            second = await source.sample(many(120), 120, 150)
            assert source.series == 240
    assert len(done) == 9
    assert candidates(first) == candidates(second) == {EventCounts(30, 0)}
    assert all(d.reason == "" and d.size > 0 for d in done)


async def test_a_kept_connection_is_used_again_and_a_lost_one_replaced() -> None:
    with serving(errors_of) as server:
        async with source_at(server, concurrency=1) as source:
            for start in (90, 120, 150):
                assert candidates(await source.sample([subject()], start, start + 30)) == {EventCounts(30, 0)}
            assert server.connections == 1

            def once(handler: Handler) -> None:
                server.answer = errors_of
                handler.close_connection = True

            server.answer = once
            assert candidates(await source.sample([subject()], 180, 210)) == {EventCounts(30, 0)}


async def test_a_query_too_large_is_halved_and_the_next_one_is_smaller_at_once() -> None:
    def strict(handler: Handler) -> None:
        if handler.asked["query"].count("|shop") >= 10:
            handler.reply(
                {
                    "status": "error",
                    "errorType": "execution",
                    "error": "query processing would load too many samples",
                },
                422,
            )
        else:
            errors_of(handler)

    done: list[QueryDone] = []
    with serving(strict) as server:
        async with source_at(server, done) as source:
            assert candidates(await source.sample(many(40), 90, 120)) == {EventCounts(30, 0)}
            done.clear()
            assert candidates(await source.sample(many(40), 120, 150)) == {EventCounts(30, 0)}
            assert [d.reason for d in done] == [""] * 4


async def test_one_rollouts_broken_counter_does_not_hold_up_the_others() -> None:
    def broken(handler: Handler) -> None:
        query = handler.asked["query"]
        if query.startswith("last_over_time("):
            return handler.reply(success())
        found = [
            {
                "metric": {"rollout": rollout, "revision": revision, "step": "3", "outcome": "ok"},
                "values": [[100, "0"], [110, "NaN" if rollout == "shop/r001" else "7"]],
            }
            for rollout in ("shop/r000", "shop/r001", "shop/r002")
            for revision in ("c" * 10, "s" * 10)
        ]
        return handler.reply(success(*found))

    with serving(broken) as server:
        async with source_at(server) as source:
            found = await source.sample(many(3), 90, 120)
    assert found["shop/r001"].unreadable is not None
    assert found["shop/r001"].unreadable.reason is Reason.NOT_FINITE
    assert candidates({k: v for k, v in found.items() if k != "shop/r001"}) == {EventCounts(7, 0)}


async def test_a_store_that_is_down_is_not_asked_for_every_batch() -> None:
    done: list[QueryDone] = []
    with serving(Handler.hang) as server:
        async with source_at(server, done, batch=1, concurrency=2, timeout=0.3) as source:
            found = await source.sample(many(40), 90, 120)
    assert {s.unreadable.reason for s in found.values() if s.unreadable} == {Reason.TIMEOUT}
    assert len(found) == 40
    assert len(done) <= 6


async def test_hours_are_replayed_in_few_queries_and_equal_what_was_seen_live() -> None:
    done: list[QueryDone] = []

    def hours(handler: Handler) -> None:
        query, at = handler.asked["query"], float(handler.asked["time"])
        span = re.search(r"\[(\d+)s\]", query)
        assert span is not None
        first = at if query.startswith("last_over_time(") else at - float(span[1]) + 15
        found = []
        for revision in ("c" * 10, "s" * 10):
            labels = {"rollout": "shop/support", "revision": revision, "step": "3", "outcome": "ok"}
            times = range(int(first) // 15 * 15, int(at) + 1, 15)
            found.append({"metric": labels, "values": [[t, str(t**2 % 10_007)] for t in times]})
        handler.reply(success(*found))

    with serving(hours) as server:
        async with source_at(server, max_bytes=10**7) as source:
            live = [
                (await source.sample([subject()], t, t + 60))["shop/support"] for t in range(7200, 12_600, 60)
            ]
        async with source_at(server, done, max_bytes=10**7) as source:
            replayed = (await source.sample([subject()], 7200, 12_600, 60))["shop/support"]
    assert tuple(s.windows[0] for s in live) == replayed.windows
    assert [d.purpose for d in done] == ["lookback", "sample", "sample"]


async def test_a_replay_that_breaks_off_gives_the_windows_before() -> None:
    def later_down(handler: Handler) -> None:
        if float(handler.asked["time"]) > 3600:
            handler.reply(b"", 500)
        else:
            errors_of(handler)

    with serving(later_down) as server:
        async with source_at(server) as source:
            found = (await source.sample([subject()], 0, 7200, 30))["shop/support"]
    assert found.windows[-1].end == 3600
    assert found.unreadable is not None
    assert found.unreadable.reason is Reason.UNAVAILABLE


async def test_an_empty_answer_is_no_data() -> None:
    with serving(lambda h: h.reply(success())) as server:
        async with source_at(server) as source:
            found = (await source.sample([subject()], 90, 120))["shop/support"]
    assert isinstance(found.problems["errors"], NoData)
    assert found.windows[0].metrics == {}


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/query"), ("GET", "/api/v1/query?")])
async def test_settings_reach_the_store(method: str, path: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    settings = {
        "bearer_token_file": token,
        "tenant": "team-a",
        "headers": {"X-Extra": "1"},
        "parameters": {"dedup": "true"},
        "method": method,
    }
    with serving(errors_of) as server:
        async with source_at(server, **settings) as source:
            await source.sample([subject()], 90, 120)
            token.write_text("second")
            await source.sample([subject()], 120, 150)
    assert [h["Authorization"] for h in server.headers] == ["Bearer first", "Bearer first", "Bearer second"]
    assert {h["X-Scope-OrgID"] for h in server.headers} == {"team-a"}
    assert {h["X-Extra"] for h in server.headers} == {"1"}
    assert set(server.paths) == {path}
    assert server.asked[-1] == {
        "query": 'promptrollout_requests_total{rollout="shop/support",revision=~"cccccccccc|ssssssssss"}[45s]',
        "time": "150.000",
        "timeout": "20s",
        "dedup": "true",
    }


async def test_a_password_comes_from_its_file(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("pw\n")
    with serving(errors_of) as server:
        async with source_at(server, username="me", password_file=password) as source:
            await source.sample([subject()], 90, 120)
    assert server.headers[0]["Authorization"] == "Basic bWU6cHc="


async def test_without_its_token_nothing_is_asked(tmp_path: Path) -> None:
    with serving(errors_of) as server:
        async with source_at(server, bearer_token_file=tmp_path / "none") as source:
            found = (await source.sample([subject()], 90, 120))["shop/support"]
    assert server.asked == []
    assert found.unreadable == SourceError(
        Reason.UNAUTHORIZED, "bearer_token_file cannot be read: FileNotFoundError"
    )


async def test_an_impossible_time_is_said_not_raised() -> None:
    source = PrometheusSource(PrometheusConfig("http://127.0.0.1:9"))
    found = (await source.sample([subject(), subject(MetricQuery("x"), key="shop/y")], 120, 90))[
        "shop/support"
    ]
    assert found.unreadable is not None
    assert found.unreadable.reason is Reason.INVALID_QUERY
    await source.close()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"url": "prometheus:9090"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://me:pw@host"}, "url"),
        ({"url": "http://host/?x=1"}, "url"),
        ({"method": "PUT"}, "method"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"late": -1}, "late"),
        ({"username": "me"}, "username"),
        ({"bearer_token_file": Path("x"), "username": "me", "password_file": Path("y")}, "bearer_token_file"),
        ({"client_key_file": Path("x")}, "client_key_file"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}") as caught:
        PrometheusConfig(**{"url": "http://host", **settings})  # type: ignore[arg-type]
    assert "pw" not in str(caught.value)
