"""What a monitor launches from on KubeRay: Ray's own provider and configuration producer, over the model's API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler.v2.instance_manager.cloud_providers.kuberay import cloud_provider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.node_provider import CloudInstance

from chaos.clock import monotonic_s, wall_s
from chaos.sim import releases
from chaos.sim.autoscaler import MakesConfig
from chaos.sim.kuberay.api import Client, KubernetesApi
from chaos.sim.kuberay.resource import HEAD_GROUP, NAMESPACE
from chaos.sim.node import Motion
from chaos.sim.turns import run_in_turns, waited_for

_NS = 1_000_000_000
_TIMED = (autoscaling_config, cloud_provider)
# In C, where PyYAML was built with it.
_DUMPER: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What of a worker group the configuration does not depend on.
_OF_NO_MATTER = ("replicas", "scaleStrategy")

T = TypeVar("T")


class _FastProducer(autoscaling_config.AutoscalingConfigProducer):  # type: ignore[misc]
    """Makes and validates a configuration once for as long as what it is made of stays the same."""

    _made: tuple[dict[str, Any], dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        found = self._fetch_ray_cr_from_k8s_with_retries()
        groups = [
            {name: value for name, value in group.items() if name not in _OF_NO_MATTER}
            for group in found["spec"]["workerGroupSpecs"]
        ]
        matters = {**found["spec"], "workerGroupSpecs": groups}
        if self._made is None or self._made[0] != matters:
            self._made = matters, autoscaling_config._derive_autoscaling_config_from_ray_cr(found)
        return self._made[1]


class KubeRaySource:
    """One incarnation's; what Ray's code waits for, the model's time passes for, and nothing while it hangs."""

    head_type = HEAD_GROUP

    def __init__(
        self,
        api: KubernetesApi,
        motion: Motion,
        *,
        name: str,
        environment: Mapping[str, str],
        make: MakesConfig,
        fast: bool = False,
    ) -> None:
        self._motion = motion
        self._environment = environment
        self._make = make
        client = Client(api, motion)
        self.ray = releases.kuberay_provider(name, namespace=NAMESPACE, client=client)
        self._produce = (_FastProducer if fast else autoscaling_config.AutoscalingConfigProducer)(name, NAMESPACE)
        self._produce.kubernetes_api_client = client
        self._config: tuple[dict[str, Any], AutoscalingConfig] | None = None

    async def config(self) -> AutoscalingConfig:
        """As Ray's `KubeRayConfigReader` has it: of the RayCluster, each time.

        Raises:
            requests.RequestException: the API has refused it five times, or could not be reached.
        """
        with self._model_time():
            produced = await run_in_turns(self._produce)
        if self._config is None or self._config[0] != produced:
            text = yaml.dump(produced, Dumper=_DUMPER, sort_keys=False)
            self._config = produced, self._make(text, self._environment)
        return self._config[1]

    async def listed(self) -> Mapping[str, CloudInstance]:
        """The pods that are not being deleted.

        Raises:
            requests.RequestException: the API refused, or could not be reached.
        """
        return await run_in_turns(self.ray.get_non_terminated)

    async def carried_out(self, update: Callable[[], T]) -> T:
        """What an update returns; it waits for the API where it asks for nodes or ends them."""
        with self._model_time():
            return await run_in_turns(update)

    def close(self) -> None:
        """Nothing goes on without the monitor that waits for it."""

    @contextmanager
    def _model_time(self) -> Iterator[None]:
        """Ray's modules for KubeRay have the model's time, and sleep in it."""
        time = SimpleNamespace(sleep=self._sleep, time_ns=lambda: int(wall_s() * _NS), monotonic=monotonic_s)
        before = [(module, module.time) for module in _TIMED]
        try:
            for module in _TIMED:
                module.time = time
            yield
        finally:
            for module, theirs in before:
                module.time = theirs

    def _sleep(self, seconds: float) -> None:
        async def slept() -> None:
            await asyncio.sleep(seconds)
            await self._motion.moving()

        waited_for(slept)
