"""The head is killed and started again: the same instance at the same address, and nobody takes it for ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.cloud.harming import POLL_S
from chaos.errors import ClusterError, InjectionError
from chaos.events import NodeStarted, NodeTerminated
from tests.cloud.fake_driver import Sky, on_virtual_time
from tests.doubles import VirtualClock, settle


@pytest.fixture
async def sky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sky]:
    clock = VirtualClock()
    on_virtual_time(monkeypatch, clock)
    sky = Sky(tmp_path, clock=clock)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    yield sky
    await sky.cloud.tear_down()


async def test_the_head_is_killed_and_runs_again(sky: Sky) -> None:
    before = sky.cloud.instances()[0]
    sky.driver.slow_s["restart_head"] = 4 * POLL_S
    assert sky.driver.clock is not None
    await sky.driver.clock.run(sky.cloud.restart_head())
    [head] = sky.cloud.instances()
    assert (head.instance, head.state, head.tags) == ("head", "running", before.tags)
    assert head.handle != before.handle
    assert await sky.events() == [
        NodeStarted(node="head", node_type="head", instance="head"),
        NodeTerminated(node="head", cause="killed"),
        NodeStarted(node="head", node_type="head", instance="head"),
    ]


async def test_a_head_that_had_ended_is_no_hit(sky: Sky) -> None:
    sky.driver.vanish(sky.cloud.instances()[0].handle)
    with pytest.raises(InjectionError, match="had ended by itself"):
        await sky.cloud.restart_head()


async def test_a_head_that_does_not_start_again_is_seen_to_have_ended(sky: Sky) -> None:
    sky.driver.failing["restart_head"] = ClusterError("no such container")
    with pytest.raises(ClusterError, match="no such container"):
        await sky.cloud.restart_head()
    assert sky.driver.clock is not None
    await sky.driver.clock.advance_to(sky.driver.clock.now_s() + 2 * POLL_S)
    await settle()
    assert sky.cloud.instances() == []
