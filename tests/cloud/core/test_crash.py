"""A Cloud that is started again goes on where the one before it stopped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from chaos.cloud.harming import POLL_S
from chaos.cloud.launching import LaunchRefused
from chaos.errors import InjectionError
from chaos.events import NodeStarted, NodeTerminated
from chaos.harm import FrozenNode, LaunchFault, NetworkShape
from tests.cloud.core.one_cloud import TAGS, abandoned, launched, nodes
from tests.cloud.fake_driver import FakeNetworkDriver, Sky
from tests.doubles import VirtualClock, settle


async def test_a_restarted_cloud_boots_what_was_pending_at_its_time(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LaunchFault(delay_s=5.0), lease_s=60.0)
    await launched(sky)
    await clock.advance_to(2.0)
    cloud = await abandoned(sky)
    assert nodes(cloud)["w1"] == "pending"
    await clock.advance_to(4.9)
    assert nodes(cloud)["w1"] == "pending"
    await clock.advance_to(5.1)
    assert nodes(cloud)["w1"] == "running"
    assert (await sky.events())[-1] == NodeStarted(node="w1", node_type="gpu", instance="i-00001")


async def test_a_node_started_right_before_a_crash_is_not_started_twice(sky: Sky, clock: VirtualClock) -> None:
    sky.driver.slow_s["started"] = 2.0
    await launched(sky)
    await clock.advance_to(1.0)
    assert list(sky.driver.running.values()) == ["head", "i-00001"], "it runs, and nobody knows"
    cloud = await abandoned(sky)
    assert nodes(cloud)["w1"] == "pending"
    await clock.advance_to(4.0)
    assert nodes(cloud)["w1"] == "running"
    assert list(sky.driver.running.values()) == ["head", "i-00001"]


async def test_a_node_started_right_before_a_crash_and_ended_right_after_does_not_run_on(
    sky: Sky, clock: VirtualClock
) -> None:
    sky.driver.slow_s["started"] = 2.0
    [one] = await launched(sky)
    await clock.advance_to(1.0)
    cloud = await abandoned(sky)
    await cloud.terminate(one)
    await clock.advance_to(4.0)
    assert list(sky.driver.running.values()) == ["head"]
    assert nodes(cloud) == {"head": "running"}


async def test_a_restarted_cloud_keeps_harm_and_its_leases(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=5.0, node="w1")
    await sky.cloud.apply("f", LaunchFault(error="no", count=2), lease_s=60.0)
    with pytest.raises(LaunchRefused):
        await sky.cloud.launch("gpu", 1, TAGS)
    await clock.advance_to(2.0)
    cloud = await abandoned(sky)
    assert nodes(cloud)["w1"] == "paused"
    with pytest.raises(LaunchRefused):
        await cloud.launch("gpu", 1, TAGS)
    await launched(sky)  # the count goes on where it was
    await clock.advance_to(5.0 + 2 * POLL_S)
    assert not sky.driver.frozen
    assert nodes(cloud)["w1"] == "running"


async def test_a_restarted_cloud_restores_what_its_own_processes_did(clock: VirtualClock, tmp_path: Path) -> None:
    driver = FakeNetworkDriver(clock)
    sky = Sky(tmp_path, driver=driver)
    await sky.cloud.start_head()
    await launched(sky)
    late = NetworkShape(delay_ms=50.0)
    await sky.cloud.apply("late", late, lease_s=60.0, node="w1")
    driver.shapes.clear()
    cloud = await abandoned(sky)
    await clock.advance_to(clock.now_s() + POLL_S)
    assert driver.shapes["i-00001"] == [late]
    await cloud.tear_down()


async def test_the_address_of_a_peer_that_ended_is_no_longer_meant(clock: VirtualClock, tmp_path: Path) -> None:
    driver = FakeNetworkDriver(clock)
    sky = Sky(tmp_path, driver=driver)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    _, second, third = await launched(sky, 3)
    await clock.advance_to(POLL_S)
    await sky.cloud.apply("cut", NetworkShape(cut=True, peers=("w2",)), lease_s=60.0, node="w1")
    assert "w2" in driver.addresses
    driver.calls.clear()
    await sky.cloud.terminate(third)
    await clock.advance_to(clock.now_s() + 2 * POLL_S)
    assert ("obey", "i-00001") not in driver.calls, "w3 is none of its peers"
    await sky.cloud.terminate(second)
    await clock.advance_to(clock.now_s() + 2 * POLL_S)
    assert driver.calls.count(("obey", "i-00001")) == 1
    assert "w2" not in driver.addresses
    assert driver.shapes["i-00001"], "what is in force stays on the books"
    await sky.cloud.tear_down()


async def test_an_address_that_could_not_be_replaced_is_tried_again(clock: VirtualClock, tmp_path: Path) -> None:
    driver = FakeNetworkDriver(clock)
    sky = Sky(tmp_path, driver=driver)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    _, second = await launched(sky, 2)
    await clock.advance_to(POLL_S)
    await sky.cloud.apply("cut", NetworkShape(cut=True, peers=("w2",)), lease_s=60.0, node="w1")
    driver.calls.clear()
    driver.failing["obey"] = InjectionError("busy")
    await sky.cloud.terminate(second)
    await clock.advance_to(clock.now_s() + 2 * POLL_S)
    assert ("obey", "i-00001") in driver.calls
    assert "w2" in driver.addresses
    driver.failing.clear()
    await clock.advance_to(clock.now_s() + 2 * POLL_S)
    assert "w2" not in driver.addresses
    await sky.cloud.tear_down()


async def test_a_restarted_cloud_finishes_what_was_stopping(sky: Sky, clock: VirtualClock) -> None:
    [one] = await launched(sky)
    sky.driver.slow_s["stop"] = 5.0
    await sky.cloud.terminate(one)
    await clock.advance_to(1.0)
    cloud = await abandoned(sky)
    assert nodes(cloud)["w1"] == "stopping"
    await clock.advance_to(7.0)
    assert nodes(cloud) == {"head": "running"}
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="autoscaler", stop_s=5.0)


async def test_a_restarted_cloud_finds_its_head_or_starts_a_new_one(sky: Sky) -> None:
    cloud = await abandoned(sky)
    head = await cloud.start_head()
    assert head.handle == "h1"
    sky.driver.vanish("h1")
    assert (await cloud.start_head()).handle == "h2"


async def test_events_are_numbered_on_and_served_to_who_waits(sky: Sky) -> None:
    count = len(sky.cloud.journal)
    waiting = asyncio.ensure_future(sky.cloud.journal.line(count))
    await settle()
    assert not waiting.done()
    await launched(sky)
    assert json.loads(await waiting)["event"]["kind"] == "node.launching"
    cloud = await abandoned(sky)
    assert len(cloud.journal) == count + 2
