"""What a Cloud needs of whatever really runs nodes: processes, or containers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from pydantic import Field

from chaos.cloud.instances import Instance
from chaos.cluster import Gauges, NetworkView, NodeProcess, PathMeasurement, PathSample
from chaos.errors import ChaosError, InjectionError
from chaos.harm import CloudHarm, FrozenNode, NodeHarm
from chaos.value import Value

CLOUD = "cloud"
"""What the Cloud is called where nodes are called by their names."""


class Sampling(Value):
    """How a path is sampled: so many packets, so far apart, and how long after the last is waited. Port 0 is any."""

    packets: int = Field(ge=1, le=5000)
    interval_ms: float = Field(ge=0.0, le=1000.0)
    patience_ms: float = Field(ge=0.0, le=8000.0)
    port: int = Field(default=0, ge=0, le=65535)


class NodeLaunch(Value):
    """How to start Ray on a node: the command, its environment, and files it needs, by path and content."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)


class Enforcer(Protocol):
    """Makes a node obey exactly the harms of some kinds."""

    kinds: tuple[type[Value], ...]

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:
        """Makes the node obey these and nothing else of its kinds; none: it is untouched.

        `addresses` are those of the nodes there are. Harmless, where nothing is to be obeyed, on a node that is gone.

        Raises:
            InjectionError: it could not be done.
        """
        ...


class CloudEnforcer(Protocol):
    """Makes the Cloud itself obey exactly the harms of some kinds."""

    kinds: tuple[type[Value], ...]

    def refuses(self, harm: CloudHarm) -> str:
        """Why this cannot be done beside what is in force; empty where it can."""
        ...

    def obey(self, effect_id: str, harms: Sequence[CloudHarm], *, undone: bool) -> None:
        """Obeys these and nothing else of its kinds, now that an effect begins or is undone."""
        ...


class Freezer:
    """Freezes and thaws nodes by whatever means a driver has; a node not known to move is thawed once to be sure."""

    kinds: tuple[type[Value], ...] = (FrozenNode,)

    def __init__(
        self, pause: Callable[[Instance], Awaitable[None]], resume: Callable[[Instance], Awaitable[None]]
    ) -> None:
        self._pause = pause
        self._resume = resume
        self._moving: set[str] = set()

    def started(self, handle: str) -> None:
        """A node that has just been started moves."""
        self._moving.add(handle)

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a freeze has no peers
        """Freezes the node, or lets it go on."""
        if harms:
            self._moving.discard(instance.handle)
            await self._pause(instance)
        elif instance.handle not in self._moving:
            await self._resume(instance)
            self._moving.add(instance.handle)


async def obey_all(
    enforcers: Sequence[Enforcer],
    instance: Instance,
    harms: Sequence[NodeHarm],
    *,
    addresses: Mapping[str, str],
    changed: type[Value] | None,
) -> None:
    """Hands each enforcer the harms of its kinds: the one of the kind that changed, or all; one's error stops no other.

    Raises:
        ChaosError: some could not do it.
    """
    failed: list[ChaosError] = []
    for enforcer in enforcers:
        if changed is not None and not issubclass(changed, enforcer.kinds):
            continue
        mine = [harm for harm in harms if isinstance(harm, enforcer.kinds)]
        try:
            await enforcer.obey(instance, mine, addresses=addresses)
        except ChaosError as error:
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise InjectionError("; ".join(str(error) for error in failed))


class NodeDriver(Protocol):
    """Starts, ends and harms what runs a node. Handles are strings that survive the Cloud's restart."""

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """Runs the node; returns the instance with its handle and address.

        What runs already for the same instance is adopted: a Cloud may crash before it has saved what it started.

        Raises:
            ClusterError: it could not be run.
        """
        ...

    async def adopt_head(self) -> Instance | None:
        """The head where something else runs it (a Compose service); None where the Cloud is to start it."""
        ...

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:
        """Starts the head again that was killed, at the address it had.

        Raises:
            ClusterError: it could not be run.
        """
        ...

    async def stop(self, instance: Instance, *, limit_s: float) -> None:
        """Ends the node politely, and by force after `limit_s`; harmless when it is gone.

        Of an instance without a handle, whatever an earlier Cloud may have started for it is ended.
        """
        ...

    async def kill(self, instance: Instance) -> bool:
        """Ends all of the node at once; says whether there was anything left to end."""
        ...

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """Ends all of the node at once and runs it anew; returns the instance as it then is.

        Raises:
            ClusterError: it could not be run.
        """
        ...

    async def prepare_notice(self) -> None:
        """Makes ready what telling a node of its end takes."""
        ...

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        """Has Ray started again on the node, once, when it ends there; or no longer.

        Raises:
            InjectionError: the node is gone.
        """
        ...

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        """The node's processes, read from the kernel; none when it is gone."""
        ...

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Which of the instances no longer run."""
        ...

    def refuses(self, harm: NodeHarm) -> str:
        """Why nodes of this kind cannot be harmed so; empty where they can."""
        ...

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],
        changed: type[Value] | None = None,
    ) -> None:
        """Makes the node obey exactly these harms, and none that were before; `addresses` are the nodes'.

        Where only harm of one kind has `changed`, nothing else is looked at.

        Raises:
            ChaosError: it could not be done, or the node is gone and there is something to obey.
        """
        ...

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """What shows of harm, and of what should have ended, read from where it is; each in a few words.

        `instances` says which there are at the moment it is called. Nothing shows on a cluster at rest.
        """
        ...

    async def tear_down(self) -> None:
        """Ends everything the driver ever started for this cluster, known or not."""
        ...


@runtime_checkable
class TellsOfChanges(Protocol):
    """A driver that knows when other nodes may be gone."""

    def changes(self) -> tuple[object, ...]:
        """Objects of which one is another after each change of what `gone` says."""
        ...


@runtime_checkable
class NetworkDriver(Protocol):
    """Nodes have networks of their own, whose paths can be measured."""

    async def measure_path(self, source: Instance, destination: Instance, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path from inside both nodes' networks."""
        ...

    async def sample_path(self, source: Instance, destination: Instance, how: Sampling) -> PathSample:
        """Counts packets that are sent one way along a path."""
        ...

    async def view_network(self, instance: Instance, *, addresses: Mapping[str, str]) -> NetworkView:
        """What a node's kernel shows of its network."""
        ...

    def itself(self) -> Instance:
        """The Cloud, as an end of paths."""
        ...


@runtime_checkable
class GaugeDriver(Protocol):
    """What a node uses of its resources can be read."""

    async def gauges(self, instance: Instance) -> Gauges | None:
        """What the kernel says at this moment; None of a node that is gone."""
        ...


@runtime_checkable
class DiskDriver(Protocol):
    """Nodes have disks of their own to use, which can be measured."""

    async def measure_disk(self, instance: Instance, *, transfer_kib: int) -> float | None:
        """Megabytes a second that the node itself writes and has on disk; None when it is gone."""
        ...


@runtime_checkable
class RemovesCluster(Protocol):
    """What runs the head and the Cloud can be removed by the Cloud, for an owner who is gone."""

    async def remove_cluster(self) -> None:
        """Removes everything of the cluster, this process last."""
        ...
