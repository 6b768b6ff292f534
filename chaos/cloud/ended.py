"""Ends a process of Ray's while its node goes on, and starts it again as it was."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from chaos.cloud.config import CloudDirectory, write_durably
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of, environment_of, signal_all
from chaos.cloud.stopping import Look
from chaos.cluster import NodeProcess
from chaos.errors import InjectionError
from chaos.harm import EndedProcess, NodeHarm
from chaos.value import Value

Revive = Callable[[Instance, Sequence[str], Mapping[str, str]], Awaitable[None]]


class _Remembered(Value):
    """Which process was ended, and how it had been started."""

    process: NodeProcess
    argv: tuple[str, ...]
    environment: dict[str, str]


class Reviver:
    """Ends the processes that are to be dead, and starts them again once they need not be.

    They are ended by SIGTERM: `ray start --block` takes that for an orderly end, and after any other it ends all the
    rest of its node. How each was started is on disk before it ends, for a Cloud that is started again meanwhile.
    """

    kinds: tuple[type[Value], ...] = (EndedProcess,)

    def __init__(self, directory: CloudDirectory, look: Look, revive: Revive) -> None:
        self._directory = directory
        self._look = look
        self._revive = revive

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- ending has no peers
        """Ends what is to be dead, and starts what no longer is."""
        ends = [harm for harm in harms if isinstance(harm, EndedProcess)]
        for end in ends:
            await self._end(instance, end)
        wanted_dead = {str(end.role) for end in ends}
        for file in self._files(instance.instance):
            if _role_in(file) not in wanted_dead:
                await self._start_again(instance, file)
                file.unlink()

    def owed(self, instances: Collection[str]) -> tuple[str, ...]:
        """The processes of these instances that are yet to be started again, in words."""
        return tuple(
            f"{instance}: its {_role_in(file)} is yet to be started again"
            for instance in sorted(instances)
            for file in self._files(instance)
        )

    async def _start_again(self, instance: Instance, file: Path) -> None:
        """Starts what a file remembers, unless it was started since, or the node itself has ended."""
        remembered = await asyncio.to_thread(_read, file)
        ended, living = remembered.process, await self._look(instance)
        # One that is still about to end is none that was started since.
        if living and not any(item.role == ended.role and not _same(item, ended) for item in living):
            await self._revive(instance, remembered.argv, remembered.environment)

    async def _end(self, instance: Instance, end: EndedProcess) -> None:
        for process in await self._look(instance):
            if process.role != end.role:
                continue
            if end.restart:
                await asyncio.to_thread(self._remember, instance, process)
            # A stopped process takes the signal once it goes on.
            signal_all([process.pid], signal.SIGTERM)
            signal_all([process.pid], signal.SIGCONT)

    def _remember(self, instance: Instance, process: NodeProcess) -> None:
        argv, environment = command_of(process.pid), environment_of(process.pid)
        if not argv or not environment:
            raise InjectionError(f"how the {process.role} of node {instance.node} was started cannot be read")
        file = self._directory.state / f"ended-{instance.instance}.{process.role}.json"
        remembered = _Remembered(process=process, argv=tuple(argv), environment=environment)
        write_durably(file, remembered.model_dump_json())

    def _files(self, instance: str) -> list[Path]:
        return sorted(self._directory.state.glob(f"ended-{instance}.*.json"))


def _read(file: Path) -> _Remembered:
    return _Remembered.model_validate_json(file.read_text())


def _same(one: NodeProcess, other: NodeProcess) -> bool:
    return (one.pid, one.started_ticks) == (other.pid, other.started_ticks)


def _role_in(file: Path) -> str:
    """The role a file's name tells: `ended-INSTANCE.ROLE.json`."""
    return file.stem.rpartition(".")[2]
