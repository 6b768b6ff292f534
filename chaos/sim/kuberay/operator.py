"""KubeRay's operator, as far as pods go: `reconcilePods` of its RayCluster controller, again and again.

Written after `ray-operator/controllers/ray/raycluster_controller.go` (`reconcilePods`, `shouldDeletePod`),
`ray-operator/controllers/ray/utils/util.go` (`GetWorkerGroupDesiredReplicas`) and
`ray-operator/controllers/ray/expectations/scale_expectations.go` of ray-project/kuberay.
"""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import Any

from chaos.clock import monotonic_s, pause
from chaos.cloud.answers import ApiError
from chaos.cloud.instances import Fate
from chaos.cloud.launch_faults import LaunchFaults
from chaos.events import NodeLaunchFailed
from chaos.harm import EndedOperator, LaunchFault, PartialLaunch
from chaos.sim.kuberay.pods import Pods
from chaos.sim.kuberay.resource import pods_wanted
from chaos.sim.kuberay.words import meant

WATCH_S = 0.1
"""How soon after a change the operator acts, at the latest."""
_PHASE_S = 0.037  # at moments of its own: who is first of those who act at one moment is nobody's choice
_FIRST_BACKOFF_S = 0.005
_LAST_BACKOFF_S = 1000.0
_RESYNC_S = 300.0


class Unhealthy(Exception):
    """Pods that had failed were deleted; what is missing is created in another turn."""


class Operator:
    """Keeps the pods of one RayCluster as that says. One that is started again has forgotten what it waited for."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._faults = LaunchFaults(pods.cloud.ledger)
        self._deleting: dict[str, set[str]] = {}
        self._failures = 0
        self._number = 0
        self._beyond: dict[tuple[str, str], int] = {}  # by effect and group; the quota's, not the operator's memory

    async def run(self) -> None:
        """Acts on every change, and on what failed again, ever later; for ever."""
        seen: object = None
        again_s = -math.inf
        await asyncio.sleep(_PHASE_S)
        while True:
            if not self.is_up:
                self._deleting, self._failures, seen = {}, 0, None
            elif self._pods.moment() is not seen or monotonic_s() >= again_s:
                seen = self._pods.moment()
                again_s = monotonic_s() + await self._turn()
            # While it is down it waits for the end of an effect, which is none of a moment's things.
            of = self._pods.moment if self.is_up else None
            await pause(WATCH_S, within_s=max(0.0, again_s - monotonic_s()), of=of)

    @property
    def is_up(self) -> bool:
        """Whether it acts."""
        return not any(isinstance(effect.harm, EndedOperator) for effect in self._pods.cloud.ledger.effects())

    async def _turn(self) -> float:
        """One reconciliation; in how many seconds there is to be another, if nothing happens before."""
        try:
            await self.reconcile()
        except (ApiError, Unhealthy):
            wait_s = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**self._failures)
            self._failures += 1
            return wait_s
        self._failures = 0
        return _RESYNC_S

    async def reconcile(self) -> None:
        """Deletes and creates pods of each group in turn; what is wrong with one keeps those after it waiting.

        Raises:
            ApiError: a pod could not be created.
            Unhealthy: there were pods that had failed.
        """
        for group in self._pods.resource["spec"]["workerGroupSpecs"]:
            name = group["groupName"]
            if not self._expectations_met(name):
                continue
            failed = self._pods.failed(name)
            for pod in failed:
                await self._pods.delete(pod.instance)
            if failed:
                raise Unhealthy(f"delete {len(failed)} unhealthy worker Pods")
            deleted = set()
            for pod_name in group["scaleStrategy"].get("workersToDelete", []):
                if await self._pods.delete(pod_name):
                    deleted.add(pod_name)
            self._deleting[name] = deleted
            there = [pod for pod in self._pods.there(name) if pod.instance not in deleted]
            if (missing := pods_wanted(group) - len(there)) > 0:
                self._create(group, missing)
            else:
                self._beyond = {key: count for key, count in self._beyond.items() if key[1] != name}
            # Of too many, none is deleted: with an autoscaler, which they are is for that to say.

    def _expectations_met(self, group: str) -> bool:
        """Whether what was deleted in the group is gone: until then it is left as it is."""
        there = {pod.instance for pod in self._pods.there()}
        self._deleting[group] = self._deleting.get(group, set()) & there
        return not self._deleting[group]

    def _create(self, group: dict[str, Any], count: int) -> None:
        name = group["groupName"]
        self._number += 1
        request = f"{name}/{self._number}"
        allowed = count - self._beyond_quota(name, count, request)
        if allowed:
            fates = self._fates(name, allowed, request)
            self._pods.cloud.launching.accept(name, fates, {"ray-user-node-type": name, "ray-launch-request": request})
        if allowed < count:
            raise ApiError("pods are forbidden: exceeded quota", status=HTTPStatus.FORBIDDEN)

    def _beyond_quota(self, group: str, count: int, request: str) -> int:
        """How many of so many new pods are refused; one that is tried again, and refused again, is told of once."""
        for effect, fault in self._faults.of(LaunchFault, group):
            if fault.error is None or not meant(fault.error).quota:
                continue
            again = min(count, self._beyond.get((effect.effect_id, group), 0))
            hit = self._faults.hit(effect, fault.count, count - again)
            self._beyond[effect.effect_id, group] = again + hit
            if hit:
                self._refused(group, hit, fault.error, request)
            if again + hit:
                return again + hit
        return 0

    def _fates(self, group: str, count: int, request: str) -> list[Fate]:
        """What befalls new pods; those there is no room for are the last of them."""
        fates = self._faults.fates(group, count)
        for effect, fault in self._faults.of(LaunchFault, group):
            if fault.error is not None and meant(fault.error).is_for_room:
                hit = self._faults.hit(effect, fault.count, count)
                self._without_room(fates, hit, effect.effect_id, group, fault.error, request)
        for effect, partial in self._faults.of(PartialLaunch, group):
            most = min(math.ceil(partial.share * count), partial.at_most or count)
            self._without_room(fates, count - most, effect.effect_id, group, partial.error, request)
        return fates

    def _without_room(
        self, fates: list[Fate], count: int, effect_id: str, group: str, error: str, request: str
    ) -> None:
        for place in range(len(fates) - count, len(fates)):
            fates[place] = fates[place].model_copy(update={"roomless": fates[place].roomless or effect_id})
        if count > 0:
            self._refused(group, count, error, request)

    def _refused(self, group: str, count: int, reason: str, request: str) -> None:
        failed = NodeLaunchFailed(node_type=group, count=count, reason=reason, request=request)
        self._pods.cloud.journal.append(failed)
