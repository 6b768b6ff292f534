"""Stops a node's processes by role with SIGSTOP, and lets them go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

from chaos.cloud.instances import Instance
from chaos.cloud.marks import signal_all
from chaos.cluster import NodeProcess
from chaos.harm import NodeHarm, StoppedProcesses
from chaos.value import Value

Look = Callable[[Instance], Awaitable[Sequence[NodeProcess]]]


class Stopper:
    """Keeps a node's processes of the wanted roles stopped, and no others; of one not known to move, all are let go.

    A freezer of the kernel's is another matter: what is stopped in a frozen container stays so when it is thawed.
    """

    kinds: tuple[type[Value], ...] = (StoppedProcesses,)

    def __init__(self, look: Look) -> None:
        self._look = look
        self._moving: set[str] = set()

    def started(self, handle: str) -> None:
        """A node that has just been started moves."""
        self._moving.add(handle)

    def disturbed(self, handle: str) -> None:
        """Somebody else stopped processes of the node: the next time all but the wanted ones are let go."""
        self._moving.discard(handle)

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- stopping has no peers
        """Stops what is to be stopped, and lets go of the rest."""
        roles = {harm.role for harm in harms if isinstance(harm, StoppedProcesses)}
        if not roles and instance.handle in self._moving:
            return
        processes = await self._look(instance)
        wanted = [process for process in processes if process.role in roles]
        others = [process for process in processes if process.role not in roles]
        # To all of them: a stop that a frozen process has yet to notice does not show, and is taken back all the same.
        await asyncio.to_thread(signal_all, [process.pid for process in others], signal.SIGCONT)
        await asyncio.to_thread(signal_all, [process.pid for process in wanted], signal.SIGSTOP)
        if roles:
            self._moving.discard(instance.handle)
        else:
            self._moving.add(instance.handle)
