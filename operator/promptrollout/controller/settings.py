"""The operator's settings: flags, and for each the environment variable PROMPT_ROLLOUT_<NAME>; the flag wins."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from promptrollout.api.spec import DeliveryMode
from promptrollout.sources.config import PrometheusConfig

PREFIX = "PROMPT_ROLLOUT_"


class SettingsError(ValueError):
    """A setting that cannot be; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this operator runs. Times in seconds."""

    namespaces: tuple[str, ...] = ()
    sources: Mapping[str, PrometheusConfig] = field(default_factory=dict)
    kubeconfig: Path | None = None
    delivery_mode: DeliveryMode = DeliveryMode.NUDGE
    metrics_port: int = 8080
    health_port: int = 8081
    bind_address: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come to the pod's own address
    log_level: str = "info"
    log_format: str = "text"
    workers: int = 16
    resync_interval: float = 600.0
    acknowledge_poll: float = 2.0
    nudge_again: float = 30.0
    settle: float = 1.0
    leader_election: bool = False
    lease_name: str = "prompt-rollout"
    lease_namespace: str = ""


#: Each setting: its flag, what it means. The environment variable's name follows from the flag.
_HELP: Mapping[str, str] = {
    "namespaces": "namespaces to watch, separated by commas; empty: all",
    "sources-file": "YAML with the metric sources: `sources: {default: {url: http://prometheus:9090}}`",
    "kubeconfig": "a kubeconfig; without it KUBECONFIG, the pod's service account, ~/.kube/config",
    "delivery-mode": "how changes reach pods where a rollout does not say: Nudge, Mount or Watch",
    "metrics-port": "port of /metrics",
    "health-port": "port of /healthz and /readyz",
    "bind-address": "address that both listen on",
    "log-level": "debug, info, warning or error",
    "log-format": "text or json",
    "workers": "how many rollouts are worked on at a time",
    "resync-interval": "seconds between full lists, which repair what a watch has lost",
    "acknowledge-poll": "seconds between questions about what pods have loaded, while any is awaited",
    "nudge-again": "seconds after which a pod that has not answered is nudged again (two scrapes)",
    "settle": "seconds after a window's end at which it is read, so that scrapes under way are in",
    "leader-election": "true: only the holder of the Lease works; for more than one replica",
    "lease-name": "name of the Lease",
    "lease-namespace": "namespace of the Lease; empty: the operator's own",
}


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from flags and environment.

    Raises:
        SettingsError: one cannot be; with its name.
        SystemExit: --help or --version was asked for, or a flag is unknown.
    """
    parser = argparse.ArgumentParser(
        "prompt-rollout-operator",
        description=f"{__doc__} Defaults in brackets.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("promptrollout"))
    defaults = {f.name.replace("_", "-"): f.default for f in fields(Settings)}
    for name, text in _HELP.items():
        variable = PREFIX + name.replace("-", "_").upper()
        shown = defaults.get(name)
        default = f" [{shown}]" if isinstance(shown, str | int | float) and shown != "" else ""
        parser.add_argument(f"--{name}", help=f"{text} ({variable}){default}", default=argparse.SUPPRESS)
    given: dict[str, str] = {
        name: environment[variable]
        for name in _HELP
        if (variable := PREFIX + name.replace("-", "_").upper()) in environment
    }
    flags = vars(parser.parse_args(list(arguments)))
    given |= {name.replace("_", "-"): value for name, value in flags.items()}
    return _settings({name: value for name, value in given.items() if value != ""})


def _settings(given: Mapping[str, str]) -> Settings:
    values: dict[str, Any] = {}
    for name, text in given.items():
        field_name = name.replace("-", "_")
        try:
            if name == "sources-file":
                values["sources"] = load_sources(Path(text))
            else:
                values[field_name] = _CONVERT.get(field_name, _plain(field_name))(text)
        except ValueError as error:
            raise SettingsError(f"--{name} ({PREFIX}{field_name.upper()}): {error}") from error
    return Settings(**values)


def _choice(*known: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return text.lower()

    return convert


def _plain(field_name: str) -> Callable[[str], object]:
    """By the type of the setting's default: a number within reason, or text."""
    default = next(f.default for f in fields(Settings) if f.name == field_name)
    if isinstance(default, int):
        return lambda text: _within(int(text), 65535 if field_name.endswith("_port") else 1000)
    return (lambda text: _within(float(text), 86400.0)) if isinstance(default, float) else str


def _within(value: float, most: float) -> float:
    if not 0 <= value <= most:
        raise ValueError(f"{value} is not between 0 and {most}")
    return value


_CONVERT: Mapping[str, Callable[[str], object]] = {
    "namespaces": lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    "kubeconfig": Path,
    "delivery_mode": DeliveryMode,
    "log_level": _choice("debug", "info", "warning", "error"),
    "log_format": _choice("text", "json"),
    "leader_election": lambda text: _choice("true", "false")(text) == "true",
}


_SOURCES = TypeAdapter(dict[str, dict[str, dict[str, object]]])


def load_sources(file: Path) -> dict[str, PrometheusConfig]:
    """The metric sources of a YAML file.

    Raises:
        ValueError: with the path of the field that is wrong.
    """
    try:
        content: object = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    try:
        sources = _SOURCES.validate_python(content)["sources"]
    except (ValidationError, KeyError) as error:
        raise ValueError(f"{file}: `sources` must be a map of names to maps with at least `url`") from error
    return {name: _source(f"sources.{name}", raw) for name, raw in sources.items()}


def _source(path: str, raw: Mapping[str, object]) -> PrometheusConfig:
    known = {_camel(f.name): f.name for f in fields(PrometheusConfig)}
    unknown = sorted(key for key in raw if key not in known)
    if unknown:
        raise ValueError(f"{path}.{unknown[0]}: is not known; known are {', '.join(known)}")
    try:
        return TypeAdapter(PrometheusConfig).validate_python({known[key]: raw[key] for key in raw})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([path, *(_camel(str(part)) for part in first["loc"])])
        raise ValueError(f"{where}: {first['msg']}") from error


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
