"""`press_memory`: proven by what the kernel says is held, or by whom it killed for it."""

from __future__ import annotations

import pytest

from chaos.cluster import Gauges
from chaos.harm import MemoryPressure
from faults.press_memory import PressMemory
from tests.doubles import FakeCluster, injected, site_of

FAULT = PressMemory(mb=200)


def test_exactly_one_size_is_given() -> None:
    for given in ({}, {"mb": 10, "until_percent": 50.0}):
        with pytest.raises(ValueError, match="give either mb, or until_percent"):
            PressMemory.model_validate(given)


async def test_each_victim_is_pressed_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("press_memory") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == MemoryPressure(mb=200)


async def test_what_is_held_decides() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1", "w2"))
    seen = await FAULT.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 200.0, 200.0, "MB")
    assert seen.detail == "w1: 200 MB held, 700 MB in use of 1000"
    await cluster.undo("run.i1.w2")
    assert (await FAULT.probe(site)).outcome == "unknown"


@pytest.mark.parametrize(("percent", "outcome"), [(90.0, "took_effect"), (99.0, "unknown")])
async def test_a_share_is_judged_by_how_full_the_node_is(percent: float, outcome: str) -> None:
    fault = PressMemory(until_percent=percent)
    seen = await fault.probe(await injected(fault, site_of(FakeCluster(), "w1")))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == (outcome, percent, 90.0, "%")


async def test_what_the_kernel_killed_for_want_of_memory_is_proof() -> None:
    class Killed(FakeCluster):
        async def gauges(self, node: str) -> Gauges | None:
            gauges = await super().gauges(node)
            kills = 3 if self.effects else 1
            return None if gauges is None else gauges.model_copy(update={"oom_kills": kills, "ballast_mb": 0.0})

    seen = await FAULT.probe(await injected(FAULT, site_of(Killed(), "w1")))
    assert seen.outcome == "took_effect"
    assert seen.detail.endswith("; the kernel killed 2 of its processes")


async def test_healing_is_proven_by_nothing_held() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_memory_that_stays_held_is_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    site = await injected(FAULT, site_of(Stuck(), "w1"))
    seen = await FAULT.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("took_effect", 200.0)


async def test_victims_that_are_gone_show_no_effect_and_are_healed() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    del cluster.members["w1"]
    assert (await FAULT.probe(site)).outcome == "no_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"
