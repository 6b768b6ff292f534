"""The Cloud's core in virtual time: instances, harm under leases, and going on after its own restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chaos.cloud.core import Cloud
from chaos.cloud.harming import POLL_S
from chaos.cloud.instances import Instance, StateFile
from chaos.cloud.launching import LaunchRefused
from chaos.errors import ClusterError, InjectionError
from chaos.events import NodeLaunchFailed, NodeLaunching, NodeStarted, NodeTerminated, NodeTerminating
from chaos.harm import EndingNode, FrozenNode, LaunchFault, NetworkShape, NodeHarm, Omission, TerminationFault
from tests.cloud.fake_driver import CONFIG, FakeDriver, FakeNetworkDriver, Sky, on_virtual_time
from tests.doubles import VirtualClock, settle

TAGS = {"ray-launch-request": "req-1", "ray-node-status": "uninitialized"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    clock = VirtualClock()
    on_virtual_time(monkeypatch, clock)
    return clock


@pytest.fixture
async def sky(clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Sky]:
    sky = Sky(tmp_path, clock=clock)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    yield sky
    sky.driver.slow_s.clear()
    await sky.cloud.tear_down()


async def launched(sky: Sky, count: int = 1, node_type: str = "gpu") -> list[str]:
    """Ids of new instances that run."""
    asked = await sky.cloud.launch(node_type, count, TAGS)
    await settle()
    return [item.instance for item in asked]


def nodes(cloud: Cloud) -> dict[str, str]:
    return {item.node: cloud.view(item) for item in cloud.instances()}


async def abandoned(sky: Sky) -> Cloud:
    """The Cloud after a crash of the one before: its tasks are gone, its state is on disk."""
    before = sky.cloud
    for task in list(before._tasks):
        task.cancel()
    await asyncio.gather(*before._tasks, return_exceptions=True)
    cloud = sky.reborn()
    await cloud.resume()
    return cloud


# -- instances ------------------------------------------------------------------------------------------------


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
    assert (await sky.events())[-2:] == [NodeTerminating(node="w1"), NodeTerminated(node="w1", cause="autoscaler")]
    assert sky.driver.calls.count(("stop", one)) == 1
    assert list(sky.driver.running.values()) == ["head"]


async def test_terminating_what_is_still_booting_leaves_nothing_running(sky: Sky, clock: VirtualClock) -> None:
    sky.driver.slow_s["start"] = 3.0
    [one] = await launched(sky)
    await sky.cloud.terminate(one)
    await clock.advance_to(4.0)
    assert nodes(sky.cloud) == {"head": "running"}
    assert list(sky.driver.running.values()) == ["head"]
    assert NodeTerminated(node="w1", cause="autoscaler") in await sky.events()
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
    assert (await sky.events())[-2:] == [NodeTerminating(node="w1"), NodeTerminated(node="w1", cause="killed")]


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


# -- launch faults --------------------------------------------------------------------------------------------


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


# -- harm under leases ----------------------------------------------------------------------------------------


async def test_a_pause_is_in_force_until_undone(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    assert nodes(sky.cloud)["w1"] == "paused"
    assert sky.driver.frozen == {"h2"}
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["e"]
    await sky.cloud.undo("e")
    await sky.cloud.undo("e")
    await sky.cloud.undo("never was")
    assert nodes(sky.cloud)["w1"] == "running"
    assert not sky.driver.frozen
    assert not sky.cloud.effects()


async def test_harm_is_on_disk_with_its_lease_before_it_is_done(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    await launched(sky)
    found: list[dict[str, float]] = []
    obey = sky.driver.obey

    async def looking(instance: Instance, harms: Sequence[NodeHarm], **more: Any) -> None:
        effects = StateFile(sky.directory / "state.json").load().effects
        found.append({name: effect.expires_monotonic_s for name, effect in effects.items()})
        await obey(instance, harms, **more)

    monkeypatch.setattr(sky.driver, "obey", looking)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    assert found == [{"e": 60.0}]
    assert sky.driver.frozen


async def test_of_two_pauses_on_a_node_the_other_stays_in_force(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("a", FrozenNode(), lease_s=60.0, node="w1")
    await sky.cloud.apply("b", FrozenNode(), lease_s=60.0, node="w1")
    await sky.cloud.undo("a")
    assert sky.driver.frozen == {"h2"}
    await sky.cloud.undo("b")
    assert not sky.driver.frozen


async def test_undoing_two_pauses_at_the_same_moment_undoes_both(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    for effect_id in ("a", "b", "c"):
        await sky.cloud.apply(effect_id, FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.slow_s |= {"obey": 0.5}
    await clock.run(asyncio.gather(*(sky.cloud.undo(effect_id) for effect_id in ("a", "b", "c"))))
    assert not sky.cloud.effects()
    assert not sky.driver.frozen


async def test_harm_applied_while_other_harm_is_undone_stays(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("a", FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.slow_s |= {"obey": 0.5}
    again = sky.cloud.apply("b", FrozenNode(), lease_s=60.0, node="w1")
    await clock.run(asyncio.gather(sky.cloud.undo("a"), sky.cloud.undo("a"), again))
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["b"]
    assert sky.driver.frozen == {"h2"}


async def test_a_lease_ends_what_nobody_undoes(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("short", FrozenNode(), lease_s=2.0, node="w1")
    await sky.cloud.apply("long", LaunchFault(error="no"), lease_s=9.0)
    await clock.advance_to(1.9)
    assert sky.driver.frozen
    await clock.advance_to(2.0 + 2 * POLL_S)
    assert not sky.driver.frozen
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["long"]
    await clock.advance_to(9.0 + 2 * POLL_S)
    assert not sky.cloud.effects()


async def test_leases_of_nodes_that_are_slow_to_obey_end_side_by_side(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky, count=2)
    for node in ("w1", "w2"):
        await sky.cloud.apply(node, FrozenNode(), lease_s=2.0, node=node)
    sky.driver.slow_s |= {"obey": 5.0}
    await clock.advance_to(7.0 + 2 * POLL_S)
    assert not sky.driver.frozen
    assert not sky.cloud.effects()


async def test_a_lease_that_cannot_be_ended_at_once_is_ended_later(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=2.0, node="w1")
    sky.driver.failing["obey"] = ClusterError("the engine is busy")
    await clock.advance_to(4.0)
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["e"]
    del sky.driver.failing["obey"]
    await clock.advance_to(4.0 + 2 * POLL_S)
    assert not sky.cloud.effects()
    assert not sky.driver.frozen


async def test_an_undo_that_fails_leaves_the_effect_known_and_can_be_tried_again(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.failing["obey"] = InjectionError("stuck")
    with pytest.raises(InjectionError, match="stuck"):
        await sky.cloud.undo("e")
    assert nodes(sky.cloud)["w1"] == "paused"
    del sky.driver.failing["obey"]
    await sky.cloud.undo("e")
    assert not sky.driver.frozen


async def test_harm_is_refused_where_it_cannot_be(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    with pytest.raises(InjectionError, match="'e' is in force already"):
        await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    with pytest.raises(InjectionError, match="'w7' does not run"):
        await sky.cloud.apply("f", FrozenNode(), lease_s=60.0, node="w7")
    with pytest.raises(InjectionError, match="use --cluster compose"):
        await sky.cloud.apply("g", NetworkShape(rate_mbit=1.0), lease_s=60.0, node="w1")
    with pytest.raises(InjectionError, match="use --cluster compose"):
        await sky.cloud.measure_path("w1", "head", transfer_kib=1)
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["e"]
    assert await sky.cloud.harm_seen() == ("w1: frozen",)


async def test_harm_on_a_node_whose_end_is_held_back_is_undone_all_the_same(sky: Sky, clock: VirtualClock) -> None:
    [one] = await launched(sky)
    await sky.cloud.apply("held", TerminationFault(delay_s=30.0), lease_s=60.0)
    await sky.cloud.apply("e", FrozenNode(), lease_s=2.0, node="w1")
    await sky.cloud.terminate(one)
    assert nodes(sky.cloud)["w1"] == "stopping"
    await clock.advance_to(2.0 + 2 * POLL_S)
    assert not sky.driver.frozen
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["held"]


async def test_a_node_that_cannot_be_let_go_of_ends_all_the_same(sky: Sky) -> None:
    [one] = await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.failing["obey"] = ClusterError("the engine is busy")
    await sky.cloud.terminate(one)
    await settle()
    assert list(sky.driver.running.values()) == ["head"]
    assert nodes(sky.cloud) == {"head": "running"}


async def test_a_notice_that_could_not_be_given_is_followed_by_nothing(sky: Sky) -> None:
    await launched(sky)
    sky.driver.failing["obey"] = InjectionError("the GCS is away")
    with pytest.raises(InjectionError, match="the GCS is away"):
        await sky.cloud.apply("e", EndingNode(told_by="drain_notice", notice_s=5.0), lease_s=60.0, node="w1")
    del sky.driver.failing["obey"]
    await sky.cloud.undo("e")
    await settle()
    assert nodes(sky.cloud)["w1"] == "running"
    assert not [call for call in sky.driver.calls if call[0] == "kill"]


async def test_undoing_on_a_node_that_has_just_gone_is_no_failure(sky: Sky) -> None:
    await launched(sky)
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    sky.driver.vanish("h2")
    sky.driver.failing["obey"] = InjectionError("node w1 is gone")
    await sky.cloud.undo("e")
    assert sky.cloud.effects() == []


async def test_a_node_that_starts_anew_is_free_of_harm_and_what_the_api_lost_stays_lost(sky: Sky) -> None:
    [one] = await launched(sky)
    await sky.cloud.apply("lost", Omission(lost=True), lease_s=60.0, node="w1")
    await sky.cloud.apply("e", FrozenNode(), lease_s=60.0, node="w1")
    await sky.cloud.restart("w1")
    await settle()
    assert sky.driver.calls.index(("obey", one)) < sky.driver.calls.index(("kill", one))
    assert not sky.driver.frozen
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["lost"]


async def test_a_node_that_ends_takes_its_harm_with_it(sky: Sky, clock: VirtualClock) -> None:
    await launched(sky, 2)
    for node in ("w1", "w2"):
        await sky.cloud.apply(node, FrozenNode(), lease_s=60.0, node=node)
    await sky.cloud.kill("w1")
    await clock.advance_to(POLL_S)
    assert [effect.effect_id for effect in sky.cloud.effects()] == ["w2"]
    await sky.cloud.terminate("i-00002")
    await settle()
    assert not sky.cloud.effects()
    assert sky.driver.calls.index(("obey", "i-00002")) < sky.driver.calls.index(("stop", "i-00002"))


async def test_networks_obey_exactly_the_shapes_in_force(clock: VirtualClock, tmp_path: Path) -> None:
    driver = FakeNetworkDriver(clock)
    sky = Sky(tmp_path, driver=driver)
    await sky.cloud.start_head()
    await launched(sky, 2)
    await sky.cloud.apply("slow", NetworkShape(rate_mbit=5.0), lease_s=60.0, node="w1")
    await sky.cloud.apply("cut", NetworkShape(cut=True, peers=("head", "w2", "w9")), lease_s=60.0, node="w1")
    slow, cut = NetworkShape(rate_mbit=5.0), NetworkShape(cut=True, peers=("head", "w2", "w9"))
    assert driver.shapes["i-00001"] == [slow, cut]
    assert driver.addresses == {"head": "10.0.0.1", "w1": "10.0.0.2", "w2": "10.0.0.3", "cloud": "10.0.0.99"}
    assert await sky.cloud.harm_seen() == ("w1: shaped",)
    await sky.cloud.undo("slow")
    assert driver.shapes["i-00001"] == [cut]
    await sky.cloud.undo("cut")
    assert driver.shapes["i-00001"] == []
    assert (await sky.cloud.measure_path("w1", "head", transfer_kib=7)).rate_mbit == 7.0
    assert (await sky.cloud.measure_path("w1", "cloud", transfer_kib=7)).rate_mbit == 7.0
    await sky.cloud.tear_down()


# -- restart --------------------------------------------------------------------------------------------------


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
    assert (await sky.events())[-1] == NodeTerminated(node="w1", cause="autoscaler")


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


# -- the cluster's own lease ----------------------------------------------------------------------------------


async def test_a_cluster_whose_owner_is_silent_is_orphaned_unless_kept(clock: VirtualClock, tmp_path: Path) -> None:
    sky = Sky(tmp_path, clock=clock, config=CONFIG.model_copy(update={"first_lease_s": 10.0}))
    await clock.advance_to(9.0)
    assert not sky.cloud.orphaned()
    sky.cloud.renew_owner(5.0)
    await clock.advance_to(13.9)
    assert not sky.cloud.orphaned()
    await clock.advance_to(14.1)
    assert sky.cloud.orphaned()
    sky.cloud.keep()
    assert not sky.cloud.orphaned()
    await clock.advance_to(500.0)
    assert not sky.reborn().orphaned()
    assert sky.cloud.kept


async def test_a_cluster_without_a_first_lease_needs_no_owner(clock: VirtualClock, tmp_path: Path) -> None:
    sky = Sky(tmp_path, clock=clock)
    await clock.advance_to(1e6)
    assert not sky.cloud.orphaned()


# -- notice, and starting again -------------------------------------------------------------------------------


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
    assert "keep_up" not in [method for method, _ in sky.driver.calls]


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
