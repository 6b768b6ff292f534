"""`kill_node`: the GCS must have seen every victim die, and since the injection."""

from __future__ import annotations

import pytest

from chaos.errors import InjectionError
from chaos.events import Event, NodeDied, NodeTerminated
from faults.kill_node import KillNode
from tests.doubles import FakeCluster, site_of


def died(node: str) -> NodeDied:
    return NodeDied(node=node, ray_node_id=f"r-{node}")


async def test_it_kills_every_victim_in_order() -> None:
    cluster = FakeCluster()
    await KillNode().inject(site_of(cluster, "w1", "w3"))
    assert cluster.named("kill_node") == [("w1",), ("w3",)]


async def test_a_victim_that_is_gone_is_an_injection_error() -> None:
    with pytest.raises(InjectionError, match="'w9' does not run"):
        await KillNode().inject(site_of(FakeCluster(), "w9"))


async def test_the_effect_is_unknown_until_the_gcs_has_seen_every_victim_die() -> None:
    cluster, fault = FakeCluster(), KillNode()
    before = await fault.probe(site_of(cluster, "w1", "w2", events=[(12.0, died("w1"))]))
    assert (before.outcome, before.detail) == ("unknown", "the GCS has not seen w2 die")
    after = await fault.probe(site_of(cluster, "w1", "w2", events=[(12.0, died("w1")), (14.5, died("w2"))]))
    assert (after.outcome, after.measured, after.unit) == ("took_effect", 4.5, "s")


async def test_neither_an_earlier_death_nor_the_clouds_own_word_is_proof() -> None:
    events: list[tuple[float, Event]] = [(9.0, died("w1")), (11.0, NodeTerminated(node="w1", cause="killed"))]
    assert (await KillNode().probe(site_of(FakeCluster(), "w1", events=events))).outcome == "unknown"


async def test_there_is_nothing_to_heal() -> None:
    cluster = FakeCluster()
    await KillNode().heal(site_of(cluster, "w1"))
    assert cluster.calls == []
    assert (await KillNode().probe_healed(site_of(cluster, "w1"))).outcome == "no_effect"
