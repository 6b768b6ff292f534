"""`delay_terminate`: proven by an instance that was gone that much later than its end was asked for."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeTerminated, NodeTerminating
from chaos.harm import TerminationFault
from faults.delay_terminate import DelayTerminate
from tests.doubles import FakeCluster, site_of


def ended(
    asked_s: float, gone_s: float | None, node: str = "w1", *, stop_s: float | None = 0.2
) -> list[tuple[float, Event]]:
    events: list[tuple[float, Event]] = [(asked_s, NodeTerminating(node=node))]
    if gone_s is not None:
        events.append((gone_s, NodeTerminated(node=node, cause="autoscaler", stop_s=stop_s)))
    return events


async def test_the_cloud_is_told_how_late() -> None:
    cluster = FakeCluster()
    await DelayTerminate(delay_s=4.0).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == TerminationFault(delay_s=4.0)


async def test_an_end_that_came_late_is_the_proof() -> None:
    seen = await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=ended(11.0, 15.2)))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 4.0, 4.0, "s")


@pytest.mark.parametrize(
    "events",
    [[], ended(11.0, None), ended(11.0, 13.0), ended(9.0, 14.0), ended(11.0, 15.2, stop_s=None)],
    ids=["not asked for", "not gone", "gone at once", "asked for before", "not ended by the Cloud"],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=events))).outcome == "unknown"


@pytest.mark.parametrize(("stop_s", "outcome"), [(4.5, "unknown"), (0.6, "unknown"), (0.4, "took_effect")])
async def test_what_ending_a_node_takes_is_no_lateness(stop_s: float, outcome: str) -> None:
    events = ended(11.0, 15.4, stop_s=stop_s)
    assert (await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=events))).outcome == outcome


async def test_an_end_that_took_long_before_says_nothing_of_those_after() -> None:
    events = [*ended(4.0, 9.0, "w1", stop_s=5.0), *ended(11.0, 15.2, "w2")]
    assert (await DelayTerminate(delay_s=4.0).probe(site_of(FakeCluster(), events=events))).outcome == "took_effect"
