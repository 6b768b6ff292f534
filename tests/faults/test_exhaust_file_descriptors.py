"""`exhaust_file_descriptors`: proven by the raylet's limit and the files it has open."""

from __future__ import annotations

from chaos.harm import FileLimit
from faults.exhaust_file_descriptors import ExhaustFileDescriptors
from tests.doubles import FakeCluster, injected, site_of

FAULT = ExhaustFileDescriptors(spare=3)


async def test_each_victim_is_limited_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("limit_files") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == FileLimit(spare=3)


async def test_what_a_raylet_has_to_spare_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 3.0, 3.0, "files")
    await cluster.undo("run.i1.w2")
    other = await FAULT.probe(site)
    assert (other.outcome, other.detail) == ("no_effect", "w2 may still open 1024 files")


async def test_a_limit_that_leaves_more_than_asked_is_not_seen_yet() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    cluster.taken["run.i1.w1"] = FileLimit(spare=100)
    assert (await FAULT.probe(site)).outcome == "unknown"


async def test_healing_is_proven_by_the_limit_of_before() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_a_limit_that_stays_low_is_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    seen = await FAULT.probe_healed(await injected(FAULT, site_of(Stuck(), "w1")))
    assert (seen.outcome, seen.detail) == ("took_effect", "w1's raylet may open 53 files only")


async def test_victims_that_are_gone_show_no_effect_and_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "no_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
