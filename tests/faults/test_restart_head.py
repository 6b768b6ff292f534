"""`restart_head`: proven by a head that the Cloud saw killed and that the GCS saw join anew."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeDied, NodeJoined, NodeTerminated
from faults.restart_head import RestartHead
from tests.doubles import FakeCluster, site_of

KILLED = (10.5, NodeTerminated(node="head", cause="killed"))
BACK = (16.0, NodeJoined(node="head", node_type="head", ray_node_id="b", resources={}))
LOST = (17.0, NodeDied(node="w1", ray_node_id="c"))


async def test_the_cluster_is_told() -> None:
    cluster = FakeCluster()
    await RestartHead().inject(site_of(cluster))
    assert cluster.named("restart_head") == [()]


async def test_a_head_that_came_back_is_the_proof() -> None:
    seen = await RestartHead().probe(site_of(FakeCluster(), events=[KILLED, BACK, LOST]))
    assert (seen.outcome, seen.measured, seen.unit) == ("took_effect", 6.0, "s")
    assert seen.detail == "the head was back after 6.0 s, 1 workers were lost"


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], "has not ended"),
        ([BACK], "has not ended"),
        ([KILLED], "has not joined again"),
        ([(9.0, KILLED[1]), BACK], "has not ended"),
        ([(9.0, BACK[1]), KILLED], "has not joined again"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]], says: str) -> None:
    seen = await RestartHead().probe(site_of(FakeCluster(), events=events))
    assert (seen.outcome, says in seen.detail) == ("unknown", True)
