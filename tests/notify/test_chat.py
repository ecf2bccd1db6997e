"""Slack, Teams and Discord: the real Apprise against a server that has their names, by TLS through a proxy."""

import asyncio
import json
import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from promptrollout.notify import KINDS, Letter, NotifierError
from promptrollout.notify.config import ChannelConfig

SLACK = "https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx"
TEAMS = (
    "https://prod-01.logic.azure.com:443/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=sEcReTsIgNaTuRe-0123456789"
)
DISCORD = "https://discord.com/api/webhooks/123456789012345678/dIsCoRdToKeN0123456789"
URLS = {"slack": SLACK, "teams": TEAMS, "discord": DISCORD}
SECRETS = ("abcdefghijklmnopqrstuvwx", "sEcReTsIgNaTuRe", "dIsCoRdToKeN", "T00000000", "0123456789abcdef")
OK = {"slack": (200, "ok"), "teams": (202, ""), "discord": (204, "")}


@pytest.fixture
def chat(chat_service, tmp_path):
    """The notifier of that type, as it is opened from its configuration."""

    def make(kind, url=None, **changes):
        file = tmp_path / "url"
        file.write_text((url or URLS.get(kind, "json://127.0.0.1/")) + "\n")
        chat_service.answers[0] = OK.get(kind, (200, "{}"))
        given = {"type": kind, "urlFile": file, "caFile": chat_service.ca, **changes}
        return KINDS[kind].open(ChannelConfig.model_validate(given))

    return make


@pytest.fixture
def letter(told):
    def make(text="rolled back & out", **changes):
        notification = told(**changes)
        return Letter("id-1", notification.at, "shop/support: RolledBack", text, notification)

    return make


async def test_slack_is_told_title_and_text_in_the_colour_of_a_failure(chat, chat_service, letter):
    await chat("slack").send(letter())
    ((host, path, headers, _),), (body,) = chat_service.asked, chat_service.bodies
    assert (host, path) == ("hooks.slack.com", "/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx")
    assert headers["User-Agent"] == "prompt-rollout"
    (attachment,) = body["attachments"]
    assert (attachment["title"], attachment["text"]) == ("shop/support: RolledBack", "rolled back &amp; out")
    assert attachment["color"] == "#A32037"


async def test_teams_gets_an_adaptive_card_by_a_workflow(chat, chat_service, letter):
    await chat("teams").send(letter())
    ((host, path, *_),), (body,) = chat_service.asked, chat_service.bodies
    assert host == "prod-01.logic.azure.com"
    assert path.startswith("/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke?")
    assert "sig=sEcReTsIgNaTuRe-0123456789" in path
    card = body["attachments"][0]["content"]
    assert card["type"] == "AdaptiveCard"
    assert [block["text"] for block in card["body"]] == ["shop/support: RolledBack", "rolled back & out"]


async def test_discord_gets_a_message(chat, chat_service, letter):
    await chat("discord").send(letter())
    ((host, path, *_),), (body,) = chat_service.asked, chat_service.bodies
    assert (host, path) == ("discord.com", "/api/webhooks/123456789012345678/dIsCoRdToKeN0123456789")
    assert body["content"].splitlines() == ["shop/support: RolledBack", "rolled back & out"]


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # Apprise on Python 3.11
async def test_any_other_service_of_apprises_is_told_by_its_url(chat, chat_service, letter):
    chat_service.answers[0] = (200, '{"ok": true}')
    await chat("apprise", f"json://127.0.0.1:{chat_service.port}/hook", caFile=None).send(letter())
    (body,) = chat_service.bodies
    assert (body["title"], body["message"]) == ("shop/support: RolledBack", "rolled back & out")


@pytest.mark.parametrize(
    ("kind", "mention"),
    [
        ("slack", "<!channel>"),
        ("slack", "<!here|here>"),
        ("slack", "<@U012AB3CD>"),
        ("slack", "<https://evil.example|your bank>"),
        ("teams", "<at>everyone@example.com</at>"),
        ("discord", "@everyone"),
        ("discord", "<@&123456789012345678>"),
    ],
)
async def test_nobody_is_called_by_what_an_author_wrote(chat, chat_service, letter, kind, mention):
    await chat(kind).send(letter(f"gate said: {mention}"))
    assert mention not in str(chat_service.bodies)
    assert "entities" not in str(chat_service.bodies)


@pytest.mark.parametrize("kind", ["teams", "discord"])
async def test_nobody_is_shown_a_link_that_an_author_has_disguised(chat, chat_service, letter, kind):
    text = "see [your bank](https://evil.example), ||hidden||"
    await chat(kind).send(replace(letter(text), title=text))
    said = json.dumps(chat_service.bodies)
    assert (said.count(r"\\[your bank\\]"), said.count(r"\\|\\|hidden")) == (2, 2)


@pytest.mark.parametrize("kind", ["teams", "discord"])
async def test_a_text_that_is_too_long_is_one_message_and_says_that_it_was_cut(
    chat, chat_service, letter, kind
):
    await chat(kind).send(letter("word " * 600))
    assert len(chat_service.asked) == 1
    assert "…" in str(chat_service.bodies)


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize(
    ("status", "final"),
    [(302, True), (403, True), (404, True), (408, False), (429, False), (500, False), (503, False)],
)
async def test_what_the_service_answers_is_said_and_decides_whether_to_try_again(
    chat, chat_service, letter, kind, status, final
):
    notifier = chat(kind)
    chat_service.answers[0] = (status, "no", {"Location": "https://discord.com/elsewhere"})
    with pytest.raises(NotifierError, match=rf"^HTTP {status}$") as error:
        await notifier.send(letter())
    assert error.value.final == final
    assert all("elsewhere" not in path for _, path, *_ in chat_service.asked)


@pytest.mark.parametrize("kind", URLS)
async def test_a_service_that_hangs_takes_no_longer_than_its_timeout(chat, chat_service, letter, kind):
    async def hang(_):
        await asyncio.sleep(3)

    notifier = chat(kind, timeout=0.2)
    chat_service.answers[0] = hang
    with pytest.raises(NotifierError, match=r"^no answer$") as error:
        await notifier.send(letter())
    assert not error.value.final


async def test_a_rate_limit_of_discords_does_not_put_a_thread_to_sleep(chat, chat_service, letter):
    notifier = chat("discord")
    far = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"}
    chat_service.answers.extendleft([(429, "", far)])
    chat_service.answers.append((204, "", far))
    await asyncio.wait_for(notifier.send(letter()), 60)
    await asyncio.wait_for(notifier.send(letter()), 60)


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize("answer", [(404, "no"), (500, "no"), None])
async def test_no_log_line_and_no_error_has_a_part_of_a_url(
    chat, chat_service, letter, caplog, capfd, kind, answer
):
    caplog.set_level(logging.DEBUG, "promptrollout")
    notifier = chat(kind)
    if answer:
        chat_service.answers[0] = answer
    else:
        notifier._config.url_file.write_text(URLS[kind].replace("https://", "https:/"))
    with pytest.raises(NotifierError) as error:
        await notifier.send(letter())
    said = str(error.value) + str(error.value.__cause__) + caplog.text + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
@pytest.mark.parametrize("kind", [*URLS, "apprise"])
@pytest.mark.parametrize("url", ["", "hunter2", "https://hooks.slack.com/services/hunter2", "hunter2://x/y"])
async def test_what_is_no_url_of_the_service_is_said_at_start_by_its_file(chat, kind, url, tmp_path):
    notifier = chat(kind)
    (tmp_path / "url").write_text(url)
    said = await notifier.check()
    assert str(tmp_path / "url") in said
    assert "hunter2" not in said


@pytest.mark.parametrize("kind", URLS)
async def test_settings_that_are_right_are_found_so_without_a_request(chat, chat_service, kind):
    assert await chat(kind).check() == ""
    assert chat_service.asked == []


async def test_a_url_that_is_changed_is_used_from_the_next_message_on(chat, chat_service, letter, tmp_path):
    notifier = chat("discord")
    await notifier.send(letter())
    (tmp_path / "url").write_text(DISCORD.replace("dIsCoRd", "another"))
    await notifier.send(letter())
    assert [path.rpartition("/")[2][:7] for _, path, *_ in chat_service.asked] == ["dIsCoRd", "another"]


def test_nothing_of_apprise_is_imported_until_a_chat_is_used_and_then_only_its_plugin():
    program = (
        "import sys, promptrollout.controller.main, promptrollout.notify.chat as chat;"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'apprise'];"
        "chat._apprise(); __import__('apprise.plugins.slack');"
        "plugins = [m for m in sys.modules if m.startswith('apprise.plugins.')];"
        "assert sorted(plugins) == ['apprise.plugins.base', 'apprise.plugins.slack'], plugins"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603 - our own


def test_a_chat_that_hangs_does_not_keep_the_process_alive(tmp_path):
    program = f"""
import asyncio, socket, pathlib
from promptrollout.notify import KINDS, Letter
from promptrollout.notify.config import ChannelConfig
import datetime
silent = socket.create_server(("127.0.0.1", 0))
file = pathlib.Path({str(tmp_path / "url")!r})
file.write_text(f"json://127.0.0.1:{{silent.getsockname()[1]}}/")
chat = KINDS["apprise"].open(ChannelConfig(type="apprise", urlFile=file, timeout=60.0))
letter = Letter("1", datetime.datetime.now(datetime.UTC), "title", "text")
async def main():
    sending = asyncio.create_task(chat.send(letter))
    loop = asyncio.get_running_loop()
    silent.setblocking(False)
    connection, _ = await loop.sock_accept(silent)
    await loop.sock_recv(connection, 1)
    sending.cancel()
asyncio.run(main())
print("over")
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)  # noqa: S603 - our own
    assert ended.stdout == "over\n"
