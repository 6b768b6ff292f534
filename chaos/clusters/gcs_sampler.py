"""A process that reads the cluster's state from the GCS and prints it, a JSON line each time.

It is a process of its own because Ray's GCS client ends the process it lives in when the GCS stays away, and because
the runner stays small without Ray. It ends when its standard input does.

    python -m chaos.clusters.gcs_sampler GCS_ADDRESS INTERVAL_S
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

_ANSWER_LIMIT_S = 2.0


def _demands(source: str, by_count: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"shape": dict(item.request.resources_bundle), "count": int(item.count), "source": source}
        for item in by_count
        if item.count
    ]


def _gang(gang: Any, nodes: Iterable[Any]) -> list[dict[str, Any]]:
    """A placement group's bundles by shape; those that are to be on one node are one bundle.

    `not_on` are the instances of nodes that hold others of the group where each is to be on a node of its own.
    """
    found: list[dict[str, Any]] = []
    for request in gang.requests:
        shape, bound = dict(request.resources_bundle), request.placement_constraints
        if any(constraint.HasField("affinity") for constraint in bound) and found:
            whole = found[0]["shape"]
            whole.update({name: whole.get(name, 0.0) + amount for name, amount in shape.items()})
            continue
        like = next((one for one in found if one["shape"] == shape), None)
        if like is None:
            labels = {one.anti_affinity.label_name for one in bound if one.HasField("anti_affinity")}
            like = {"shape": shape, "count": 0, "source": "placement_group", "apart": bool(labels)}
            if held := [node.instance_id for node in nodes if labels & node.dynamic_labels.keys()]:
                like["not_on"] = held
            found.append(like)
        like["count"] += 1
    return found


def read(client: Any) -> dict[str, Any]:
    """One reading. Raises what the GCS client raises."""
    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=_ANSWER_LIMIT_S))
    cluster, autoscaler = reply.cluster_resource_state, reply.autoscaling_state
    status_of = cluster.node_states[0].DESCRIPTOR.fields_by_name["status"].enum_type if cluster.node_states else None
    demands = _demands("task", cluster.pending_resource_requests)
    for gang in cluster.pending_gang_resource_requests:
        demands += _gang(gang, cluster.node_states)
    for constraint in cluster.cluster_resource_constraints:
        demands += _demands("request_resources", constraint.resource_requests)
    return {
        "reachable": True,
        "nodes": [
            {
                "ray_node_id": node.node_id.hex(),
                "instance": node.instance_id,
                "node_type": node.ray_node_type_name,
                "status": status_of.values_by_number[node.status].name.lower() if status_of else "",
                "idle_s": node.idle_duration_ms / 1000.0,
                "total": dict(node.total_resources),
                "available": dict(node.available_resources),
            }
            for node in cluster.node_states
        ],
        "demands": demands,
        "pending": sum(item.count for item in autoscaler.pending_instance_requests) + len(autoscaler.pending_instances),
        "failed": len(autoscaler.failed_instance_requests),
        "infeasible": len(autoscaler.infeasible_resource_requests)
        + len(autoscaler.infeasible_gang_resource_requests)
        + len(autoscaler.infeasible_cluster_resource_constraints),
    }


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Samples until standard input ends."""
    address, interval_s = arguments[0], float(arguments[1])
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    client: Any = None
    while True:
        began_s = time.monotonic()
        try:
            client = client or GcsClient(address=address)
            sample = read(client)
        except Exception as error:  # noqa: BLE001 -- the client raises many kinds; each means: no answer
            client = None
            sample = {"reachable": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"monotonic_s": began_s, **sample}), flush=True)
        time.sleep(max(0.0, interval_s - (time.monotonic() - began_s)))


if __name__ == "__main__":
    main(sys.argv[1:])
