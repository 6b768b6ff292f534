"""`slow_join`: proven by a node that joined later after its instance ran than Ray alone would take."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeJoined, NodeLaunching, NodeStarted
from chaos.harm import LateRay
from faults.slow_join import SlowJoin
from tests.doubles import FakeCluster, site_of
from tests.faults.test_zombie_launch import BASELINE


def node(joined_s: float | None, node_type: str = "gpu", *, asked_s: float = 10.5) -> list[tuple[float, Event]]:
    events: list[tuple[float, Event]] = [
        (1.0, BASELINE),
        (asked_s, NodeLaunching(node="w1", node_type=node_type, request="r")),
        (11.0, NodeStarted(node="w1", node_type=node_type, instance="i-1")),
    ]
    if joined_s is not None:
        events.append((joined_s, NodeJoined(node="w1", node_type=node_type, ray_node_id="r", resources={})))
    return events


async def test_the_cloud_is_told_how_late_ray_starts() -> None:
    cluster = FakeCluster()
    await SlowJoin(delay_s=4.0, count=2).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == LateRay(delay_s=4.0, count=2)


async def test_a_node_that_joined_later_than_usual_is_the_proof() -> None:
    seen = await SlowJoin(delay_s=4.0).probe(site_of(FakeCluster(), events=node(18.0)))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 4.0, 7.0, "s")


@pytest.mark.parametrize(
    ("delay_s", "events"),
    [
        pytest.param(4.0, node(None), id="not joined"),
        pytest.param(4.0, node(15.5), id="no later than the baseline's"),
        pytest.param(4.0, node(17.0), id="slow by itself"),
        pytest.param(8.0, node(18.0), id="sooner than asked"),
        pytest.param(4.0, node(18.0, "cpu"), id="of another type"),
        pytest.param(4.0, node(18.0, asked_s=9.0), id="asked for before"),
        pytest.param(4.0, node(26.0, asked_s=15.1), id="asked for after the healing"),
    ],
)
async def test_anything_less_is_unknown(delay_s: float, events: list[tuple[float, Event]]) -> None:
    seen = await SlowJoin(delay_s=delay_s, node_type="gpu").probe(site_of(FakeCluster(), events=events))
    assert seen.outcome == "unknown"


async def test_without_a_baseline_the_delay_has_to_do() -> None:
    seen = await SlowJoin(delay_s=4.0).probe(site_of(FakeCluster(), events=node(15.0)[1:]))
    assert (seen.outcome, seen.measured) == ("took_effect", 4.0)


async def test_where_nodes_join_faster_than_in_the_baseline_less_is_late() -> None:
    quick: list[tuple[float, Event]] = [
        (10.5, NodeLaunching(node="w2", node_type="gpu", request="r")),
        (11.0, NodeStarted(node="w2", node_type="gpu", instance="i-2")),
        (12.0, NodeJoined(node="w2", node_type="gpu", ray_node_id="r2", resources={})),
    ]
    seen = await SlowJoin(delay_s=4.0, count=1).probe(site_of(FakeCluster(), events=[*node(17.0), *quick]))
    assert (seen.outcome, seen.measured) == ("took_effect", 6.0)


def beside(node: str, node_type: str, joined_s: float) -> list[tuple[float, Event]]:
    return [
        (10.5, NodeLaunching(node=node, node_type=node_type, request="r")),
        (11.0, NodeStarted(node=node, node_type=node_type, instance=f"i-{node}")),
        (joined_s, NodeJoined(node=node, node_type=node_type, ray_node_id=f"id-{node}", resources={})),
    ]


async def test_its_own_time_is_that_of_its_type() -> None:
    quick_cpu = beside("w2", "cpu", 11.5)
    seen = await SlowJoin(delay_s=4.0).probe(site_of(FakeCluster(), events=[*node(17.0), *quick_cpu]))
    assert seen.outcome == "unknown"
    seen = await SlowJoin(delay_s=4.0).probe(site_of(FakeCluster(), events=[*node(17.0), *beside("w2", "gpu", 11.5)]))
    assert seen.outcome == "took_effect"


@pytest.mark.parametrize(
    "again",
    [
        pytest.param((40.0, NodeJoined(node="w1", node_type="gpu", ray_node_id="r2", resources={})), id="joined"),
        pytest.param((40.0, NodeStarted(node="w1", node_type="gpu", instance="i-1")), id="started"),
    ],
)
async def test_a_node_that_joined_in_time_and_starts_again_is_not_late(again: tuple[float, Event]) -> None:
    events = [*node(13.0), again]
    assert (await SlowJoin(delay_s=10.0).probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
    assert (await SlowJoin(delay_s=10.0).probe(site_of(FakeCluster(), events=events[1:]))).outcome == "unknown"
