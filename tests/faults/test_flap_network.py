"""`flap_network`: proven by packets of which some are lost and some come."""

from __future__ import annotations

import pytest

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from faults.flap_network import FlapNetwork
from tests.doubles import FakeCluster, site_of


async def test_some_come_and_some_do_not() -> None:
    cluster, fault = FakeCluster(), FlapNetwork(down_s=0.5, up_s=1.5)
    site = site_of(cluster, "w1")
    assert (await fault.probe(site)).outcome == "no_effect"
    await fault.inject(site)
    assert cluster.effects["run.i1.w1"][2] == NetworkShape(cut=True, peers=("head",), down_s=0.5, up_s=1.5)
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked, seen.measured) == ("took_effect", 25.0, 25.0)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"


async def test_a_network_that_stays_down_does_not_flap() -> None:
    cluster, fault = FakeCluster(), FlapNetwork(down_s=0.5, up_s=1.5)
    await cluster.shape_network("w1", NetworkShape(cut=True), effect_id="run.i1.w1", lease_s=9.0)
    assert (await fault.probe(site_of(cluster, "w1"))).outcome == "no_effect"


async def test_of_a_long_period_the_part_that_is_down_does() -> None:
    cluster, fault = FakeCluster(), FlapNetwork(down_s=20.0, up_s=5.0)
    await cluster.shape_network("w1", NetworkShape(cut=True), effect_id="run.i1.w1", lease_s=9.0)
    seen = await fault.probe(site_of(cluster, "w1"))
    assert (seen.outcome, seen.asked) == ("took_effect", None)


async def test_a_network_that_still_flaps_is_not_healed() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    cluster, fault = Stuck(), FlapNetwork(down_s=0.5, up_s=0.5)
    site = site_of(cluster, "w1")
    await fault.inject(site)
    assert (await fault.probe_healed(site)).outcome == "took_effect"


@pytest.mark.parametrize(("down_s", "up_s", "lost"), [(0.5, 1.5, 12), (20.0, 5.0, 39)])
async def test_less_than_half_of_what_is_to_be_lost_is_no_proof(down_s: float, up_s: float, lost: int) -> None:
    class Lossy(FakeCluster):
        async def sample_path(
            self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
        ) -> PathSample:
            return PathSample(sent=packets, arrived=packets - lost)

    fault = FlapNetwork(down_s=down_s, up_s=up_s)
    assert (await fault.probe(site_of(Lossy(), "w1"))).outcome == "no_effect"
