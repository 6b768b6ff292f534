"""What can be done to a cluster that stands on a Cloud: each capability is a call of the Cloud's."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from chaos.cloud.client import CloudClient
from chaos.cluster import Gauges, Node, NodeProcess, RpcFaultsSeen
from chaos.clusters.rpc_logs import seen_in
from chaos.harm import (
    AnswerHarm,
    ConfigChange,
    DeviceFault,
    EndedProcess,
    EndingNode,
    FileLimit,
    FrozenNode,
    LaunchHarm,
    MemoryPressure,
    Role,
    RpcFault,
    StoppedProcesses,
    StoreFill,
)


class HarmsThroughCloud(ABC):
    """The capabilities that every kind of cluster on a Cloud has."""

    @property
    @abstractmethod
    def _cloud(self) -> CloudClient: ...

    @abstractmethod
    async def nodes(self) -> tuple[Node, ...]:
        """The Cloud's instances, head first."""

    @abstractmethod
    def _ray_logs(self) -> dict[str, list[Path]]: ...

    async def gauges(self, node: str) -> Gauges | None:
        """Read by the Cloud, where the node runs."""
        return await self._cloud.gauges(node)

    async def kill_node(self, node: str) -> None:
        """SIGKILL to all of a node."""
        await self._cloud.kill(node)

    async def restart_head(self) -> None:
        """SIGKILL to all of the head, which then starts again at its address."""
        await self._cloud.restart_head()

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Freezes a node."""
        await self._cloud.apply(FrozenNode(), node=node, effect_id=effect_id, lease_s=lease_s)

    async def press_memory(self, node: str, pressure: MemoryPressure, *, effect_id: str, lease_s: float) -> None:
        """Holds memory on a node."""
        await self._cloud.apply(pressure, node=node, effect_id=effect_id, lease_s=lease_s)

    async def limit_files(self, node: str, limit: FileLimit, *, effect_id: str, lease_s: float) -> None:
        """Lowers how many files a node's Ray processes may open."""
        await self._cloud.apply(limit, node=node, effect_id=effect_id, lease_s=lease_s)

    async def fill_store(self, node: str, fill: StoreFill, *, effect_id: str, lease_s: float) -> None:
        """Holds objects in a node's object store."""
        await self._cloud.apply(fill, node=node, effect_id=effect_id, lease_s=lease_s)

    async def fault_launches(self, fault: LaunchHarm, *, effect_id: str, lease_s: float) -> None:
        """Makes launches late, or fail."""
        await self._cloud.apply(fault, effect_id=effect_id, lease_s=lease_s)

    async def fault_devices(self, node: str, fault: DeviceFault, *, effect_id: str, lease_s: float) -> None:
        """Makes a node's GPUs fail."""
        await self._cloud.apply(fault, node=node, effect_id=effect_id, lease_s=lease_s)

    async def fault_answers(self, fault: AnswerHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Has Ray answered otherwise than it is."""
        await self._cloud.apply(fault, node=node, effect_id=effect_id, lease_s=lease_s)

    async def processes_of(self, node: str) -> tuple[NodeProcess, ...]:
        """The node's processes, as the Cloud's kernel shows them."""
        return await self._cloud.processes_of(node)

    async def kill_processes(self, node: str, processes: Sequence[NodeProcess]) -> None:
        """SIGKILL to single processes."""
        await self._cloud.kill_processes(node, processes)

    async def stop_processes(self, node: str, role: Role, *, effect_id: str, lease_s: float) -> None:
        """SIGSTOP to the processes of one role."""
        await self._cloud.apply(StoppedProcesses(role=role), node=node, effect_id=effect_id, lease_s=lease_s)

    async def end_process(self, node: str, end: EndedProcess, *, effect_id: str, lease_s: float) -> None:
        """Ends a process that its node does without."""
        await self._cloud.apply(end, node=node, effect_id=effect_id, lease_s=lease_s)

    async def prepare_notice(self) -> None:
        """Lets the Cloud load Ray's client."""
        await self._cloud.prepare_notice()

    async def give_notice(self, node: str, ending: EndingNode, *, effect_id: str, lease_s: float) -> None:
        """Tells a node of its end."""
        await self._cloud.apply(ending, node=node, effect_id=effect_id, lease_s=lease_s)

    async def restart_node(self, node: str) -> None:
        """Starts a node anew."""
        await self._cloud.restart(node)

    async def restart_raylet(self, node: str) -> None:
        """SIGKILL to a node's raylet, which then comes back."""
        await self._cloud.restart_raylet(node)

    async def change_configuration(self, change: ConfigChange, *, effect_id: str, lease_s: float) -> None:
        """Edits the autoscaler's configuration."""
        await self._cloud.apply(change, effect_id=effect_id, lease_s=lease_s)

    async def configuration_was_read(self) -> bool:
        """Whether anybody has read that configuration since its last edit."""
        return await self._cloud.configuration_was_read()

    async def fault_rpcs(self, fault: RpcFault, *, effect_id: str, lease_s: float) -> None:
        """Starts nodes with RPC faults."""
        await self._cloud.apply(fault, effect_id=effect_id, lease_s=lease_s)

    async def rpc_faults_seen(self, node: str) -> RpcFaultsSeen | None:
        """Read from the raylet's environment and the logs of its node."""
        found = next((item for item in await self.nodes() if item.node == node and item.state == "running"), None)
        if found is None:
            return None
        environment = await self._cloud.rpc_faults_of(node)
        logs = self._ray_logs().get(found.instance, [])
        return await asyncio.to_thread(seen_in, logs, environment)

    async def undo(self, effect_id: str) -> None:
        """Removes an effect."""
        await self._cloud.undo(effect_id)

    async def undo_all(self) -> tuple[str, ...]:
        """Removes every effect; returns the ids of those that were in force."""
        return await self._cloud.undo_all()
