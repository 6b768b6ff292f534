"""What runs the nodes of the twin's Cloud: entries of the model of Ray, in place of processes or containers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import Instance
from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.harm import EndingNode, FrozenNode, NodeHarm
from chaos.sim.ray import HEAD, RayModel
from chaos.value import Value

RAY = "ray"
_KINDS = (FrozenNode, EndingNode)


async def launch_for(instance: Instance) -> NodeLaunch:  # noqa: ARG001 -- all nodes of the model start alike
    """How a node is started: there is only Ray to start."""
    return NodeLaunch(argv=(RAY,), environment={})


class ModelDriver:
    """Starts, ends and harms the nodes of one model."""

    def __init__(self, model: RayModel, spec: ClusterSpec) -> None:
        self._model = model
        self._spec = spec
        self._running: dict[str, str] = {}
        self._started = 0
        self._told: set[str] = set()

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """The instance runs, and Ray joins from it, unless it is its fate that Ray never does."""
        self._started += 1
        handle = f"h{self._started}"
        self._running[handle] = instance.instance
        if launch.argv[-1] == RAY:
            assert instance.shape is not None
            resources = dict(instance.shape.resources)
            self._model.start(instance.instance, instance.node_type, resources, delay_s=instance.fate.ray_delay_s)
        return instance.model_copy(update={"handle": handle, "address": f"10.0.0.{self._started}"})

    async def adopt_head(self) -> Instance | None:
        """The head, which the model has from the beginning."""
        self._running[HEAD] = HEAD
        self._model.start_head(self._spec.head_resources)
        return Instance(instance=HEAD, node=HEAD, node_type=HEAD, state="running", handle=HEAD, address="10.0.0.0")

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:  # noqa: ARG002
        """Not in the model.

        Raises:
            InjectionError: always.
        """
        raise InjectionError("the twin has no end of the head")

    async def stop(self, instance: Instance, *, limit_s: float) -> None:  # noqa: ARG002 -- nothing resists
        """Ray on it ends and says so."""
        self._end(instance, politely=True)

    async def kill(self, instance: Instance) -> bool:
        """It ends, and nobody is told."""
        ran = instance.handle in self._running
        self._end(instance, politely=False)
        return ran

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """It ends, and starts as the same instance."""
        self._end(instance, politely=False)
        return await self.start(instance, launch)

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:  # noqa: ARG002
        """Not in the model.

        Raises:
            InjectionError: always.
        """
        raise InjectionError("the twin has no end of a raylet alone")

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:  # noqa: ARG002
        """The model has none."""
        return ()

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Those that were ended, and those that Ray has left: a node's command ends with it."""
        return {
            item.instance
            for item in instances
            if item.handle not in self._running or (item.handle in self._told and not self._model.runs(item.instance))
        }

    def refuses(self, harm: NodeHarm) -> str:
        """What the model cannot do."""
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
        for harm in harms:
            if isinstance(harm, EndingNode) and instance.handle not in self._told:
                self._told.add(instance.handle)
                if harm.told_by == "sigterm":
                    self._model.end(instance.instance, politely=True)
                else:
                    self._model.drain_instance(instance.instance)

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """The frozen nodes."""
        return tuple(f"{item.node}: frozen" for item in instances() if self._model.frozen(item.instance))

    async def tear_down(self) -> None:
        """Nothing of it is left."""
        self._running.clear()
        self._model.close()

    def _end(self, instance: Instance, *, politely: bool) -> None:
        for handle in [handle for handle, running in self._running.items() if running == instance.instance]:
            del self._running[handle]
        self._model.end(instance.instance, politely=politely)
