"""`zombie_launch`: proven by an instance that runs and has not joined when any other would have."""

from __future__ import annotations

import pytest

from chaos.events import BaselineKnown, ClusterSampled, Event, FaultInjected, NodeJoined, NodeLaunching, NodeStarted
from chaos.harm import LateRay
from faults.zombie_launch import ZombieLaunch, usual_join_s
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
    assert seen.detail == "ran and did not join: w4 for 8.0 s"


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


def joined_before(*joins_s: float, until_s: float = 9.9) -> list[tuple[float, Event]]:
    """Nodes that took so long to join, the last of them at that time."""
    events: list[tuple[float, Event]] = []
    for number, join_s in enumerate(joins_s):
        node, at_s = f"early{number}", until_s - len(joins_s) + 1 + number
        events.append((at_s - join_s, NodeStarted(node=node, node_type="gpu", instance=f"i-early{number}")))
        events.append((at_s, NodeJoined(node=node, node_type="gpu", ray_node_id=node, resources={})))
    return sorted(events, key=lambda timed: timed[0])


@pytest.mark.parametrize(
    ("before", "usual_s"),
    [
        pytest.param([], 5.0, id="the baseline"),
        pytest.param(joined_before(1.0, 2.0, 1.5, 1.0), 2.0, id="quicker here"),
        pytest.param(joined_before(4.0, 1.0, 1.0, 1.0, 1.0), 1.0, id="of late"),
        pytest.param(joined_before(1.0, 2.0, 1.5), 5.0, id="too few"),
        pytest.param(joined_before(6.0, 6.5, 6.0, 6.0), 6.5, id="all slower here"),
        pytest.param(joined_before(6.0, 6.5, 4.0, 6.0), 5.0, id="most slower here"),
        pytest.param(joined_before(1.0, 2.0, 1.5, 1.0, until_s=10.5), 5.0, id="not all before the injection"),
    ],
)
def test_what_is_usual_is_known_by_the_baseline_and_by_the_nodes_before(
    before: list[tuple[float, Event]], usual_s: float
) -> None:
    baseline: tuple[float, Event] = (0.1, BASELINE)
    assert usual_join_s(site_of(FakeCluster(), events=[baseline, *before]), "gpu") == pytest.approx(usual_s)


def test_without_a_baseline_nodes_before_say_what_is_usual() -> None:
    assert usual_join_s(site_of(FakeCluster()), "gpu") is None
    events = joined_before(1.0, 2.0, 1.5, 1.0)
    assert usual_join_s(site_of(FakeCluster(), events=events), "gpu") == pytest.approx(2.0)
    assert usual_join_s(site_of(FakeCluster(), events=events), "big") is None
    at_once = joined_before(0.0, 2.0, 1.5, 1.0)
    assert usual_join_s(site_of(FakeCluster(), events=at_once), "gpu") == pytest.approx(2.0)
    fixed = BASELINE.model_copy(update={"join_s": 0.0})
    assert usual_join_s(site_of(FakeCluster(), events=[(0.1, fixed), *events]), "gpu") == pytest.approx(2.0)


def test_a_node_that_starts_or_joins_again_does_not_change_what_its_first_join_took() -> None:
    again: list[tuple[float, Event]] = [
        (9.92, NodeJoined(node="early0", node_type="gpu", ray_node_id="again", resources={})),
        (9.95, NodeStarted(node="early1", node_type="gpu", instance="i-early1")),
    ]
    events = [*joined_before(1.0, 2.0, 1.5, 1.0), *again]
    assert usual_join_s(site_of(FakeCluster(), events=events), "gpu") == pytest.approx(2.0)


async def test_a_node_of_another_type_is_no_zombie() -> None:
    events = [(1.0, BASELINE), ASKED, STARTED, running(19.0)]
    assert (await ZombieLaunch(node_type="big").probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
    assert (await ZombieLaunch(node_type="gpu").probe(site_of(FakeCluster(), events=events))).outcome == "took_effect"


async def test_it_is_healed_when_no_zombie_runs_any_more() -> None:
    cluster, fault = FakeCluster(), ZombieLaunch()
    site = site_of(cluster, events=[(1.0, BASELINE), ASKED, STARTED, running(19.0)])
    cluster.members["w4"] = node_named("w4")
    await fault.inject(site)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).detail == "w4 still runs without Ray"
    cluster.members["w4"] = node_named("w4", state="stopping")
    assert (await fault.probe_healed(site)).outcome == "no_effect"


@pytest.mark.parametrize(
    ("other", "due_s", "in_force", "outcome"),
    [
        pytest.param("zombie_launch", 9.0, True, "no_effect", id="it may be the other's"),
        pytest.param("zombie_launch", 9.0, False, "took_effect", id="the other is over"),
        pytest.param("zombie_launch", 10.8, True, "took_effect", id="the other began later"),
        pytest.param("slow_join", 9.0, True, "took_effect", id="the other is another fault"),
    ],
)
async def test_what_another_one_in_force_may_have_made_is_not_looked_for(
    other: str, due_s: float, in_force: bool, outcome: str
) -> None:
    cluster, fault = FakeCluster(), ZombieLaunch()
    cluster.members["w4"] = node_named("w4")
    made = FaultInjected(
        injection="i2", fault=other, victims=(), due_s=due_s, applied_s=due_s, lateness_s=0.0, effect_id="e2"
    )
    site = site_of(cluster, events=[(1.0, BASELINE), (due_s, made), ASKED, STARTED, running(19.0)])
    if in_force:
        await cluster.fault_launches(LateRay(), effect_id="e2", lease_s=60.0)
    assert (await fault.probe_healed(site)).outcome == outcome
