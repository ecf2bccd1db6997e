"""The batch job on the real control plane: Jobs made from its CronJob, a real Pushgateway, trials that span runs."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from e2e import pushgateway
from e2e.controlplane.build import BuildError
from e2e.examples import Example
from e2e.processes.supervisor import REPOSITORY
from e2e.views import moment
from e2e.workload.directory import read_endpoints
from examples.batch import feed

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(280)]

#: The manifest's ramp with fewer items; a payload counts as loaded at once, since the next night's pod begins with it.
STEPS = ({"weight": 30, "minSamples": 40}, {"weight": 50, "until": "Evidence", "timeout": "1h"})
DELIVERY = {"acknowledge": {"mode": "None", "assumeLoadedAfter": "1s"}}
QUICK = {"AT_ONCE": "48", "PUSH_EVERY": "0.5"}
#: So that what is shown first is what all items show, not what the labelled ones do.
FEW_LABELS = {"LABELLED": "0.1"}
MOST_NIGHTS = 15


class Nights:
    """Runs of the CronJob, one after the other, as `kubectl create job --from` starts them; `items` in all."""

    def __init__(self, running, folder):
        self._running = running
        self._story = running.when()
        self._folder = folder
        self._numbers = count(1)
        self._labelled = set()
        self.items = 0

    def run(self, items, **environment):
        """One night, and until it has been read."""
        kubectl, name = self._story.subject.kubectl, f"night-{next(self._numbers)}"
        job = json.loads(
            kubectl("create", "job", name, "--from=cronjob/catalogue", "--dry-run=client", "--output=json")
        )
        (container,) = job["spec"]["template"]["spec"]["containers"]
        own = {**QUICK, "ITEMS": str(items), "LABELLED": "1", **environment}
        container["env"] = [
            *(one for one in container["env"] if one["name"] not in own),
            *({"name": key, "value": value} for key, value in own.items()),
        ]
        kubectl("create", "--filename=-", stdin=json.dumps(job))
        kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=50s")
        self.items += items
        self._wait_until_read()

    def until(self, phase, night):
        """Night after night until the rollout is in that phase; how many it took."""
        for number in range(1, MOST_NIGHTS + 1):
            night()
            if self._story.subject.status().phase not in {"Progressing", "Paused"}:
                self._story.wait_for_phase(phase)
                return number
        raise AssertionError(f"nothing came of {MOST_NIGHTS} nights\n{self._story.subject.told()}")

    def labelled_the_next_day(self, items, leave_out=lambda _result: False):
        """A night without a label, and another process that scores its results by what people have written since."""
        results = self._folder / "results.jsonl"
        self.run(items, LABELLED="0", RESULTS=str(results))
        new = [
            one
            for one in map(json.loads, results.read_text().splitlines())
            if one["id"] not in self._labelled
        ]
        self._labelled |= {one["id"] for one in new}
        true = {item.id: item.label for item in feed.drawn(new[0]["id"].rpartition("-")[0], items, 1.0)}
        written = [{"id": one["id"], "label": true[one["id"]]} for one in new if not leave_out(one)]
        labels = self._folder / f"labels-{len(self._labelled)}.jsonl"
        labels.write_text("\n".join(map(json.dumps, written)))
        (gateway,) = read_endpoints(self._running.stack.endpoints, "batch", {"app": "pushgateway"})
        words = ["label", str(results), str(labels), f"--gateway=http://{gateway}"]
        command = [sys.executable, "-m", "examples.batch", *words]
        subprocess.run(command, cwd=REPOSITORY, check=True, timeout=60)  # noqa: S603 - our own program
        self._wait_until_read()

    def _wait_until_read(self):
        """What has been pushed is scraped within a second."""
        scraped = datetime.now(UTC) + timedelta(seconds=1.5)
        self._story.wait_for("the pushes to be read", lambda status: _has_read(status, scraped))


def _has_read(status, until):
    through = moment(status.raw.text("status.analysis.through"))
    return status.phase not in {"Progressing", "Paused"} or (through is not None and through > until)


def stands_without_data(status):
    verdict, message = status.raw.text("status.analysis.verdict"), status.message
    return (status.phase, verdict) == ("Progressing", "NoData") and "0 of 40 candidate answers" in message


def samples(status, metric):
    return next(int(one.number("samples")) for one in status.metrics if one.text("name") == metric)


@pytest.fixture(scope="module")
def batch(stack):
    try:
        pushgateway.find()
    except BuildError as error:
        pytest.skip(str(error))
    settings = {"steps": STEPS, "delivery": DELIVERY}
    with Example("batch", "batch", app="catalogue", **settings).running(stack) as running:
        yield running


@pytest.fixture(scope="module")
def nights(batch, tmp_path_factory):
    """The first of them has gone by, with the first prompt."""
    made = Nights(batch, tmp_path_factory.mktemp("nights"))
    made.run(250)
    return made


def test_answers_that_are_no_json_take_a_prompt_back_over_several_nights(batch, nights):
    story = batch.tries("explain.yaml").wait_for_weight(3_000)
    story.wait_for("the time without a run to be said, and not held against it", stands_without_data)
    nights.run(20, **FEW_LABELS)
    story.wait_for_phase("Progressing")
    first = samples(story.subject.status(), "invalid-json")
    nights.until("Degraded", lambda: nights.run(200, **FEW_LABELS))
    story.then().the_message_says(
        "harm shown", "most of it by invalid-json: rate"
    ).every_weight_was_recorded_first()
    assert samples(story.subject.status(), "invalid-json") > first


def test_labels_of_the_next_day_promote_a_prompt_unless_they_are_missing_for_its_items(batch, nights):
    story = batch.tries("colours.yaml").wait_for_weight(3_000)
    candidate = story.subject.status().candidate

    def of_the_candidate(result):
        return result["revision"] == candidate and result["id"][-1] != "0"

    nights.until("Degraded", lambda: nights.labelled_the_next_day(200, leave_out=of_the_candidate))
    story.then().the_message_says("harm shown", "agreement-coverage")

    story.commanded("retry").wait_for_weight(3_000)
    nights.until("Healthy", lambda: nights.labelled_the_next_day(700))
    assert story.subject.status().raw.items("status.history")[0].text("outcome") == "Promoted"


def test_each_night_has_counters_of_its_own_so_that_all_add_up(batch, nights):
    asked = 'sum(promptrollout_requests_total{rollout="batch/catalogue"})'
    assert batch.stack.prometheus.value(asked) == nights.items
    batch.every_panel_has_data()
