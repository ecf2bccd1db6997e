import re
from pathlib import Path

import pytest

from promptrollout.api.spec import DeliveryMode
from promptrollout.controller import settings as room
from promptrollout.controller.main import main
from promptrollout.controller.settings import Settings, SettingsError, load


def refused(*arguments, **environment):
    with pytest.raises(SettingsError) as caught:
        load(arguments, environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def sources(tmp_path):
    def write(text):
        file = tmp_path / "sources.yaml"
        file.write_text(text)
        return f"--sources-file={file}"

    return write


def test_without_flags_and_environment_every_setting_has_its_default():
    assert load((), {}) == Settings()


def test_a_setting_comes_from_the_environment_and_a_flag_wins_over_it():
    environment = {"PROMPT_ROLLOUT_WORKERS": "3", "PROMPT_ROLLOUT_LOG_LEVEL": "debug"}
    settings = load(["--workers=5"], environment)
    assert (settings.workers, settings.log_level) == (5, "debug")


def test_an_empty_value_counts_as_not_given_as_a_chart_writes_it():
    settings = load(["--namespaces="], {"PROMPT_ROLLOUT_WORKERS": "", "PROMPT_ROLLOUT_NAMESPACES": "shop"})
    assert (settings.workers, settings.namespaces) == (16, ())


@pytest.mark.parametrize("text", ["shop,cart", "shop, cart", "shop cart", "shop,,cart,shop"])
def test_namespaces_are_a_list_without_repeats(text):
    assert load([f"--namespaces={text}"], {}).namespaces == ("shop", "cart")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1m30s", 90), ("1.5", 1.5), ("500ms", 0.5), ("2m", 120)]
)
def test_times_are_seconds_or_durations(text, seconds):
    assert load([f"--acknowledge-poll={text}"], {}).acknowledge_poll == seconds


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--workers=many", "--workers: 'many' is not a whole number from 1 to 256"),
        ("--workers=0", "--workers: '0' is not a whole number from 1 to 256"),
        ("--metrics-port=70000", "--metrics-port: '70000' is not a whole number from 0 to 65535"),
        (
            "--resync-interval=nan",
            "--resync-interval: 'nan' is not a duration; write for example 90s, 10m or 1h30m",
        ),
        ("--resync-interval=0s", "--resync-interval: '0s' is not between 1s and 1d"),
        (
            "--resync-interval=-5",
            "--resync-interval: '-5' is not a duration; write for example 90s, 10m or 1h30m",
        ),
        ("--delivery-mode=push", "--delivery-mode: 'push' is none of nudge, mount, watch"),
        ("--log-level=loud", "--log-level: 'loud' is none of debug, info, warning, error"),
        ("--leader-election=maybe", "--leader-election: 'maybe' is none of true, false"),
        (
            "--namespaces=Shop",
            "--namespaces: 'Shop' is not the name of a namespace; leave it empty to watch all",
        ),
        ("--lease-name=a/b", "--lease-name: 'a/b' is not a name that Kubernetes takes"),
        ("--bind-address=here", "--bind-address: 'here' does not appear to be an IPv4 or IPv6 address"),
        ("--worker=3", "unrecognized arguments: --worker=3 (--help lists all settings)"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_it_may_be(argument, said):
    assert refused(argument) == said


def test_the_error_names_the_variable_when_the_value_came_from_the_environment():
    assert refused(PROMPT_ROLLOUT_WORKERS="x").startswith("PROMPT_ROLLOUT_WORKERS: ")


def test_a_bad_setting_ends_the_process_with_one_line_and_status_2(capsys, monkeypatch):
    monkeypatch.setenv("PROMPT_ROLLOUT_WORKERS", "none")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert (
        said
        == "prompt-rollout-operator: PROMPT_ROLLOUT_WORKERS: 'none' is not a whole number from 1 to 256\n"
    )


def test_a_misspelt_variable_is_refused_so_that_nobody_believes_it_is_in_force():
    assert refused(PROMPT_ROLLOUT_NAMESPACE="shop") == (
        "PROMPT_ROLLOUT_NAMESPACE: there is no such setting, did you mean PROMPT_ROLLOUT_NAMESPACES?"
    )


def test_variables_that_resemble_no_setting_are_ignored_and_told():
    assert load((), {"PROMPT_ROLLOUT_COLOUR_SCHEME": "dark"}).ignored == ("PROMPT_ROLLOUT_COLOUR_SCHEME",)


def test_variables_that_kubelet_sets_for_a_service_of_our_name_are_no_settings():
    links = {
        "PROMPT_ROLLOUT_METRICS_PORT": "tcp://10.0.0.17:8080",
        "PROMPT_ROLLOUT_METRICS_SERVICE_HOST": "10.0.0.17",
        "PROMPT_ROLLOUT_METRICS_SERVICE_PORT": "8080",
        "PROMPT_ROLLOUT_METRICS_SERVICE_PORT_HTTP": "8080",
        "PROMPT_ROLLOUT_METRICS_PORT_8080_TCP": "tcp://10.0.0.17:8080",
        "PROMPT_ROLLOUT_METRICS_PORT_8080_TCP_ADDR": "10.0.0.17",
        "PROMPT_ROLLOUT_PORT": "tcp://10.0.0.18:80",
    }
    assert load((), links) == Settings()


def test_leader_election_finds_the_namespace_of_its_own_pod_or_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "NAMESPACE_FILE", tmp_path / "namespace")
    assert refused("--leader-election").startswith("--lease-namespace: outside a pod")
    (tmp_path / "namespace").write_text("ops\n")
    assert load(["--leader-election"], {}).lease_namespace == "ops"
    assert load(["--leader-election=true"], {"POD_NAMESPACE": "pods"}).lease_namespace == "pods"
    assert load(["--leader-election", "--lease-namespace=own"], {}).lease_namespace == "own"


def test_modes_are_known_in_any_case():
    assert (
        load(["--delivery-mode=Mount"], {}).delivery_mode is load(["--delivery-mode=mount"], {}).delivery_mode
    )
    assert load(["--delivery-mode=watch"], {}).delivery_mode is DeliveryMode.WATCH


def test_sources_are_read_in_camel_case_with_durations(sources):
    flag = sources(
        "sources:\n  default: {url: 'http://prometheus:9090', bearerTokenFile: /token, timeout: 1m, lookback: 90}\n"
        "  eu: {url: 'https://mimir/prometheus', tenant: team}\n"
    )
    default, eu = load([flag], {}).sources.values()
    assert (default.bearer_token_file, default.timeout, default.lookback) == (Path("/token"), 60, 90)
    assert (eu.url, eu.tenant) == ("https://mimir/prometheus", "team")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: {default: {}}", "sources.default.url: is missing"),
        ("sources: {default: nothing}", "sources.default.url: is missing"),
        (
            "sources: {default: {url: 'ftp://x'}}",
            "sources.default.url: must be http:// or https:// with a host",
        ),
        ("sources: {default: {url: 7}}", "sources.default.url: Input should be a valid string"),
        (
            "sources: {default: {url: 'http://x', timeout: soon}}",
            "sources.default.timeout: 'soon' is not a duration; write for example 90s, 10m or 1h30m",
        ),
        (
            "sources: {default: {url: 'http://x', timout: 1s}}",
            "sources.default.timout: is not known; known are url,",
        ),
        (
            "sources: {Default: {url: 'http://x'}}",
            "sources.Default: a source's name is made of lower-case letters",
        ),
        ("sources: [default]", "must hold `sources` and nothing else"),
        ("source: {}", "must hold `sources` and nothing else"),
        ("", "must hold `sources` and nothing else"),
        ("sources: {", "line 1 is not YAML: expected the node content"),
    ],
)
def test_a_mistake_in_the_sources_file_is_told_with_its_field(sources, text, said):
    assert said in refused(sources(text))


def test_a_sources_file_that_is_not_there_is_told():
    assert "--sources-file: no/such/file cannot be read" in refused("--sources-file=no/such/file")


def test_a_kind_of_registry_that_there_is_not_is_told_with_its_field(tmp_path):
    file = tmp_path / "registries.yaml"
    file.write_text("registries: {prompts: {url: 'http://x', type: langfuse}}")
    said = refused(f"--registries-file={file}")
    assert "registries.prompts.type: 'langfuse' is not known; known are mlflow" in said


def test_no_secret_of_the_sources_file_comes_back_in_an_error(sources):
    flag = sources("sources: {default: {url: 'http://me:hunter2@x', headers: {Authorization: [hunter2]}}}")
    assert "hunter2" not in refused(flag)
    assert "hunter2" not in refused(sources("sources: {default: {password: hunter2"))


def test_help_names_every_setting_its_variable_and_its_default(capsys):
    with pytest.raises(SystemExit) as ended:
        load(["--help"], {})
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("prompt-\n", "prompt-").split())
    flags = re.findall(r" --([a-z-]+) (?:[A-Z,]+|\[BOOL\]) ", said.split("options:")[1])
    in_files = {"sources", "registries", "gates", "notifications"}
    fields = {name for name in Settings.__dataclass_fields__ if name not in in_files | {"ignored"}}
    assert {flag.replace("-", "_") for flag in flags} == fields | {f"{name}_file" for name in in_files}
    for flag in flags:
        assert f"[PROMPT_ROLLOUT_{flag.replace('-', '_').upper()}" in said
    assert "[PROMPT_ROLLOUT_RESYNC_INTERVAL; default 10m]" in said
