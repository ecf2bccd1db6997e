"""The agent on the real control plane: taken back by task success; until then conversations keep their prompt."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.examples import Example
from e2e.processes.supervisor import wait_until
from e2e.workload.directory import read_endpoints

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(330)]

HISTORY = 210
STEPS = ({"weight": 25, "duration": "3s"}, {"weight": 50, "duration": "1h"})


class Customer:
    """One conversation with the service, as a browser has it: no pin, only the conversation's id."""

    def __init__(self, address, order):
        self._url = f"http://{address}/conversations"
        self._url += f"/{self._post({'order': order})['conversation']}"
        self.order = order

    def says(self, text):
        return self._post({"text": text}, "/turns")

    def _post(self, body, path=""):
        headers = {"Content-Type": "application/json"}
        url = f"{self._url}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
            return json.load(answer)


def together(talk, customers):
    """What each of them hears, all at the same time."""
    with ThreadPoolExecutor(len(customers)) as pool:
        return [said["revision"] for said in pool.map(talk, customers)]


def loaded_at(weight):
    """Whether that weight is delivered and the pod has it."""

    def is_so(status):
        return status.weight == weight and status.raw.text("status.delivered.acknowledged.at") != ""

    return is_so


def has_a_history(desk, stable):
    """Until stable has done the 200 tasks that scores are compared from on; a service in use has long done them."""
    asked = f'sum(promptrollout_score_count{{rollout="agent/order-desk",revision="{stable}"}})'
    wait_until(lambda: (desk.stack.prometheus.value(asked) or 0) >= HISTORY, f"{HISTORY} tasks", 150)


def begin(address, first):
    """Twelve conversations, and the revisions that answered."""
    customers = [Customer(address, f"A-{number}") for number in range(first, first + 12)]
    return customers, together(lambda customer: customer.says(f"Where is {customer.order}?"), customers)


@pytest.fixture(scope="module")
def desk(stack):
    with Example("agent", "agent", app="order-desk", steps=STEPS).running(stack) as running:
        yield running


@pytest.fixture(scope="module")
def address(desk):
    (found,) = read_endpoints(desk.stack.endpoints, "agent", {"app": "order-desk"})
    return found


def test_a_conversation_keeps_the_prompt_it_began_with_while_weights_rise(desk, address):
    story = desk.tries("once.yaml").wait_for("a fourth of them to be on trial", loaded_at(2_500))
    customers, began_with = begin(address, 99_001)
    story.wait_for("half of them to be on trial", loaded_at(5_000))
    assert together(lambda customer: customer.says("Thank you."), customers) == began_with


def test_a_planner_without_an_end_is_taken_back_for_its_tasks_and_its_conversations_get_stable(desk, address):
    stable = desk.when().subject.status().stable
    has_a_history(desk, stable)
    story = desk.tries("thorough.yaml").wait_for("a fourth of them to be on trial", loaded_at(2_500))
    customers, began_with = begin(address, 99_101)
    story.wait_for_phase("Degraded", 120)
    rolled_back = story.subject.status().rollback.text("revision")
    assert set(began_with) <= {stable, rolled_back}
    assert set(together(lambda customer: customer.says("And now?"), customers)) == {stable}
    story.then().the_message_says("harm shown", "most of it by task-success: mean")
    desk.every_panel_has_data()
