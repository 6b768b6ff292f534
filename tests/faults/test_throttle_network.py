"""`throttle_network`: proven by a transfer that takes as long as it should."""

from __future__ import annotations

from chaos.cluster import NetworkShape
from faults.throttle_network import ThrottleNetwork
from tests.doubles import OPEN_MBIT, FakeCluster, node_named, site_of

FAULT = ThrottleNetwork(rate_mbit=5.0)


async def test_each_victim_is_shaped_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("shape_network") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.effects["run.i1.w1"][2] == NetworkShape(rate_mbit=5.0)


async def test_the_measured_rate_decides() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1", "w2")
    before = await FAULT.probe(site)
    assert (before.outcome, before.asked, before.measured, before.unit) == ("no_effect", 5.0, OPEN_MBIT, "Mbit/s")
    await FAULT.inject(site_of(cluster, "w1"))
    assert (await FAULT.probe(site)).outcome == "no_effect"  # one of two is still fast
    cluster.effects.clear()
    await FAULT.inject(site)
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 5.0)


async def test_what_cannot_be_measured_is_unknown() -> None:
    cluster = FakeCluster(workers=1)
    del cluster.members["w1"]
    assert (await FAULT.probe(site_of(cluster, "w1"))).outcome == "unknown"
    cluster.members["w2"] = node_named("w2", state="stopping")
    assert (await FAULT.probe(site_of(cluster, "w2"))).outcome == "unknown"


async def test_the_head_is_measured_against_a_worker_not_against_itself() -> None:
    cluster = FakeCluster(workers=2)
    site = site_of(cluster, "head")
    await FAULT.inject(site)
    assert (await FAULT.probe(site)).outcome == "took_effect"
    assert [call[:2] for call in cluster.named("measure_path")] == [("head", "w1")]
    alone = FakeCluster(workers=0)
    assert (await FAULT.probe(site_of(alone, "head"))).outcome == "unknown"


async def test_a_transfer_lasts_long_enough_to_tell_but_not_longer() -> None:
    for rate_mbit, kib in ((0.1, 69), (5.0, 314), (10_000.0, 2048)):
        cluster = FakeCluster()
        await ThrottleNetwork(rate_mbit=rate_mbit).probe(site_of(cluster, "w1"))
        assert cluster.named("measure_path") == [("w1", "head", str(kib))]


async def test_healing_is_proven_by_speed() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1")
    await FAULT.inject(site)
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", OPEN_MBIT)


async def test_a_path_that_stays_slow_is_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    cluster = Stuck()
    site = site_of(cluster, "w1")
    await FAULT.inject(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", "the path is still slow", 5.0)


async def test_a_limit_that_another_injection_keeps_is_not_held_against_this_one() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1")
    await FAULT.inject(site)
    await cluster.shape_network("w1", NetworkShape(rate_mbit=1.0), effect_id="run.i2.w1", lease_s=9.0)
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_victims_that_are_gone_are_healed() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, "w1")
    await FAULT.inject(site)
    del cluster.members["w1"]
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", None)
