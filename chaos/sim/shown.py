"""What the GCS shows Ray's autoscaler of the model: as it is at one moment, whenever it is looked at."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeAlias

from ray.core.generated.autoscaler_pb2 import (
    AffinityConstraint,
    AntiAffinityConstraint,
    ClusterResourceConstraint,
    ClusterResourceState,
    GangResourceRequest,
    NodeState,
    NodeStatus,
    PlacementConstraint,
    ResourceRequest,
    ResourceRequestByCount,
)

from chaos.events import Resources
from chaos.sim.node import RayNode
from chaos.sim.queue import counted
from chaos.sim.ray import HEAD, DeadNode, RayModel

_STATUS = {"running": NodeStatus.RUNNING, "idle": NodeStatus.IDLE, "draining": NodeStatus.DRAINING}
_MS = 1000.0


class Shown(Protocol):
    """What the autoscaler is shown."""

    @property
    def state(self) -> ClusterResourceState:
        """As `get_cluster_resource_state` returns it."""
        ...

    def seen(self, limits_s: Collection[float]) -> object:
        """All of it, but of the time for which nodes have been idle only how many of the limits are past."""
        ...

    def until_idle_s(self, limits_s: Collection[float]) -> float:
        """How long until a node has been idle for longer than a limit; infinite, where none will be."""
        ...


_Node: TypeAlias = tuple[RayNode, str, tuple[tuple[str, float], ...], tuple[str, ...]]
"""A node that lives, its status, what of it is free, and its labels."""


class AsItIs:
    """The model as it is when this is made, whatever becomes of it; the head's node type is called `head_type`.

    Of the dead those are left out whose Ray node ids are in `without`. Ray's message is made when that is asked for.
    """

    def __init__(self, model: RayModel, *, session: str, head_type: str = HEAD, without: Collection[str] = ()) -> None:
        model.version += 1
        self._version = model.version
        self._session = session
        self._head_type = head_type
        gangs = model.gangs()
        held = [(_label(gang.id), gang.nodes) for gang in gangs]
        nodes = model.nodes()
        self._nodes: list[_Node] = [
            (
                node,
                model.status_of(node),
                tuple(node.available.items()),
                tuple(label for label, homes in held if node in homes) if held else (),
            )
            for node in nodes
        ]
        self._idle_ms = [int(model.idle_s(node) * _MS) for node in nodes]
        self._dead = tuple(node for node in model.dead() if node.ray_node_id not in without)
        self._demands = model.demands()
        self._gangs = [(gang.id, gang.strategy, gang.requests(), bool(gang.nodes)) for gang in gangs if gang.waiting]
        self._requested = model.requested

    @property
    def living(self) -> list[str]:
        """The instances of the nodes that live."""
        return [node.instance for node, *_ in self._nodes]

    @property
    def dead(self) -> Sequence[DeadNode]:
        """The nodes that do not."""
        return self._dead

    def leave_out(self, ray_node_ids: Collection[str]) -> None:
        """Of the dead it shows these no more."""
        self._dead = tuple(node for node in self._dead if node.ray_node_id not in ray_node_ids)

    @property
    def state(self) -> ClusterResourceState:
        """As `get_cluster_resource_state` returns it."""
        return ClusterResourceState(
            cluster_resource_state_version=self._version,
            cluster_session_name=self._session,
            node_states=[*self._living_states(), *self._dead_states()],
            pending_resource_requests=_by_count(self._demands),
            pending_gang_resource_requests=[_gang(*gang) for gang in self._gangs],
            cluster_resource_constraints=[
                ClusterResourceConstraint(resource_requests=_by_count(counted(self._requested)))
            ]
            if self._requested
            else [],
        )

    def seen(self, limits_s: Collection[float]) -> object:
        """All of it, but of the time for which nodes have been idle only how many of the limits are past."""
        limits_ms = [limit_s * _MS for limit_s in limits_s]
        past = [sum([idle_ms > limit_ms for limit_ms in limits_ms]) if idle_ms else 0 for idle_ms in self._idle_ms]
        return self._nodes, past, self._dead, self._demands, self._gangs, self._requested

    def until_idle_s(self, limits_s: Collection[float]) -> float:
        """How long until a node has been idle for longer than a limit; infinite, where none will be."""
        left = (
            limit_s - idle_ms / _MS for idle_ms in self._idle_ms for limit_s in limits_s if 0 < idle_ms <= limit_s * _MS
        )
        return max(0.0, min(left, default=math.inf))

    def _living_states(self) -> list[NodeState]:
        return [
            NodeState(
                node_id=bytes.fromhex(node.ray_node_id),
                instance_id=node.instance,
                ray_node_type_name=(node_type := self._head_type if node.instance == HEAD else node.node_type),
                instance_type_name=node_type,
                available_resources={name: amount for name, amount in available if amount > 0},
                total_resources=node.total,
                node_state_version=self._version,
                status=_STATUS[status],
                idle_duration_ms=idle_ms,
                dynamic_labels=dict.fromkeys(labels, ""),
            )
            for (node, status, available, labels), idle_ms in zip(self._nodes, self._idle_ms, strict=True)
        ]

    def _dead_states(self) -> list[NodeState]:
        """After those that live, without resources, as the GCS lists them."""
        return [
            NodeState(
                node_id=bytes.fromhex(node.ray_node_id),
                instance_id=node.instance,
                ray_node_type_name=node.node_type,
                instance_type_name=node.node_type,
                node_state_version=self._version,
                status=NodeStatus.DEAD,
            )
            for node in self._dead
        ]


class Altered:
    """What harm makes of it: nothing follows from what was shown before."""

    def __init__(self, state: ClusterResourceState) -> None:
        self._state = state

    @property
    def state(self) -> ClusterResourceState:
        """As `get_cluster_resource_state` returns it."""
        return self._state

    def seen(self, limits_s: Collection[float]) -> object:  # noqa: ARG002
        """Equal to nothing."""
        return object()

    def until_idle_s(self, limits_s: Collection[float]) -> float:  # noqa: ARG002
        """Nobody knows."""
        return 0.0


def _by_count(shapes: list[tuple[Resources, int]]) -> list[ResourceRequestByCount]:
    return [
        ResourceRequestByCount(request=ResourceRequest(resources_bundle=shape), count=count) for shape, count in shapes
    ]


def _gang(name: str, strategy: str, requests: list[Resources], rescheduling: bool) -> GangResourceRequest:
    """What of a placement group waits, bound by its name as its strategy wants it."""
    bound: dict[str, Any] = {"label_name": _label(name), "label_value": ""}
    constraints = []
    if strategy == "STRICT_SPREAD":
        constraints = [PlacementConstraint(anti_affinity=AntiAffinityConstraint(**bound))]
    elif strategy == "STRICT_PACK":
        constraints = [PlacementConstraint(affinity=AffinityConstraint(**bound))]
    return GangResourceRequest(
        requests=[ResourceRequest(resources_bundle=bundle, placement_constraints=constraints) for bundle in requests],
        details=f"{name}:{strategy}|{'RESCHEDULING' if rescheduling else 'PENDING'}",
    )


def _label(gang: str) -> str:
    """The label of the nodes on which bundles of a placement group are."""
    return f"_PG_{gang}"
