"""`kill_node`: the GCS must have seen every victim die, and since the injection."""

from __future__ import annotations

from typing import Literal

import pytest

from chaos.errors import InjectionError
from chaos.events import ClusterSampled, Event, NodeDied, NodeTerminated
from faults.kill_node import KillNode
from tests.doubles import FakeCluster, site_of


def died(node: str) -> NodeDied:
    return NodeDied(node=node, ray_node_id=f"r-{node}")


def ended(node: str, cause: Literal["autoscaler", "killed", "exited"] = "killed") -> NodeTerminated:
    return NodeTerminated(node=node, cause=cause)


async def test_it_kills_every_victim_in_order() -> None:
    cluster = FakeCluster()
    await KillNode().inject(site_of(cluster, "w1", "w3"))
    assert cluster.named("kill_node") == [("w1",), ("w3",)]


async def test_a_victim_that_is_gone_does_not_spare_the_others() -> None:
    cluster = FakeCluster()
    await KillNode().inject(site_of(cluster, "w9", "w1", "w8", "w2"))
    assert set(cluster.members) == {"head", "w3"}


async def test_that_no_victim_is_there_is_an_injection_error() -> None:
    with pytest.raises(InjectionError, match="'w9' does not run; node 'w8' does not run"):
        await KillNode().inject(site_of(FakeCluster(), "w9", "w8"))


async def test_the_effect_is_unknown_until_the_gcs_has_seen_every_victim_die() -> None:
    cluster, fault = FakeCluster(), KillNode()
    events: list[tuple[float, Event]] = [(10.2, ended("w1")), (10.2, ended("w2")), (12.0, died("w1"))]
    before = await fault.probe(site_of(cluster, "w1", "w2", events=events))
    assert (before.outcome, before.detail) == ("unknown", "the GCS has not seen w2 die")
    after = await fault.probe(site_of(cluster, "w1", "w2", events=[*events, (14.5, died("w2"))]))
    assert (after.outcome, after.detail) == ("took_effect", "the GCS saw every victim die")
    assert (after.measured, after.unit) == (4.5, "s")


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([(11.0, ended("w1"))], id="the Cloud's word alone"),
        pytest.param([(11.0, died("w1"))], id="a death of which the Cloud does not say how it came"),
    ],
)
async def test_one_witness_is_not_enough(events: list[tuple[float, Event]]) -> None:
    assert (await KillNode().probe(site_of(FakeCluster(), "w1", events=events))).outcome == "unknown"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([(9.0, died("w1")), (11.0, ended("w1"))], id="the GCS had seen it die before"),
        pytest.param([(9.9, ended("w1")), (12.0, died("w1"))], id="another injection killed it before"),
        pytest.param([(10.1, ended("w1", "exited")), (12.0, died("w1"))], id="it ended of itself"),
        pytest.param([(10.1, died("w1")), (10.3, ended("w1", "autoscaler"))], id="the autoscaler ended it"),
    ],
)
async def test_a_victim_that_had_gone_is_no_hit(events: list[tuple[float, Event]]) -> None:
    alone = await KillNode().probe(site_of(FakeCluster(), "w1", events=events))
    assert (alone.outcome, alone.detail) == ("no_effect", "every victim had gone before: w1")
    hit: list[tuple[float, Event]] = [(10.2, ended("w2")), (11.5, died("w2"))]
    one_of_two = await KillNode().probe(site_of(FakeCluster(), "w1", "w2", events=[*events, *hit]))
    assert (one_of_two.outcome, one_of_two.measured) == ("took_effect", 1.5)
    assert one_of_two.detail == "the GCS saw w2 die; w1 had gone before"


async def test_the_head_is_dead_when_the_gcs_that_goes_with_it_is_silent() -> None:
    fault = KillNode()
    silent: tuple[float, Event] = (11.5, ClusterSampled(reachable=False))
    before: list[tuple[float, Event]] = [(9.0, ClusterSampled(reachable=False)), (10.1, ended("head"))]
    unseen = await fault.probe(site_of(FakeCluster(), "head", events=before))
    assert (unseen.outcome, unseen.detail) == ("unknown", "the GCS has not seen head die")
    seen = await fault.probe(site_of(FakeCluster(), "head", events=[*before, silent]))
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", "the GCS went with it", 1.5)
    frozen = await fault.probe(site_of(FakeCluster(), "head", events=[silent]))
    assert frozen.outcome == "unknown"
    worker = await fault.probe(site_of(FakeCluster(), "w1", events=[silent, (11.0, ended("w1"))]))
    assert worker.outcome == "unknown"


def test_it_is_fatal_to_the_head_and_to_the_driver_on_it() -> None:
    assert set(KillNode.fatal_to) == {"head", "driver"}
    assert KillNode().hits("head") == {"head", "driver"}
    assert KillNode().hits("w1") == frozenset()


async def test_there_is_nothing_to_heal() -> None:
    cluster = FakeCluster()
    await KillNode().heal(site_of(cluster, "w1"))
    assert cluster.calls == []
    assert (await KillNode().probe_healed(site_of(cluster, "w1"))).outcome == "no_effect"
