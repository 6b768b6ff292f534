"""`lose_packets`, `duplicate_packets`, `corrupt_packets`, `reorder_packets`: proven by counting packets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from chaos.path_fault import ShareFault
from faults.corrupt_packets import CorruptPackets
from faults.duplicate_packets import DuplicatePackets
from faults.lose_packets import LosePackets
from faults.reorder_packets import ReorderPackets
from tests.doubles import FakeCluster, injected, site_of

FAULTS = [
    (LosePackets(percent=10.0), {"loss_percent": 10.0}),
    (DuplicatePackets(percent=10.0), {"duplicate_percent": 10.0}),
    (CorruptPackets(percent=10.0), {"corrupt_percent": 10.0}),
    (ReorderPackets(percent=10.0, late_ms=30.0), {"reorder_percent": 10.0, "reorder_ms": 30.0}),
]
each = pytest.mark.parametrize(("fault", "fields"), FAULTS, ids=lambda item: getattr(item, "name", ""))


@each
async def test_the_effect_is_about_the_share_that_was_asked(fault: ShareFault, fields: dict[str, float]) -> None:
    cluster = FakeCluster()
    site = await injected(fault, site_of(cluster, "w1"))
    assert cluster.effects["run.i1.w1"][2] == NetworkShape(direction="out", **fields)
    seen = await fault.probe(site)
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 10.0, 10.0, "%")
    await fault.heal(site)
    healed = await fault.probe_healed(site)
    assert (healed.outcome, healed.measured) == ("no_effect", 0.0)


@each
async def test_much_less_than_asked_is_no_effect(fault: ShareFault, fields: dict[str, float]) -> None:
    cluster = FakeCluster()
    site = await injected(fault, site_of(cluster, "w1"))
    name = next(iter(fields))
    shape = NetworkShape(direction="out", **{**fields, name: 1.0})
    cluster.effects["run.i1.w1"] = ("w1", False, shape, None)
    assert (await fault.probe(site)).outcome == "no_effect"


@each
async def test_harm_that_stays_is_no_healing(fault: ShareFault, fields: dict[str, float]) -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    site = await injected(fault, site_of(Stuck(), "w1"))
    seen = await fault.probe_healed(site)
    assert (seen.outcome, seen.measured) == ("took_effect", next(iter(fields.values())))


async def test_what_was_hit_before_does_not_count() -> None:
    cluster, fault = FakeCluster(), LosePackets(percent=10.0)
    cluster.effects["other"] = ("w1", False, NetworkShape(loss_percent=10.0), None)
    site = await injected(fault, site_of(cluster, "w1"))
    cluster.effects.pop("run.i1.w1")
    assert (await fault.probe(site)).outcome == "no_effect"


async def test_without_a_path_nothing_can_be_told() -> None:
    fault = LosePackets(percent=10.0, peers="workers")
    site = await injected(fault, site_of(FakeCluster(workers=1), "w1"))
    assert (await fault.probe(site)).outcome == "unknown"


@pytest.mark.parametrize(("percent", "packets"), [(50.0, "200"), (4.0, "500"), (1.0, "2000"), (0.1, "2500")])
async def test_a_small_share_takes_more_packets(percent: float, packets: str) -> None:
    cluster, fault = FakeCluster(), LosePackets(percent=percent)
    await fault.probe(await injected(fault, site_of(cluster, "w1")))
    assert cluster.named("sample_path") == [("w1", "head", "100", "0"), ("w1", "head", packets, "0")]


def test_damage_to_a_header_is_damage() -> None:
    assert CorruptPackets(percent=10.0).changed(PathSample(sent=100, arrived=98, damaged=8)) == 10


async def test_a_small_share_of_a_short_harm_is_looked_for_while_it_lasts() -> None:
    cluster, fault = FakeCluster(), LosePackets(percent=0.5)
    site = await injected(fault, site_of(cluster, "w1"))
    for duration_s, packets in ((1.0, "1000"), (3.0, "1500"), (60.0, "4000")):
        await fault.probe(replace(site, duration_s=duration_s))
        assert cluster.named("sample_path")[-1][2] == packets


@pytest.mark.parametrize(("percent", "strays", "outcome"), [(1.0, 1, "no_effect"), (0.2, 1, "unknown")])
async def test_a_stray_packet_is_no_proof(percent: float, strays: int, outcome: str) -> None:
    class Straying(FakeCluster):
        async def sample_path(
            self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
        ) -> PathSample:
            return PathSample(sent=packets, arrived=packets - (strays if self.effects else 0))

    fault = LosePackets(percent=percent)
    site = await injected(fault, site_of(Straying(), "w1"))
    assert (await fault.probe(site)).outcome == outcome
