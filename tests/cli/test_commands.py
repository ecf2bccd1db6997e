"""The commands that need no cluster: replay, plan, simulate, completion; output, errors and exit codes."""

import json

import numpy as np
import pytest
import yaml
from rich.table import Table

from promptrollout.analysis import Evidence, History, assess, fold
from promptrollout.analysis.keeping import About, Decided, figures, keep
from promptrollout.analysis.ledger import Ledger
from promptrollout.cli.completing import suggestions
from promptrollout.cli.drawing import evidence_bar
from promptrollout.cli.main import run
from promptrollout.cli.printing import complain, console
from tests.analysis.builders import all_kinds_plan, all_kinds_seed, all_kinds_window

ROLLOUT = {
    "apiVersion": "promptrollout.dev/v1alpha1",
    "kind": "PromptRollout",
    "metadata": {"name": "support", "namespace": "shop"},
    "spec": {
        "prompt": {"inline": {"text": "Hello"}},
        "strategy": {
            "canary": {
                "steps": [
                    {"weight": 5, "duration": "1h"},
                    {"weight": 50, "until": "Evidence", "timeout": "12h"},
                ]
            }
        },
        "analysis": {
            "interval": "60s",
            "metrics": [{"name": "errors", "preset": "sdk/errors"}],
            "correlation": {"meanRequestsPerUnit": "1", "icc": "0"},
        },
    },
}


@pytest.fixture
def rollout(tmp_path):
    def write(**spec):
        file = tmp_path / "rollout.yaml"
        file.write_text(yaml.safe_dump({**ROLLOUT, "spec": {**ROLLOUT["spec"], **spec}}))
        return str(file)

    return write


@pytest.fixture
def evidence(tmp_path):
    """A file with the evidence of a rollback, as `kubectl get -o yaml` writes it."""
    rng = np.random.default_rng(2)
    plan = all_kinds_plan()
    seed = {n: p if isinstance(p, History) else History(p) for n, p in all_kinds_seed(rng).items()}
    windows = [all_kinds_window(rng, i, harm=0.5) for i in range(20)]
    start = Evidence.initial(plan, seed)
    after = fold(plan, start, windows)
    said = assess(plan, after)
    decided = Decided(
        "RolledBack", "Harmed", "2026-11-24T00:00:00.000Z", after.last_end, 1, 500, "m", figures(said)
    )
    ledger = Ledger.begin(plan, start, seed).plus(windows, after)
    files = keep(ledger, About("shop/support", "bbbb", "aaaa", 1, "0"), decided)

    def write(change=lambda data: None):
        data = dict(files.data)
        change(data)
        file = tmp_path / "evidence.yaml"
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "data": data}))
        return str(file)

    return write


def test_replay_gives_the_recorded_verdict_and_says_so(evidence, capsys):
    assert run(["replay", evidence()]) == 0
    said = capsys.readouterr().out
    assert "Harmed" in said
    assert "identical, to the bit" in said


def test_replay_says_how_each_metrics_guarantee_holds(evidence, capsys):
    assert run(["replay", evidence(), "--margin", "errors=0.02"]) == 0
    said = capsys.readouterr().out
    assert "non-inferior" in said
    assert all(f", {word}" in said for word in ("exact", "asymptotic"))


def test_replay_under_other_margins_says_both(evidence, capsys):
    words = [
        "--margin",
        "errors=0.5",
        "--margin",
        "helpful=0.9",
        "--margin",
        "shadow=0.9",
        "--ratio",
        "cost=50",
    ]
    wide = ["--margin", "latency=0.4", "--ratio", "latency=50", "--ratio", "resolved=90"]
    assert run(["replay", evidence(), *words, *wide, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"][0]["recorded"] == found["decisions"][0]["recomputed"] == "Harmed"
    assert found["otherwise"]["verdict"] != "Harmed"


def _another_verdict(data):
    head = json.loads(data["decision.json"])
    head["decision"]["numbers"]["verdict"] = "NonInferior"
    data["decision.json"] = json.dumps(head)


def _rounded(data):
    head = json.loads(data["decision.json"])
    head["decision"]["numbers"]["harm_log_e"] *= 1.0 + 1e-14
    data["decision.json"] = json.dumps(head)


def test_a_verdict_that_does_not_follow_is_told_by_the_exit_code(evidence, capsys):
    assert run(["replay", evidence(_another_verdict)]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_rounding_is_no_difference_but_is_said(evidence, capsys):
    assert run(["replay", evidence(_rounded)]) == 0
    assert "but for rounding" in capsys.readouterr().out


def _of_the_first_engine(data):
    head = json.loads(data["decision.json"])
    del head["about"]["engine"]  # it did not say
    head["decision"]["numbers"]["harm_log_e"] *= 1.01
    data["decision.json"] = json.dumps(head)


def test_numbers_of_an_earlier_versions_engine_may_be_others_and_the_verdict_counts(evidence, capsys):
    assert run(["replay", evidence(_of_the_first_engine)]) == 0
    assert "of engine 1, this one is 3: others" in " ".join(capsys.readouterr().out.split())
    both = lambda data: (_another_verdict(data), _of_the_first_engine(data))  # noqa: E731
    assert run(["replay", evidence(both)]) == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--margin", "errors"], 2, "METRIC=VALUE"),
        (["--margin", "nothing=0.1"], 2, "no such metric"),
        (["--margin", "errors=nan"], 2, "decimal"),
        (["--ratio", "helpful=2"], 2, "no ratio"),
        (["--confidence", "2"], 2, "between 0 and 1"),
        (["--nonsense"], 2, "No such option"),
    ],
)
def test_wrong_usage_of_replay_is_told(evidence, capsys, words, code, says):
    assert run(["replay", evidence(), *words]) == code
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: ConfigMap\ndata: {a: b}", "no evidence ConfigMap"),
        ("kind: Pod", "no ConfigMap"),
        ("[", "no YAML"),
        ("", "no object"),
        ("kind: ConfigMap\ndata: {decision.json: '{}'}", "no whole evidence"),
    ],
)
def test_a_file_that_is_no_evidence_is_refused(tmp_path, capsys, text, says):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert run(["replay", str(file)]) == 1
    assert says in capsys.readouterr().err


def test_plan_says_when_and_who_sees_it(rollout, capsys):
    words = ["plan", "-f", rollout(), "--traffic", "2/s", "--stable", "errors=0.02"]
    assert run([*words, "--requests-per-user", "4"]) == 0
    said = capsys.readouterr().out
    for part in ("Decidable: True", "2 % → 4 %", "USERS THAT SEE IT", "172,800 requests a day"):
        assert part in said
    assert run([*words, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decidable"]["status"] is True
    seconds = [row["seconds"] for row in found["effects"] if row["seconds"]]
    assert seconds == sorted(seconds, reverse=True)
    assert found["steps"][0]["weight"] == "5%"


@pytest.mark.parametrize("strategy", ["canary", "abTest"])
def test_plan_says_that_what_the_margin_allows_is_never_rolled_back(rollout, capsys, strategy):
    spec = {"strategy": AB_TEST} if strategy == "abTest" else {}
    words = ["plan", "-f", rollout(**spec), "--traffic", "100/s", "--stable", "errors=0.02"]
    run(words)
    lines = capsys.readouterr().out.splitlines()
    row = {name: next(line for line in lines if f"2 % → {name} %" in line) for name in ("2.5", "4")}
    # The default line allows 1.2 x 2 % + 0.1 points.
    assert "never: within the margin" in row["2.5"]
    assert "never" not in row["4"]
    run([*words, "-o", "json"])
    effects = json.loads(capsys.readouterr().out)["effects"]
    assert [row["withinMargin"] for row in effects] == [True, False, False, False, False]


def test_plan_that_cannot_be_decided_says_so_and_proposes(rollout, capsys):
    assert run(["plan", "-f", rollout(progressDeadline="12h"), "--traffic", "5000/day", "-o", "yaml"]) == 4
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["decidable"]["reason"] == "TooLittleTraffic"
    assert found["assumed"] == ["errors"]
    assert found["proposal"]["spec"]["strategy"]["canary"]["steps"][-1]["until"] == "Evidence"
    assert found["proposal"]["spec"]["progressDeadline"] != "12h"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "how much traffic"),
        (["--traffic", "many"], "10000/day"),
        (["--traffic", "-1/day"], "more than 0"),
        (["--traffic", "1/s", "--stable", "nothing=1"], "compares errors"),
        (["--traffic", "1/s", "--stable", "errors=2"], "between 0 and 1"),
        (["--traffic", "1/s", "--design-effect", "errors=0.5"], "at least 1"),
        (["--from-prometheus", "ftp://x"], "http://"),
    ],
)
def test_wrong_usage_of_plan_is_told(rollout, capsys, words, says):
    assert run(["plan", "-f", rollout(), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_rollout_that_is_wrong_is_told_with_its_field(rollout, capsys):
    assert run(["plan", "-f", rollout(strategy={}), "--traffic", "1/s"]) == 1
    assert "spec.strategy" in capsys.readouterr().err


def test_simulate_is_repeatable_and_draws(rollout, tmp_path, capsys):
    picture = tmp_path / "course.svg"
    words = ["simulate", "-f", rollout(), "--traffic", "1/s", "--metric", "errors=0.02:0.2", "--runs", "8"]
    words += ["--for", "2h", "--processes", "1", "-o", "json"]
    assert run([*words, "--picture", str(picture)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["endings"][0]["outcome"] == "RolledBack"
    assert picture.read_text().startswith("<?xml")
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out) == first


SHADOW = {"shadow": {"sample": 20, "duration": "2h"}}
AB_TEST = {
    "abTest": {
        "horizon": "2d",
        "onWinner": "Promote",
        "arms": [
            {"name": "control", "weight": 50},
            {"name": "brief", "weight": 50, "prompt": {"inline": {"text": "Hi"}}},
        ],
    }
}
SCORED = {
    "interval": "60s",
    "metrics": [{"name": "helpful", "preset": "sdk/score", "score": "helpfulness"}],
    "correlation": {"meanRequestsPerUnit": "1", "icc": "0"},
}


def test_a_shadow_and_an_ab_test_are_simulated_too(rollout, capsys):
    words = ["--traffic", "5/s", "--runs", "4", "--for", "4h", "--processes", "1"]
    file = rollout(strategy=SHADOW, analysis=SCORED)
    assert run(["simulate", "-f", file, *words, "--metric", "helpful=0.8:0.6", "--pairing", "0.7"]) == 0
    said = capsys.readouterr().out
    assert "RolledBack" in said
    assert "IN THE SHADOW" in said
    file = rollout(strategy=AB_TEST)
    metric = ["--metric", "errors=0.2", "--metric", "errors@brief=0.2:0.05"]
    assert run(["simulate", "-f", file, *words, *metric]) == 0
    assert "Won (brief)" in capsys.readouterr().out


def test_judges_gates_and_the_calendar_can_be_said(rollout, capsys):
    file = rollout(analysis=SCORED)
    words = ["--traffic", "5/s", "--runs", "4", "--for", "4h", "--processes", "1", "-o", "json"]
    how = [
        "--judged",
        "0.9:0.5",
        "--judge-delay",
        "2m",
        "--gates",
        "5m",
        "--start",
        "Fri 16:30",
        "--icc",
        "0.1:0.2",
    ]
    assert run(["simulate", "-f", file, *words, *how]) == 0
    assert json.loads(capsys.readouterr().out)["endings"][0]["reason"] == "Harmed"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--metric", "errors@nobody=0.1"], "the rollout's challengers are candidate"),
        (["--start", "today"], "Mon 09:00"),
        (["--icc", "a:b"], "STABLE:CANDIDATE"),
        (["--icc", "2"], "icc must be a number"),
        (["--cold", "10m:x"], "--cold 10m:x: write TIME:FACTOR"),
        (["--outage", "2h"], "--outage 2h: write START:LENGTH"),
        (["--seed", "-1"], "'--seed'"),
        (["--metric", "latency=0:1"], "latency: factors are numbers above 0"),
        (["--metric", "latency=1:0"], "latency: factors are numbers above 0"),
        (["--picture", "nowhere/course.svg"], "there is no folder nowhere"),
        (["--picture", "course.word"], "its name must end in one of"),
    ],
)
def test_wrong_usage_of_simulate_is_told_before_anything_is_simulated(rollout, capsys, words, says):
    latency = {"name": "latency", "preset": "sdk/latency"}
    file = rollout(
        analysis={"interval": "60s", "metrics": [*ROLLOUT["spec"]["analysis"]["metrics"], latency]}
    )
    # A year of that many rollouts would not end in time.
    how = ["--traffic", "1/s", "--runs", "1000000", "--for", "360d"]
    assert run(["simulate", "-f", file, *how, *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "code", "parts"),
    [
        (
            {"strategy": SHADOW, "analysis": SCORED},
            0,
            ("In the shadow, where scores are compared in pairs", "-0.1 on average"),
        ),
        (
            {"strategy": AB_TEST},
            0,
            ("an arm wins within the horizon of 2 days", "CONTROL → ARM", "it is dropped"),
        ),
        ({"strategy": {"immediate": {}}}, 4, ("someone says undo", "A canary instead", "until: Evidence")),
    ],
)
def test_every_strategy_is_planned(rollout, capsys, spec, code, parts):
    words = ["plan", "-f", rollout(**spec), "--traffic", "5/s"]
    assert run(words) == code
    said = capsys.readouterr().out
    for part in parts:
        assert part in said
    assert run([*words, "-o", "json"]) == code
    assert json.loads(capsys.readouterr().out)["decidable"]["message"]


def test_plan_says_how_its_guarantee_holds(rollout, capsys):
    assert run(["plan", "-f", rollout(), "--traffic", "5/s"]) == 0
    assert "design effect 1, exact" in capsys.readouterr().out
    assumed = {"interval": "60s", "metrics": [{"name": "errors", "preset": "sdk/errors"}]}
    file = rollout(analysis=assumed)
    run(["plan", "-f", file, "--traffic", "5/s"])
    assert "design effect 4, asymptotic (correlation assumed)" in capsys.readouterr().out
    run(["plan", "-f", file, "--traffic", "5/s", "--design-effect", "errors=2"])
    assert "design effect 2, asymptotic (design effect)" in capsys.readouterr().out


def test_what_people_wrote_is_shown_as_it_is(capsys):
    table = Table()
    table.add_column("MESSAGE")
    table.add_row("rolled back [red] :x:")
    console().print(table)
    complain("nothing is called [red] or 10m:x:")
    said = capsys.readouterr()
    assert "rolled back [red] :x:" in said.out
    assert said.err == "error: nothing is called [red] or 10m:x:\n"


def test_an_unknown_command_is_wrong_usage(capsys):
    assert run(["nonsense"]) == 2
    assert "No such command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "filled"),
    [("0.01 of 20", 0), ("1 of 20", 0.43), ("20 of 20", 1.0), ("1,234 of 20", 1.0), ("19.9 of 20", 0.95)],
)
def test_the_bar_is_logarithmic_and_full_only_at_the_threshold(text, filled):
    bar = evidence_bar(text)
    assert len(bar) == 20
    assert bar.count("█") == pytest.approx(20 * filled, abs=1)


def test_a_text_that_is_no_evidence_has_no_bar():
    assert evidence_bar("") == evidence_bar("nan of 20") == evidence_bar("3 of 0.5") == ""


def test_completion_offers_commands_and_forms():
    found, directive = suggestions(["prom"])
    assert [line.split("\t")[0] for line in found] == ["promote", "promote-full"]
    assert directive == ":4"
    assert suggestions(["get", "-o", "j"])[0] == ["json"]
    assert suggestions(["replay", ""])[1] == ":0"


POLICY = {
    "apiVersion": "promptrollout.dev/v1alpha1",
    "kind": "PromptRolloutPolicy",
    "metadata": {"name": "production", "namespace": "shop"},
    "spec": {
        "strategy": ROLLOUT["spec"]["strategy"],
        "analysis": ROLLOUT["spec"]["analysis"],
        "locked": ["analysis.metrics"],
    },
}


@pytest.fixture
def with_policy(tmp_path):
    """The arguments of a rollout that leaves all to a policy, beside it in the same file or in another one."""

    def write(*, apart=False, **spec):
        own = {"prompt": ROLLOUT["spec"]["prompt"], "policyRef": {"name": "production"}, **spec}
        documents, rollout, policy = (
            [{**ROLLOUT, "spec": own}],
            tmp_path / "ten.yaml",
            tmp_path / "policy.yaml",
        )
        policy.write_text(yaml.safe_dump(POLICY))
        rollout.write_text(yaml.safe_dump_all(documents if apart else [*documents, POLICY]))
        return ["-f", str(rollout), *(["--policy", str(policy)] if apart else [])]

    return write


@pytest.mark.parametrize("apart", [True, False])
def test_plan_takes_the_policy_from_its_file_or_from_the_rollouts(rollout, with_policy, capsys, apart):
    command = ["--traffic", "1000000/day", "-o", "json"]
    assert run(["plan", "-f", rollout(), *command]) == 0
    alone = capsys.readouterr().out
    assert run(["plan", *with_policy(apart=apart), *command]) == 0
    assert capsys.readouterr().out == alone


def test_simulate_takes_the_policy_too(with_policy, capsys):
    how = ["--traffic", "100000/day", "--runs", "2", "--for", "1h", "--processes", "1", "-o", "json"]
    assert run(["simulate", *with_policy(), *how]) == 0
    assert json.loads(capsys.readouterr().out)


def test_plan_says_which_lock_is_broken_before_anything_is_applied(with_policy, capsys):
    mine = {"metrics": [{"name": "cost", "preset": "sdk/cost"}]}
    assert run(["plan", *with_policy(analysis=mine), "--traffic", "1000/day"]) == 1
    assert "spec.analysis.metrics: policy production locks analysis.metrics" in capsys.readouterr().err


def test_a_policy_that_is_nowhere_is_asked_for_by_its_option(with_policy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    arguments = with_policy(apart=True)
    assert run(["plan", *arguments[:2], "--traffic", "1000/day"]) == 1
    said = capsys.readouterr().err
    assert "PromptRolloutPolicy production is not in the file" in said
    assert "--policy FILE" in said


def test_a_file_without_the_policy_and_a_rollout_without_a_reference_are_told(rollout, with_policy, capsys):
    own = rollout()
    assert run(["plan", *with_policy()[:2], "--policy", own, "--traffic", "1000/day"]) == 1
    assert "holds no PromptRolloutPolicy production" in capsys.readouterr().err
    assert run(["plan", "-f", own, *with_policy(apart=True)[2:], "--traffic", "1000/day"]) == 1
    assert "spec.policyRef names no policy" in capsys.readouterr().err
