"""MLflow's prompt registry, asked as a real server answers: prompts registered by MLflow's own client."""

import pytest

from e2e.mlflow import server
from e2e.processes.supervisor import Supervisor
from promptrollout.api.prompt import InlinePrompt
from promptrollout.controller.documents import read_prompt
from promptrollout.registries import (
    NoSuchPromptError,
    RegistryConfig,
    RegistryReference,
    RegistryUnavailableError,
    UnusablePromptError,
)
from promptrollout.registries.mlflow import MlflowRegistry
from promptrollout.revision import seal

pytestmark = [pytest.mark.realregistry, pytest.mark.timeout(240)]

CHAT = [{"role": "system", "content": "You are {{ role }}."}, {"role": "user", "content": "{{question}}"}]
CONFIG = {
    "provider": "openai",
    "model_name": "gpt-5-mini",
    "temperature": 0.2,
    "max_tokens": 500,
    "stop_sequences": ["END"],
    "reasoning": "low",
}
PROMPTS = [
    {"name": "text", "template": "Answer {{question}} for {{ shop.name }}.", "commit_message": "first"},
    {"name": "text", "template": "{% if vip %}Dear {{name}}{% else %}Hi{% endif %}"},
    {"name": "chat", "template": CHAT, "model_config": CONFIG, "response_format": {"type": "object"}},
    {"name": "nameless", "template": "x", "model_config": {"temperature": 1}},
]


@pytest.fixture(scope="module")
def mlflow():
    with Supervisor() as supervisor:
        running = server.start(supervisor, PROMPTS)
        running.set_alias("text", "production", 1)
        yield running


@pytest.fixture
async def registry(mlflow):
    opened = MlflowRegistry("prompts", RegistryConfig(url=mlflow.url, timeout=20))
    yield opened
    await opened.close()


def named(name, version="", alias=""):
    return RegistryReference("prompts", name, version, alias)


def understood(fetched):
    prompt = read_prompt(fetched.document)
    assert isinstance(prompt, InlinePrompt), prompt
    return prompt


async def test_a_text_is_fetched_by_version_with_the_variables_that_mlflow_sees_in_it(registry):
    fetched = await registry.fetch(named("text", version="1"))
    prompt = understood(fetched)
    assert fetched.version == "1"
    assert (prompt.text, prompt.template_format) == (PROMPTS[0]["template"], "mustache")
    assert prompt.variables == ["question", "shop"]


async def test_a_template_with_control_flow_is_jinja2_as_it_is_for_mlflow(registry):
    prompt = understood(await registry.fetch(named("text", version="2")))
    assert (prompt.template_format, prompt.variables) == ("jinja2", ["name", "vip"])


async def test_a_chat_prompt_comes_with_its_response_format_and_its_model(registry):
    sealed = seal(understood(await registry.fetch(named("chat", version="1")))).document
    assert [m["content"] for m in sealed["parts"]["default"]["messages"]] == [m["content"] for m in CHAT]
    assert sealed["parts"]["default"]["responseFormat"] == {"type": "object"}
    assert sealed["model"] == "gpt-5-mini"
    assert sealed["parameters"] == {
        "temperature": 0.2,
        "max_tokens": 500,
        "stop_sequences": ["END"],
        "reasoning": "low",
    }
    assert sealed["extra"] == {"provider": "openai"}


async def test_an_alias_is_the_version_that_it_points_at_now(registry, mlflow):
    assert (await registry.fetch(named("text", alias="production"))).version == "1"
    mlflow.set_alias("text", "production", 2)
    assert (await registry.fetch(named("text", alias="production"))).version == "2"
    mlflow.set_alias("text", "production", 1)
    assert (await registry.fetch(named("text", alias="latest"))).version == "2", "MLflow's own alias"


@pytest.mark.parametrize(
    "reference",
    [
        named("text", version="9"),
        named("text", alias="staging"),
        named("nothing", version="1"),
        named("nothing", alias="production"),
        named("text", version="v1"),
        named("../../../x?y=#", version="1"),
    ],
    ids=str,
)
async def test_what_is_not_there_is_said_to_be_not_there(registry, reference):
    with pytest.raises(NoSuchPromptError, match="prompts"):
        await registry.fetch(reference)


async def test_a_model_config_without_a_model_is_said(registry):
    with pytest.raises(UnusablePromptError, match="model_name"):
        await registry.fetch(named("nameless", version="1"))


async def test_an_outage_is_an_outage_and_no_absence(registry, mlflow):
    mlflow.stop()
    try:
        with pytest.raises(RegistryUnavailableError, match="registry prompts cannot be asked: no connection"):
            await registry.fetch(named("text", version="1"))
    finally:
        mlflow.start()
    assert (await registry.fetch(named("text", version="1"))).version == "1"
