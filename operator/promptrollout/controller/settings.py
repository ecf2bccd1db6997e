"""The operator's settings: a flag for each, and the environment variable PROMPT_ROLLOUT_<NAME>; the flag wins."""

import argparse
import difflib
import ipaddress
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from promptrollout.api.quantities import format_duration, parse_duration
from promptrollout.api.spec import DeliveryMode
from promptrollout.gates.config import GatesConfig, load_gates
from promptrollout.notify import NotificationsConfig, load_notifications
from promptrollout.registries import RegistryConfig, check_kind
from promptrollout.remote.files import read_yaml
from promptrollout.sources.config import PrometheusConfig

PROGRAM: Final = "prompt-rollout-operator"
PREFIX: Final = "PROMPT_ROLLOUT_"
#: Where kubelet tells a pod which namespace it lives in.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
#: What kubelet sets for each Service of the namespace: prompt-rollout-metrics gives PROMPT_ROLLOUT_METRICS_PORT.
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)")
_SERVICE_ADDRESS = re.compile(r"^(tcp|udp|sctp)://")


_ONE_OF = {"sources": "source", "registries": "registry"}
_Config = TypeVar("_Config", PrometheusConfig, RegistryConfig)


class SettingsError(ValueError):
    """A setting that cannot be; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this operator runs. Times in seconds. `_OPTIONS` says what each is for.

    Attributes:
        ignored: environment variables with our prefix that name no setting, to be told in the log.
    """

    namespaces: tuple[str, ...] = ()
    sources: Mapping[str, PrometheusConfig] = field(default_factory=dict)
    registries: Mapping[str, RegistryConfig] = field(default_factory=dict)
    gates: GatesConfig = field(default_factory=GatesConfig)
    notifications: NotificationsConfig = field(default_factory=NotificationsConfig)
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
    cluster_policies: bool = True
    leader_election: bool = False
    lease_name: str = "prompt-rollout"
    lease_namespace: str = ""
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Option:
    """One setting: its flag, what it takes, what it means. The variable's name follows from the flag's."""

    flag: str
    takes: str
    convert: Callable[[str], object]
    meaning: str
    attribute: str = ""

    @property
    def variable(self) -> str:
        return PREFIX + self.flag.replace("-", "_").upper()

    @property
    def name(self) -> str:
        """The attribute of Settings."""
        return self.attribute or self.flag.replace("-", "_")


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from flags and environment; an empty value counts as not given.

    Raises:
        SettingsError: one cannot be; with its name, where it came from, and what it may be.
        SystemExit: --help or --version was asked for.
    """
    flags = vars(_parser().parse_args(list(arguments)))
    values: dict[str, object] = {}
    for option in _OPTIONS:
        origin, text = f"--{option.flag}", flags.get(option.flag.replace("-", "_"))
        if text is None:
            origin, text = option.variable, _from_environment(option, environment)
        if text:
            try:
                values[option.name] = option.convert(text)
            except ValueError as error:
                raise SettingsError(f"{origin}: {error}") from error
    settings = Settings(**values, ignored=_unknown(environment))  # type: ignore[arg-type] # the table keeps the types
    return _with_lease_namespace(settings, environment)


def _from_environment(option: _Option, environment: Mapping[str, str]) -> str:
    text = environment.get(option.variable, "")
    return "" if _SERVICE_ADDRESS.match(text) else text


def _unknown(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that name no setting; one that looks like a slip of the pen is an error."""
    known = {option.variable for option in _OPTIONS}
    unknown = sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX)
        and name not in known
        and not _SERVICE_LINK.search(name)
        and not _SERVICE_ADDRESS.match(value)
    )
    for name in unknown:
        meant = difflib.get_close_matches(
            name.removeprefix(PREFIX), [k.removeprefix(PREFIX) for k in known], 1, 0.8
        )
        if meant:
            raise SettingsError(f"{name}: there is no such setting, did you mean {PREFIX}{meant[0]}?")
    return tuple(unknown)


def _with_lease_namespace(settings: Settings, environment: Mapping[str, str]) -> Settings:
    if not settings.leader_election or settings.lease_namespace:
        return settings
    own = environment.get("POD_NAMESPACE", "")
    if not own and NAMESPACE_FILE.exists():
        own = NAMESPACE_FILE.read_text().strip()
    if not own:
        raise SettingsError(
            "--lease-namespace: outside a pod, leader election needs to be told where its Lease is"
        )
    given = {one.name: getattr(settings, one.name) for one in fields(Settings)}
    return Settings(**given | {"lease_namespace": own})


# What a value may be. Each raises ValueError with a sentence that goes after the setting's name.


def _choice(*known: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return text.lower()

    return convert


def _whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return convert


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        plain = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text)
        value = float(text) if plain else parse_duration(text).total_seconds()
        if not least <= value <= most:
            raise ValueError(f"{text!r} is not between {least:g}s and {_span(most)}")
        return value

    return convert


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part for part in re.split(r"[\s,]+", text) if part))
    for name in names:
        if not re.fullmatch(_LABEL, name):
            raise ValueError(f"{name!r} is not the name of a namespace; leave it empty to watch all")
    return names


def _object_name(text: str) -> str:
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text):
        raise ValueError(f"{text!r} is not a name that Kubernetes takes")
    return text


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))  # its ValueError says what is wrong


def _mode(text: str) -> DeliveryMode:
    known = {mode.value.lower(): mode for mode in DeliveryMode}
    return known[_choice(*known)(text)]


def load_sources(file: Path) -> dict[str, PrometheusConfig]:
    """The metric sources of a YAML file. Raises ValueError, with the path of the field that is wrong."""
    return _load_named(file, "sources", PrometheusConfig)


def load_registries(file: Path) -> dict[str, RegistryConfig]:
    """The prompt registries of a YAML file. Raises ValueError, with the path of the field that is wrong."""
    registries = _load_named(file, "registries", RegistryConfig)
    for name, one in registries.items():
        try:
            check_kind(one)
        except ValueError as error:
            raise ValueError(f"{file}: registries.{name}.{error}") from error
    return registries


def _load_named(file: Path, what: str, kind: type[_Config]) -> dict[str, _Config]:
    content = read_yaml(file)
    if not isinstance(content, dict) or set(content) != {what} or not isinstance(content[what], dict):
        raise ValueError(f"{file}: must hold `{what}` and nothing else, a map of names to {what}")
    try:
        return {str(name): _named(what, str(name), raw, kind) for name, raw in content[what].items()}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _named(what: str, name: str, raw: object, kind: type[_Config]) -> _Config:
    path = f"{what}.{name}"
    if not re.fullmatch(_LABEL, name):
        raise ValueError(
            f"{path}: a {_ONE_OF[what]}'s name is made of lower-case letters, digits and hyphens"
        )
    if not isinstance(raw, dict) or "url" not in raw:
        raise ValueError(f"{path}.url: is missing")
    known = {_camel(f.name): f for f in fields(kind)}
    values: dict[str, object] = {}
    for key, value in raw.items():
        if key not in known:
            raise ValueError(f"{path}.{key}: is not known; known are {', '.join(known)}")
        spanned = known[key].type is float and isinstance(value, str)
        try:
            values[known[key].name] = _seconds(0, 7 * 86400.0)(value) if spanned else value
        except ValueError as error:
            raise ValueError(f"{path}.{key}: {error}") from error
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first: ErrorDetails = error.errors(include_input=False, include_url=False)[0]
        where = ".".join([path, *(_camel(str(part)) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}{'.' if where == path else ': '}{message}") from None


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_OPTIONS: Final = (
    _Option("namespaces", "A,B", _names, "the namespaces to watch; without it, all"),
    _Option(
        "sources-file",
        "FILE",
        lambda text: load_sources(Path(text)),
        "YAML with the metric sources that rollouts may name; see below. Read at start",
        attribute="sources",
    ),
    _Option(
        "gates-file",
        "FILE",
        lambda text: load_gates(Path(text)),
        "YAML with what gates may do: jobs {enabled, inlineTemplates, history, keep}, webhooks by name {url, "
        "secretFile, caFile, bearerTokenFile, timeout, documents}, allowedHosts. Read at start; "
        "without it there are approvals only",
        attribute="gates",
    ),
    _Option(
        "notifications-file",
        "FILE",
        lambda text: load_notifications(Path(text)),
        "YAML with who can be told: channels by name {type, urlFile, url, secretFile, bearerTokenFile, caFile, "
        "timeout, reasons, namespaces, title, template, perMinute, burst}, defaultChannels, title, template. Read at "
        "start; without it nobody is told",
        attribute="notifications",
    ),
    _Option(
        "registries-file",
        "FILE",
        lambda text: load_registries(Path(text)),
        "YAML with the prompt registries that rollouts may name; see below. Read at start",
        attribute="registries",
    ),
    _Option(
        "kubeconfig",
        "FILE",
        lambda text: Path(text).expanduser(),
        "how to reach the API server; without it the variable KUBECONFIG, the pod's service account, ~/.kube/config",
    ),
    _Option(
        "delivery-mode",
        "MODE",
        _mode,
        "how a change reaches pods where a rollout does not say: Nudge (an "
        "annotation of the pod is touched, so kubelet copies at once), Mount (at kubelet's own pace, up to 90 s), "
        "Watch (the SDK watches the ConfigMap)",
    ),
    _Option("workers", "N", _whole(1, 256), "how many rollouts are worked on at a time"),
    _Option(
        "resync-interval",
        "TIME",
        _seconds(1, 86400),
        "between full lists, which repair what a watch has lost",
    ),
    _Option(
        "acknowledge-poll",
        "TIME",
        _seconds(0.1, 300),
        "between questions about what pods have loaded, while any is awaited",
    ),
    _Option(
        "nudge-again",
        "TIME",
        _seconds(1, 3600),
        "after which a pod that has not answered is nudged again; two scrapes are a good measure",
    ),
    _Option(
        "settle",
        "TIME",
        _seconds(0, 300),
        "after a window's end at which it is read, so that scrapes under way are in",
    ),
    _Option(
        "cluster-policies",
        "BOOL",
        lambda text: _choice("true", "false")(text) == "true",
        "false: rollouts may name no ClusterPromptRolloutPolicy, and no right in the cluster is needed to read them",
    ),
    _Option(
        "leader-election",
        "BOOL",
        lambda text: _choice("true", "false")(text) == "true",
        "true: only the holder of the Lease works, others stand by; needed for more than one replica",
    ),
    _Option(
        "lease-name", "NAME", _object_name, "the Lease; operators with the same one stand in for each other"
    ),
    _Option(
        "lease-namespace", "NAME", _object_name, "where the Lease is; without it, the pod's own namespace"
    ),
    _Option("metrics-port", "PORT", _whole(0, 65535), "serves /metrics; 0: not served"),
    _Option("health-port", "PORT", _whole(0, 65535), "serves /healthz and /readyz; 0: not served"),
    _Option("bind-address", "IP", _address, "the address that both listen on"),
    _Option(
        "log-level", "LEVEL", _choice("debug", "info", "warning", "error"), "debug, info, warning or error"
    ),
    _Option(
        "log-format",
        "FORMAT",
        _choice("text", "json"),
        "text or json, one line a happening, on standard error",
    ),
)

_EPILOG = """\
TIME is seconds or a duration: 2, 500ms, 90s, 10m. Each setting can be given by the environment variable in brackets;
the flag wins, and an empty value counts as not given.

The sources file has PromQL-speaking stores by name; `analysis.source` of a rollout names one:

  sources:
    default:
      url: http://prometheus.monitoring:9090
      bearerTokenFile: /var/run/secrets/prometheus/token
      timeout: 10s

%(fields)s

The registries file has prompt registries by name; `prompt.registryRef.registry` of a rollout names one:

  registries:
    mlflow:
      url: http://mlflow.prompts:5000
      bearerTokenFile: /var/run/secrets/mlflow/token
      pollInterval: 1m

%(registry_fields)s

A right that the operator's account lacks is named in the log and by /readyz; it is asked for again until it is there.

exit status: 0 after SIGTERM or SIGINT; 1 when a part of it died or another leads now; 2 for a setting or credentials
that only a person can mend.
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (--help lists all settings)")


def _parser() -> argparse.ArgumentParser:
    more = {"fields": _known_fields(PrometheusConfig), "registry_fields": _known_fields(RegistryConfig)}
    parser = _Parser(
        PROGRAM,
        description="Watches PromptRollouts and carries them out: delivers, steps, compares, promotes, rolls back.",
        epilog=_EPILOG % more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version('promptrollout')}")
    defaults = {one.name: one.default for one in fields(Settings)}
    for option in _OPTIONS:
        default = _shown(defaults[option.name])
        known = f"; default {default}" if default else ""
        boolean = {"nargs": "?", "const": "true"} if option.takes == "BOOL" else {}
        text = f"{option.meaning} [{option.variable}{known}]"
        parser.add_argument(f"--{option.flag}", metavar=option.takes, help=text, **boolean)  # type: ignore[arg-type] # two known keys
    return parser


def _known_fields(kind: type[PrometheusConfig] | type[RegistryConfig]) -> str:
    others = (_camel(one.name) for one in fields(kind) if one.name != "url")
    return textwrap.fill(", ".join(others), 110, initial_indent="  known: ", subsequent_indent="  ")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return _span(default)
    return str(default) if isinstance(default, str | int) and default != "" else ""


def _span(seconds: float) -> str:
    return format_duration(parse_duration(f"{seconds:g}s")) if seconds >= 1 else f"{seconds:g}s"
