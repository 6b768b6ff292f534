"""What a Cloud needs of whatever really runs nodes: processes, or containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from pydantic import Field

from chaos.cloud.instances import Instance
from chaos.cluster import PathMeasurement
from chaos.value import Value


class NodeLaunch(Value):
    """How to start Ray on a node: the command, its environment, and files it needs, by path and content."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)


class ResolvedShape(Value):
    """A network shape with nodes resolved to addresses."""

    rate_mbit: float | None = None
    cut_from: tuple[str, ...] = ()


class NodeDriver(Protocol):
    """Starts, ends, freezes and shapes what runs a node. Handles are strings that survive the Cloud's restart."""

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

    async def stop(self, instance: Instance, *, limit_s: float) -> None:
        """Ends the node politely, and by force after `limit_s`; harmless when it is gone."""
        ...

    async def kill(self, instance: Instance) -> None:
        """Ends all of the node at once; harmless when it is gone."""
        ...

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Which of the instances no longer run."""
        ...

    async def pause(self, instance: Instance) -> None:
        """Freezes the node."""
        ...

    async def resume(self, instance: Instance) -> None:
        """Thaws the node; harmless when it is not frozen or gone."""
        ...

    async def harm_seen(self, instances: Collection[Instance]) -> tuple[str, ...]:
        """What shows of harm, and of what should have ended, read from where it is; each in a few words.

        `instances` are all there are. Nothing shows on a cluster at rest.
        """
        ...

    async def tear_down(self) -> None:
        """Ends everything the driver ever started for this cluster, known or not."""
        ...


@runtime_checkable
class NetworkDriver(Protocol):
    """Nodes have networks of their own, which can be shaped and measured."""

    async def shape(self, instance: Instance, shapes: Mapping[str, ResolvedShape]) -> None:
        """Makes the node's network obey exactly these shapes, keyed by effect; none means untouched."""
        ...

    async def measure_path(self, source: Instance, destination: Instance, *, transfer_kib: int) -> PathMeasurement:
        """Measures a path from inside both nodes' networks."""
        ...


@runtime_checkable
class RemovesCluster(Protocol):
    """What runs the head and the Cloud can be removed by the Cloud, for an owner who is gone."""

    async def remove_cluster(self) -> None:
        """Removes everything of the cluster, this process last."""
        ...
