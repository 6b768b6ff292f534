"""The RayCluster's pods: the Cloud's instances as Kubernetes shows them, with its scheduler, which may have no room."""

from __future__ import annotations

import copy
from typing import Any

from chaos.clock import pause
from chaos.cloud.core import Cloud
from chaos.cloud.instances import Instance
from chaos.cloud.launch_faults import LaunchFaults
from chaos.cluster_spec import ClusterSpec
from chaos.events import NodeLaunchFailed
from chaos.harm import CapacityLimit, Omission
from chaos.sim.kuberay.resource import HEAD_GROUP, NAMESPACE, edited, ray_cluster
from chaos.sim.kuberay.words import UNSCHEDULABLE
from chaos.sim.ray import HEAD

_SCHEDULER_S = 0.25
_KILLED = 137


class Pods:
    """The resource as it is stored, and the pods there are."""

    cloud: Cloud

    def __init__(self, name: str, spec: ClusterSpec) -> None:
        self.resource = ray_cluster(name, spec)
        self._version = 1
        self._placed: set[str] = set()
        self._known: dict[str, Instance] = {}
        self._failed: dict[str, Instance] = {}
        self._deleted: set[str] = set()
        self._moment: tuple[object, object, frozenset[str]] = (None, None, frozenset())

    # -- the resource -----------------------------------------------------------------------------------------

    def replace(self, resource: dict[str, Any]) -> None:
        """The resource is this from now on."""
        self._version += 1
        metadata = {**resource["metadata"], "resourceVersion": str(self._version)}
        self.resource = {**resource, "metadata": metadata}

    def edit(self, spec: ClusterSpec) -> None:
        """A user puts a specification in force."""
        self.replace(edited(self.resource, spec))

    @staticmethod
    def to_delete(resource: dict[str, Any]) -> list[str]:
        """The pods that the groups' scale strategies say are to be deleted."""
        return [
            name
            for group in resource["spec"]["workerGroupSpecs"]
            for name in group["scaleStrategy"].get("workersToDelete", [])
        ]

    def moment(self) -> object:
        """Another object after each change of the resource or of a pod."""
        entries, resource, lost = self._moment
        now = (self.cloud.ledger.entries(), self.resource, self._lost())
        if now[0] is not entries or now[1] is not resource or now[2] != lost:
            self._moment = now
        return self._moment

    # -- pods -------------------------------------------------------------------------------------------------

    def there(self, group: str | None = None) -> list[Instance]:
        """The worker pods that have not failed, of one group or of all; with those that are being deleted."""
        self._look()
        return [
            item
            for item in self._known.values()
            if item.instance not in self._failed and group in (None, item.node_type)
        ]

    def failed(self, group: str | None = None) -> list[Instance]:
        """The worker pods whose containers have ended, and that nobody has deleted."""
        self._look()
        return [item for item in self._failed.values() if group in (None, item.node_type)]

    async def delete(self, name: str) -> bool:
        """Deletes a pod; false where there is none. One that runs is given the time to end."""
        self._look()
        if name not in self._known or name in self._deleted:
            return name in self._known
        self._deleted.add(name)
        if self._failed.pop(name, None) is None:
            await self.cloud.terminate(name)
        else:
            del self._known[name]
        return True

    def listed(self) -> list[dict[str, Any]]:
        """All pods as the API lists them to Ray, the head's first."""
        self._look()
        shown = self.cloud.answers.listed()
        names = {item.instance for item in shown}
        failed = [item for name, item in self._failed.items() if name not in names]
        return [*(self._pod(item) for item in shown), *(self._pod(item, failed=True) for item in failed)]

    def _lost(self) -> frozenset[str]:
        """The instances whose pods are gone from the API while they run."""
        effects = self.cloud.ledger.effects()
        return frozenset(e.instance for e in effects if isinstance(e.harm, Omission) and e.harm.lost)

    def _look(self) -> None:
        """Notes which pods have ended without having been deleted."""
        ledger, lost = self.cloud.ledger, self._lost()
        living = {
            item.instance: item
            for item in ledger.instances()
            if item.instance != HEAD and not item.lost and item.instance not in lost
        }
        for name, item in self._known.items():
            known = ledger.find(name)
            gone = known is None or known.lost or name in lost
            if name not in living and name not in self._deleted and name not in self._failed and not gone:
                self._failed[name] = item
        self._known = {**{name: self._known[name] for name in self._failed}, **living}
        self._deleted &= self._known.keys()
        self._placed &= self._known.keys()

    def _pod(self, item: Instance, *, failed: bool = False) -> dict[str, Any]:
        head = item.instance == HEAD
        metadata: dict[str, Any] = {
            "name": item.instance,
            "namespace": NAMESPACE,
            "labels": {
                "ray.io/cluster": self.resource["metadata"]["name"],
                "ray.io/node-type": "head" if head else "worker",
                "ray.io/group": HEAD_GROUP if head else item.node_type,
            },
        }
        # What ends without having been deleted runs until it has failed.
        deleted = not item.killed or item.instance in self._deleted
        if item.state == "stopping" and deleted and not failed:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return {"metadata": metadata, "status": self._status(item, failed=failed)}

    def _status(self, item: Instance, *, failed: bool) -> dict[str, Any]:
        if failed:
            return _status("Failed", {"terminated": {"exitCode": _KILLED, "reason": "Error"}})
        if item.state in ("running", "stopping"):
            return {**_status("Running", {"running": {}}), "podIP": item.address}
        if item.instance in self._placed:
            return _status("Pending", {"waiting": {"reason": "ContainerCreating"}})
        resource = "nvidia.com/gpu" if item.shape is not None and item.shape.resources.get("GPU") else "cpu"
        message = UNSCHEDULABLE.format(nodes=max(1, len(self._placed)), resource=resource)
        why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return {"phase": "Pending", "conditions": [why]}

    # -- the scheduler ----------------------------------------------------------------------------------------

    async def placed(self, name: str) -> None:
        """Returns once there is room for a pod, or it is not wanted any more."""
        told: set[str] = set()
        while name not in self._placed:
            item = self.cloud.ledger.find(name)
            if item is None or item.state != "pending":
                return
            if (why := self._roomless(item)) is None:
                self._placed.add(name)
                return
            effect_id, error = why
            if error and effect_id not in told:
                told.add(effect_id)
                request = item.tags.get("ray-launch-request", "")
                failed = NodeLaunchFailed(node_type=item.node_type, reason=error, request=request)
                self.cloud.journal.append(failed)
            await pause(_SCHEDULER_S, of=self.cloud.ledger.state)

    def _roomless(self, item: Instance) -> tuple[str, str] | None:
        """The effect for which there is no room for a pod, and its words where nobody has said so; None: there is."""
        if self.cloud.ledger.effect(item.fate.roomless) is not None:
            return item.fate.roomless, ""
        for effect, limit in LaunchFaults(self.cloud.ledger).of(CapacityLimit, item.node_type):
            there = [other for other in self.cloud.ledger.instances() if other.node_type == item.node_type]
            if sum(other.instance in self._placed for other in there) >= limit.at_most:
                return effect.effect_id, limit.error
        return None


def _status(phase: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [{"name": "ray-worker", "state": copy.deepcopy(state)}]}
