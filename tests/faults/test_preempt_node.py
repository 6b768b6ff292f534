"""`preempt_node` and `stop_node`: told, seen to drain, and gone at the end."""

from __future__ import annotations

import pytest

from chaos.errors import InjectionError
from chaos.events import ClusterSampled, Event, NodeDied, NodeStarted, NodeTerminated, NodeView
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


@pytest.mark.parametrize(("fault", "prepared"), [(PreemptNode(), [()]), (StopNode(), [])])
async def test_a_drain_notice_is_prepared(fault: TellsNodes, prepared: list[tuple[str, ...]]) -> None:
    cluster = FakeCluster()
    await fault.prepare(cluster)
    assert cluster.named("prepare_notice") == prepared


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


@pytest.mark.parametrize("fault", [PreemptNode(), StopNode()])
async def test_a_victim_that_has_gone_does_not_spare_the_others(fault: TellsNodes) -> None:
    cluster = FakeCluster()
    del cluster.members["w1"]
    gone = (9.0, NodeTerminated(node="w1", cause="exited"))
    site = site_of(cluster, "w1", "w2", events=[gone, draining(11.0, "w2")])
    await fault.inject(site)
    assert list(cluster.effects) == ["run.i1.w2"]
    seen = await fault.probe(site)
    assert (seen.outcome, seen.detail) == ("took_effect", "the GCS saw w2 drain")


async def test_with_every_victim_gone_the_injection_fails() -> None:
    cluster = FakeCluster(workers=0)
    with pytest.raises(InjectionError, match="'w1' does not run; node 'w2' does not run"):
        await PreemptNode().inject(site_of(cluster, "w1", "w2"))
    gone: list[tuple[float, Event]] = [(9.0, NodeTerminated(node="w1", cause="exited"))]
    assert (await PreemptNode().probe(site_of(cluster, "w1", events=gone))).outcome == "no_effect"


@pytest.mark.parametrize(
    ("started_s", "outcome", "told"),
    [(9.0, "took_effect", "not every victim has ended"), (12.0, "no_effect", "w1 started again meanwhile")],
)
async def test_a_node_that_was_started_again_since_had_ended(started_s: float, outcome: str, told: str) -> None:
    cluster = FakeCluster()
    again = (started_s, NodeStarted(node="w1", node_type="gpu", instance="i-1"))
    healed = await PreemptNode().probe_healed(site_of(cluster, "w1", events=[again]))
    assert (healed.outcome, healed.detail) == (outcome, told)
