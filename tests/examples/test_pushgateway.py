"""What a batch leaves in a real Pushgateway: a group for each run, that goes in the end."""

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from e2e import pushgateway
from e2e.controlplane.build import BuildError
from e2e.processes.supervisor import REPOSITORY, Supervisor, wait_until
from examples.batch import gateway
from examples.batch.gateway import Gateway
from examples.kit import trial

pytestmark = pytest.mark.realcluster


@pytest.fixture(scope="module")
def url():
    try:
        program = pushgateway.find()
    except BuildError as error:
        pytest.skip(str(error))
    with Supervisor() as supervisor:
        yield f"http://{pushgateway.start(supervisor, program).address}"


def run_of(url, name, items):
    registry = CollectorRegistry()
    Counter("items", "", registry=registry).inc(items)
    return Gateway(url, name, registry)


def groups(of):
    return {group.run for group in of.groups()}


def test_each_run_has_its_group_and_pushes_it_as_often_as_it_likes(url):
    first, second = run_of(url, "a", 3), run_of(url, "b", 2)
    assert all((first.push(), first.push(), second.push()))
    assert {"a", "b"} <= groups(first)


def test_old_groups_go_but_never_ones_own(url):
    old, own = run_of(url, "old", 1), run_of(url, "own", 1)
    assert old.push()
    assert own.push()
    assert own.tidy(before=time.time() - 60) == []
    assert "old" in own.tidy(before=time.time() + 60)
    assert groups(own) == {"own"}


def test_a_run_that_is_ended_in_the_middle_leaves_what_it_has_counted(url, tmp_path):
    folder, results = Path(gateway.__file__).parent, tmp_path / "results.jsonl"
    with trial.prompts(folder, folder / "tries" / "colours.yaml") as mounted, trial.Programs() as programs:
        model = programs.serve("examples.kit.model")
        where = [f"--prompts={mounted}", f"--model-url={model}", f"--gateway={url}", f"--results={results}"]
        words = ["run", *where, "--run=ended", "--items=100000", "--push-every=99"]
        with subprocess.Popen([sys.executable, "-m", "examples.batch", *words], cwd=REPOSITORY) as process:  # noqa: S603
            wait_until(lambda: results.exists() and results.read_text().count("\n") > 20, "some items", 60)
            process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM
    with urllib.request.urlopen(f"{url}/metrics") as page:  # noqa: S310 - loopback
        samples = [
            sample.value
            for family in text_string_to_metric_families(page.read().decode())
            for sample in family.samples
            if sample.name == "promptrollout_requests_total" and sample.labels["run"] == "ended"
        ]
    assert sum(samples) >= 20


def test_a_gateway_that_is_away_is_said_and_stops_nothing(caplog):
    assert not run_of("http://127.0.0.1:1", "a", 1).push()
    assert "nothing could be pushed" in caplog.text
