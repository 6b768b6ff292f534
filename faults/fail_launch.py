"""`fail_launch`: the cloud refuses a launch, in the words clouds use."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.events import AutoscalerLogged, ClusterSampled, NodeLaunchFailed, RunOpened
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LaunchFault

WORDS = MappingProxyType(
    {
        "insufficient_capacity": "InsufficientInstanceCapacity: there is no capacity of this type in this zone",
        "quota_exceeded": "VcpuLimitExceeded: you have requested more vCPU capacity than your current limit",
        "throttled": "RequestLimitExceeded: request rate exceeded",
        "internal_error": "InternalError: an internal error has occurred",
    }
)


class FailLaunch(Fault):
    """Instances asked for while in force are refused for `reason`; of one `node_type`, at most `count`, where given."""

    name: ClassVar[str] = "fail_launch"
    summary: ClassVar[str] = "the cloud refuses to launch"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    reason: Literal["insufficient_capacity", "quota_exceeded", "throttled", "internal_error"] = "insufficient_capacity"
    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to refuse launches."""
        assert isinstance(site.cluster, FaultsLaunches)
        fault = LaunchFault(node_type=self.node_type, count=self.count, error=WORDS[self.reason])
        await site.cluster.fault_launches(fault, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether Ray's autoscaler noticed: in its log, or in the failures it reports to the GCS."""
        refused = sum(
            event.count
            for _, event in site.history.of(NodeLaunchFailed, since_s=site.injected_s)
            if event.reason == WORDS[self.reason] and self.node_type in (None, event.node_type)
        )
        if not refused:
            return Effect(outcome="unknown", detail="no launch was asked for while in force")
        if not noticed(site):
            return Effect(outcome="unknown", detail=f"{refused} refused, but the autoscaler has not said so")
        return Effect(
            outcome="took_effect", detail=f"the autoscaler saw {refused} launches fail", measured=float(refused)
        )


def noticed(site: Site) -> bool:
    """Whether Ray's autoscaler said that a launch failed: in its log, or in the failures it reports to the GCS.

    On KubeRay also, whether it says that it waits for one: of a pod without room or quota it is told nothing more.
    """
    logged = any(
        event.about == "launch_failed" or "ALLOCATION_FAILED" in event.text
        for _, event in site.history.of(AutoscalerLogged, since_s=site.injected_s)
    )
    samples = [event for _, event in site.history.of(ClusterSampled, since_s=site.injected_s)]
    reported = any(event.autoscaler_failed for event in samples)
    return logged or reported or (pods_wait(site) and any(event.autoscaler_pending for event in samples))


def pods_wait(site: Site) -> bool:
    """Whether a launch for which there is no room waits for it, as a pod does."""
    opened = site.history.first(RunOpened)
    return opened is not None and ClusterSpec.model_validate(opened[1].spec.get("cluster", {})).on_kuberay
