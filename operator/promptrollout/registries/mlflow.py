"""MLflow's prompt registry, by its REST API.

MLflow keeps a prompt as a registered model whose versions carry the prompt in tags (mlflow/prompt/constants.py and
prompt/registry_utils.py of MLflow 3.17): one GET of a model version has all of it. Its own client is not used: it
brings pandas, scikit-learn and pyarrow into the process.
"""

import json
from collections.abc import Mapping

from promptrollout.registries.client import Answer, RegistryClient
from promptrollout.registries.config import RegistryConfig
from promptrollout.registries.protocol import (
    Fetched,
    NoSuchPromptError,
    RegistryReference,
    RegistryUnavailableError,
    UnusablePromptError,
)

_API = "/api/2.0/mlflow"
_IS_PROMPT = "mlflow.prompt.is_prompt"
_TEXT = "mlflow.prompt.text"
_TYPE = "_mlflow_prompt_type"
_RESPONSE_FORMAT = "_mlflow_prompt_response_format"
_MODEL_CONFIG = "_mlflow_prompt_model_config"
#: INVALID_PARAMETER_VALUE is what MLflow says of an alias that is not set.
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class MlflowRegistry:
    """The PromptRegistry protocol on an MLflow tracking server (3.x)."""

    def __init__(self, name: str, config: RegistryConfig) -> None:
        self._client = RegistryClient(name, config)
        self._poll_interval = config.poll_interval

    @property
    def poll_interval(self) -> float:
        """See PromptRegistry."""
        return self._poll_interval

    async def fetch(self, reference: RegistryReference) -> Fetched:
        """See PromptRegistry. A version is a whole number; the alias `latest` is MLflow's own: the newest version."""
        if reference.version:
            if not (reference.version.isascii() and reference.version.isdecimal()):
                raise NoSuchPromptError(f"{reference}: MLflow's versions are whole numbers")
            path, which = f"{_API}/model-versions/get", {"version": reference.version}
        else:
            path, which = f"{_API}/registered-models/alias", {"alias": reference.alias}
        answer = await self._client.get(path, {"name": reference.name, **which})
        return _prompt(reference, _model_version(reference, answer))

    async def close(self) -> None:
        """See PromptRegistry."""
        await self._client.close()


def _model_version(reference: RegistryReference, answer: Answer) -> Mapping[str, object]:
    if answer.status == 200:
        found = answer.body.get("model_version")
        if isinstance(found, dict):
            return found
    elif answer.body.get("error_code") in _ABSENT:
        raise NoSuchPromptError(f"{reference} does not exist: {str(answer.body.get('message'))[:200]}")
    said = str(answer.body.get("error_code") or "")[:60]
    raise RegistryUnavailableError(
        f"registry {reference.registry} cannot be asked: HTTP {answer.status} {said} is no answer of MLflow's "
        "model registry; look at its url"
    )


def _prompt(reference: RegistryReference, found: Mapping[str, object]) -> Fetched:
    tags = _tags(found)
    if tags.get(_IS_PROMPT) != "true" or _TEXT not in tags:
        raise UnusablePromptError(f"{reference} is a registered model, and no prompt")
    text, chat = tags[_TEXT], tags.get(_TYPE) == "chat"
    document: dict[str, object] = {"templateFormat": "jinja2" if _is_jinja(text) else "mustache"}
    if chat:
        document["messages"] = _json(reference, "messages", text)
    else:
        document["text"] = text
    if response_format := tags.get(_RESPONSE_FORMAT):
        document["responseFormat"] = _json(reference, "response format", response_format)
    if model_config := tags.get(_MODEL_CONFIG):
        document |= _model(reference, _json(reference, "model config", model_config))
    return Fetched(str(found.get("version") or reference.version), document)


def _tags(found: Mapping[str, object]) -> dict[str, str]:
    tags = found.get("tags")
    if not isinstance(tags, list):
        return {}
    return {str(tag.get("key")): str(tag.get("value", "")) for tag in tags if isinstance(tag, dict)}


def _is_jinja(text: str) -> bool:
    """MLflow's own rule (PromptVersion.format): control flow makes a template a Jinja2 one, else it is {{name}}."""
    return "{%" in text and "%}" in text


def _json(reference: RegistryReference, what: str, text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise UnusablePromptError(f"{reference}: its {what} is not JSON") from None
    return value


def _model(reference: RegistryReference, config: object) -> dict[str, object]:
    """MLflow's model config: the name, the provider (kept as an extra), and parameters, `extra_params` among them."""
    if not isinstance(config, dict):
        raise UnusablePromptError(f"{reference}: its model config is not a map")
    parameters = {str(key): value for key, value in config.items()}
    extra = parameters.pop("extra_params", None)
    parameters |= {str(key): value for key, value in extra.items()} if isinstance(extra, dict) else {}
    name, provider = parameters.pop("model_name", None), parameters.pop("provider", None)
    given = {key: value for key, value in parameters.items() if value is not None}
    if given and not name:
        raise UnusablePromptError(f"{reference}: its model config has parameters, but no model_name; add it")
    document: dict[str, object] = {"model": {"name": name, "parameters": given}} if name else {}
    return document | ({"extra": {"provider": str(provider)}} if provider else {})
