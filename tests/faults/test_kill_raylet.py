"""`kill_raylet`: proven by the kernel, the GCS and the Cloud together."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeDied, NodeTerminated
from faults.kill_raylet import KillRaylet
from tests.doubles import FakeCluster, injected, site_of

DIED = (12.0, NodeDied(node="w1", ray_node_id="a"))
ENDED = (11.5, NodeTerminated(node="w1", cause="exited"))
EARLIER = (9.0, NodeDied(node="w1", ray_node_id="0"))


@pytest.mark.parametrize(
    ("events", "outcome", "detail"),
    [
        ([], "unknown", "the GCS has not seen w1 die"),
        ([EARLIER, ENDED], "unknown", "the GCS has not seen w1 die"),
        ([DIED], "unknown", "the Cloud has not said that w1 ended"),
        ([ENDED, DIED], "took_effect", "the raylet is gone, its node ended 1.5 s later; the GCS saw every victim die"),
    ],
)
async def test_all_three_must_agree(events: list[tuple[float, Event]], outcome: str, detail: str) -> None:
    cluster = FakeCluster()
    site = await injected(KillRaylet(), site_of(cluster, "w1", events=events))
    assert cluster.named("kill_processes") == [("w1", "1001")]
    seen = await KillRaylet().probe(site)
    assert (seen.outcome, seen.detail) == (outcome, detail)
    assert seen.measured == (2.0 if outcome == "took_effect" else None)


async def test_a_raylet_that_lives_is_no_effect_whatever_the_history_says() -> None:
    cluster = FakeCluster()
    cluster.harmless = True
    site = await injected(KillRaylet(), site_of(cluster, "w1", events=[ENDED, DIED]))
    assert (await KillRaylet().probe(site)).outcome == "unknown"


async def test_that_the_node_went_down_is_part_of_it() -> None:
    cluster = FakeCluster()
    site = await injected(KillRaylet(), site_of(cluster, "w1", events=[ENDED, DIED]))
    del cluster.members["w1"]
    assert (await KillRaylet().probe(site)).outcome == "took_effect"
