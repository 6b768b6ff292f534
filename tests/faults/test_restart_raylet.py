"""`restart_raylet`: dead, and back under a new id, on an instance that neither ended nor began."""

from __future__ import annotations

import pytest

from chaos.errors import InjectionError
from chaos.events import Event, NodeDied, NodeJoined, NodeStarted, NodeTerminated
from faults.restart_raylet import RestartRaylet
from tests.doubles import FakeCluster, site_of

DIED: tuple[float, Event] = (12.0, NodeDied(node="w1", ray_node_id="a"))
BACK: tuple[float, Event] = (14.5, NodeJoined(node="w1", node_type="gpu", ray_node_id="b", resources={}))
ENDED: tuple[float, Event] = (13.0, NodeTerminated(node="w1", cause="autoscaler"))
# Ray's autoscaler takes a node that counts twice for one too many.
ENDED_LATER: tuple[float, Event] = (15.0, NodeTerminated(node="w1", cause="autoscaler"))
DIED_LATER: tuple[float, Event] = (15.5, NodeDied(node="w1", ray_node_id="a"))
STARTED: tuple[float, Event] = (13.0, NodeStarted(node="w1", node_type="gpu", instance="i-00001"))


@pytest.mark.parametrize(
    ("events", "outcome", "says"),
    [
        ([], "unknown", "the GCS has not seen w1 die"),
        ([DIED], "unknown", "the GCS has not seen w1 join again"),
        ([DIED, BACK], "took_effect", "; the instances ran on"),
        ([DIED, ENDED, BACK], "unknown", "not in place: w1 ended or started as a whole"),
        ([DIED, STARTED, BACK], "unknown", "not in place: w1 ended or started as a whole"),
        ([ENDED], "unknown", "not in place: w1 ended or started as a whole"),
        ([BACK, ENDED_LATER], "unknown", "the GCS has not seen w1 die"),
        ([BACK, ENDED_LATER, DIED_LATER], "took_effect", "; the instances ran on"),
    ],
)
async def test_it_must_come_back_in_place(events: list[tuple[float, Event]], outcome: str, says: str) -> None:
    seen = await RestartRaylet().probe(site_of(FakeCluster(), "w1", events=events))
    assert seen.outcome == outcome
    assert says in seen.detail
    assert seen.measured == (4.5 if outcome == "took_effect" else None)


async def test_it_restarts_those_that_are_there() -> None:
    cluster = FakeCluster()
    del cluster.members["w1"]
    await RestartRaylet().inject(site_of(cluster, "w1", "w2"))
    with pytest.raises(InjectionError, match="'w1' does not run"):
        await RestartRaylet().inject(site_of(cluster, "w1"))
