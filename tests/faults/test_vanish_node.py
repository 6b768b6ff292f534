"""`vanish_node`: proven by listings without a node that the GCS still sees; healed when it is gone."""

from __future__ import annotations

import pytest

from chaos.events import CloudAnsweredWrong, ClusterSampled, Event, NodeTerminated, NodeView
from chaos.harm import Omission
from faults.vanish_node import VanishNode
from tests.doubles import FakeCluster, node_named, site_of

OMITTED = (12.0, CloudAnsweredWrong(effect="run.i1.w1", how="omitted", count=2))


def seen_by_gcs(*names: str) -> tuple[float, Event]:
    views = tuple(NodeView(node=name, node_type="gpu", status="running", total={}, available={}) for name in names)
    return 12.5, ClusterSampled(reachable=True, nodes=views)


async def test_the_cloud_is_told_whom_to_lose() -> None:
    cluster = FakeCluster()
    await VanishNode().inject(site_of(cluster, "w1", "w2"))
    assert {name: (effect[0], effect[3]) for name, effect in cluster.effects.items()} == {
        "run.i1.w1": ("w1", Omission(lost=True)),
        "run.i1.w2": ("w2", Omission(lost=True)),
    }


async def test_a_node_only_the_gcs_sees_is_the_proof() -> None:
    seen = await VanishNode().probe(site_of(FakeCluster(), "w1", events=[OMITTED, seen_by_gcs("head", "w1")]))
    assert (seen.outcome, seen.measured) == ("took_effect", 2.0)
    assert seen.detail == "missing from 2 listings, while the GCS saw w1"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([seen_by_gcs("w1")], id="never left out"),
        pytest.param([OMITTED, seen_by_gcs("head", "w2")], id="gone from the GCS"),
        pytest.param([OMITTED], id="not sampled"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await VanishNode().probe(site_of(FakeCluster(), "w1", events=events))).outcome == "unknown"


async def test_it_is_healed_when_the_victims_are_gone() -> None:
    cluster, fault = FakeCluster(), VanishNode()
    site = site_of(cluster, "w1")
    await fault.inject(site)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "w1 still there"
    cluster.members["w1"] = node_named("w1", state="stopping")
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    del cluster.members["w1"]
    assert (await fault.probe_healed(site)).outcome == "no_effect"


async def test_each_of_several_victims_must_have_been_lost_while_the_gcs_saw_it() -> None:
    fault, cluster = VanishNode(), FakeCluster()
    other = (12.0, CloudAnsweredWrong(effect="run.i1.w2", how="omitted"))
    both = seen_by_gcs("w1", "w2")
    assert (await fault.probe(site_of(cluster, "w1", "w2", events=[OMITTED, both]))).outcome == "unknown"
    alone = [OMITTED, other, seen_by_gcs("w1")]
    assert (await fault.probe(site_of(cluster, "w1", "w2", events=alone))).outcome == "unknown"
    seen = await fault.probe(site_of(cluster, "w1", "w2", events=[OMITTED, other, both]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.0)


async def test_a_victim_that_has_gone_does_not_spare_the_others() -> None:
    cluster, fault = FakeCluster(), VanishNode()
    del cluster.members["w2"]
    gone = (9.0, NodeTerminated(node="w2", cause="exited"))
    site = site_of(cluster, "w2", "w1", events=[gone, OMITTED, seen_by_gcs("w1")])
    await fault.inject(site)
    assert list(cluster.effects) == ["run.i1.w1"]
    assert (await fault.probe(site)).outcome == "took_effect"
