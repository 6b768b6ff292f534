"""A RayCluster of the model for tests: its Cloud and pods, without Ray's autoscaler, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from chaos.cloud.config import CloudConfig
from chaos.cloud.core import Cloud
from chaos.cluster_spec import ClusterSpec, HealthCheck
from chaos.events import Event
from chaos.harm import CloudHarm
from chaos.sim.books import Configuration, Events, State
from chaos.sim.driver import ModelDriver, launch_for
from chaos.sim.kuberay.api import KubernetesApi
from chaos.sim.kuberay.operator import Operator
from chaos.sim.kuberay.pods import Pods
from chaos.sim.latency import Latencies
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.provider import CloudApi
from chaos.sim.ray import RayModel

SPEC = ClusterSpec.model_validate(
    {
        "kind": "sim",
        "twin": {"provider": "kuberay"},
        "max_workers": 4,
        "node_types": {"gpu": {"resources": {"CPU": 2, "GPU": 1}}, "cpu": {"resources": {"CPU": 4}}},
    }
)
PATH = "rayclusters/ray"


@dataclass
class Scene:
    """What a test has at hand."""

    pods: Pods
    cloud: Cloud
    operator: Operator
    api: KubernetesApi
    journal: Events
    harms: int = 0

    async def want(self, group: int, replicas: int, *ending: str) -> None:
        """As Ray's provider asks for it."""
        at = f"/spec/workerGroupSpecs/{group}"
        operations: list[dict[str, Any]] = [{"op": "replace", "path": f"{at}/replicas", "value": replicas}]
        if ending:
            strategy = {"workersToDelete": list(ending)}
            operations.append({"op": "replace", "path": f"{at}/scaleStrategy", "value": strategy})
        await self.api.patch(PATH, operations)

    async def harm(self, harm: CloudHarm, node: str = "") -> str:
        """Puts harm in force; its id."""
        self.harms += 1
        effect_id = f"e{self.harms}"
        await self.cloud.apply(effect_id, harm, lease_s=1000.0, node=node)
        return effect_id

    async def listed(self) -> dict[str, str]:
        """Each worker pod that Ray is shown, with its phase; `Terminating`, where it is being deleted."""
        items = (await self.api.get("pods?labelSelector=x"))["items"]
        return {
            pod["metadata"]["name"]: "Terminating" if "deletionTimestamp" in pod["metadata"] else pod["status"]["phase"]
            for pod in items
            if pod["metadata"]["labels"]["ray.io/node-type"] == "worker"
        }

    def told(self, kind: type[Event]) -> list[Any]:
        """What has happened of one kind."""
        return [event for _, event in self.journal._events if isinstance(event, kind)]


def play(
    act: Callable[[Scene], Awaitable[None]],
    *,
    spec: ClusterSpec = SPEC,
    operating: bool = True,
    latencies: Latencies | None = None,
) -> None:
    """One scene; its operator acts, unless the test has it act."""

    async def main() -> None:
        pods = Pods("ray", spec)
        model = RayModel(health_check=HealthCheck(), latencies=latencies or Latencies(), seed=1)
        driver = ModelDriver(model, spec)
        journal = Events()
        configuration = Configuration(spec, written=pods.edit)
        cloud = Cloud(
            CloudConfig(cluster="ray", mark="ray", driver="process", spec=spec),
            driver,
            state=State(),
            journal=journal,
            launch_for=launch_for,
            configuration=configuration,
            placed=pods.placed,
        )
        pods.cloud = cloud
        await cloud.start_head()
        await cloud.resume()
        operator = Operator(pods)
        acting = asyncio.create_task(operator.run() if operating else asyncio.sleep(0))
        api = KubernetesApi(pods, CloudApi(cloud), was_read=lambda: None)
        try:
            await act(Scene(pods, cloud, operator, api, journal))
        finally:
            acting.cancel()
            await cloud.tear_down()

    run_in_virtual_time(main)
