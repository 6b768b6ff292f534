"""Limits of CPU time: the least that holds, told to the engine only where it is new."""

from __future__ import annotations

import pytest

from chaos.cloud.cpu_limit import CpuLimiter, quota_us
from chaos.cloud.instances import Instance
from chaos.cluster import Gauges
from chaos.errors import InjectionError
from chaos.harm import CpuThrottle

ONE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1")


class Engine:
    """Notes quotas; knows the container until it is gone."""

    def __init__(self, usual: float | None) -> None:
        self.quotas: list[int] = []
        self.there = True
        self.limiter = CpuLimiter(lambda _: usual, self.set_quota)

    async def set_quota(self, instance: Instance, microseconds: int) -> bool:
        self.quotas.append(microseconds)
        return self.there

    async def obey(self, *cores: float) -> None:
        await self.limiter.obey(ONE, [CpuThrottle(cores=number) for number in cores], addresses={})


@pytest.mark.parametrize(("usual", "back"), [(None, -1), (1.5, 150_000)])
async def test_several_limits_compose_and_the_usual_one_returns(usual: float | None, back: int) -> None:
    engine = Engine(usual)
    engine.limiter.started(ONE)
    await engine.obey()
    assert engine.quotas == []  # nothing to do costs nothing
    await engine.obey(0.5)
    await engine.obey(0.5, 0.2)
    await engine.obey(0.5, 0.2)
    await engine.obey(0.5)
    await engine.obey()
    assert engine.quotas == [50_000, 20_000, 50_000, back]


async def test_a_throttle_above_the_usual_limit_raises_nothing() -> None:
    engine = Engine(1.0)
    engine.limiter.started(ONE)
    await engine.obey(4.0)
    assert engine.quotas == []


async def test_a_cloud_that_was_started_again_makes_sure() -> None:
    engine = Engine(None)
    await engine.obey()
    assert engine.quotas == [-1]


async def test_a_node_that_is_gone_can_be_left_alone_but_not_limited() -> None:
    engine = Engine(None)
    engine.there = False
    await engine.obey()
    with pytest.raises(InjectionError, match="node w1 is gone"):
        await engine.obey(0.5)


def test_what_the_kernel_gives_less_than_usual_shows() -> None:
    def seen(usual: float | None, limit: float | None) -> list[str]:
        return Engine(usual).limiter.seen(ONE, Gauges(at_s=0.0, cpu_s=0.0, cpu_limit_cores=limit))

    assert seen(None, None) == seen(1.5, 1.5) == []
    assert seen(None, 0.5) == seen(1.5, 0.5) == ["CPU limited to 0.5 cores"]


def test_the_kernels_least_is_kept() -> None:
    assert quota_us(0.001) == 1000
