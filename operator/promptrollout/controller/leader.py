"""Whether this process may work: always, or for as long as it holds the Lease."""

import asyncio
from typing import Final
from uuid import uuid4

from promptrollout.cluster.lease import LeaderElection, LeaseStore
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.settings import Settings

_FOR_EVER: Final = float("inf")


class Leader:
    """One replica among others, or the only one. Losing the Lease ends the process: see `cluster.lease`."""

    def __init__(self, election: LeaderElection | None) -> None:
        """Without an election this process always leads."""
        self._election = election
        self._acquired = election is None

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self._election is None or self._election.leading

    @property
    def problem(self) -> str:
        """Why a process that has led does not any more; empty if all is well, standing by included."""
        if not self._acquired or self.leading:
            return ""
        return "the lease was not renewed in time"

    async def acquire(self) -> None:
        """Wait until this process leads."""
        if self._election is not None:
            await self._election.acquire()
        self._acquired = True

    async def hold(self) -> None:
        """Lead until cancelled, renewing the Lease."""
        if self._election is None:
            await asyncio.sleep(_FOR_EVER)
        else:
            await self._election.hold()

    async def release(self) -> None:
        """Let another lead at once; when nothing will be written any more, and `hold` is cancelled."""
        if self._election is not None and self._acquired:
            self._acquired = False
            await self._election.release()


def leader(settings: Settings, leases: LeaseStore, instance: str) -> Leader:
    """As the settings want it; `instance` is the pod's name, told apart from its own restarts by a random part."""
    if not settings.leader_election:
        return Leader(None)
    key = ObjectKey(settings.lease_namespace, settings.lease_name)
    return Leader(LeaderElection(leases, key, f"{instance}_{uuid4().hex[:8]}"))
