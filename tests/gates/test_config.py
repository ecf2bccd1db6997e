"""The operator's configuration of gates."""

import pytest

from promptrollout.gates.config import load_gates


@pytest.fixture
def load(tmp_path):
    def write(text):
        file = tmp_path / "gates.yaml"
        file.write_text(text)
        return load_gates(file)

    return write


def test_without_anything_there_are_approvals_only(load):
    config = load("")
    assert (config.jobs.enabled, config.webhooks) == (False, {})


def test_webhooks_are_named_and_hosts_allowed(load):
    config = load(
        "jobs: {enabled: true, inlineTemplates: true}\nallowedHosts: ['*.example.com']\n"
        "webhooks: {risk: {url: 'https://risk.example.com/gate', secretFile: /s, timeout: 20s}}\n"
    )
    assert (config.jobs.enabled, config.webhooks["risk"].timeout) == (True, 20.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: {enable: true}", "jobs.enable"),
        ("webhooks: {risk: {url: 'ftp://x', secretFile: /s}}", "webhooks.risk.url"),
        ("webhooks: {risk: {url: 'https://u:p@x/', secretFile: /s}}", "no credentials"),
        ("webhooks: {risk: {url: 'https://x/'}}", "secretFile"),
        ("webhooks: {risk: {url: 'https://x/', secretFile: /s, timeout: 0s}}", "more than 0"),
        ("webhooks: {Risk: {url: 'https://x/', secretFile: /s}}", "webhooks.Risk"),
        (
            "allowedHosts: [a.example]\nwebhooks: {r: {url: 'https://b.example/', secretFile: /s}}",
            "b.example is not",
        ),
        (
            "allowedHosts: ['*.a.example']\nwebhooks: {r: {url: 'https://a.example/', secretFile: /s}}",
            "not among",
        ),
        ("jobs: {enabled: [", "line"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(load, text, said):
    with pytest.raises(ValueError, match=r"gates\.yaml") as error:
        load(text)
    assert said in str(error.value)
