"""`stop_node`: what it does not share with `preempt_node`."""

from __future__ import annotations

from chaos.events import NodeDied
from faults.stop_node import StopNode
from tests.doubles import FakeCluster, site_of


async def test_a_node_that_ends_before_anybody_saw_it_drain_was_stopped_all_the_same() -> None:
    site = site_of(FakeCluster(), "w1", events=[(12.5, NodeDied(node="w1", ray_node_id="a"))])
    seen = await StopNode().probe(site)
    assert (seen.outcome, seen.measured, seen.unit) == ("took_effect", 2.5, "s")
