"""`throttle_disk`: proven by a file that takes as long to write as it should."""

from __future__ import annotations

import pytest

from chaos.harm import DiskThrottle
from faults.throttle_disk import ThrottleDisk
from tests.doubles import OPEN_MBIT, FakeCluster, injected, site_of

FAULT = ThrottleDisk(mb_per_s=5.0)


async def test_each_victim_is_limited_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("throttle_disk") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == DiskThrottle(mb_per_s=5.0)


async def test_the_measured_rate_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    assert site.before == {("w1",): OPEN_MBIT, ("w2",): OPEN_MBIT}
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 5.0, 5.0, "MB/s")
    await cluster.undo("run.i1.w2")
    fast = await FAULT.probe(site)
    assert (fast.outcome, fast.detail) == ("no_effect", "w2 writes fastest, before 900 MB/s")


@pytest.mark.parametrize(("before", "outcome"), [(7.4, "no_effect"), (7.6, "took_effect")])
async def test_a_disk_that_was_no_faster_proves_nothing(before: float, outcome: str) -> None:
    cluster = FakeCluster()
    cluster.open_mbit = before
    assert (await FAULT.probe(await injected(FAULT, site_of(cluster, "w1")))).outcome == outcome


async def test_a_transfer_lasts_long_enough_to_tell_but_not_longer() -> None:
    for rate, kib in ((0.1, 256), (5.0, 2441), (1000.0, 65_536)):
        cluster = FakeCluster()
        await ThrottleDisk(mb_per_s=rate).measure_before(site_of(cluster, "w1"))
        assert cluster.named("measure_disk") == [("w1", str(kib))]


async def test_healing_is_proven_by_speed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", OPEN_MBIT)


async def test_a_disk_that_stays_slow_is_no_healing_unless_another_keeps_it_so() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return tuple(effect for effect in self.effects if effect != "run.i1.w1")

    cluster = Stuck()
    site = await injected(FAULT, site_of(cluster, "w1"))
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", "w1 is still slow", 5.0)
    await cluster.throttle_disk("w1", DiskThrottle(mb_per_s=2.0), effect_id="run.i2.w1", lease_s=9.0)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_victims_that_are_gone_show_no_effect_and_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "no_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
