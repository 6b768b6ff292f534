"""The RayCluster custom resource: made of a cluster's specification, and edited as a user would with `kubectl edit`."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from chaos.cluster_spec import ClusterSpec, NodeType
from chaos.errors import InvalidSpec

NAMESPACE = "default"
HEAD_GROUP = "headgroup"
_FLAGS = {"CPU": "num-cpus", "GPU": "num-gpus", "memory": "memory"}
_UNFIT = frozenset('"\\')
_CONSERVATIVE = 1.0  # Ray's upscaling speed for this mode; every other mode is as fast as can be


def ray_cluster(name: str, spec: ClusterSpec) -> dict[str, Any]:
    """The resource that says what the specification says; each group begins with its minimum of replicas."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": NAMESPACE, "resourceVersion": "1", "annotations": {}},
        "spec": _spec(spec, {}),
    }


def edited(resource: dict[str, Any], spec: ClusterSpec) -> dict[str, Any]:
    """The resource once a user has put the specification in force; what the autoscaler has written stays."""
    now = {group["groupName"]: group for group in resource["spec"]["workerGroupSpecs"]}
    return {**resource, "spec": _spec(spec, now)}


def pods_wanted(group: dict[str, Any]) -> int:
    """How many pods the operator keeps of a worker group: `replicas`, within its limits, of so many hosts each."""
    replicas = min(max(group["replicas"], group["minReplicas"]), group["maxReplicas"])
    return int(replicas * group["numOfHosts"])


def _spec(spec: ClusterSpec, now: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec = spec.as_groups()
    return {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": _number(spec.idle_timeout_s),
            "upscalingMode": "Conservative" if spec.upscaling_speed <= _CONSERVATIVE else "Default",
        },
        "headGroupSpec": _resources(spec.head_resources, "ray-head"),
        "workerGroupSpecs": [_group(name, kind, now.get(name, {})) for name, kind in spec.node_types.items()],
    }


def _group(name: str, kind: NodeType, now: dict[str, Any]) -> dict[str, Any]:
    least = kind.min_workers // kind.hosts
    group: dict[str, Any] = {
        "groupName": name,
        "replicas": now.get("replicas", least),
        "minReplicas": least,
        "maxReplicas": kind.max_workers // kind.hosts,
        "numOfHosts": kind.hosts,
        "scaleStrategy": copy.deepcopy(now.get("scaleStrategy", {"workersToDelete": []})),
        **_resources(kind.resources, "ray-worker"),
    }
    if kind.idle_timeout_s is not None:
        group["idleTimeoutSeconds"] = _number(kind.idle_timeout_s)
    return group


def _resources(resources: dict[str, float], container: str) -> dict[str, Any]:
    """In the parameters of `ray start`, which every release reads.

    Raises:
        InvalidSpec: a resource has a name that Ray, which takes all backslashes out of them, would read as another.
    """
    amounts = {"CPU": 0, **{name: int(amount) for name, amount in resources.items()}}
    parameters = {flag: str(amounts.pop(name)) for name, flag in _FLAGS.items() if name in amounts}
    if unfit := [name for name in amounts if _UNFIT.intersection(name)]:
        raise InvalidSpec(f"resource {unfit[0]!r}: on KubeRay its name may have no quote and no backslash")
    if amounts:
        parameters["resources"] = json.dumps(json.dumps(amounts, ensure_ascii=False), ensure_ascii=False)
    return {"rayStartParams": parameters, "template": {"spec": {"containers": [{"name": container}]}}}


def _number(amount: float) -> int | float:
    return int(amount) if amount == math.floor(amount) else amount
