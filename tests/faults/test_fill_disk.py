"""`fill_disk`: proven by what the file system says, healed when no process of ours fills it."""

from __future__ import annotations

from chaos.harm import DiskFill
from faults.fill_disk import FillDisk
from tests.doubles import FakeCluster, injected, site_of

FAULT = FillDisk(until_percent=90.0)


async def test_each_victim_is_filled_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("fill_disk") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == DiskFill(until_percent=90.0)


async def test_how_full_the_disk_is_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 90.0, 90.0, "%")
    await cluster.undo("run.i1.w2")
    other = await FAULT.probe(site)
    assert (other.outcome, other.measured) == ("unknown", 10.0)


async def test_a_disk_that_was_as_full_before_shows_nothing() -> None:
    cluster = FakeCluster()
    await cluster.fill_disk("w1", DiskFill(until_percent=95.0), effect_id="run.i0.w1", lease_s=9.0)
    assert (await FAULT.probe(await injected(FAULT, site_of(cluster, "w1")))).outcome == "no_effect"


async def test_healing_is_proven_by_processes_that_are_gone() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_a_process_that_goes_on_is_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    seen = await FAULT.probe_healed(await injected(FAULT, site_of(Stuck(), "w1")))
    assert (seen.outcome, seen.measured) == ("took_effect", 90.0)


async def test_victims_that_are_gone_show_no_effect_and_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "no_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
