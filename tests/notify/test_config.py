"""The operator's configuration of notifications."""

import pytest

from promptrollout.notify import KINDS, load_notifications


@pytest.fixture
def load(tmp_path):
    def write(text):
        file = tmp_path / "notifications.yaml"
        file.write_text(text)
        return load_notifications(file)

    return write


def test_without_anything_nobody_is_told(load):
    assert load("").channels == {}


def test_channels_are_named_and_the_default_ones_are_among_them(load):
    config = load(
        "defaultChannels: [team]\ntemplate: '{{ message }}'\nchannels:\n"
        "  team: {type: slack, urlFile: /s/url, reasons: [RolledBack, '*'], namespaces: [shop], timeout: 5s}\n"
        "  audit: {type: webhook, url: 'https://audit.example.com/in', secretFile: /s/key, perMinute: 0.5}\n"
    )
    assert config.channels["team"].timeout == 5.0
    assert config.channels["audit"].per_minute == 0.5
    assert config.default_channels == ("team",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channel: {}", "channel: Extra inputs"),
        ("channels: {Team: {type: slack, urlFile: /u}}", "channels.Team"),
        (
            "channels: {team: {type: slak, urlFile: /u}}",
            "channels.team.type: 'slak' is not known; known are webhook, ",
        ),
        ("channels: {team: {type: slack}}", "channels.team: give urlFile"),
        ("channels: {team: {type: slack, url: 'https://x/hunter2'}}", "channels.team.urlFile: is needed"),
        ("channels: {team: {type: slack, urlFile: /u, secretFile: /s}}", "channels.team.secret"),
        ("channels: {a: {type: webhook, url: 'https://x'}}", "channels.a.secretFile: is needed"),
        ("channels: {a: {type: webhook, url: 'https://x', urlFile: /u, secretFile: /s}}", "one of them"),
        (
            "channels: {a: {type: webhook, url: 'https://a:hunter2@x', secretFile: /s}}",
            "channels.a.url: no credentials",
        ),
        ("channels: {a: {type: webhook, url: 'https://x?k=hunter2', secretFile: /s}}", "use urlFile"),
        (
            "channels: {a: {type: slack, urlFile: /u, reasons: [RoledBack]}}",
            "'RoledBack' is no reason of an Event",
        ),
        ("channels: {a: {type: slack, urlFile: /u, timeout: 2m}}", "channels.a.timeout: must be more than 0"),
        ("channels: {a: {type: slack, urlFile: /u, burst: 0}}", "channels.a.burst"),
        ("channels: {a: {type: slack, urlFile: /u, template: [1]}}", "channels.a.template"),
        ("defaultChannels: [team]", "defaultChannels: 'team' is none of channels: none"),
        ("channels: {team: {", "line"),
    ],
)
def test_what_is_wrong_is_said_with_its_path_and_never_quoted(load, text, said):
    with pytest.raises(ValueError, match=r"notifications\.yaml") as error:
        load(text)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


def test_every_kind_can_be_opened(load):
    for kind, what in KINDS.items():
        where = "url: 'https://x', secretFile: /s" if kind == "webhook" else "urlFile: /u"
        config = load(f"channels: {{a: {{type: {kind}, {where}}}}}").channels["a"]
        assert what.open(config)
