"""`preempt_node` and `stop_node`: told, seen to drain, and gone at the end."""

from __future__ import annotations

import pytest

from chaos.events import ClusterSampled, Event, NodeDied, NodeTerminated, NodeView
from faults.preempt_node import PreemptNode, TellsNodes
from faults.stop_node import StopNode
from tests.doubles import FakeCluster, site_of


def draining(at_s: float, node: str = "w1") -> tuple[float, Event]:
    view = NodeView(node=node, node_type="gpu", status="draining", total={}, available={})
    return at_s, ClusterSampled(reachable=True, nodes=(view,))


@pytest.mark.parametrize(("fault", "told_by"), [(PreemptNode(), "drain_notice"), (StopNode(), "sigterm")])
async def test_each_victim_is_told_when_it_ends(fault: TellsNodes, told_by: str) -> None:
    cluster = FakeCluster()
    await fault.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("give_notice") == [
        ("w1", told_by, "5", "run.i1.w1", "20"),
        ("w2", told_by, "5", "run.i1.w2", "20"),
    ]


@pytest.mark.parametrize(
    ("events", "outcome", "detail"),
    [
        ([], "unknown", "the GCS has seen w1 neither drain nor die"),
        ([draining(9.0)], "unknown", "the GCS has seen w1 neither drain nor die"),
        ([draining(11.0, "w2")], "unknown", "the GCS has seen w1 neither drain nor die"),
        ([draining(11.0), draining(12.0)], "took_effect", "the GCS saw w1 drain"),
        (
            [(11.0, NodeDied(node="w1", ray_node_id="a"))],
            "took_effect",
            "the GCS saw every victim die, none drain",
        ),
    ],
)
async def test_the_effect_is_what_the_gcs_saw(events: list[tuple[float, Event]], outcome: str, detail: str) -> None:
    seen = await PreemptNode().probe(site_of(FakeCluster(), "w1", events=events))
    assert (seen.outcome, seen.detail) == (outcome, detail)
    assert seen.measured == (1.0 if outcome == "took_effect" else None)


@pytest.mark.parametrize(
    ("cause", "told"),
    [("killed", "w1 killed when its time was over"), ("exited", "w1 ended by itself in time")],
)
async def test_it_is_over_when_the_node_has_ended(cause: str, told: str) -> None:
    cluster, fault = FakeCluster(), PreemptNode()
    ended = NodeTerminated.model_validate({"node": "w1", "cause": cause})
    site = site_of(cluster, "w1", events=[(14.0, ended)])
    await fault.inject(site)
    assert (await fault.probe_healed(site)).detail == "the notice still runs"
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "not every victim has ended"
    del cluster.members["w1"]
    healed = await fault.probe_healed(site)
    assert (healed.outcome, healed.detail) == ("no_effect", told)
