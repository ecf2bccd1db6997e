"""A rollout in a file, understood: with its policy from a file, or from the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NoReturn

import typer

from promptrollout.api.merging import Merged, PolicyRules, merge, policy_problems
from promptrollout.api.parse import parse_spec
from promptrollout.api.problem import Problem
from promptrollout.api.spec import PolicyKind, RolloutSpec
from promptrollout.cli.access import Cluster, Where, run
from promptrollout.cli.printing import CliError, fail, load_documents
from promptrollout.cluster.objects import PolicyKey
from promptrollout.cluster.values import mapping_at, number_at, text_at
from promptrollout.rollout.strategies import strategy_of
from promptrollout.sources.planning import Planned, plan_of

File = Annotated[str, typer.Option("-f", "--filename", help="A PromptRollout as YAML; - is standard input.")]
PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="The policy that the rollout names; default: from the same file, else from the cluster.",
    ),
]

_ROLLOUT = "PromptRollout"


@dataclass(frozen=True)
class Wanted:
    """A rollout in a file, understood.

    `spec` is merged with its policy's `rules`, if it names one; `document` is as it was written. `shadowed` is what is
    compared in a shadow, if it begins with one.
    """

    name: str
    namespace: str
    spec: RolloutSpec
    planned: Planned
    document: Mapping[str, object] = field(default_factory=dict)
    rules: PolicyRules | None = None
    shadowed: Planned | None = None


def load_rollout(file: str, policy: str | None = None, where: Where | None = None) -> Wanted:
    """The PromptRollout in a file; CliError with all that is wrong with it.

    Args:
        file: its name, `-` for standard input.
        policy: the file with its policy; None: the same file, or the cluster.
        where: the cluster.
    """
    documents = load_documents(file)
    found = [one for one in documents if one.get("kind") == _ROLLOUT]
    if len(found) != 1:
        fail(f"{file} holds {len(found) or 'no'} PromptRollout{'s' if len(found) > 1 else ''}; one is wanted")
    metadata, raw = mapping_at(found[0], "metadata"), mapping_at(found[0], "spec")
    key = _policy_key(raw, text_at(metadata, "namespace"))
    rules = _rules(key, documents, policy, where or Where()) if key else None
    if policy and key is None:
        fail(f"{file}: spec.policyRef names no policy, and --policy is given; add it, or leave --policy out")
    merged = merge(raw, rules) if rules else None
    if rules and merged and (wrong := (*policy_problems(rules), *merged.lock_problems)):
        _refuse(file, wrong)
    spec = parse_spec(merged.spec if merged else found[0].get("spec"))
    if not isinstance(spec, RolloutSpec):
        _refuse(file, spec, merged)
    rivals = strategy_of(spec.strategy).rivals
    planned = plan_of(spec.analysis, rivals)
    if not isinstance(planned, Planned):
        _refuse(file, planned, merged)
    shadowed = plan_of(spec.analysis, shadow=True) if spec.strategy.shadow else None
    namespace = text_at(metadata, "namespace") or "default"
    name = text_at(metadata, "name")
    in_shadow = shadowed if isinstance(shadowed, Planned) else None
    return Wanted(name, namespace, spec, planned, found[0], rules, in_shadow)


def _refuse(file: str, problems: Sequence[Problem], merged: Merged | None = None) -> NoReturn:
    told = [merged.attributed(problem) for problem in problems] if merged else problems
    fail(f"{file}: " + "; ".join(str(problem) for problem in told))


def _policy_key(spec: Mapping[str, object], namespace: str) -> PolicyKey | None:
    ref = mapping_at(spec, "policyRef")
    kind, name = text_at(ref, "kind") or PolicyKind.NAMESPACED.value, text_at(ref, "name")
    if not name or kind not in set(PolicyKind):
        return None
    return PolicyKey(kind, "" if kind == PolicyKind.CLUSTER else namespace, name)


def _rules(
    key: PolicyKey, documents: Sequence[Mapping[str, object]], file: str | None, where: Where
) -> PolicyRules:
    """From --policy; else from the rollout's own file; else from the cluster."""
    near = load_documents(file) if file else documents
    for one in near:
        metadata = mapping_at(one, "metadata")
        if (one.get("kind"), text_at(metadata, "name")) == (key.kind, key.name):
            return PolicyRules(key.kind, key.name, mapping_at(one, "spec"))
    if file:
        fail(f"{file} holds no {key}, which the rollout names in spec.policyRef")
    try:
        return run(where, lambda cluster: _from_cluster(cluster, key))
    except CliError as error:
        raise CliError(
            f"{key} is not in the file and cannot be read: {error}; or give --policy FILE"
        ) from None


async def _from_cluster(cluster: Cluster, key: PolicyKey) -> PolicyRules:
    found = await cluster.policy(key)
    metadata = mapping_at(found, "metadata")
    uid, generation = text_at(metadata, "uid"), number_at(metadata, "generation")
    return PolicyRules(key.kind, key.name, mapping_at(found, "spec"), uid, generation)
