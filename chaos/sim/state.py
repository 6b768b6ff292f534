"""What the GCS shows of the model: to Ray's autoscaler, and to the observer as its sampler tells it."""

from __future__ import annotations

from typing import Any

from ray.core.generated.autoscaler_pb2 import (
    AutoscalingState,
    ClusterResourceState,
    NodeState,
    NodeStatus,
    ResourceRequest,
    ResourceRequestByCount,
)

from chaos.sim.ray import RayModel

_STATUS = {"running": NodeStatus.RUNNING, "idle": NodeStatus.IDLE, "draining": NodeStatus.DRAINING}


def resource_state(model: RayModel, *, session: str) -> ClusterResourceState:
    """As `get_cluster_resource_state` returns it."""
    model.version += 1
    return ClusterResourceState(
        cluster_resource_state_version=model.version,
        cluster_session_name=session,
        node_states=[
            NodeState(
                node_id=bytes.fromhex(node.ray_node_id),
                instance_id=node.instance,
                ray_node_type_name=node.node_type,
                instance_type_name=node.node_type,
                available_resources={name: amount for name, amount in node.available.items() if amount > 0},
                total_resources=node.total,
                node_state_version=model.version,
                status=_STATUS[model.status_of(node)],
                idle_duration_ms=int(model.idle_s(node) * 1000.0),
            )
            for node in model.nodes()
        ],
        pending_resource_requests=[
            ResourceRequestByCount(request=ResourceRequest(resources_bundle=shape), count=count)
            for shape, count in model.demands()
        ],
    )


def sample(model: RayModel, autoscaling: AutoscalingState) -> dict[str, Any]:
    """As `chaos.clusters.gcs_sampler` tells it, without its time."""
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
        "demands": [{"shape": shape, "count": count, "source": "task"} for shape, count in model.demands()],
        "pending": sum(item.count for item in autoscaling.pending_instance_requests)
        + len(autoscaling.pending_instances),
        "failed": len(autoscaling.failed_instance_requests),
        "infeasible": len(autoscaling.infeasible_resource_requests)
        + len(autoscaling.infeasible_gang_resource_requests)
        + len(autoscaling.infeasible_cluster_resource_constraints),
    }
