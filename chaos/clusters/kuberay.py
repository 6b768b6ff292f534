"""The twin on KubeRay: pods of a RayCluster for nodes, launched by Ray's own provider through a model of Kubernetes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from chaos.cluster_spec import ClusterSpec
from chaos.clusters.sim import SimCluster
from chaos.harm import KubeRayHarm
from chaos.sim.kuberay.api import KubernetesApi
from chaos.sim.kuberay.operator import Operator
from chaos.sim.kuberay.pods import Pods
from chaos.sim.kuberay.provider import KubeRaySource
from chaos.sim.monitor import Source
from chaos.sim.node import Motion

_SET = re.compile(r"\{('[^'{}:]*'(?:, '[^'{}:]*')*)\}")


class KubeRayCluster(SimCluster):
    """A twin whose nodes come and go as KubeRay's operator has them."""

    def __init__(self, name: str, spec: ClusterSpec, *, seed: int = 0) -> None:
        self._pods = Pods(name, spec)
        self._operating: asyncio.Task[None] | None = None
        super().__init__(name, spec, seed=seed)

    async def stop(self) -> None:
        """Ends the model; what the operator's task ended with, if it did not go on until now, is raised."""
        operating, self._operating = self._operating, None
        if operating is not None:
            operating.cancel()
            await asyncio.wait({operating})
        await super().stop()
        if operating is not None and not operating.cancelled():
            operating.result()

    async def fault_kuberay(self, fault: KubeRayHarm, *, effect_id: str, lease_s: float) -> None:
        """Changes of the RayCluster are refused, or nobody acts on them."""
        await self._cloud.apply(effect_id, fault, lease_s=lease_s)

    async def operator_is_up(self) -> bool:
        """Whether the operator acts."""
        return self._operator.is_up

    def _sources(self) -> Callable[[Motion], Source]:
        self._pods.cloud = self._cloud
        self._operator = Operator(self._pods)
        api = KubernetesApi(self._pods, self._api, was_read=self._note_read)
        environment = self.spec.ray_environment
        return lambda motion: KubeRaySource(
            api, motion, name=self.name, environment=environment, make=self._make_config, fast=self._fast
        )

    def _note_read(self) -> None:
        self._configuration.read()

    def _log(self, line: str) -> None:
        super()._log(_SET.sub(_sorted, line))

    def _edited(self, spec: ClusterSpec) -> None:
        self._pods.edit(spec)

    async def _placed(self, instance: str) -> None:
        await self._pods.placed(instance)

    def _begin(self) -> None:
        self._operating = asyncio.create_task(self._operator.run())


def _sorted(found: re.Match[str]) -> str:
    """A set of Ray's, which it prints in another order in each process."""
    return f"{{{', '.join(sorted(found[1].split(', ')))}}}"
