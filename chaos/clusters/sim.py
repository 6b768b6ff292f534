"""The twin as a cluster: the real Cloud and Ray's real autoscaler over a model of Ray, all of it in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

from chaos.clock import monotonic_s, pause
from chaos.cloud.config import CloudConfig
from chaos.cloud.core import Cloud
from chaos.cluster import Node, NodeProcess, Process, Vitals
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.observer import RECORD_AT_LEAST_S, SAMPLE_INTERVAL_S, Observer, logged
from chaos.errors import ClusterError, InvalidSpec
from chaos.events import AutoscalerLogged, Event, HostSampled
from chaos.harm import (
    AnswerHarm,
    ConfigChange,
    EndedProcess,
    EndingNode,
    FrozenNode,
    LaunchHarm,
    Role,
    StoppedProcesses,
    ViewHarm,
)
from chaos.history import Recorder
from chaos.sim.autoscaler import ClusterConfig
from chaos.sim.books import Configuration, Events, State
from chaos.sim.driver import ModelDriver, launch_for
from chaos.sim.fast import fast_config
from chaos.sim.jobs import drive, verify
from chaos.sim.latency import Latencies
from chaos.sim.loop import VirtualLoop
from chaos.sim.monitor import Monitor, Source
from chaos.sim.node import Motion
from chaos.sim.provider import CloudApi, CloudSource
from chaos.sim.ray import RayModel
from chaos.sim.state import glance, sample
from chaos.sim.views import Views
from chaos.workload import Workload

_POLL_S = 0.25
_SAMPLE_WITHIN_S = 30.0
_SETTLED_AFTER_S = 2.0
# Machines of the model have nothing else to do.
_MEMORY_FREE_MB = _DISK_FREE_MB = 65536.0


class SimCluster:
    """A cluster that is a model; it lives in an event loop in virtual time (`chaos.sim.loop`)."""

    kind = "sim"

    def __init__(self, name: str, spec: ClusterSpec, *, seed: int = 0) -> None:
        self.name = name
        self.spec = spec
        self._data = Path(tempfile.mkdtemp(prefix="raychaos-sim-"))
        self._recorder: Recorder | None = None
        self._latencies = spec.latencies or Latencies()
        self._model = RayModel(health_check=spec.health_check, latencies=self._latencies, seed=seed)
        self._configuration = Configuration(spec, written=self._edited)
        self._events = Events()
        driver = self._driver = ModelDriver(self._model, spec)
        self._cloud = Cloud(
            CloudConfig(cluster=name, mark=name, driver="process", spec=spec),
            driver,
            state=State(),
            journal=self._events,
            launch_for=launch_for,
            configuration=self._configuration,
            end_processes=driver.kill_processes,
            placed=self._placed,
            rpc_faults=lambda _: {},
        )
        self._api = CloudApi(self._cloud)
        views = Views(self._model, self._cloud.effects, self._cloud.deviations, session=name)
        self._fast = spec.twin.mode == "fast"
        self._cloud_seen: tuple[object, tuple[object, ...]] = (None, ())
        self._monitor = Monitor(
            self._model,
            views,
            self._sources(),
            name=name,
            seed=seed,
            interval_s=spec.update_interval_s,
            log=self._log,
            settled=(lambda: not self._cloud.effects()) if self._fast else None,
        )
        driver.watch(self._monitor)
        self._observer = _ModelObserver(
            _Listing(self), self._sample, late_s=self._late_s, glance=self._glance, patient=self._fast
        )

    def _sources(self) -> Callable[[Motion], Source]:
        """What makes a source of nodes for each incarnation of the monitor, which moves as that does."""
        return lambda motion: CloudSource(
            self._api, self._configuration.read, motion, name=self.name, make=self._make_config
        )

    def _make_config(self, text: str, environment: Mapping[str, str]) -> AutoscalingConfig:
        return fast_config(text, tuple(environment.items())) if self._fast else ClusterConfig(text, environment)

    def _edited(self, spec: ClusterSpec) -> None:
        """The configuration says this now; a file is read by whoever wants to know."""

    async def _placed(self, instance: str) -> None:
        """There is room for an instance: a cloud answers at once whether there is."""

    def _begin(self) -> None:
        """What acts on its own, beside the monitor, begins to; on a cloud nothing does."""

    def renumber(self) -> int:
        """Numbers the workers from w1, and forgets what is over; returns the number of the next event."""
        self._cloud.renumber()
        self._events.forget()
        there = [item.instance for item in self._cloud.instances()]
        self._model.forget(there)
        self._driver.forget(there)
        return len(self._events)

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns once the minimum of workers has joined.

        Raises:
            ClusterError: they have not, within the limit.
        """
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await self._cloud.start_head()
        await self._cloud.resume()
        self._observer.open()
        self._begin()
        self._monitor.start()
        deadline_s = monotonic_s() + self.spec.start_limit_s
        while self._observer.workers_alive() < self.spec.min_workers or not self._observer.head_alive():
            if monotonic_s() > deadline_s:
                raise ClusterError(f"the twin is not up with {self.spec.min_workers} workers")
            await pause(_POLL_S, within_s=0.0)

    async def stop(self) -> None:
        """Ends the model."""
        await self._monitor.end()
        self._api.close()
        await self._observer.close()
        await self._cloud.tear_down()
        shutil.rmtree(self._data, ignore_errors=True)

    async def begin_run(self, recorder: Recorder) -> None:
        """Records from now on, with workers numbered from w1; withdraws what stands requested.

        What a killed driver asked for through Ray Data may stand again, as on a real cluster.
        """
        self._model.request(())
        self._recorder = recorder
        await self._observer.attach(recorder, monitor_log=lambda: None)

    async def end_run(self) -> None:
        """Stops recording; every effect is undone."""
        for effect in self._cloud.effects():
            await self._cloud.undo(effect.effect_id)
        self._recorder = None
        await self._observer.detach()

    def _log(self, line: str) -> None:
        event: AutoscalerLogged | None = logged(line)
        if event is not None and self._recorder is not None:
            self._recorder.append(event)

    def _late_s(self) -> float:
        """How late the observer's next look is."""
        return self._latencies.look.draw(self._model.next_stream("look")) if self._latencies.look.median_s else 0.0

    def _sample(self) -> dict[str, Any]:
        if self._model.gcs.frozen:
            return {"reachable": False, "error": "the GCS does not answer"}
        return sample(self._model, self._monitor.said)

    def _glance(self, *, patient: bool) -> tuple[object, ...]:
        """What tells whether a sample would tell anything new."""
        said = (self._model.gcs.frozen, *self._monitor.said.values())
        if not patient:
            return (*said, *glance(self._model))
        if self._cloud_seen[0] is not (state := self._cloud.ledger.state()):
            views = tuple((item.instance, self._cloud.view(item)) for item in self._cloud.instances())
            self._cloud_seen = state, views
        return (*said, self._cloud_seen[1], *glance(self._model, idle=False))

    # -- looking --------------------------------------------------------------------------------------------

    async def nodes(self) -> tuple[Node, ...]:
        """The Cloud's instances, head first."""
        return tuple(
            Node(
                node=item.node,
                node_type=item.node_type,
                state=self._cloud.view(item),
                instance=item.instance,
                launched_s=item.asked_monotonic_s,
            )
            for item in self._cloud.instances()
        )

    async def leftovers(self) -> tuple[str, ...]:
        """Effects in force, and whatever harm shows."""
        seen = await self._cloud.harm_seen()
        return (*(f"effect in force: {effect.effect_id}" for effect in self._cloud.effects()), *seen)

    def data_directory(self, run_id: str) -> tuple[Path, str]:
        """A temporary directory, a new one each time: a baseline and a run may have one name."""
        here = Path(tempfile.mkdtemp(prefix=f"{run_id}-", dir=self._data))
        return here, str(here)

    def play(self, workload: Workload, part: Literal["driver", "oracle"], *, data: Path) -> Process:
        """A workload's model; the driver's ends with the node it runs on.

        Raises:
            ClusterError: no node runs that the driver is to run on.
        """
        if part == "oracle":
            return verify(workload, data)
        host = self._driver_host()
        if host is None:
            raise ClusterError(f"no node of type {self.spec.driver_on!r} runs, on which the driver is to run")
        process = drive(workload, self._model, data, host=host)
        self._driver.programs.host(host, process)
        return process

    def _driver_host(self) -> str | None:
        """The head, or the oldest node of the type that the driver is to run on."""
        running = (item for item in self._cloud.instances() if item.state == "running")
        return next((item.instance for item in running if item.node_type == self.spec.driver_on), None)

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:  # noqa: ARG002
        """There are no programs in a model.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"the twin executes no programs, and so not {module}")

    async def hosts_programs(self) -> bool:
        """Whether the head runs, or a node of the type that the driver is to run on."""
        return self._driver_host() is not None

    async def dump_stacks(self, into: Path) -> int:  # noqa: ARG002
        """A model has no processes."""
        return 0

    async def collect_logs(self, into: Path) -> None:
        """A model has no logs but its history."""

    # -- harm -----------------------------------------------------------------------------------------------

    async def kill_node(self, node: str) -> None:
        """A node ends at once, and nobody is told."""
        await self._cloud.kill(node)

    async def restart_node(self, node: str) -> None:
        """A node ends at once and comes back as the same instance."""
        await self._cloud.restart(node)

    async def restart_head(self) -> None:
        """The head ends at once, and comes back with what its GCS had stored."""
        await self._cloud.restart_head()

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Nothing on the node moves."""
        await self._cloud.apply(effect_id, FrozenNode(), lease_s=lease_s, node=node)

    async def vitals(self, node: str) -> Vitals | None:
        """One process, which moves or does not."""
        found = next((item for item in self._cloud.instances() if item.node == node and item.state == "running"), None)
        if found is None:
            return None
        return Vitals(processes=1, stopped=int(self._model.frozen(found.instance)), cpu_s=0.0)

    async def prepare_notice(self) -> None:
        """Notices need no preparation here."""

    async def give_notice(self, node: str, ending: EndingNode, *, effect_id: str, lease_s: float) -> None:
        """A node is told that it will end."""
        await self._cloud.apply(effect_id, ending, lease_s=lease_s, node=node)

    async def processes_of(self, node: str) -> tuple[NodeProcess, ...]:
        """What the model shows as a node's processes."""
        return await self._cloud.processes.look(node)

    async def kill_processes(self, node: str, processes: Sequence[NodeProcess]) -> None:
        """Ends single ones."""
        await self._cloud.processes.kill(node, {process.pid: process.started_ticks for process in processes})

    async def stop_processes(self, node: str, role: Role, *, effect_id: str, lease_s: float) -> None:
        """The monitor or the GCS hangs."""
        await self._cloud.apply(effect_id, StoppedProcesses(role=role), lease_s=lease_s, node=node)

    async def end_process(self, node: str, end: EndedProcess, *, effect_id: str, lease_s: float) -> None:
        """The monitor is gone."""
        await self._cloud.apply(effect_id, end, lease_s=lease_s, node=node)

    async def restart_raylet(self, node: str) -> None:
        """A node's raylet crashes, and is started again there."""
        await self._cloud.restart_raylet(node)

    async def fault_launches(self, fault: LaunchHarm, *, effect_id: str, lease_s: float) -> None:
        """Launches are late, or fail."""
        await self._cloud.apply(effect_id, fault, lease_s=lease_s)

    async def fault_answers(self, fault: AnswerHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Ray is answered otherwise than it is."""
        await self._cloud.apply(effect_id, fault, lease_s=lease_s, node=node)

    async def fault_views(self, fault: ViewHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """The autoscaler is shown otherwise than it is."""
        await self._cloud.apply(effect_id, fault, lease_s=lease_s, node=node)

    async def change_configuration(self, change: ConfigChange, *, effect_id: str, lease_s: float) -> None:
        """The autoscaler's configuration is edited."""
        await self._cloud.apply(effect_id, change, lease_s=lease_s)

    async def configuration_was_read(self) -> bool:
        """Whether the autoscaler has noticed."""
        return self._cloud.configuration_was_read()

    async def undo(self, effect_id: str) -> None:
        """Removes an effect."""
        await self._cloud.undo(effect_id)

    async def active_effects(self) -> tuple[str, ...]:
        """Ids of the effects in force."""
        return tuple(effect.effect_id for effect in self._cloud.effects())


def twin_of(name: str, spec: ClusterSpec, *, seed: int = 0) -> SimCluster:
    """A twin that launches from what the specification says."""
    return twin_class(spec.twin.provider)(name, spec, seed=seed)


def twin_class(provider: str) -> type[SimCluster]:
    """The class of the twin on a cloud of machines, or on KubeRay.

    Raises:
        InvalidSpec: the release of Ray that is installed has another KubeRay provider than the model knows.
    """
    if provider == "cloud":
        return SimCluster
    try:
        from chaos.clusters.kuberay import KubeRayCluster  # other releases of Ray may lack what it takes
    except ImportError as error:
        raise InvalidSpec(f"the twin cannot drive this release's KubeRay provider: {error}") from error
    return KubeRayCluster


class _Listing:
    """What the observer asks of the Cloud."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    async def nodes(self) -> tuple[Node, ...]:
        """The instances that are not terminated."""
        return await self._cluster.nodes()

    async def renumber(self) -> int:
        """Numbers the workers from w1; returns the number of the next event."""
        return self._cluster.renumber()

    def events(self, after: int) -> AsyncIterator[tuple[float, Event]]:
        """Node lifecycle events from a number on."""
        return self._cluster._events.since(after)


class _ModelObserver(Observer):
    """Watches a model: there is nothing to sample it with but itself, and no machine under it."""

    def __init__(
        self,
        listing: _Listing,
        read: Callable[[], dict[str, Any]],
        *,
        late_s: Callable[[], float],
        glance: Callable[..., tuple[object, ...]],
        patient: bool,
    ) -> None:
        super().__init__(listing, gcs_address="", environment={})
        self._read = read
        self._late_s = late_s
        self._glance = glance
        self._patient = patient

    async def _keep_sampling(self) -> None:
        last: object = None
        last_s = -math.inf
        while True:
            # A run's load begins at one of the first samples: those are never left out.
            begun = self._recorder is not None and self._recorder.clock.now_s() > _SETTLED_AFTER_S
            seen, now_s = self._glance(patient=self._patient and begun), monotonic_s()
            at_least_s = _SAMPLE_WITHIN_S if self._patient and begun else RECORD_AT_LEAST_S
            if seen != last or now_s - last_s >= at_least_s:
                last, last_s = seen, now_s
                await self._take({"monotonic_s": now_s, **self._read()})
            within_s = max(0.0, last_s + at_least_s - now_s) if begun else 0.0
            await pause(SAMPLE_INTERVAL_S + self._late_s(), within_s=within_s)

    async def detach(self) -> None:
        """Where few samples are taken, the last is of the end: checks ask how long a thing stayed as it was."""
        if self._patient:
            await self._take({"monotonic_s": monotonic_s(), **self._read()})
        await super().detach()

    def _stale(self) -> bool:
        """Where few samples are taken, each is of the Cloud as it is."""
        return self._patient or super()._stale()

    async def _follow_log(self, recorder: Recorder, monitor_log: Callable[[], Path | None]) -> None:
        """The model hands on the lines itself."""

    async def _watch_host(self, recorder: Recorder) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            every_s = RECORD_AT_LEAST_S
            while True:
                await asyncio.sleep(every_s)
                every_s = min(2 * every_s, _SAMPLE_WITHIN_S)  # the machine of the model has nothing to tell
                recorder.append(HostSampled(cpu_busy=0.0, memory_free_mb=_MEMORY_FREE_MB, disk_free_mb=_DISK_FREE_MB))
