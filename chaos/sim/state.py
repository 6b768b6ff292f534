"""What the GCS shows of the model to the observer, as its sampler tells it."""

from __future__ import annotations

from typing import Any

from ray.core.generated.autoscaler_pb2 import AutoscalingState

from chaos.sim.gangs import summed
from chaos.sim.queue import counted
from chaos.sim.ray import RayModel


def glance(model: RayModel, *, idle: bool = True) -> tuple[object, ...]:
    """What a sample would tell of the model; another one at least where that differs; of idle times, too, if `idle`."""
    nodes = [
        (node, model.status_of(node), round(model.idle_s(node)) if idle else 0, *node.available.items())
        for node in model.nodes()
    ]
    gangs = [
        (gang.strategy, counted(gang.requests()), [node.instance for node in gang.nodes]) for gang in model.gangs()
    ]
    return nodes, model.demands(), gangs, model.requested


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
