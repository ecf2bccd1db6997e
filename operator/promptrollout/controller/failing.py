"""What people are told of a rollout whose turns fail; else only the operator's log would know."""

import asyncio
import contextlib
from typing import Final

from promptrollout.api.status import Phase, RolloutStatus
from promptrollout.cluster.errors import ClusterError, Fenced, Unavailable
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.heralding import Herald
from promptrollout.controller.logs import without_secrets
from promptrollout.controller.memory import Entry
from promptrollout.rollout import Note

#: In a row. A single one is as a rule over with the next turn, half a second later.
_TOLD_FROM: Final = 2
#: Seconds that writing the message may take: the next turn waits for it.
_WRITTEN_WITHIN_S: Final = 5.0


class Failures:
    """Counts the failed turns of each rollout, and says why they fail: an Event, and the message of the status."""

    def __init__(self, cluster: Cluster, herald: Herald) -> None:
        self._cluster = cluster
        self._herald = herald

    async def failed(self, entry: Entry, error: Exception) -> None:
        """A turn has raised this."""
        if isinstance(error, Fenced):  # whoever leads now turns the wheel
            return
        entry.failures += 1
        if entry.failures < _TOLD_FROM:
            return
        said = _in_words(error)
        if said != entry.trouble:
            entry.trouble = said
            self._herald.tell(entry.seen, Note("Warning", "TurnFailed", said))
        status = {"phase": Phase.PENDING.value, **entry.seen.status, **message_of(said)}
        with contextlib.suppress(ClusterError, TimeoutError):  # the log and the Event have it already
            async with asyncio.timeout(_WRITTEN_WITHIN_S):
                entry.wrote(await self._cluster.patch_status(entry.seen, status))

    @staticmethod
    def over(entry: Entry) -> bool:
        """A turn has gone well; whether the status still says otherwise."""
        said, entry.trouble, entry.failures = entry.trouble, "", 0
        return bool(said)


def message_of(said: str) -> dict[str, object]:
    """The field of the status, cut as the schema wants it."""
    return {"message": RolloutStatus(message=said).to_wire()["message"]}


def _in_words(error: Exception) -> str:
    what = without_secrets(str(error) or type(error).__name__)
    if isinstance(error, Unavailable):
        return f"stuck: {what}. It is tried again by itself"
    if isinstance(error, ClusterError):
        return (
            f"stuck: {what}. See why that is refused: a right of the operator's account, a quota, an admission policy; "
            "it is tried again by itself"
        )
    return (
        f"stuck: the operator itself fails on this rollout ({type(error).__name__}: {what}); what is served stays. "
        "Its log has the whole story: report it"
    )
