"""`duplicate_launch`: proven by a node nobody asked for, of which Ray took notice."""

from __future__ import annotations

import pytest

from chaos.events import ClusterSampled, Event, NodeJoined, NodeLaunching, NodeStarted, NodeTerminating
from chaos.harm import DuplicatedLaunch
from faults.duplicate_launch import DuplicateLaunch
from tests.doubles import FakeCluster, site_of

ASKED: list[tuple[float, Event]] = [
    (11.0, NodeLaunching(node="w1", node_type="gpu", request="r")),
    (11.1, NodeStarted(node="w1", node_type="gpu", instance="i-1")),
    (13.0, NodeJoined(node="w1", node_type="gpu", ray_node_id="r1", resources={})),
]
TWIN: list[tuple[float, Event]] = [(11.1, NodeStarted(node="w2", node_type="gpu", instance="i-2"))]
JOINED: tuple[float, Event] = (13.0, NodeJoined(node="w2", node_type="gpu", ray_node_id="r2", resources={}))


async def test_the_cloud_is_told_what_to_double() -> None:
    cluster = FakeCluster()
    await DuplicateLaunch(count=1, node_type="gpu").inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == DuplicatedLaunch(count=1, node_type="gpu")


@pytest.mark.parametrize(
    ("notice", "told"),
    [
        (JOINED, "1 began that nobody asked for; 1 joined, the autoscaler ended 0"),
        ((12.0, NodeTerminating(node="w2")), "1 began that nobody asked for; 0 joined, the autoscaler ended 1"),
    ],
)
async def test_a_twin_that_ray_noticed_is_the_proof(notice: tuple[float, Event], told: str) -> None:
    seen = await DuplicateLaunch().probe(site_of(FakeCluster(), events=[*ASKED, *TWIN, notice]))
    assert (seen.outcome, seen.detail, seen.measured) == ("took_effect", told, 1.0)


async def test_a_twin_that_the_autoscaler_ended_before_it_ran_is_the_proof() -> None:
    ended = [(12.0, NodeTerminating(node="w2"))]
    seen = await DuplicateLaunch().probe(site_of(FakeCluster(), events=[*ASKED, *ended]))
    assert (seen.outcome, seen.measured) == ("took_effect", 1.0)


@pytest.mark.parametrize(
    "before",
    [
        (9.0, NodeStarted(node="w2", node_type="gpu", instance="i-2")),
        (9.0, NodeJoined(node="w2", node_type="gpu", ray_node_id="r2", resources={})),
        (9.0, ClusterSampled.model_validate({"reachable": True, "cloud": {"w2": "running"}})),
    ],
)
async def test_the_end_of_a_node_that_was_there_before_is_no_proof(before: tuple[float, Event]) -> None:
    events = [before, (12.0, NodeTerminating(node="w2"))]
    assert (await DuplicateLaunch().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"


@pytest.mark.parametrize(("node_type", "outcome"), [("gpu", "took_effect"), ("big", "unknown")])
async def test_a_twin_of_another_type_is_no_proof(node_type: str, outcome: str) -> None:
    events = [*ASKED, *TWIN, JOINED]
    assert (await DuplicateLaunch(node_type=node_type).probe(site_of(FakeCluster(), events=events))).outcome == outcome
    ended = [*ASKED, (12.0, NodeTerminating(node="w2"))]
    seen = await DuplicateLaunch(node_type=node_type).probe(site_of(FakeCluster(), events=ended))
    assert seen.outcome == "unknown", "of what type it was nobody says"
    unnoticed = [*ASKED, *TWIN, (12.0, NodeTerminating(node="w3"))]
    seen = await DuplicateLaunch(node_type=node_type).probe(site_of(FakeCluster(), events=unnoticed))
    assert seen.outcome == "unknown", "the end of another is no notice of this one"


async def test_what_was_asked_for_is_no_twin_and_one_ray_does_not_know_is_no_proof() -> None:
    ended = [*ASKED, (14.0, NodeTerminating(node="w1"))]
    assert (await DuplicateLaunch().probe(site_of(FakeCluster(), events=ended))).outcome == "unknown"
    assert (await DuplicateLaunch().probe(site_of(FakeCluster(), events=[*ASKED, *TWIN]))).outcome == "unknown"
