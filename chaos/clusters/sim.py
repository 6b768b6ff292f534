"""The twin as a cluster: the real Cloud and Ray's real autoscaler over a model of Ray, all of it in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ray.core.generated.autoscaler_pb2 import AutoscalingState

from chaos.clock import monotonic_s
from chaos.cloud.config import CloudConfig
from chaos.cloud.core import Cloud
from chaos.cloud.ray_start import autoscaling_config
from chaos.cluster import Node, Process, Vitals
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.observer import RECORD_AT_LEAST_S, SAMPLE_INTERVAL_S, Observer, logged
from chaos.errors import ClusterError
from chaos.events import AutoscalerLogged, Event, HostSampled
from chaos.harm import AnswerHarm, ConfigChange, EndingNode, FrozenNode, LaunchHarm
from chaos.history import Recorder
from chaos.sim.autoscaler import Autoscaler, config_of
from chaos.sim.books import Configuration, Events, State
from chaos.sim.driver import ModelDriver, launch_for
from chaos.sim.jobs import drive, verify
from chaos.sim.latency import Latencies
from chaos.sim.provider import CloudProvider
from chaos.sim.ray import RayModel
from chaos.sim.state import resource_state, sample
from chaos.workload import Workload

_POLL_S = 0.25
# Machines of the model have nothing else to do.
_MEMORY_FREE_MB = _DISK_FREE_MB = 65536.0


class SimCluster:
    """A cluster that is a model; it lives in an event loop in virtual time (`chaos.sim.loop`)."""

    kind = "sim"

    def __init__(self, name: str, spec: ClusterSpec, *, seed: int = 0) -> None:
        self.name = name
        self.spec = spec
        self._tasks: list[asyncio.Task[None]] = []
        self._data = Path(tempfile.mkdtemp(prefix="raychaos-sim-"))
        self._autoscaling = AutoscalingState()
        self._recorder: Recorder | None = None
        self._model = RayModel(health_check=spec.health_check, latencies=Latencies(), seed=seed)
        self._configuration = Configuration(spec)
        self._events = Events()
        self._cloud = Cloud(
            CloudConfig(cluster=name, mark=name, driver="process", spec=spec),
            ModelDriver(self._model, spec),
            state=State(),
            journal=self._events,
            launch_for=launch_for,
            configuration=self._configuration,
        )
        self._provider = CloudProvider(self._cloud)
        self._autoscaler = Autoscaler(self._provider, self._drain, name=f"{seed}/monitor")
        self._observer = _ModelObserver(_Listing(self), self._sample)

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns once the minimum of workers has joined.

        Raises:
            ClusterError: they have not, within the limit.
        """
        await self._cloud.start_head()
        await self._cloud.resume()
        self._observer.open()
        self._tasks.append(asyncio.create_task(self._monitor()))
        deadline_s = monotonic_s() + self.spec.start_limit_s
        while self._observer.workers_alive() < self.spec.min_workers or not self._observer.head_alive():
            if monotonic_s() > deadline_s:
                raise ClusterError(f"the twin is not up with {self.spec.min_workers} workers")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Ends the model."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._provider.close()
        await self._observer.close()
        await self._cloud.tear_down()
        shutil.rmtree(self._data, ignore_errors=True)

    async def begin_run(self, recorder: Recorder) -> None:
        """Records from now on, with workers numbered from w1."""
        self._recorder = recorder
        await self._observer.attach(recorder, monitor_log=lambda: None)

    async def end_run(self) -> None:
        """Stops recording; every effect is undone."""
        for effect in self._cloud.effects():
            await self._cloud.undo(effect.effect_id)
        self._recorder = None
        await self._observer.detach()

    async def _monitor(self) -> None:
        """What Ray's monitor does: an update, again and again, and a line in the log when one fails."""
        read: ClusterSpec | None = None
        config: Any = None
        while True:
            await asyncio.sleep(self.spec.update_interval_s)
            if (spec := self._configuration.read()) is not read:
                read, config = spec, self._config_of(spec)
            try:
                await self._provider.refresh()
            except ClusterError as error:
                self._log(f"ERROR {error}")
                continue
            try:
                self._autoscaling = self._autoscaler.update(
                    resource_state(self._model, session=self.name),
                    self._provider.get_non_terminated(),
                    config=config,
                    errors=self._provider.poll_errors(),
                    log=self._log,
                )
            except Exception as error:  # noqa: BLE001 -- the monitor of a real cluster logs whatever it is, and goes on
                self._log(f"ERROR autoscaler.py -- {type(error).__name__}: {error}")

    def _config_of(self, spec: ClusterSpec) -> Any:
        """As the head of a real cluster is given it."""
        config = CloudConfig(cluster=self.name, mark=self.name, driver="process", spec=spec)
        return config_of(autoscaling_config(config, cloud_url="", token_path=""), spec.ray_environment)

    def _log(self, line: str) -> None:
        event: AutoscalerLogged | None = logged(line)
        if event is not None and self._recorder is not None:
            self._recorder.append(event)

    def _drain(self, ray_node_id: str, if_idle: bool) -> bool:
        return self._model.drain(ray_node_id, if_idle=if_idle)

    def _sample(self) -> dict[str, Any]:
        return sample(self._model, self._autoscaling)

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
        """A workload's model."""
        return drive(workload, self._model, data) if part == "driver" else verify(workload, data)

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:  # noqa: ARG002
        """There are no programs in a model.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"the twin executes no programs, and so not {module}")

    async def hosts_programs(self) -> bool:
        """The driver runs beside the model."""
        return True

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

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Nothing on the node moves."""
        await self._cloud.apply(effect_id, FrozenNode(), lease_s=lease_s, node=node)

    async def vitals(self, node: str) -> Vitals | None:
        """One process, which moves or does not."""
        found = next((item for item in self._cloud.instances() if item.node == node and item.state == "running"), None)
        if found is None:
            return None
        return Vitals(processes=1, stopped=int(self._model.frozen(found.instance)), cpu_s=0.0)

    async def give_notice(self, node: str, ending: EndingNode, *, effect_id: str, lease_s: float) -> None:
        """A node is told that it will end."""
        await self._cloud.apply(effect_id, ending, lease_s=lease_s, node=node)

    async def fault_launches(self, fault: LaunchHarm, *, effect_id: str, lease_s: float) -> None:
        """Launches are late, or fail."""
        await self._cloud.apply(effect_id, fault, lease_s=lease_s)

    async def fault_answers(self, fault: AnswerHarm, *, effect_id: str, lease_s: float, node: str = "") -> None:
        """Ray is answered otherwise than it is."""
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


class _Listing:
    """What the observer asks of the Cloud."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    async def nodes(self) -> tuple[Node, ...]:
        """The instances that are not terminated."""
        return await self._cluster.nodes()

    async def renumber(self) -> int:
        """Numbers the workers from w1; returns the number of the next event."""
        self._cluster._cloud.renumber()
        return len(self._cluster._events)

    def events(self, after: int) -> AsyncIterator[tuple[float, Event]]:
        """Node lifecycle events from a number on."""
        return self._cluster._events.since(after)


class _ModelObserver(Observer):
    """Watches a model: there is nothing to sample it with but itself, and no machine under it."""

    def __init__(self, listing: _Listing, read: Callable[[], dict[str, Any]]) -> None:
        super().__init__(listing, gcs_address="", environment={})
        self._read = read

    async def _keep_sampling(self) -> None:
        last: dict[str, Any] = {}
        last_s = -math.inf
        while True:
            seen, now_s = self._read(), monotonic_s()
            if seen != last or now_s - last_s >= RECORD_AT_LEAST_S:
                last, last_s = seen, now_s
                await self._take({"monotonic_s": now_s, **seen})
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _follow_log(self, recorder: Recorder, monitor_log: Callable[[], Path | None]) -> None:
        """The model hands on the lines itself."""

    async def _watch_host(self, recorder: Recorder) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(RECORD_AT_LEAST_S)
                recorder.append(HostSampled(cpu_busy=0.0, memory_free_mb=_MEMORY_FREE_MB, disk_free_mb=_DISK_FREE_MB))
