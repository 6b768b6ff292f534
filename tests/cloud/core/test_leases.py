"""Harm under leases, and the lease of the cluster itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chaos.cloud.harming import POLL_S
from chaos.cloud.instances import Instance, StateFile
from chaos.errors import ClusterError, InjectionError
from chaos.harm import EndingNode, FrozenNode, LaunchFault, NetworkShape, NodeHarm, Omission, TerminationFault
from tests.cloud.core.one_cloud import launched, nodes
from tests.cloud.fake_driver import CONFIG, FakeNetworkDriver, Sky
from tests.doubles import VirtualClock, settle


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
