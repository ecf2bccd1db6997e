"""The rights that are needed, and how a missing one is told."""

import pytest
import yaml

from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.access import Question, Scope, missing_permissions, needed


class Account:
    """Allows everything but what `denied` says yes to."""

    def __init__(self, denied):
        self.denied = denied
        self.asked = []

    async def may(self, question):
        self.asked.append(question)
        return not self.denied(question)


def verbs(mode, **options):
    return {
        (permission.resource, verb) for permission in needed(mode, **options) for verb in permission.verbs
    }


@pytest.mark.parametrize("mode", [DeliveryMode.MOUNT, DeliveryMode.WATCH])
def test_only_nudging_needs_a_right_to_change_pods(mode):
    assert verbs(DeliveryMode.NUDGE) - verbs(mode) == {("pods", "patch")}


def test_nothing_that_decides_for_others_is_ever_needed():
    everything = verbs(DeliveryMode.NUDGE, lease="operator")
    assert not {verb for _, verb in everything} & {"*", "deletecollection", "escalate", "impersonate", "bind"}
    assert not {resource for resource, _ in everything} & {"secrets", "*", "pods/exec", "serviceaccounts"}
    assert ("promptrollouts", "patch") not in everything


def test_leases_are_needed_for_leader_election_only():
    assert not [right for right in needed(DeliveryMode.MOUNT) if right.resource == "leases"]
    named = [right.name for right in needed(DeliveryMode.MOUNT, lease="mine") if "patch" in right.verbs]
    assert "mine" in named


def test_without_cluster_policies_no_right_in_the_cluster_is_needed():
    rights = needed(DeliveryMode.NUDGE, cluster_policies=False)
    assert not [right for right in rights if right.scope is Scope.CLUSTER]
    assert ("promptrolloutpolicies", "watch") in verbs(DeliveryMode.NUDGE, cluster_policies=False)


async def test_with_all_rights_nothing_is_missing():
    account = Account(lambda question: False)
    assert await missing_permissions(account, needed(DeliveryMode.NUDGE)) == ()
    assert Question("patch", "promptrollout.dev", "promptrollouts/status") in account.asked


async def test_a_missing_right_is_told_with_its_reason_and_the_rule_to_add():
    account = Account(lambda question: (question.resource, question.verb) == ("pods", "patch"))
    (missing,) = await missing_permissions(account, needed(DeliveryMode.NUDGE))
    text = str(missing)
    assert "may not patch pods in all namespaces" in text
    assert "at once" in text
    assert "ClusterRole" in text
    assert yaml.safe_load(missing.rule()) == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]


async def test_verbs_on_one_resource_are_told_together():
    account = Account(lambda question: question.resource == "configmaps" and question.verb != "get")
    (missing,) = await missing_permissions(account, needed(DeliveryMode.MOUNT))
    assert missing.verbs == ("list", "watch", "create", "patch", "delete")


async def test_each_watched_namespace_is_asked_about_on_its_own():
    account = Account(lambda question: question.namespace == "b" and question.resource == "pods")
    missing = await missing_permissions(
        account, needed(DeliveryMode.NUDGE), namespaces=("a", "b"), own_namespace="operators"
    )
    assert {item.namespace for item in missing} == {"b"}
    assert all("in namespace b" in str(item) and " Role" in str(item) for item in missing)
    watched = {question.namespace for question in account.asked if question.resource == "configmaps"}
    assert watched == {"a", "b"}


async def test_the_lease_is_asked_about_in_the_operators_own_namespace_by_name():
    account = Account(lambda question: question.resource == "leases")
    missing = await missing_permissions(
        account,
        needed(DeliveryMode.MOUNT, lease="operator"),
        namespaces=("a",),
        own_namespace="operators",
    )
    assert {item.namespace for item in missing} == {"operators"}
    assert any("resourceNames: [operator]" in item.rule() for item in missing)
