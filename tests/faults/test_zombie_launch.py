"""`zombie_launch`: proven by an instance that runs and has not joined when any other would have."""

from __future__ import annotations

import pytest

from chaos.events import BaselineKnown, ClusterSampled, Event, NodeJoined, NodeLaunching, NodeStarted
from chaos.harm import LateRay
from faults.zombie_launch import ZombieLaunch
from tests.doubles import FakeCluster, node_named, site_of

BASELINE = BaselineKnown(
    run_id="b", job_s=1.0, rows_per_s=1.0, longest_pause_s=1.0, scale_up_s=1.0, scale_down_s=1.0, join_s=5.0,
    peak_nodes=1,
)  # fmt: skip
ASKED: tuple[float, Event] = (10.5, NodeLaunching(node="w4", node_type="gpu", request="r"))
STARTED: tuple[float, Event] = (11.0, NodeStarted(node="w4", node_type="gpu", instance="i-4"))
JOINED: tuple[float, Event] = (14.0, NodeJoined(node="w4", node_type="gpu", ray_node_id="r", resources={}))


def running(at_s: float, state: str = "running") -> tuple[float, Event]:
    return at_s, ClusterSampled.model_validate({"reachable": True, "cloud": {"head": "running", "w4": state}})


async def test_the_cloud_is_told_to_keep_ray_out() -> None:
    cluster = FakeCluster()
    await ZombieLaunch(count=1).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == LateRay(count=1)


async def test_running_for_longer_than_a_join_takes_is_the_proof() -> None:
    events = [(1.0, BASELINE), ASKED, STARTED, running(19.0)]
    seen = await ZombieLaunch().probe(site_of(FakeCluster(), events=events))
    assert (seen.outcome, seen.measured, seen.unit) == ("took_effect", 8.0, "s")
    assert seen.detail == "w4 ran, and did not join within 7.5 s"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="no sample"),
        pytest.param([(1.0, BASELINE), ASKED, STARTED, running(18.0)], id="not yet"),
        pytest.param([(1.0, BASELINE), ASKED, STARTED, JOINED, running(19.0)], id="joined"),
        pytest.param([(1.0, BASELINE), ASKED, STARTED, running(19.0, "stopping")], id="ending"),
        pytest.param([ASKED, STARTED, running(20.0)], id="without a baseline"),
        pytest.param([(1.0, BASELINE), (9.0, STARTED[1]), ASKED, running(19.0)], id="began before"),
        pytest.param([(1.0, BASELINE), (9.9, ASKED[1]), STARTED, running(19.0)], id="asked for before"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await ZombieLaunch().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"


async def test_it_is_healed_when_no_zombie_runs_any_more() -> None:
    cluster, fault = FakeCluster(), ZombieLaunch()
    site = site_of(cluster, events=[(1.0, BASELINE), ASKED, STARTED, running(19.0)])
    cluster.members["w4"] = node_named("w4")
    await fault.inject(site)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "w4 still runs without Ray"
    cluster.members["w4"] = node_named("w4", state="stopping")
    assert (await fault.probe_healed(site)).outcome == "no_effect"
