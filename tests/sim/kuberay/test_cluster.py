"""The twin on KubeRay as a cluster: what goes on beside its monitor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chaos.clock import monotonic_s
from chaos.clusters.kuberay import KubeRayCluster
from chaos.harm import Outage
from chaos.sim.kuberay.api import KubernetesApi
from chaos.sim.kuberay.operator import Operator
from chaos.sim.loop import run_in_virtual_time
from tests.sim.kuberay.scene import SPEC


def test_what_is_wrong_with_the_operator_is_raised_when_the_cluster_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(_: Operator) -> None:
        raise RuntimeError("a defect of the model")

    async def main() -> None:
        cluster = KubeRayCluster("ray", SPEC)
        monkeypatch.setattr(Operator, "reconcile", broken)
        await cluster.start()
        await asyncio.sleep(1.0)
        with pytest.raises(RuntimeError, match="a defect of the model"):
            await cluster.stop()
        assert not cluster._data.exists()
        await cluster.stop()

    run_in_virtual_time(main)


def test_an_operator_that_went_on_until_the_end_is_stopped_without_a_word() -> None:
    async def main() -> None:
        cluster = KubeRayCluster("ray", SPEC)
        await cluster.start()
        await asyncio.sleep(1.0)
        await cluster.stop()

    run_in_virtual_time(main)


def test_an_autoscaler_that_hangs_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    called_s: list[float] = []
    real = KubernetesApi.get

    async def noted(self: KubernetesApi, path: str) -> dict[str, Any]:
        called_s.append(monotonic_s())
        return await real(self, path)

    async def main() -> None:
        monkeypatch.setattr(KubernetesApi, "get", noted)
        cluster = KubeRayCluster("ray", SPEC)
        await cluster.start()
        await cluster.fault_answers(Outage(mode="slow", delay_s=3.0), effect_id="slow", lease_s=100.0)
        for _ in range(4):  # an update makes as many calls, or fewer, each when the one before is answered
            called_s.clear()
            while not called_s:
                await asyncio.sleep(0.5)
            await cluster.stop_processes("head", "monitor", effect_id="hung", lease_s=100.0)
            await asyncio.sleep(30.0)
            assert len(called_s) == 1
            await cluster.undo("hung")
        await cluster.stop()

    run_in_virtual_time(main)
