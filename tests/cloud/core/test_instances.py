"""Instances come and go, under the launch faults in force."""

from __future__ import annotations

import pytest

from chaos.cloud.harming import POLL_S
from chaos.cloud.launching import LaunchRefused
from chaos.errors import ClusterError, InjectionError
from chaos.events import NodeLaunchFailed, NodeLaunching, NodeStarted, NodeTerminated, NodeTerminating
from chaos.harm import LaunchFault
from tests.cloud.core.one_cloud import TAGS, abandoned, launched, nodes
from tests.cloud.fake_driver import Sky
from tests.doubles import VirtualClock, settle


async def test_a_launch_is_accepted_at_once_and_boots_then(sky: Sky) -> None:
    sky.driver.slow_s["start"] = 2.0
    one, two = await sky.cloud.launch("gpu", 2, TAGS)
    assert (one.instance, one.node, one.state, one.tags) == ("i-00001", "w1", "pending", TAGS)
    assert nodes(sky.cloud) == {"head": "running", "w1": "pending", "w2": "pending"}
    assert sky.driver.clock is not None
    await sky.driver.clock.advance_to(2.5)
    assert nodes(sky.cloud) == {"head": "running", "w1": "running", "w2": "running"}
    assert await sky.events() == [
        NodeStarted(node="head", node_type="head", instance="head"),
        NodeLaunching(node="w1", node_type="gpu", request="req-1"),
        NodeLaunching(node="w2", node_type="gpu", request="req-1"),
        NodeStarted(node="w1", node_type="gpu", instance="i-00001"),
        NodeStarted(node="w2", node_type="gpu", instance="i-00002"),
    ]
    assert two.instance == "i-00002"


async def test_an_unknown_node_type_is_refused(sky: Sky) -> None:
    with pytest.raises(LaunchRefused, match="'tpu' is none of this cluster's: gpu, cpu"):
        await sky.cloud.launch("tpu", 1, TAGS)
    assert len(sky.cloud.instances()) == 1


async def test_a_boot_that_fails_is_told_and_leaves_no_instance(sky: Sky) -> None:
    for error in (ClusterError("no room"), OSError("fork: no memory")):
        sky.driver.failing["start"] = error
        await launched(sky)
        failed = (await sky.events())[-1]
        assert isinstance(failed, NodeLaunchFailed)
        assert (failed.node_type, failed.count, failed.reason, failed.request) == ("gpu", 1, str(error), "req-1")
    assert nodes(sky.cloud) == {"head": "running"}


async def test_terminate_is_idempotent_and_harmless_of_the_unknown(sky: Sky) -> None:
    [one] = await launched(sky)
    await sky.cloud.terminate(one)
    await sky.cloud.terminate(one)
    assert nodes(sky.cloud)["w1"] == "stopping"
    await settle()
    await sky.cloud.terminate(one)
    await sky.cloud.terminate("i-99999")
    await settle()
    assert nodes(sky.cloud) == {"head": "running"}
    assert (await sky.events())[-2:] == [
        NodeTerminating(node="w1"),
        NodeTerminated(node="w1", cause="autoscaler", stop_s=0.0),
    ]
    assert sky.driver.calls.count(("stop", one)) == 1
    assert list(sky.driver.running.values()) == ["head"]


async def test_terminating_what_is_still_booting_leaves_nothing_running(sky: Sky, clock: VirtualClock) -> None:
    sky.driver.slow_s["start"] = 3.0
    [one] = await launched(sky)
    await sky.cloud.terminate(one)
    await clock.advance_to(4.0)
    assert nodes(sky.cloud) == {"head": "running"}
    assert list(sky.driver.running.values()) == ["head"]
    assert NodeTerminated(node="w1", cause="autoscaler", stop_s=0.0) in await sky.events()
    assert not any(isinstance(event, NodeStarted) and event.node == "w1" for event in await sky.events())


async def test_what_boots_after_it_was_ended_and_forgotten_is_stopped_too(sky: Sky, clock: VirtualClock) -> None:
    sky.driver.slow_s["start"] = 3.0
    [one] = await launched(sky)
    await sky.cloud.terminate(one)
    await settle()
    sky.cloud.renumber()  # the next run on a warm cluster forgets terminated instances
    await clock.advance_to(4.0)
    assert list(sky.driver.running.values()) == ["head"]


async def test_a_delayed_launch_that_was_ended_and_forgotten_never_starts(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LaunchFault(delay_s=10.0), lease_s=60.0)
    [one] = await launched(sky)
    await sky.cloud.terminate(one)
    await settle()
    sky.cloud.renumber()
    await clock.advance_to(12.0)
    assert ("start", one) not in sky.driver.calls
    assert nodes(sky.cloud) == {"head": "running"}


async def test_a_killed_node_is_gone_and_its_end_says_why(sky: Sky, clock: VirtualClock) -> None:
    [one, two] = await launched(sky, 2)
    await sky.cloud.kill("w1")
    await clock.advance_to(POLL_S)
    assert nodes(sky.cloud) == {"head": "running", "w2": "running"}
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="killed")
    with pytest.raises(InjectionError, match="node 'w1' does not run; running: head, w2"):
        await sky.cloud.kill("w1")
    assert [one, two] == ["i-00001", "i-00002"]


async def test_a_node_that_had_ended_by_itself_was_not_killed(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    sky.driver.vanish("h2")
    with pytest.raises(InjectionError, match="node 'w1' had ended by itself"):
        await sky.cloud.kill("w1")
    await clock.advance_to(POLL_S)
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="exited")


async def test_a_killed_node_was_killed_whoever_sees_it_go_first(sky: Sky) -> None:
    [one] = await launched(sky)
    await sky.cloud.kill("w1")
    await sky.cloud.terminate(one)  # the autoscaler, before the Cloud has looked
    await settle()
    assert (await sky.events())[-2:] == [
        NodeTerminating(node="w1"),
        NodeTerminated(node="w1", cause="killed", stop_s=0.0),
    ]


async def test_a_node_that_vanishes_by_itself_has_exited(sky: Sky, clock: VirtualClock) -> None:
    [one] = await launched(sky)
    sky.driver.vanish("h2")
    await clock.advance_to(POLL_S)
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="exited")
    assert ("stop", one) in sky.driver.calls  # what is left of it is swept up


async def test_a_driver_that_fails_once_does_not_blind_the_cloud(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky, 2)
    sky.driver.failing["gone"] = ClusterError("the engine is busy")
    sky.driver.vanish("h2")
    await clock.advance_to(3 * POLL_S)
    assert nodes(sky.cloud)["w1"] == "running"
    del sky.driver.failing["gone"]
    await clock.advance_to(5 * POLL_S)
    assert nodes(sky.cloud) == {"head": "running", "w2": "running"}


async def test_renumber_counts_the_living_from_w1_and_the_next_launch_continues(sky: Sky) -> None:
    first, _, _ = await launched(sky, 3)
    await sky.cloud.terminate(first)
    await settle()
    sky.cloud.renumber()
    assert [(item.instance, item.node) for item in sky.cloud.instances()] == [
        ("head", "head"), ("i-00002", "w1"), ("i-00003", "w2"),
    ]  # fmt: skip
    assert [item.node for item in await sky.cloud.launch("cpu", 1, TAGS)] == ["w3"]
    assert sky.cloud.instances()[-1].instance == "i-00004"  # instance ids are never used again


async def test_tags_are_added_and_kept(sky: Sky) -> None:
    [one] = await launched(sky)
    sky.cloud.tag(one, {"ray-node-status": "up-to-date", "mine": "1"})
    sky.cloud.tag("i-99999", {"mine": "1"})
    cloud = await abandoned(sky)
    assert cloud.instances()[-1].tags == {**TAGS, "ray-node-status": "up-to-date", "mine": "1"}


async def test_a_delayed_launch_starts_that_much_later(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e1", LaunchFault(delay_s=4.0), lease_s=60.0)
    await sky.cloud.apply("e2", LaunchFault(delay_s=2.0), lease_s=60.0)
    await launched(sky)
    await clock.advance_to(3.9)
    assert nodes(sky.cloud)["w1"] == "pending"
    await clock.advance_to(4.1)
    assert nodes(sky.cloud)["w1"] == "running"


async def test_a_delay_with_a_count_hits_that_many_instances(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LaunchFault(delay_s=5.0, count=3), lease_s=60.0)
    await launched(sky, 2)
    await launched(sky, 2)
    await launched(sky)
    await clock.advance_to(1.0)
    running = {node for node, state in nodes(sky.cloud).items() if state == "running"}
    assert running == {"head", "w4", "w5"}
    await clock.advance_to(6.0)
    assert set(nodes(sky.cloud).values()) == {"running"}


async def test_a_delay_of_one_node_type_leaves_others_alone(sky: Sky) -> None:
    await sky.cloud.apply("e", LaunchFault(delay_s=5.0, node_type="gpu"), lease_s=60.0)
    await launched(sky, 1, "gpu")
    await launched(sky, 1, "cpu")
    assert nodes(sky.cloud) == {"head": "running", "w1": "pending", "w2": "running"}


async def test_a_refused_launch_is_told_and_makes_no_instance(sky: Sky) -> None:
    await sky.cloud.apply("e", LaunchFault(error="InsufficientInstanceCapacity", node_type="gpu"), lease_s=60.0)
    with pytest.raises(LaunchRefused, match="InsufficientInstanceCapacity"):
        await sky.cloud.launch("gpu", 3, TAGS)
    expected = NodeLaunchFailed(node_type="gpu", count=3, reason="InsufficientInstanceCapacity", request="req-1")
    assert (await sky.events())[-1] == expected
    await launched(sky, 1, "cpu")
    assert nodes(sky.cloud) == {"head": "running", "w1": "running"}


async def test_refusals_end_when_their_count_is_used_up(sky: Sky) -> None:
    await sky.cloud.apply("e", LaunchFault(error="no", count=2), lease_s=60.0)
    for _ in range(2):
        with pytest.raises(LaunchRefused):
            await sky.cloud.launch("gpu", 1, TAGS)
    await launched(sky)
    assert nodes(sky.cloud) == {"head": "running", "w1": "running"}


async def test_of_a_request_so_many_are_refused_as_there_are_hits_left_and_the_rest_is_launched(sky: Sky) -> None:
    await sky.cloud.apply("e", LaunchFault(error="no room", count=3), lease_s=60.0)
    with pytest.raises(LaunchRefused, match=r"^no room$"):
        await sky.cloud.launch("gpu", 2, TAGS)
    with pytest.raises(LaunchRefused, match=r"^no room \(2 of 3 were launched\)$"):
        await sky.cloud.launch("gpu", 3, TAGS)
    await settle()
    assert nodes(sky.cloud) == {"head": "running", "w1": "running", "w2": "running"}
    failed = [event for event in await sky.events() if isinstance(event, NodeLaunchFailed)]
    assert [(event.count, event.reason, event.request) for event in failed] == [
        (2, "no room", "req-1"), (1, "no room", "req-1"),
    ]  # fmt: skip
    assert [item.instance for item in await sky.cloud.launch("gpu", 2, TAGS)] == ["i-00003", "i-00004"]


async def test_two_refusals_share_a_request_and_a_delay_holds_what_is_left(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("late", LaunchFault(delay_s=5.0, count=1), lease_s=60.0)
    await sky.cloud.apply("room", LaunchFault(error="no room", count=2), lease_s=60.0)
    await sky.cloud.apply("quota", LaunchFault(error="no quota", count=1), lease_s=60.0)
    with pytest.raises(LaunchRefused, match=r"^no room; no quota \(2 of 5 were launched\)$"):
        await sky.cloud.launch("gpu", 5, TAGS)
    await settle()
    assert nodes(sky.cloud) == {"head": "running", "w1": "pending", "w2": "running"}
    await clock.advance_to(6.0)
    assert nodes(sky.cloud)["w1"] == "running"


async def test_a_refused_launch_does_not_use_up_a_delay(sky: Sky) -> None:
    await sky.cloud.apply("late", LaunchFault(delay_s=5.0, count=1), lease_s=60.0)
    await sky.cloud.apply("no", LaunchFault(error="no", count=1), lease_s=60.0)
    with pytest.raises(LaunchRefused):
        await sky.cloud.launch("gpu", 1, TAGS)
    await launched(sky)
    assert nodes(sky.cloud)["w1"] == "pending"


async def test_launches_after_the_undo_are_not_hit_those_before_stay_late(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LaunchFault(delay_s=5.0), lease_s=60.0)
    await launched(sky)
    await sky.cloud.undo("e")
    await launched(sky)
    assert nodes(sky.cloud) == {"head": "running", "w1": "pending", "w2": "running"}
    await clock.advance_to(6.0)
    assert nodes(sky.cloud)["w1"] == "running"
