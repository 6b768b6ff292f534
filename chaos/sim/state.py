"""What the GCS shows of the model: to Ray's autoscaler, and to the observer as its sampler tells it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ray.core.generated.autoscaler_pb2 import (
    AffinityConstraint,
    AntiAffinityConstraint,
    AutoscalingState,
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
from chaos.sim.gangs import Gang, summed
from chaos.sim.queue import counted
from chaos.sim.ray import HEAD, RayModel

_STATUS = {"running": NodeStatus.RUNNING, "idle": NodeStatus.IDLE, "draining": NodeStatus.DRAINING}


def resource_state(
    model: RayModel, *, session: str, head_type: str = HEAD, without: Collection[str] = ()
) -> ClusterResourceState:
    """As `get_cluster_resource_state` returns it; the head's node type is called `head_type`.

    Of the dead those are left out whose Ray node ids are in `without`.
    """
    model.version += 1
    return ClusterResourceState(
        cluster_resource_state_version=model.version,
        cluster_session_name=session,
        node_states=[*_living(model, head_type), *_dead(model, without)],
        pending_resource_requests=_by_count(model.demands()),
        pending_gang_resource_requests=[_gang(gang) for gang in model.gangs() if gang.waiting],
        cluster_resource_constraints=[ClusterResourceConstraint(resource_requests=_by_count(counted(model.requested)))]
        if model.requested
        else [],
    )


def _by_count(shapes: list[tuple[Resources, int]]) -> list[ResourceRequestByCount]:
    return [
        ResourceRequestByCount(request=ResourceRequest(resources_bundle=shape), count=count) for shape, count in shapes
    ]


def _gang(gang: Gang) -> GangResourceRequest:
    """What of a placement group waits, bound by its name as its strategy wants it."""
    bound: dict[str, Any] = {"label_name": _label(gang), "label_value": ""}
    constraints = []
    if gang.strategy == "STRICT_SPREAD":
        constraints = [PlacementConstraint(anti_affinity=AntiAffinityConstraint(**bound))]
    elif gang.strategy == "STRICT_PACK":
        constraints = [PlacementConstraint(affinity=AffinityConstraint(**bound))]
    return GangResourceRequest(
        requests=[
            ResourceRequest(resources_bundle=bundle, placement_constraints=constraints) for bundle in gang.requests()
        ],
        details=f"{gang.id}:{gang.strategy}|{'RESCHEDULING' if gang.nodes else 'PENDING'}",
    )


def _label(gang: Gang) -> str:
    """The label of the nodes on which bundles of it are."""
    return f"_PG_{gang.id}"


def _living(model: RayModel, head_type: str) -> list[NodeState]:
    return [
        NodeState(
            node_id=bytes.fromhex(node.ray_node_id),
            instance_id=node.instance,
            ray_node_type_name=(node_type := head_type if node.instance == HEAD else node.node_type),
            instance_type_name=node_type,
            available_resources={name: amount for name, amount in node.available.items() if amount > 0},
            total_resources=node.total,
            node_state_version=model.version,
            status=_STATUS[model.status_of(node)],
            idle_duration_ms=int(model.idle_s(node) * 1000.0),
            dynamic_labels={_label(gang): "" for gang in model.gangs() if node in gang.nodes},
        )
        for node in model.nodes()
    ]


def _dead(model: RayModel, without: Collection[str]) -> list[NodeState]:
    """After those that live, without resources, as the GCS lists them."""
    return [
        NodeState(
            node_id=bytes.fromhex(node.ray_node_id),
            instance_id=node.instance,
            ray_node_type_name=node.node_type,
            instance_type_name=node.node_type,
            node_state_version=model.version,
            status=NodeStatus.DEAD,
        )
        for node in model.dead()
        if node.ray_node_id not in without
    ]


def glance(model: RayModel, *, idle: bool = True) -> tuple[object, ...]:
    """What a sample would tell of the model; another one, where that differs, if `idle` in how long a node has been."""
    return (
        *(
            (
                node.ray_node_id,
                model.status_of(node),
                round(model.idle_s(node)) if idle else 0,
                *(item for item in node.available.items() if item[1] > 0),
            )
            for node in model.nodes()
        ),
        *((tuple(demand["shape"].items()), demand["count"], demand["source"]) for demand in _demands(model)),
    )


def _demands(model: RayModel) -> list[dict[str, Any]]:
    """All that waits, as `chaos.clusters.gcs_sampler` tells it."""
    found: list[dict[str, Any]] = []
    for shape, count in model.demands():
        found.append({"shape": shape, "count": count, "source": "task"})
    for gang in model.gangs():
        requests = gang.requests()
        if gang.strategy == "STRICT_PACK":
            requests = [summed(requests)] if requests else []
        apart = gang.strategy == "STRICT_SPREAD"
        not_on = {"not_on": held} if apart and (held := [node.instance for node in gang.nodes]) else {}
        for shape, count in counted(requests):
            found.append({"shape": shape, "count": count, "source": "placement_group", "apart": apart, **not_on})
    for shape, count in counted(model.requested):
        found.append({"shape": shape, "count": count, "source": "request_resources"})
    return found


def sample(model: RayModel, said: dict[str, int]) -> dict[str, Any]:
    """As `chaos.clusters.gcs_sampler` tells it, without its time; `said` are the `counts` of the autoscaler's state."""
    return {
        "reachable": True,
        "nodes": [
            {
                "ray_node_id": node.ray_node_id,
                "instance": node.instance,
                "node_type": node.node_type,
                "status": model.status_of(node),
                "idle_s": float(round(model.idle_s(node))),
                "total": dict(node.total),
                "available": {name: amount for name, amount in node.available.items() if amount > 0},
            }
            for node in model.nodes()
        ],
        "demands": _demands(model),
        **said,
    }


def counts(autoscaling: AutoscalingState) -> dict[str, int]:
    """What the autoscaler has said, as far as a sample tells it."""
    return {
        "pending": sum(item.count for item in autoscaling.pending_instance_requests)
        + len(autoscaling.pending_instances),
        "failed": len(autoscaling.failed_instance_requests),
        "infeasible": len(autoscaling.infeasible_resource_requests)
        + len(autoscaling.infeasible_gang_resource_requests)
        + len(autoscaling.infeasible_cluster_resource_constraints),
    }
