"""One real control plane for all scenarios; each has a namespace, pods and users of its own."""

import base64
from itertools import count

import pytest

from e2e.application import Application
from e2e.mailbox import Mailbox
from e2e.scenario import given
from e2e.stack import Options, Stack, Traffic

_numbers = count(1)
TRAFFIC = Traffic(rate=80.0, turns=3.0, think_s=0.2)


#: The mailbox verifies with it what the operator has signed; of no use anywhere else.
SIGNING_SECRET = "whsec_" + base64.b64encode(b"a secret of the scenarios").decode()
#: Seconds that an attempt at the channel `dead` takes.
DEAD_AFTER_S = 60.0


@pytest.fixture(scope="package")
def mailbox():
    """The channel `people`; nobody is ever there at the channel `dead`."""
    with Mailbox() as opened:
        yield opened


@pytest.fixture(scope="package")
def stack(mailbox, tmp_path_factory):
    secret = tmp_path_factory.mktemp("channels") / "signing"
    secret.write_text(SIGNING_SECRET)
    urls = {"people": mailbox.url, "dead": mailbox.dead_url}
    channels = {
        f"notifications.channels.{name}.{field}": value
        for name, url in urls.items()
        for field, value in {
            "type": "webhook",
            "url": url,
            "secretFile": str(secret),
            "timeout": f"{DEAD_AFTER_S:g}s",
        }.items()
    }
    # Who answers has time to, however busy the machine is: what is asked again was told to be.
    judges = {
        f"gates.webhooks.{name}.{field}": value
        for name, url, timeout in (
            ("judge", mailbox.judge_url, "20s"),
            ("dead-judge", mailbox.dead_url, "1s"),
        )
        for field, value in {"url": url, "secretFile": str(secret), "timeout": timeout}.items()
    }
    options = Options(
        application=Application(namespace="first", replicas=1),
        traffic=None,
        chart_values={"gates.jobs.enabled": "true", **channels, **judges},
    )
    with Stack(options) as running:
        yield running


@pytest.fixture
def application(stack):
    """Two serving pods and their users, in a namespace that goes with the test."""
    app = Application(namespace=f"shop-{next(_numbers)}", replicas=2)
    stack.deploy(app)
    stack.wait_for_pods(app)
    load = stack.start_load(app, TRAFFIC)
    try:
        yield app
    finally:
        stack.mend()
        load.stop()
        stack.kubectl("delete", "namespace", app.namespace, "--wait=false")


@pytest.fixture(scope="package")
def quiet_shop(stack):
    """Two serving pods without users, for one rollout after the other."""
    app = Application(namespace="quiet-shop", replicas=2)
    stack.deploy(app)
    stack.wait_for_pods(app)
    return app


@pytest.fixture
def quiet(stack, quiet_shop):
    """A rollout where nothing is compared: what people say and write is all that happens."""
    yield given(stack, quiet_shop).analysis(metrics=[], interval="1s")
    stack.mend()
    for kind in ("promptrollout", "promptrolloutpolicy", "configmap", "event"):
        stack.kubectl("delete", kind, "--all", "-n", quiet_shop.namespace)


@pytest.fixture
def healthy(stack, application):
    """A rollout whose first prompt is served by all."""
    return given(stack, application)
