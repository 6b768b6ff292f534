"""What takes resources from a container, and what it uses of them: through the engine, and by its processes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from docker.errors import NotFound

from chaos.cloud.config import CONTAINER_ROOT, CloudDirectory
from chaos.cloud.cpu_limit import PERIOD_US, CpuLimiter
from chaos.cloud.disk_limit import DiskLimiter
from chaos.cloud.driver import Enforcer
from chaos.cloud.gauges import container_gauges, groups_seen_by, members
from chaos.cloud.holder import Place
from chaos.cloud.instances import Instance
from chaos.cloud.node_resources import NodeResources
from chaos.cluster import Gauges
from chaos.cluster_spec import ClusterSpec
from chaos.errors import ClusterError, InjectionError

# dd(1) of a file that is on the disk when it ends, and what it says of that.
_WRITE = 'dd if=/dev/zero of="$0" bs=64k count="$1" conv=fsync 2>&1; rm -f "$0"'
_BLOCK_KIB = 64
_TIMED = re.compile(r"(\d+) bytes .* copied, ([0-9.e+-]+) s,")
_LEAST_S = 1e-6

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class ContainerResources:
    """The enforcers of nodes that are containers.

    `in_thread` runs blocking work with the engine; `first_of` knows a living container's first process.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        directory: CloudDirectory,
        engine: Any,
        *,
        in_thread: InThread,
        first_of: Callable[[Instance], Awaitable[int | None]],
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._in_thread = in_thread
        self._first_of = first_of
        self._cpus = CpuLimiter(self._usual_cores, self._set_quota)
        self._disks = DiskLimiter(first_of)
        self._shared = NodeResources(
            directory, Place(self._run_program, self._processes, self.gauges, directory.gcs_address)
        )

    @property
    def enforcers(self) -> tuple[Enforcer, ...]:
        """Each for its own kind of harm."""
        return (self._cpus, self._disks, *self._shared.enforcers)

    def started(self, instance: Instance) -> None:
        """A node that has just been started is untouched."""
        self._cpus.started(instance)
        self._disks.started(instance.handle)
        self._shared.started(instance.handle)

    def ended(self, handle: str) -> None:
        """The node is gone."""
        self._cpus.ended(handle)
        self._disks.ended(handle)
        self._shared.ended(handle)

    async def gauges(self, instance: Instance) -> Gauges | None:
        """Read from the container's control groups; None when it is gone."""
        first = await self._first_of(instance)
        return None if first is None else await asyncio.to_thread(container_gauges, first)

    async def seen(self, instance: Instance) -> list[str]:
        """What shows on the node, in words."""
        first, gauges = await self._first_of(instance), await self.gauges(instance)
        if first is None or gauges is None:
            return []
        limits = (*self._cpus.seen(instance, gauges), *await asyncio.to_thread(self._disks.seen, first))
        lowered = [f"{instance.node}: {thing}" for thing in limits]
        return lowered + self._shared.seen(instance, await self._processes(instance), first=first)

    async def measure_disk(self, instance: Instance, *, transfer_kib: int) -> float | None:
        """Timed by a program in the container, so that the container's limits hold for it; None when it is gone."""
        file = f"{CONTAINER_ROOT}/nodes/{instance.instance}/.disk-probe"
        command = ["sh", "-c", _WRITE, file, str(max(1, transfer_kib // _BLOCK_KIB))]

        def run() -> str:
            made = self._engine.api.exec_create(instance.handle, command, environment={"LC_ALL": "C"})
            return str(self._engine.api.exec_start(made["Id"]).decode(errors="replace"))

        try:
            said = await self._in_thread(run)
        except NotFound:
            return None
        except ClusterError as error:
            raise InjectionError(str(error)) from error
        timed = _TIMED.search(said)
        if timed is None:
            raise InjectionError(f"the disk of node {instance.node} could not be measured: {said.strip()}")
        return int(timed[1]) / 1e6 / max(float(timed[2]), _LEAST_S)

    async def _processes(self, instance: Instance) -> tuple[int, ...]:
        first = await self._first_of(instance)
        return () if first is None else members(groups_seen_by(first))

    async def _run_program(self, instance: Instance, arguments: Sequence[str]) -> None:
        """Runs a Python program in the container, which it ends with; what it writes is kept beside the node's logs."""
        log = f"{CONTAINER_ROOT}/nodes/{instance.instance}/{arguments[1]}.log"
        command = ["sh", "-c", 'exec python "$@" >>"$0" 2>&1', log, *arguments]

        def run() -> None:
            made = self._engine.api.exec_create(instance.handle, command)
            self._engine.api.exec_start(made["Id"], detach=True)

        if not await self._told(run):
            raise InjectionError(f"node {instance.node} is gone")

    def _usual_cores(self, instance: Instance) -> float | None:
        node_type = self._spec.node_types.get(instance.node_type)
        return None if node_type is None else node_type.cpu_limit

    async def _set_quota(self, instance: Instance, microseconds: int) -> bool:
        """Limits the container's CPU time a period; false when it is gone."""
        return await self._first_of(instance) is not None and await self._told(
            lambda: self._engine.api.update_container(instance.handle, cpu_period=PERIOD_US, cpu_quota=microseconds)
        )

    async def _told(self, work: Callable[[], object]) -> bool:
        """Whether the engine knew the container it was told about.

        Raises:
            InjectionError: it refused.
        """
        try:
            await self._in_thread(work)
        except NotFound:
            return False
        except ClusterError as error:
            raise InjectionError(str(error)) from error
        return True
