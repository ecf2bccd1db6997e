"""Selectors and ownership."""

import pytest

from promptrollout.cluster.objects import ConfigMapObject, LabelRequirement, LabelSelector, ObjectKey, Owner


def test_a_selector_is_written_as_the_api_reads_it():
    selector = LabelSelector(
        {"tier": "web", "app": "support"},
        (
            LabelRequirement("track", "NotIn", ("canary", "dev")),
            LabelRequirement("zone", "In", ("a",)),
            LabelRequirement("gpu", "Exists"),
            LabelRequirement("legacy", "DoesNotExist"),
        ),
    )
    assert selector.query() == "app=support,tier=web,track notin (canary,dev),zone in (a),gpu,!legacy"


def test_an_empty_selector_means_all():
    assert LabelSelector().query() == ""


@pytest.mark.parametrize(
    ("requirement", "complaint"),
    [
        (LabelRequirement("a", "In"), "needs at least one value"),
        (LabelRequirement("a", "Exists", ("b",)), "takes no values"),
        (LabelRequirement("a", "Gt", ("1",)), "none of In, NotIn"),
    ],
)
def test_a_requirement_that_means_nothing_is_refused_with_the_label(requirement, complaint):
    with pytest.raises(ValueError, match=complaint):
        LabelSelector(match_expressions=(requirement,)).query()


def test_the_child_of_a_deleted_namesake_is_not_taken_for_ours():
    owner = Owner("promptrollout.dev/v1alpha1", "PromptRollout", "support", uid="old")
    child = ConfigMapObject(ObjectKey("shop", "support-prompt"), "1", "7", {}, owners=(owner,))
    assert child.controlled_by("old")
    assert not child.controlled_by("new")


def test_an_owner_that_does_not_control_is_not_the_controller():
    bystander = Owner("v1", "ConfigMap", "x", uid="ours", controller=False)
    child = ConfigMapObject(ObjectKey("shop", "support-prompt"), "1", "7", {}, owners=(bystander,))
    assert child.controller is None
    assert not child.controlled_by("ours")
