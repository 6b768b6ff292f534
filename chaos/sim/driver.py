"""What runs the nodes of the twin's Cloud: entries of the model of Ray, in place of processes or containers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import Instance
from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.harm import MODELLED_ROLES, EndedProcess, EndingNode, FrozenNode, NodeHarm, StoppedProcesses
from chaos.sim.monitor import Monitor
from chaos.sim.processes import ModelProcesses
from chaos.sim.programs import Programs
from chaos.sim.ray import HEAD, RayModel
from chaos.value import Value

RAY = "ray"
_KINDS = (FrozenNode, EndingNode, StoppedProcesses, EndedProcess)


async def launch_for(instance: Instance) -> NodeLaunch:  # noqa: ARG001 -- all nodes of the model start alike
    """How a node is started: there is only Ray to start."""
    return NodeLaunch(argv=(RAY,), environment={})


class ModelDriver:
    """Starts, ends and harms the nodes of one model."""

    def __init__(self, model: RayModel, spec: ClusterSpec) -> None:
        self._model = model
        self._spec = spec
        self._running: dict[str, str] = {}
        self._changed = object()
        self._started = 0
        self._told: set[str] = set()
        self._kept_up: dict[str, Instance] = {}
        self._ended: EndedProcess | None = None
        self.programs = Programs()
        self._monitor: Monitor | None = None
        self._processes: ModelProcesses | None = None

    def watch(self, monitor: Monitor) -> None:
        """This monitor runs on the head."""
        self._monitor = monitor
        self._processes = ModelProcesses(self._model, monitor, self.programs)

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """The instance runs, and Ray joins from it, unless it is its fate that Ray never does."""
        await self._model.takes(self._model.latencies.launch, f"launch/{instance.instance}")
        self._started += 1
        handle = f"h{self._started}"
        self._run(handle, instance.instance)
        if launch.argv[-1] == RAY:
            assert instance.shape is not None
            resources = dict(instance.shape.resources)
            self._model.start(instance.instance, instance.node_type, resources, delay_s=instance.fate.ray_delay_s)
        return instance.model_copy(update={"handle": handle, "address": f"10.0.0.{self._started}"})

    async def adopt_head(self) -> Instance | None:
        """The head, which the model has from the beginning."""
        self._run(HEAD, HEAD)
        self._model.start_head(self._spec.head_resources)
        return Instance(instance=HEAD, node=HEAD, node_type=HEAD, state="running", handle=HEAD, address="10.0.0.0")

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:  # noqa: ARG002
        """The head's machine runs again; Ray on it answers later, and its monitor knows nothing."""
        self._run(HEAD, HEAD)
        self._ended = None
        self._model.return_head(self._spec.head_resources, answers=self._monitor_anew)
        return head

    def _monitor_anew(self) -> None:
        assert self._monitor is not None
        self._monitor.start()

    async def stop(self, instance: Instance, *, limit_s: float) -> None:  # noqa: ARG002 -- nothing resists
        """Ray on it ends and says so."""
        ran = instance.handle in self._running
        self._end(instance, politely=True)
        if ran:
            await self._model.takes(self._model.latencies.stop, f"stop/{instance.instance}")

    async def kill(self, instance: Instance) -> bool:
        """It ends, and nobody is told."""
        ran = instance.handle in self._running
        if instance.instance == HEAD:
            assert self._monitor is not None
            await self._monitor.end()
            self._model.end_head()
        self._end(instance, politely=False)
        return ran

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """It ends, and starts as the same instance."""
        self._end(instance, politely=False)
        return await self.start(instance, launch)

    async def prepare_notice(self) -> None:
        """There is nothing to load."""

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        """Ray is started again on the instance when it crashes there the next time, if that is wanted."""
        if wanted:
            self._kept_up[instance.instance] = instance
        else:
            self._kept_up.pop(instance.instance, None)

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        """Names for what is in the model."""
        return () if self._processes is None else self._processes.of(instance.instance)

    async def kill_processes(self, pids: list[int]) -> None:
        """Ends them; what a node cannot live without takes the node down, or comes back where it is kept up.

        Raises:
            InjectionError: the model has no end of one.
        """
        assert self._processes is not None
        for pid in pids:
            instance, role = self._processes.kill(pid)
            if role in ("worker", "driver"):
                continue
            # A raylet whose agent has ended gives up, and says so.
            self._model.crash(instance, politely=role == "dashboard_agent")
            if (kept := self._kept_up.pop(instance, None)) is not None:
                assert kept.shape is not None
                self._model.start(instance, kept.node_type, dict(kept.shape.resources))

    def forget(self, instances: Collection[str]) -> None:
        """Of what concerns instances, only what concerns these is needed any more."""
        self._told &= self._running.keys()
        self._kept_up = {name: kept for name, kept in self._kept_up.items() if name in instances}
        if self._processes is not None:
            self._processes.forget(instances)

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Those that were ended, and those on which Ray has ended: a node's command ends with it.

        Not so where Ray was drained because it was idle: its raylet ends well then, and `ray start --block` goes on.
        """
        return {item.instance for item in instances if item.handle not in self._running or self._left(item)}

    def changes(self) -> tuple[object, ...]:
        """What runs, who was told to end, and what lives of Ray."""
        return self._changed, self._model.lives

    def _left(self, item: Instance) -> bool:
        told = item.handle in self._told and not self._model.runs(item.instance)
        return told or self._model.crashed(item.instance)

    def refuses(self, harm: NodeHarm) -> str:
        """What the model cannot do."""
        if isinstance(harm, StoppedProcesses) and harm.role not in MODELLED_ROLES:
            return f"the twin cannot stop a {harm.role} alone"
        return "" if isinstance(harm, _KINDS) else f"the twin has no {getattr(harm, 'kind', 'such harm')}"

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],  # noqa: ARG002 -- nodes of the model have no network
        changed: type[Value] | None = None,  # noqa: ARG002 -- there are few kinds
    ) -> None:
        """Freezes or thaws the node, and tells it that it will end."""
        if any(isinstance(harm, FrozenNode) for harm in harms):
            self._model.freeze(instance.instance)
        else:
            self._model.thaw(instance.instance)
        if instance.instance == HEAD:
            await self._obey_on_head(harms)
        for harm in harms:
            if isinstance(harm, EndingNode) and instance.handle not in self._told:
                self._told.add(instance.handle)
                self._changed = object()
                if harm.told_by == "sigterm":
                    self._model.end(instance.instance, politely=True)
                else:
                    self._model.drain_instance(instance.instance)

    async def _obey_on_head(self, harms: Sequence[NodeHarm]) -> None:
        assert self._monitor is not None
        if not self._model.head_up:
            return
        stopped = {harm.role for harm in harms if isinstance(harm, StoppedProcesses)}
        for role, thing in (("monitor", self._monitor), ("gcs_server", self._model.gcs)):
            if role in stopped and not thing.frozen:
                thing.freeze()
            elif role not in stopped and thing.frozen:
                thing.thaw()
        ended = [harm for harm in harms if isinstance(harm, EndedProcess)]
        if ended:
            self._ended = ended[-1]
            await self._monitor.end()
        elif self._ended is not None:
            restart, self._ended = self._ended.restart, None
            if restart:
                self._monitor.start()

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """The frozen nodes."""
        return tuple(f"{item.node}: frozen" for item in instances() if self._model.frozen(item.instance))

    async def tear_down(self) -> None:
        """Nothing of it is left."""
        self._running.clear()
        self._model.close()

    def _run(self, handle: str, instance: str) -> None:
        self._running[handle] = instance
        self._changed = object()

    def _end(self, instance: Instance, *, politely: bool) -> None:
        for handle in [handle for handle, running in self._running.items() if running == instance.instance]:
            del self._running[handle]
            self._told.discard(handle)
            self._changed = object()
        self.programs.kill(instance.instance)
        self._model.end(instance.instance, politely=politely)
