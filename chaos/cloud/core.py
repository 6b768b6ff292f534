"""The Cloud itself, without HTTP: instances that come and go, harm under leases, and the cluster's own lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import structlog

from chaos.clock import monotonic_s
from chaos.cloud.answers import Answers, Deviations
from chaos.cloud.config import CloudConfig
from chaos.cloud.configuring import ConfigurationFile, Configuring
from chaos.cloud.driver import NodeDriver, NodeLaunch, Sampling
from chaos.cloud.harming import Harming
from chaos.cloud.instances import ActiveEffect, Instance, StateFile
from chaos.cloud.journal import Journal
from chaos.cloud.launching import LaunchFor, Launching, Placed
from chaos.cloud.ledger import Ledger
from chaos.cloud.node_processes import EndProcesses, NodeProcesses, end_all
from chaos.cloud.rpc_faults import carried, environment_for
from chaos.cluster import Gauges, NetworkView, PathMeasurement, PathSample
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.harm import CloudHarm, NodeHarm, RpcFault


class Cloud:
    """Instances of one cluster, the leases of harm done to them, and of the cluster itself."""

    def __init__(
        self,
        config: CloudConfig,
        driver: NodeDriver,
        *,
        state: StateFile,
        journal: Journal,
        launch_for: LaunchFor,
        configuration: ConfigurationFile,
        end_processes: EndProcesses = end_all,
        placed: Placed | None = None,
        rpc_faults: Callable[[str], dict[str, dict[str, str]]] = carried,
    ) -> None:
        self._driver = driver
        self._carried = rpc_faults
        self._mark = config.mark
        self.ledger = Ledger(state)
        self.journal = journal
        self.deviations = Deviations(journal)
        self.answers = Answers(self.ledger, self.deviations)
        self._configuring = Configuring(config.spec, self.ledger, journal, configuration)
        self._harming = Harming(self.ledger, driver, enforcers=(self._configuring,), lifted=self._lifted)
        self.processes = NodeProcesses(self.ledger, driver, end=end_processes)
        self.launching = Launching(
            lambda: self.spec.node_types,
            self.ledger,
            driver,
            self._harming,
            journal,
            self.deviations,
            launch_for=self._with_rpc_faults(launch_for),
            spawn=self._spawn,
            placed=placed,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        lease_s = config.first_lease_s
        self._owner_until_s = None if lease_s is None else monotonic_s() + lease_s
        self._log = structlog.get_logger("cloud")

    # -- instances ------------------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """All instances that are not terminated, the head first."""
        return self.ledger.instances()

    @property
    def spec(self) -> ClusterSpec:
        """The cluster as the changes of its configuration in force make it."""
        return self._configuring.spec

    def configuration_was_read(self) -> bool:
        """Whether the autoscaler's configuration has been read since it was last edited."""
        return self._configuring.was_read()

    def view(self, instance: Instance) -> Literal["pending", "running", "paused", "stopping"]:
        """The instance's state as a reader of the history knows it."""
        if instance.state == "running" and self._harming.frozen(instance.instance):
            return "paused"
        return instance.state if instance.state != "terminated" else "stopping"

    async def resume(self) -> None:
        """Goes on where an earlier Cloud of this cluster stopped: boots what was pending, keeps leases."""
        self.launching.resume()
        self._spawn(self.launching.watch())
        self._spawn(self._harming.expire())
        self._spawn(self._harming.follow())

    async def start_head(self) -> Instance:
        """Adopts or starts the head."""
        return await self.launching.start_head()

    async def restart_head(self) -> None:
        """Ends the head at once and starts it again at its address.

        Raises:
            InjectionError: it had ended by itself.
            ClusterError: it did not start again.
        """
        await self.launching.restart_head()

    async def launch(self, node_type: str, count: int, tags: dict[str, str]) -> list[Instance]:
        """Accepts a launch of `count` instances; they boot later.

        Raises:
            LaunchRefused: some or all were refused; those that were not are launched.
        """
        return self.launching.launch(node_type, count, tags)

    async def terminate(self, instance_id: str) -> None:
        """Ends an instance; of one that is gone or unknown, nothing is left to end."""
        self.launching.terminate(instance_id)

    def tag(self, instance_id: str, tags: dict[str, str]) -> None:
        """Adds tags to an instance."""
        self.launching.tag(instance_id, tags)

    def renumber(self) -> None:
        """Numbers the living workers from `w1` in launch order; the next launch continues there."""
        self.ledger.renumber()
        self._harming.forget()

    # -- harm -----------------------------------------------------------------------------------------------

    async def kill(self, node: str) -> None:
        """Ends a node at once.

        Raises:
            InjectionError: no such live node, or it had ended by itself.
        """
        await self._harming.kill(node)

    async def restart(self, node: str) -> None:
        """Ends all of a node at once, and starts it anew as the same instance.

        Raises:
            InjectionError: no such live node, or it is the head.
        """
        await self.launching.restart(node)

    async def prepare_notice(self) -> None:
        """Makes ready what the next drain notice takes."""
        await self._driver.prepare_notice()

    async def restart_raylet(self, node: str) -> None:
        """SIGKILL to a node's raylet, after which Ray is started again on the node.

        Raises:
            InjectionError: no such live node, it stands still or is ending, it is the head, or its raylet has ended.
        """
        instance = self.ledger.live(node).instance
        if self._harming.frozen(instance):
            raise InjectionError(f"node {node!r} is paused: nothing starts there")
        if self._harming.ending(instance):
            raise InjectionError(f"node {node!r} has been told that it will end: nothing starts there again")
        await self.processes.restart_raylet(node)

    async def apply(self, effect_id: str, harm: NodeHarm | CloudHarm, *, lease_s: float, node: str = "") -> None:
        """Puts lasting harm in force until undone or the lease ends; it is on disk before it is done.

        Raises:
            InjectionError: no such live node, the id is in use, or nodes of this kind cannot be harmed so.
        """
        await self._harming.apply(effect_id, harm, lease_s=lease_s, node=node)

    async def undo(self, effect_id: str) -> None:
        """Removes harm; other harm on the same node stays in force."""
        await self._harming.undo(effect_id)

    def effects(self) -> list[ActiveEffect]:
        """The harm in force."""
        return self.ledger.effects()

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path between two nodes."""
        return await self._harming.measure_path(source, destination, transfer_kib=transfer_kib)

    async def gauges(self, node: str) -> Gauges | None:
        """What a node uses of its resources; None where it does not run."""
        return await self._harming.gauges(node)

    async def measure_disk(self, node: str, *, transfer_kib: int) -> float | None:
        """How fast a node writes to its disk, in megabytes a second; None where it does not run."""
        return await self._harming.measure_disk(node, transfer_kib=transfer_kib)

    async def sample_path(self, source: str, destination: str, how: Sampling) -> PathSample:
        """Counts packets that are sent one way along a path."""
        return await self._harming.sample_path(source, destination, how)

    async def view_network(self, node: str) -> NetworkView:
        """What a node's kernel shows of its network."""
        return await self._harming.view_network(node)

    async def harm_seen(self) -> tuple[str, ...]:
        """What still shows of harm, and of what should have ended, whatever we believe to be in force."""
        seen = await self._driver.harm_seen(self.ledger.instances)
        faulty = await asyncio.to_thread(self._carried, self._mark)
        own = self.spec.ray_environment.items()
        still = [item.node for item in self.ledger.running() if faulty.get(item.instance, {}).items() - own]
        return (*seen, *(f"{node}: started with RPC faults" for node in still))

    async def rpc_faults_of(self, node: str) -> dict[str, str]:
        """The RPC faults a node's raylet was started with, as Ray takes them: variables of its environment.

        Raises:
            InjectionError: no such live node.
        """
        instance = self.ledger.live(node).instance
        return (await asyncio.to_thread(self._carried, self._mark)).get(instance, {})

    # -- the cluster's own lease ----------------------------------------------------------------------------

    def renew_owner(self, ttl_s: float) -> None:
        """The cluster lives at least this much longer; without renewal it is torn down."""
        self._owner_until_s = monotonic_s() + ttl_s

    def keep(self) -> None:
        """The cluster lives until it is told to end."""
        self.ledger.keep()

    @property
    def kept(self) -> bool:
        """Whether the cluster outlives its starter."""
        return self.ledger.kept

    def orphaned(self) -> bool:
        """Whether the owner let its lease end."""
        return not self.kept and self._owner_until_s is not None and monotonic_s() > self._owner_until_s

    async def tear_down(self) -> None:
        """Ends every node and all harm."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for instance in self.ledger.running():
            await self._harming.release(instance)
        await self._driver.tear_down()
        self.ledger.clear()

    # -- inside ---------------------------------------------------------------------------------------------

    def _lifted(self, effect: ActiveEffect) -> None:
        self.launching.lifted(effect)
        self.deviations.settle(effect.effect_id)

    def _with_rpc_faults(self, launch_for: LaunchFor) -> LaunchFor:
        """Workers start with the RPC faults that are in force at that moment."""

        async def launch_with(instance: Instance) -> NodeLaunch:
            launch = await launch_for(instance)
            faults = [effect.harm for effect in self.ledger.effects() if isinstance(effect.harm, RpcFault)]
            if instance.instance == "head" or not faults:
                return launch
            return launch.model_copy(update={"environment": launch.environment | environment_for(faults)})

        return launch_with

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a task of the Cloud failed", error=repr(error), exc_info=error)
