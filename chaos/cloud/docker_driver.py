"""Nodes as containers of a Compose project, made through the Docker socket from inside the Cloud's own container.

A worker is a container of the project's service `worker`: same image, network and mount as the Cloud. It is started,
stopped, frozen and removed through the engine; it is killed, seen to end, and its network shaped, through the host's
`/proc`, which the Cloud's container sees: that takes milliseconds where the engine takes a tenth of a second, and
loads it not at all. The handle is the container's id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import APIError, NotFound

from chaos.cloud.bootstrap import make_node_directory
from chaos.cloud.clocks import Clocks
from chaos.cloud.config import CONTAINER_ROOT, CloudConfig, CloudDirectory
from chaos.cloud.container_resources import ContainerResources
from chaos.cloud.container_starts import start_again, start_in
from chaos.cloud.containers import (
    INSTANCE_LABEL,
    MARK_LABEL,
    PROJECT_LABEL,
    Container,
    containers_of,
    engine,
    engine_errors,
    remove_cluster,
    remove_containers,
)
from chaos.cloud.device_faults import DeviceFaults
from chaos.cloud.driver import CLOUD, Enforcer, Freezer, NodeLaunch, Sampling, obey_all
from chaos.cloud.ended import Reviver
from chaos.cloud.instances import Instance
from chaos.cloud.marks import programs, signal_all
from chaos.cloud.namespaces import network_of
from chaos.cloud.network import NetworkShaper
from chaos.cloud.networks import Networks, connections_of
from chaos.cloud.node_process import AGAIN, NOT_AGAIN, start_ticks
from chaos.cloud.node_processes import in_namespace_of, look_at
from chaos.cloud.notices import Notices
from chaos.cloud.packets import Wanted
from chaos.cloud.path_probe import measure
from chaos.cloud.path_sample import sample
from chaos.cloud.stopping import Stopper
from chaos.cloud.worker_container import WORKER, OwnContainer, WorkerContainers
from chaos.cluster import Gauges, NetworkView, NodeProcess, PathMeasurement, PathSample
from chaos.errors import ClusterError, InjectionError
from chaos.harm import NodeHarm
from chaos.value import Value

HEAD = "head"

_POLL_S = 0.1
_CALLS_AT_ONCE = 24
_LOG_LINES = 2000

T = TypeVar("T")


class _Kernel:
    """A container's first process as the host's kernel knows it; its start time tells it from a later namesake."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ticks = start_ticks(pid) if pid else None

    def has_network(self) -> bool:
        """Whether it is still in a network namespace."""
        return Path(network_of(self.pid)).exists()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._ticks is not None and start_ticks(self.pid) == self._ticks


class DockerDriver:
    """Runs the workers of one Compose project, and adopts its head."""

    def __init__(self, config: CloudConfig, directory: CloudDirectory) -> None:
        self._config = config
        self._directory = directory
        self._engine = engine()
        self._pool = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="engine")
        self._in_flight: set[Future[Any]] = set()
        self._closing = False
        self._kernel: dict[str, _Kernel] = {}
        self._frozen: set[str] = set()
        self._shaper = NetworkShaper()
        self._device_faults = DeviceFaults(directory, root_on_nodes=CONTAINER_ROOT)
        self._clocks = Clocks(directory, self.processes, root_on_nodes=CONTAINER_ROOT)
        self._stopper, self._notices = Stopper(self.processes), Notices(directory, self.processes)
        self._reviver = Reviver(directory, self.processes, self._revive)
        self._resources = ContainerResources(
            config.spec, directory, self._engine, in_thread=self._call, first_of=self._first_of
        )
        self._freezer = Freezer(self._pause, self._resume)
        self._networks = Networks(self._shaper, self._kernel_of)
        self._enforcers: tuple[Enforcer, ...] = (
            self._device_faults,
            self._clocks,
            self._networks,
            *self._resources.enforcers,
            self._freezer,
            self._stopper,
            self._reviver,
            self._notices,
        )
        with engine_errors():
            self._own = OwnContainer(self._engine)
        self._workers = WorkerContainers(self._own, self._engine, cluster=config.cluster, mark=config.mark)
        make_node_directory(directory, HEAD)

    # -- nodes ----------------------------------------------------------------------------------------------

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """Runs a worker's container; goes on with the one that an earlier Cloud made for the same instance."""
        return await self._call(lambda: self._start(instance, launch))

    async def adopt_head(self) -> Instance:
        """The container of the Compose service `head`, as soon as it runs.

        Raises:
            ClusterError: there is none within the cluster's start limit.
        """
        deadline_s = asyncio.get_running_loop().time() + self._config.spec.start_limit_s
        while asyncio.get_running_loop().time() < deadline_s:
            for container in await self._call(lambda: self._members(HEAD)):
                found = await self._call(partial(self._inspect, container.id))
                if found is not None and found["State"]["Running"]:
                    address = await self._call(partial(self._learn, found))
                    blank = Instance(instance="head", node="head", node_type="head", state="running")
                    return blank.model_copy(update={"handle": container.id, "address": address})
            await asyncio.sleep(_POLL_S)
        raise ClusterError(f"service {HEAD!r} of the Compose project did not start")

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:  # noqa: ARG002 -- the head asks for it
        """Starts the container again, which then asks how Ray is to be started."""
        self._forget(head.handle)
        found = await self._call(lambda: start_again(self._engine, head.handle))
        address = await self._call(partial(self._learn, found))
        if address != head.address:
            raise ClusterError(f"the head came back at {address}, its nodes know it at {head.address}")
        return head

    async def stop(self, instance: Instance, *, limit_s: float) -> None:
        """SIGTERM, SIGKILL after `limit_s`, and removal; what the container wrote is kept in the node's directory."""
        kernel = self._kernel.get(instance.handle)
        handle = instance.handle or await self._call(lambda: self._made_for(instance))
        if handle:
            await self._call(lambda: self._stop(handle, limit_s if kernel is None or kernel.alive() else 0.0))
        self._workers.ended(instance)
        self._forget(instance.handle)

    async def kill(self, instance: Instance) -> bool:
        """SIGKILL to the container's first process: the kernel ends all others of its process namespace with it."""
        kernel = await self._kernel_of(instance)
        ran = kernel is not None and kernel.alive()
        if kernel is not None and ran:
            try:
                os.kill(kernel.pid, signal.SIGKILL)
            except ProcessLookupError:
                ran = False
        # A frozen container dies when it is thawed, before it runs another instruction.
        await self._resume(instance)
        return ran

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:  # noqa: ARG002 -- the container knows
        """SIGKILL to all of the container, which is then started again as it is."""
        await self.kill(instance)
        self._forget(instance.handle)
        found = await self._call(lambda: start_again(self._engine, instance.handle))
        return instance.model_copy(update={"address": await self._call(partial(self._learn, found))})

    async def prepare_notice(self) -> None:
        """A process that has Ray's client loaded."""
        await self._notices.prepare()

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        """A signal to the container's init process, which hands it on to the wrapper."""
        kernel = await self._kernel_of(instance)
        if kernel is None or not kernel.alive():
            raise InjectionError(f"node {instance.node} is gone")
        signal_all([kernel.pid], AGAIN if wanted else NOT_AGAIN)

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        """What shares the container's process namespace."""
        kernel = await self._kernel_of(instance)
        if kernel is None or not kernel.alive():
            return ()
        return await asyncio.to_thread(lambda: look_at(in_namespace_of(kernel.pid)))

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Nodes whose first process has ended."""
        ended = set()
        for instance in instances:
            kernel = await self._kernel_of(instance)
            if kernel is None or not kernel.alive():
                ended.add(instance.instance)
        return ended

    def refuses(self, harm: NodeHarm) -> str:  # noqa: ARG002 -- containers can be harmed in every way there is
        """Nothing."""
        return ""

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],
        changed: type[Value] | None = None,
    ) -> None:
        """Hands each enforcer what is its."""
        await obey_all(self._enforcers, instance, harms, addresses=addresses, changed=changed)

    async def tear_down(self) -> None:
        """Removes every worker of this cluster, and whatever we did to the head's network."""
        await self._notices.close()
        self._closing = True
        # A start whose caller was cancelled goes on in its thread; what it makes must be there to be found.
        await asyncio.to_thread(wait_for_futures, set(self._in_flight))
        with engine_errors():
            workers = await asyncio.to_thread(self._members, WORKER)
            await asyncio.to_thread(lambda: list(self._pool.map(self._keep_log, [item.id for item in workers])))
            await asyncio.to_thread(remove_containers, self._engine, workers)
        await self._networks.settle()
        for handle, kernel in self._kernel.items():
            if kernel.alive() and handle not in {worker.id for worker in workers}:
                await self._shaper.shape(kernel.pid, Wanted())

    async def remove_cluster(self) -> None:
        """Removes what is left of the project, and at last this container itself: nothing stays behind."""
        with engine_errors():
            await asyncio.to_thread(self._remove_cluster)

    # -- networks -------------------------------------------------------------------------------------------

    async def measure_path(self, source: Instance, destination: Instance, *, transfer_kib: int) -> PathMeasurement:
        """Measured by sockets inside both nodes' networks; of a node that is gone, nothing is reachable."""
        measured = await self._along(
            source, destination, lambda near, far: measure(near, far, destination.address, transfer_kib=transfer_kib)
        )
        return measured or PathMeasurement(reachable=False)

    async def sample_path(self, source: Instance, destination: Instance, how: Sampling) -> PathSample:
        """Sampled by sockets inside both nodes' networks; at a node that is gone, nothing arrives."""
        sampled = await self._along(
            source, destination, lambda near, far: sample(near, far, destination.address, **how.model_dump())
        )
        return sampled or PathSample(sent=how.packets, arrived=0)

    async def view_network(self, instance: Instance, *, addresses: Mapping[str, str]) -> NetworkView:
        """What shows in the node's kernel; nothing of a node that is gone, or goes while it is looked at."""
        kernel = await self._kernel_of(instance)
        if kernel is None or not kernel.alive():
            return NetworkView()
        try:
            means = (await self._shaper.look(kernel.pid)).means
            return NetworkView(means=means, connections=await asyncio.to_thread(connections_of, kernel.pid, addresses))
        except (InjectionError, OSError) as error:
            if kernel.alive():
                raise InjectionError(f"the network of {instance.node} cannot be looked at: {error}") from error
            return NetworkView()

    def itself(self) -> Instance:
        """This container; it has no number in the books."""
        cloud = Instance(instance=CLOUD, node=CLOUD, node_type=CLOUD, state="running")
        return cloud.model_copy(update={"handle": self._own.id, "address": self._own.address})

    async def _along(self, source: Instance, destination: Instance, work: Callable[[int, int], T]) -> T | None:
        """Does something with the networks of two nodes; None where one is gone."""
        near, far = await self._kernel_of(source), await self._kernel_of(destination)
        if near is None or far is None:
            return None
        try:
            return await self._call(lambda: work(near.pid, far.pid))
        except OSError as error:
            if near.alive() and far.alive():
                raise InjectionError(
                    f"no socket in the network of {source.node} or {destination.node}: {error}"
                ) from error
            return None

    async def gauges(self, instance: Instance) -> Gauges | None:
        """Read from the container's control groups; and its clock."""
        gauges = await self._resources.gauges(instance)
        return gauges and gauges.model_copy(update={"clock_offset_s": await self._clocks.read(instance)})

    async def measure_disk(self, instance: Instance, *, transfer_kib: int) -> float | None:
        """Timed in the container."""
        return await self._resources.measure_disk(instance, transfer_kib=transfer_kib)

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """What still shows, in the kernel and the engine; and workers and programs that nobody should be running."""
        before = instances()
        shown = [await self._harm_of(instance) for instance in before if instance.state == "running"]
        workers = await self._call(lambda: self._members(WORKER))
        # A node that began or ended meanwhile had its right to its container.
        known = {instance.instance for instance in (*before, *instances())}
        seen = [thing for things in shown for thing in things]
        seen += [
            f"container {worker.name} of a node that ended"
            for worker in workers
            if worker.labels.get(INSTANCE_LABEL) not in known
        ]
        running = await asyncio.to_thread(programs, self._config.mark)
        seen += self._reviver.owed(known)
        return (*seen, *(f"program still running: process {pid}" for pid in running))

    # -- inside, on the loop --------------------------------------------------------------------------------

    async def _harm_of(self, instance: Instance) -> list[str]:
        """What shows of harm on one node; nothing of one that has ended, or ends while it is looked at."""
        kernel = await self._kernel_of(instance)
        if kernel is None or not kernel.alive():
            return []
        try:
            seen = [f"{instance.node}: {thing}" for thing in (await self._shaper.look(kernel.pid)).ours]
            seen += (*self._device_faults.seen(instance), *self._clocks.seen(instance))
        except InjectionError:
            # A process lets go of its namespaces a moment before it has ended.
            if kernel.alive() and kernel.has_network():
                raise
            return []
        seen += [
            f"{instance.node}: stopped process {process.pid}"
            for process in await self.processes(instance)
            if process.stopped
        ]
        seen += await self._resources.seen(instance)
        found = await self._call(partial(self._inspect, instance.handle))
        return [*seen, f"{instance.node}: container paused"] if found is not None and found["State"]["Paused"] else seen

    async def _revive(self, instance: Instance, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        await self._call(lambda: start_in(self._engine, instance.handle, argv, environment))

    async def _first_of(self, instance: Instance) -> int | None:
        """A node's first process, while it lives."""
        kernel = await self._kernel_of(instance)
        return kernel.pid if kernel is not None and kernel.alive() else None

    async def _pause(self, instance: Instance) -> None:
        """Freezes the container with the kernel's freezer."""
        if instance.handle not in self._frozen:
            try:
                await self._call(lambda: self._engine.api.pause(instance.handle))
            except NotFound as error:
                raise InjectionError(f"node {instance.node} is gone") from error
            except ClusterError as error:
                if "already paused" not in str(error):
                    raise InjectionError(str(error)) from error
            self._frozen.add(instance.handle)

    async def _resume(self, instance: Instance) -> None:
        """Thaws the container."""
        if not instance.handle or not await self._is_frozen(instance):
            return
        try:
            await self._call(lambda: self._engine.api.unpause(instance.handle))
        except NotFound:
            pass
        except ClusterError as error:
            if "is not paused" not in str(error) and "is not running" not in str(error):
                raise
        self._frozen.discard(instance.handle)

    async def _call(self, work: Callable[[], T]) -> T:
        """Runs blocking work in a thread; what goes wrong with the engine becomes a ClusterError, but for NotFound."""
        future = self._pool.submit(work)
        self._in_flight.add(future)
        future.add_done_callback(self._in_flight.discard)
        with engine_errors():
            return await asyncio.wrap_future(future)

    async def _kernel_of(self, instance: Instance) -> _Kernel | None:
        known = self._kernel.get(instance.handle)
        if known is None and instance.handle:
            found = await self._call(lambda: self._inspect(instance.handle))
            if found is None:
                return None
            self._kernel[instance.handle] = known = _Kernel(found["State"]["Pid"])
            if found["State"]["Paused"]:
                self._frozen.add(instance.handle)
        return known

    async def _is_frozen(self, instance: Instance) -> bool:
        await self._kernel_of(instance)
        return instance.handle in self._frozen

    def _forget(self, handle: str) -> None:
        self._frozen.discard(handle)
        self._notices.started(handle)
        self._resources.ended(handle)
        kernel = self._kernel.pop(handle, None)
        if kernel is not None:
            self._shaper.ended(kernel.pid)

    # -- inside, in threads ---------------------------------------------------------------------------------

    def _inspect(self, container: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._engine.api.inspect_container(container)
        except NotFound:
            return None
        return found

    def _members(self, service: str) -> list[Container]:
        return [item for item in containers_of(self._engine, *self._labels()) if item.service == service]

    def _labels(self) -> tuple[str, str]:
        return f"{PROJECT_LABEL}={self._own.project}", f"{MARK_LABEL}={self._config.mark}"

    def _learn(self, found: Mapping[str, Any]) -> str:
        """Remembers a running container's process; returns its address."""
        self._kernel[found["Id"]] = _Kernel(found["State"]["Pid"])
        return self._own.address_of(found)

    def _start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        if self._closing:
            raise ClusterError("the cluster is ending")
        make_node_directory(self._directory, instance.instance)
        container = self._container_for(instance, launch)
        try:
            container.start()
            found = self._inspect(container.id)
            if found is None or not found["State"]["Running"]:
                raise ClusterError(
                    f"the container of node {instance.node} ended as it started: {self._words(container)}"
                )
            address = self._learn(found)
        except BaseException:
            container.remove(force=True, v=True)
            raise
        self._shaper.started(found["State"]["Pid"])
        self._freezer.started(container.id)
        self._stopper.started(container.id)
        started = instance.model_copy(update={"handle": container.id, "address": address})
        self._resources.started(started)
        return started

    def _container_for(self, instance: Instance, launch: NodeLaunch) -> Any:
        """The instance's container: made now, or by an earlier Cloud that crashed before it could remember it."""
        own = {**self._device_faults.environment(instance), **self._clocks.environment(instance)}
        description = self._workers.describe(instance, launch, environment=own)
        try:
            return self._engine.containers.create(**description)
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
        for found in containers_of(self._engine, *self._labels(), f"{INSTANCE_LABEL}={instance.instance}"):
            if found.state in ("created", "running"):
                return self._engine.containers.get(found.id)
            remove_containers(self._engine, [found])
        return self._engine.containers.create(**description)

    def _made_for(self, instance: Instance) -> str:
        """The container an earlier Cloud made for an instance; empty where there is none."""
        found = containers_of(self._engine, *self._labels(), f"{INSTANCE_LABEL}={instance.instance}")
        return next((container.id for container in found), "")

    def _stop(self, handle: str, limit_s: float) -> None:
        with contextlib.suppress(NotFound):
            if limit_s > 0:
                self._engine.api.stop(handle, timeout=round(limit_s))
            self._keep_log(handle)
            self._engine.api.remove_container(handle, force=True, v=True)

    def _keep_log(self, container: str) -> None:
        """Saves what a container wrote; it goes with the container."""
        found = self._inspect(container)
        if found is None:
            return
        name = found["Config"]["Labels"].get(INSTANCE_LABEL, HEAD)
        with contextlib.suppress(NotFound):
            text = self._engine.api.logs(container, tail=_LOG_LINES)
            (make_node_directory(self._directory, name) / "ray-start.log").write_bytes(text)

    def _words(self, container: Any) -> str:
        return str(container.logs(tail=5).decode(errors="replace")).strip().replace("\n", "; ") or "it wrote nothing"

    def _remove_cluster(self) -> None:
        remove_cluster(self._engine, *self._labels(), spare=self._own.id)
        self._engine.api.remove_container(self._own.id, force=True, v=True)
