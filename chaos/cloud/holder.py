"""Harm that is a process of ours on the node: it holds memory, or room in the object store, as long as it lives.

What it is for stands on its command line. So a Cloud that was started again finds what its predecessor started, and
what nobody wants any more is seen.
"""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import psutil

from chaos.cloud.config import SPILL_DIRECTORY
from chaos.cloud.gauges import BALLAST, DISK_FILLER, STORE_FILLER
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of, kill_pending, signal_all
from chaos.cluster import Gauges
from chaos.errors import InjectionError
from chaos.harm import DiskFill, MemoryPressure, NodeHarm, StoreFill
from chaos.value import Value

PROGRAMS = (BALLAST, STORE_FILLER, DISK_FILLER)
_MEMORY_FLOOR_MB = 1024
_END_LIMIT_S = 5.0
_FROZEN_AFTER_S = 0.5
_POLL_S = 0.02
_NOT_KNOWN = "?"


@dataclass(frozen=True)
class Place:
    """How a driver runs programs on its nodes, and finds all processes of one; what they use; where the GCS is."""

    start: Callable[[Instance, Sequence[str]], Awaitable[None]]
    processes: Callable[[Instance], Awaitable[Collection[int]]]
    gauges: Callable[[Instance], Awaitable[Gauges | None]]
    gcs_address: Callable[[], str]


class Holder(ABC):
    """At most one process of a program on a node, for all harms of one kind together."""

    kinds: tuple[type[Value], ...]
    module: str

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: dict[str, str] = {}

    def started(self, handle: str) -> None:
        """On a node that has just been started nothing of ours runs."""
        self._held[handle] = ""

    def ended(self, handle: str) -> None:
        """The node is gone, and all processes on it."""
        self._held.pop(handle, None)

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a process has no peers
        """Ends the process that runs for something else, and starts the one that is wanted."""
        wanted = self.purpose(harms) if harms else ""
        if self._held.get(instance.handle, _NOT_KNOWN) == wanted:
            return
        self._held.pop(instance.handle, None)
        running = {pid: words[words.index(self.module) + 1] for pid, words in await self._running(instance)}
        await self._end([pid for pid, purpose in running.items() if purpose != wanted])
        if wanted and wanted not in running.values():
            await self._place.start(instance, ["-m", self.module, wanted, *await self.arguments(instance, harms)])
        self._held[instance.handle] = wanted

    @abstractmethod
    def purpose(self, harms: Sequence[NodeHarm]) -> str:
        """All of the harms in one word."""

    @abstractmethod
    async def arguments(self, instance: Instance, harms: Sequence[NodeHarm]) -> list[str]:
        """What else the program is told.

        Raises:
            InjectionError: it must not be started.
        """

    async def _running(self, instance: Instance) -> list[tuple[int, list[str]]]:
        """Its processes there, but for those of a frozen container that have yet to notice that they were ended."""
        found = [(pid, command_of(pid)) for pid in await self._place.processes(instance)]
        return [(pid, words) for pid, words in found if self.module in words[:-1] and not kill_pending(pid)]

    async def _end(self, pids: list[int]) -> None:
        """Returns once they are gone; those of a frozen container die when it is thawed, and are not waited for."""
        signal_all(pids, signal.SIGKILL)
        began_s = asyncio.get_running_loop().time()
        while left := [pid for pid in pids if self.module in command_of(pid)]:
            waited_s = asyncio.get_running_loop().time() - began_s
            if waited_s > _FROZEN_AFTER_S and all(kill_pending(pid) for pid in left):
                return
            if waited_s > _END_LIMIT_S:
                raise InjectionError(f"processes {left} of {self.module} do not die")
            await asyncio.sleep(_POLL_S)


class MemoryHolder(Holder):
    """Memory: the sum of what is asked in megabytes, or more where the node is to be filled further than that."""

    kinds: tuple[type[Value], ...] = (MemoryPressure,)
    module = BALLAST

    def purpose(self, harms: Sequence[NodeHarm]) -> str:
        """The sizes asked for."""
        mb, until_percent = _memory_asked(harms)
        return f"mb={mb},until_percent={until_percent:g}"

    async def arguments(self, instance: Instance, harms: Sequence[NodeHarm]) -> list[str]:
        """How many megabytes that is on this node now; never so much that the machine itself runs short.

        Raises:
            InjectionError: it would, or the node has no limit to fill a share of.
        """
        mb, until_percent = _memory_asked(harms)
        size_mb = float(mb)
        if until_percent:
            gauges = await self._place.gauges(instance)
            if gauges is None:
                raise InjectionError(f"node {instance.node} is gone")
            if gauges.memory_limit_mb is None:
                raise InjectionError(f"node {instance.node} has no memory limit to fill a share of; give `mb`")
            size_mb = max(size_mb, gauges.memory_limit_mb * until_percent / 100 - gauges.memory_mb)
        free_mb = psutil.virtual_memory().available / 2**20
        if free_mb - size_mb < _MEMORY_FLOOR_MB:
            raise InjectionError(
                f"{size_mb:.0f} MB on {instance.node} would leave this machine {free_mb - size_mb:.0f} MB of memory; "
                f"at least {_MEMORY_FLOOR_MB} must stay free: ask for less"
            )
        return [f"{size_mb:.0f}"]


class StoreHolder(Holder):
    """Room in the object store: the sum of the shares asked for, of which a store has no more than all."""

    kinds: tuple[type[Value], ...] = (StoreFill,)
    module = STORE_FILLER

    def purpose(self, harms: Sequence[NodeHarm]) -> str:
        """The share asked for."""
        return f"percent={_percent_asked(harms):g}"

    async def arguments(self, instance: Instance, harms: Sequence[NodeHarm]) -> list[str]:
        """The share, and how to reach the cluster as this node does."""
        return [f"{_percent_asked(harms):g}", self._place.gcs_address(), instance.address]


class DiskHolder(Holder):
    """Room on the disk objects are spilled to: the fullest that is asked for."""

    kinds: tuple[type[Value], ...] = (DiskFill,)
    module = DISK_FILLER

    def purpose(self, harms: Sequence[NodeHarm]) -> str:
        """How full."""
        return f"until_percent={_full_asked(harms):g}"

    async def arguments(self, instance: Instance, harms: Sequence[NodeHarm]) -> list[str]:
        """How full, and where that is.

        Raises:
            InjectionError: the node has no disk of its own, and the machine's is everybody's.
        """
        gauges = await self._place.gauges(instance)
        if gauges is None or gauges.disk_mb is None:
            raise InjectionError(
                f"node {instance.node} has no disk of its own to fill; give its node type a `disk_limit_mb`"
            )
        return [f"{_full_asked(harms):g}", SPILL_DIRECTORY]


def programs_seen(pids: Collection[int]) -> list[str]:
    """The programs of ours among a node's processes, in words."""
    return [
        f"{module.rpartition('.')[2]} process {pid}" for pid in pids for module in PROGRAMS if module in command_of(pid)
    ]


def _memory_asked(harms: Sequence[NodeHarm]) -> tuple[int, float]:
    asked = [harm for harm in harms if isinstance(harm, MemoryPressure)]
    return sum(harm.mb or 0 for harm in asked), max(harm.until_percent or 0.0 for harm in asked)


def _full_asked(harms: Sequence[NodeHarm]) -> float:
    return max(harm.until_percent for harm in harms if isinstance(harm, DiskFill))


def _percent_asked(harms: Sequence[NodeHarm]) -> float:
    return min(100.0, sum(harm.percent for harm in harms if isinstance(harm, StoreFill)))
