"""`throttle_cpu`: proven by CPU time the node did not get though it wanted it."""

from __future__ import annotations

from chaos.cluster import Gauges
from chaos.harm import CpuThrottle
from faults.throttle_cpu import ThrottleCpu
from tests.doubles import FakeCluster, injected, site_of

FAULT = ThrottleCpu(cores=0.5)


async def test_each_victim_is_limited_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("throttle_cpu") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == CpuThrottle(cores=0.5)


async def test_the_time_a_node_got_since_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 0.5, 0.5, "cores")
    await cluster.undo("run.i1.w2")
    fast = await FAULT.probe(site)
    assert (fast.outcome, fast.detail) == ("no_effect", "w2 got more than asked")


async def test_a_node_that_wanted_no_more_shows_nothing() -> None:
    cluster = FakeCluster()
    cluster.busy_cores = 0.3
    site = await injected(FAULT, site_of(cluster, "w1"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.detail) == ("unknown", "w1 never wanted more than it may have")


async def test_a_node_that_had_no_more_before_shows_nothing() -> None:
    cluster = FakeCluster()
    await cluster.throttle_cpu("w1", CpuThrottle(cores=0.5), effect_id="run.i0.w1", lease_s=9.0)
    seen = await FAULT.probe(await injected(FAULT, site_of(cluster, "w1")))
    assert (seen.outcome, seen.detail, seen.measured) == ("no_effect", "w1 had no more before", 0.5)


async def test_a_window_that_is_too_short_tells_nothing() -> None:
    class Quick(FakeCluster):
        async def gauges(self, node: str) -> Gauges | None:
            gauges = await super().gauges(node)
            return None if gauges is None else gauges.model_copy(update={"at_s": gauges.at_s / 4.0})

    cluster = Quick()
    seen = await FAULT.probe(await injected(FAULT, site_of(cluster, "w1")))
    assert (seen.outcome, seen.detail) == ("unknown", "too soon to tell")


async def test_victims_that_are_gone_show_no_effect() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "no_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


class Stuck(FakeCluster):
    """A cluster whose kernel keeps limits that nobody holds in force."""

    async def undo(self, effect_id: str) -> None:
        """Says so, and does nothing."""

    async def active_effects(self) -> tuple[str, ...]:
        """None."""
        return ()


async def test_healing_is_proven_by_the_kernels_limit() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
    site = await injected(FAULT, site_of(Stuck(), "w1"))
    await FAULT.heal(site)
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", "w1 is still limited", 0.5)


async def test_a_limit_that_another_injection_keeps_is_not_held_against_this_one() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    await cluster.throttle_cpu("w1", CpuThrottle(cores=0.2), effect_id="run.i2.w1", lease_s=9.0)
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
