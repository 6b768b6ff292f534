"""`skew_clock`: proven by a clock that jumped, healed when it is right."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.cluster import Gauges
from chaos.harm import ClockSkew
from faults.skew_clock import SkewClock
from tests.doubles import FakeCluster, injected, site_of

FAULT = SkewClock(offset_s=-90.0)


async def test_each_victims_clock_is_moved_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("skew_clock") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == ClockSkew(offset_s=-90.0)


async def test_a_clock_that_jumped_as_far_as_asked_has_taken_effect() -> None:
    cluster = FakeCluster()
    await cluster.skew_clock("w1", ClockSkew(offset_s=30.0), effect_id="run.i0.w1", lease_s=9.0)
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", -90.0, -90.0, "s")
    await cluster.undo("run.i1.w2")
    other = await FAULT.probe(site)
    assert (other.outcome, other.measured) == ("unknown", 0.0)


async def test_a_clock_is_healed_when_it_is_right_or_another_still_moves_it() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await cluster.skew_clock("w1", ClockSkew(offset_s=30.0), effect_id="run.i2.w1", lease_s=9.0)
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_a_clock_that_stays_wrong_is_not_healed() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    seen = await FAULT.probe_healed(await injected(FAULT, site_of(Stuck(), "w1")))
    assert (seen.outcome, seen.measured) == ("took_effect", -90.0)


async def test_a_clock_that_cannot_be_read_is_not_taken_for_right() -> None:
    class Mute(FakeCluster):
        async def gauges(self, node: str) -> Gauges | None:
            found = await super().gauges(node)
            return found and found.model_copy(update={"clock_offset_s": None})

    cluster = Mute()
    site = await injected(FAULT, site_of(cluster, "w1"))
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "unknown"


async def test_victims_that_are_gone_show_nothing_and_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "unknown"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


def test_an_offset_that_would_not_show_is_refused() -> None:
    with pytest.raises(ValidationError, match="ahead or back, it must be 1 s or more"):
        SkewClock(offset_s=-0.5)
