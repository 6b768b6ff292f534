"""`restart_node`: dead, and back under a new id."""

from __future__ import annotations

import pytest

from chaos.errors import InjectionError
from chaos.events import Event, NodeDied, NodeJoined
from faults.restart_node import RestartNode
from tests.doubles import FakeCluster, site_of

DIED = (12.0, NodeDied(node="w1", ray_node_id="a"))


def joined(at_s: float, ray_node_id: str) -> tuple[float, Event]:
    return at_s, NodeJoined(node="w1", node_type="gpu", ray_node_id=ray_node_id, resources={})


@pytest.mark.parametrize(
    ("events", "outcome", "detail"),
    [
        ([], "unknown", "the GCS has not seen w1 die"),
        ([joined(14.0, "b")], "unknown", "the GCS has not seen w1 die"),
        ([DIED], "unknown", "the GCS has not seen w1 join again"),
        ([DIED, joined(14.0, "a")], "unknown", "the GCS has not seen w1 join again"),
        (
            [joined(3.0, "a"), DIED, joined(14.5, "b")],
            "took_effect",
            "the GCS saw every victim die, and join again under a new id",
        ),
    ],
)
async def test_it_must_come_back_as_another_of_rays(
    events: list[tuple[float, Event]], outcome: str, detail: str
) -> None:
    seen = await RestartNode().probe(site_of(FakeCluster(), "w1", events=events))
    assert (seen.outcome, seen.detail) == (outcome, detail)
    assert seen.measured == (4.5 if outcome == "took_effect" else None)


async def test_it_restarts_those_that_are_there() -> None:
    cluster = FakeCluster()
    del cluster.members["w1"]
    await RestartNode().inject(site_of(cluster, "w1", "w2"))
    with pytest.raises(InjectionError, match="'w1' does not run"):
        await RestartNode().inject(site_of(cluster, "w1"))
