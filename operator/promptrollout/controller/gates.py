"""Between decisions and the gates room: which runs are wanted."""

from promptrollout.api.spec import RolloutSpec
from promptrollout.controller.memory import Children, Entry
from promptrollout.gates import Run
from promptrollout.rollout import Decision
from promptrollout.rollout.payload import config_map_name


def runs_of(entry: Entry, spec: RolloutSpec, children: Children, decision: Decision) -> list[Run]:
    """What is to be run now."""
    key = entry.seen.key
    return [
        Run(
            key=key,
            owner=entry.seen.as_owner,
            request=request,
            config_map=config_map_name(key.name, spec),
            documents={
                short: children.documents[short]
                for short in (request.stable, *(revision for _, revision in request.arms))
                if short in children.documents
            },
        )
        for request in decision.gates or ()
    ]
