"""`lose_launch_reply`: proven by a lost reply, an instance that began, and an autoscaler that noticed."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, CloudAnsweredWrong, Event, NodeStarted
from chaos.harm import LostReply
from faults.lose_launch_reply import LoseLaunchReply
from tests.doubles import FakeCluster, site_of

NOTICED = (13.0, AutoscalerLogged(about="launch_failed", text="Failed to launch 2 nodes"))
LOST = (12.0, CloudAnsweredWrong(effect="run.i1", how="reply_lost"))
BEGAN = (12.1, NodeStarted(node="w1", node_type="gpu", instance="i-1"))


async def test_the_cloud_is_told_how_many_replies_to_lose() -> None:
    cluster = FakeCluster()
    await LoseLaunchReply(requests=2).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == LostReply(requests=2, error="RequestTimeout: the request timed out")


async def test_an_instance_whose_launch_is_taken_for_failed_is_the_proof() -> None:
    seen = await LoseLaunchReply().probe(site_of(FakeCluster(), events=[LOST, BEGAN, NOTICED]))
    assert (seen.outcome, seen.measured) == ("took_effect", 1.0)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([BEGAN, NOTICED], id="no reply lost"),
        pytest.param([LOST, NOTICED], id="nothing began"),
        pytest.param([LOST, BEGAN], id="not noticed"),
        pytest.param([(12.0, CloudAnsweredWrong(effect="run.i2", how="reply_lost")), BEGAN, NOTICED], id="another's"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await LoseLaunchReply().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
