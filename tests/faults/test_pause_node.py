"""`pause_node`: proven by what the kernel schedules, and healed under its own id only."""

from __future__ import annotations

from chaos.cluster import Vitals
from faults.pause_node import PauseNode
from tests.doubles import FakeCluster, site_of


async def test_it_pauses_each_victim_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await PauseNode().inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("pause_node") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]


async def test_the_effect_shows_when_all_processes_of_all_victims_are_stopped() -> None:
    cluster, fault = FakeCluster(), PauseNode()
    site = site_of(cluster, "w1", "w2")
    await fault.inject(site_of(cluster, "w1"))
    partly = await fault.probe(site)
    assert (partly.outcome, partly.detail) == ("unknown", "3 of 6 processes are stopped")
    cluster.effects.clear()
    await fault.inject(site)
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 6.0)


async def test_a_cluster_that_says_yes_and_does_nothing_is_found_out() -> None:
    cluster, fault = FakeCluster(), PauseNode()
    cluster.harmless = True
    site = site_of(cluster, "w1")
    await fault.inject(site)
    assert (await fault.probe(site)).outcome == "unknown"


async def test_victims_that_are_gone_show_no_effect() -> None:
    cluster = FakeCluster()
    del cluster.members["w1"]
    assert (await PauseNode().probe(site_of(cluster, "w1"))).outcome == "no_effect"


async def test_healing_is_proven_by_processes_that_run_again() -> None:
    cluster, fault = FakeCluster(), PauseNode()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    await fault.heal(site)  # idempotent
    assert (await fault.probe_healed(site)).outcome == "no_effect"


async def test_processes_that_stay_stopped_are_no_healing() -> None:
    class Stuck(FakeCluster):
        async def vitals(self, node: str) -> Vitals | None:
            return Vitals(processes=3, stopped=1, cpu_s=0.0)

    seen = await PauseNode().probe_healed(site_of(Stuck(), "w1"))
    assert (seen.outcome, seen.detail) == ("took_effect", "1 of 3 processes are still stopped")


async def test_what_another_injection_still_pauses_is_not_held_against_this_one() -> None:
    cluster, fault = FakeCluster(), PauseNode()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    await cluster.pause_node("w1", effect_id="run.i2.w1", lease_s=9.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
    assert list(cluster.effects) == ["run.i2.w1"]


async def test_healing_a_victim_that_is_gone_is_harmless() -> None:
    cluster, fault = FakeCluster(), PauseNode()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    del cluster.members["w1"]
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
