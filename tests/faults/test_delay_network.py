"""`delay_network`: proven by packets that take longer than before."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.harm import NetworkShape
from faults.delay_network import DelayNetwork
from tests.doubles import FakeCluster, injected, site_of


async def test_the_shape_says_what_was_asked() -> None:
    cluster = FakeCluster()
    fault = DelayNetwork(delay_ms=80.0, jitter_ms=10.0, correlation_percent=25.0)
    await fault.inject(site_of(cluster, "w1"))
    expected = NetworkShape(delay_ms=80.0, jitter_ms=10.0, correlation_percent=25.0, direction="out")
    assert cluster.effects["run.i1.w1"][2] == expected


async def test_the_effect_is_a_path_that_takes_longer() -> None:
    cluster, fault = FakeCluster(), DelayNetwork(delay_ms=80.0, direction="both")
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    assert len(site.before) == 4
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 80.0, 80.0, "ms")
    assert seen.detail.endswith(", by fake")


async def test_one_path_that_is_not_late_is_no_effect() -> None:
    cluster, fault = FakeCluster(), DelayNetwork(delay_ms=80.0)
    site = await injected(fault, site_of(cluster, "w1", "w2"))
    await cluster.undo("run.i1.w2")
    seen = await fault.probe(site)
    assert (seen.outcome, seen.measured) == ("no_effect", 0.0)
    assert "w2 → head" in seen.detail


async def test_without_a_path_nothing_can_be_told() -> None:
    cluster, fault = FakeCluster(workers=1), DelayNetwork(delay_ms=80.0, peers="workers")
    site = await injected(fault, site_of(cluster, "w1"))
    assert (await fault.probe(site)).outcome == "unknown"


async def test_healing_is_proven_by_a_path_as_fast_as_before() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    cluster, fault = Stuck(), DelayNetwork(delay_ms=80.0)
    site = await injected(fault, site_of(cluster, "w1"))
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await fault.heal(site)
    seen = await fault.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("no_effect", 0.0)


async def test_a_delay_that_another_injection_keeps_is_not_held_against_this_one() -> None:
    cluster, fault = FakeCluster(), DelayNetwork(delay_ms=80.0)
    site = await injected(fault, site_of(cluster, "w1"))
    await cluster.shape_network("w1", NetworkShape(delay_ms=100.0), effect_id="run.i2.w1", lease_s=9.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"


def test_no_packet_can_be_early() -> None:
    with pytest.raises(ValidationError, match="jitter_ms = 20 is more than delay_ms = 10"):
        DelayNetwork(delay_ms=10.0, jitter_ms=20.0)
