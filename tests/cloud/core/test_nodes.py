"""Nodes that are told of their end, or started again, and their processes."""

from __future__ import annotations

import pytest

from chaos.cloud.harming import POLL_S
from chaos.errors import ClusterError, InjectionError
from chaos.events import NodeLaunchFailed, NodeTerminated
from chaos.harm import EndingNode, FrozenNode, LaunchFault
from tests.cloud.core.one_cloud import launched, nodes
from tests.cloud.fake_driver import FakeDriver, FakeNetworkDriver, Sky
from tests.doubles import VirtualClock


@pytest.mark.parametrize("by_lease", [False, True])
async def test_a_node_that_was_told_its_end_is_killed_when_its_time_is_over(
    sky: Sky, clock: VirtualClock, by_lease: bool
) -> None:
    await launched(sky, 2)
    ending = EndingNode(told_by="drain_notice", notice_s=2.0)
    await sky.cloud.apply("e", ending, lease_s=2.0, node="w1")
    await clock.advance_to(1.9)
    assert nodes(sky.cloud) == {"head": "running", "w1": "running", "w2": "running"}
    if not by_lease:
        await sky.cloud.undo("e")
    await clock.advance_to(2.0 + 3 * POLL_S)
    assert nodes(sky.cloud) == {"head": "running", "w2": "running"}
    assert not sky.cloud.effects()
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="killed")


async def test_one_that_ended_in_time_is_not_killed(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("e", EndingNode(told_by="sigterm", notice_s=9.0), lease_s=9.0, node="w1")
    sky.driver.vanish("h2")
    await clock.advance_to(2 * POLL_S)
    assert not sky.cloud.effects()
    await sky.cloud.undo("e")
    assert ("kill", "i-00001") not in sky.driver.calls
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="exited")


async def test_undoing_a_notice_at_the_moment_the_node_ends_is_harmless(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("e", EndingNode(told_by="sigterm", notice_s=9.0), lease_s=9.0, node="w1")
    sky.driver.vanish("h2")
    await sky.cloud.undo("e")
    assert not sky.cloud.effects()


async def test_a_restarted_node_is_the_same_instance_and_was_never_missed(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.slow_s |= {"restart": 3.0}
    await sky.cloud.restart("w1")
    assert nodes(sky.cloud)["w1"] == "pending"
    await clock.advance_to(2.0)
    assert nodes(sky.cloud)["w1"] == "pending"
    assert not sky.cloud.effects()
    await clock.advance_to(4.0)
    assert nodes(sky.cloud)["w1"] == "running"
    (again,) = [item for item in sky.cloud.instances() if item.node == "w1"]
    assert (again.instance, again.handle) == ("i-00001", "h3")
    assert not [event for event in await sky.events() if isinstance(event, NodeTerminated)]


async def test_a_restart_that_fails_is_the_end_of_the_instance(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    sky.driver.failing["restart"] = ClusterError("no room")
    await sky.cloud.restart("w1")
    await clock.advance_to(1.0)
    assert nodes(sky.cloud) == {"head": "running"}
    failed = (await sky.events())[-1]
    assert isinstance(failed, NodeLaunchFailed)
    assert (failed.node, failed.reason) == ("w1", "no room")


async def test_only_workers_that_run_can_be_restarted(sky: Sky) -> None:
    with pytest.raises(InjectionError, match="the head cannot be restarted"):
        await sky.cloud.restart("head")
    with pytest.raises(InjectionError, match="'w1' does not run"):
        await sky.cloud.restart("w1")


async def test_a_raylet_comes_back_only_on_a_worker_that_runs_and_is_not_paused(sky: Sky) -> None:
    await launched(sky)
    with pytest.raises(InjectionError, match="the head ends with it"):
        await sky.cloud.restart_raylet("head")
    with pytest.raises(InjectionError, match="'w2' does not run"):
        await sky.cloud.restart_raylet("w2")
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    with pytest.raises(InjectionError, match="'w1' is paused"):
        await sky.cloud.restart_raylet("w1")
    await sky.cloud.undo("e")
    await sky.cloud.apply("e", EndingNode(told_by="sigterm", notice_s=60.0), lease_s=60.0, node="w1")
    with pytest.raises(InjectionError, match="'w1' has been told that it will end"):
        await sky.cloud.restart_raylet("w1")
    assert not [method for method, _ in sky.driver.calls if method.startswith("keep_up")]


async def test_single_processes_are_shown_and_killed_where_the_node_runs(sky: Sky) -> None:
    await launched(sky)
    assert [process.pid for process in await sky.cloud.processes.look("w1")] == [2]
    assert await sky.cloud.processes.look("w2") == ()
    with pytest.raises(InjectionError, match="of node 'w1' no process 9 is there"):
        await sky.cloud.processes.kill("w1", {9: 7})


async def test_tear_down_thaws_ends_and_forgets_everything(sky: Sky) -> None:
    await launched(sky, 2)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    await sky.cloud.apply("f", LaunchFault(delay_s=50.0), lease_s=60.0)
    await launched(sky)
    await sky.cloud.tear_down()
    assert ("obey", "i-00001") in sky.driver.calls
    assert not sky.driver.running
    assert sky.cloud.instances() == []
    assert sky.cloud.effects() == []
    assert sky.reborn().instances() == []


def test_the_double_is_a_driver_without_networks() -> None:
    from chaos.cloud.driver import NetworkDriver

    assert not isinstance(FakeDriver(), NetworkDriver)
    assert isinstance(FakeNetworkDriver(), NetworkDriver)
