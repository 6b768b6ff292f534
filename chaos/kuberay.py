"""What can be done to a cluster on KubeRay, beside what any cluster may let be done: a capability like those others."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from chaos.harm import KubeRayHarm


@runtime_checkable
class RunsOnKubeRay(Protocol):
    """Nodes are pods of a RayCluster, which Ray's autoscaler edits and KubeRay's operator acts on."""

    async def fault_kuberay(self, fault: KubeRayHarm, *, effect_id: str, lease_s: float) -> None:
        """Ray's edits are refused, or nobody acts on them, until undone or the lease ends."""
        ...

    async def operator_is_up(self) -> bool:
        """Whether there is an operator that acts."""
        ...
