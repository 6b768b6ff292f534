"""`delay_terminate`: proven by an instance that was gone that much later than its end was asked for."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeTerminated, NodeTerminating
from chaos.harm import TerminationFault
from faults.delay_terminate import DelayTerminate
from tests.doubles import FakeCluster, site_of


def ended(asked_s: float, gone_s: float | None, node: str = "w1") -> list[tuple[float, Event]]:
    events: list[tuple[float, Event]] = [(asked_s, NodeTerminating(node=node))]
    if gone_s is not None:
        events.append((gone_s, NodeTerminated(node=node, cause="autoscaler")))
    return events


async def test_the_cloud_is_told_how_late() -> None:
    cluster = FakeCluster()
    await DelayTerminate(delay_s=4.0).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == TerminationFault(delay_s=4.0)


async def test_an_end_that_came_late_is_the_proof() -> None:
    seen = await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=ended(11.0, 15.2)))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 4.0, 4.2, "s")


@pytest.mark.parametrize("events", [[], ended(11.0, None), ended(11.0, 13.0), ended(9.0, 14.0)])
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=events))).outcome == "unknown"


@pytest.mark.parametrize(("gone_s", "outcome"), [(15.5, "unknown"), (18.9, "unknown"), (19.5, "took_effect")])
async def test_where_ends_take_their_time_anyway_the_delay_comes_on_top(gone_s: float, outcome: str) -> None:
    before = [*ended(1.0, 5.0, "w2"), *ended(2.0, 7.5, "w3"), *ended(3.0, 9.0, "w4")]
    seen = await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=[*before, *ended(11.0, gone_s)]))
    assert seen.outcome == outcome
