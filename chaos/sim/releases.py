"""What differs between the releases of Ray whose autoscaler the twin runs, 2.44 to 2.60: nothing else here knows of it.

What is the same in all of them is imported where it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any

from ray.autoscaler.v2 import scheduler, schema
from ray.autoscaler.v2.instance_manager import common, node_provider, reconciler
from ray.autoscaler.v2.instance_manager.subscribers import cloud_instance_updater

try:
    from ray.autoscaler.v2.instance_manager.subscribers import cloud_resource_monitor
except ImportError:  # before 2.53 nobody remembers which node types could not be had
    cloud_resource_monitor = None


def that_use(name: str) -> Sequence[ModuleType]:
    """The modules of the autoscaler that take `time` or `uuid` from outside: a release may have one less, or more."""
    modules = (common, reconciler, scheduler, schema, node_provider, cloud_instance_updater, cloud_resource_monitor)
    return [module for module in modules if hasattr(module, name)]


def resource_monitor() -> Any | None:
    """The subscriber that remembers which node types could not be had; None where there is none."""
    return None if cloud_resource_monitor is None else cloud_resource_monitor.CloudResourceMonitor()


def reconcile(monitor: Any | None, **given: Any) -> Any:
    """`Reconciler.reconcile`, with the subscriber where it takes it."""
    known = {} if monitor is None else {"cloud_resource_monitor": monitor}
    return reconciler.Reconciler.reconcile(**known, **given)


def kuberay_provider(name: str, *, namespace: str, client: Any) -> Any:
    """Ray's provider for KubeRay, over a client of ours; since 2.51 it asks the GCS, too, for slices."""
    from ray.autoscaler.v2.instance_manager.cloud_providers.kuberay.cloud_provider import KubeRayProvider

    asks = "gcs_client" in inspect.signature(KubeRayProvider.__init__).parameters
    return KubeRayProvider(
        name, {"namespace": namespace}, k8s_api_client=client, **({"gcs_client": None} if asks else {})
    )


def recovering(monitor: Any | None) -> Collection[float]:
    """How far each node type that could not be had is available again, 0 to 1; since 2.56 time alone brings it back."""
    tell = getattr(monitor, "get_recoverable_resource_availabilities", dict)
    return list(tell().values())


def paces_by_ended() -> bool:
    """Whether launches are paced by every instance that ever was allocated; since 2.48 by those that run."""
    return "allocated_instances" in inspect.signature(reconciler.Reconciler._compute_to_launch).parameters
