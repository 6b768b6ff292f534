"""`delay_launch`: proven by a node that really began late, not by a node that is slow of itself."""

from __future__ import annotations

import pytest

from chaos.events import Event, NodeJoined, NodeLaunching, NodeStarted
from chaos.harm import LaunchFault
from faults.delay_launch import DelayLaunch
from tests.doubles import FakeCluster, opened, site_of


def launch(
    node: str, asked_s: float, began_s: float, joined_s: float | None, node_type: str = "gpu"
) -> list[tuple[float, Event]]:
    events: list[tuple[float, Event]] = [
        (asked_s, NodeLaunching(node=node, node_type=node_type, request="r")),
        (began_s, NodeStarted(node=node, node_type=node_type, instance=f"i-{node}")),
    ]
    if joined_s is not None:
        events.append((joined_s, NodeJoined(node=node, node_type=node_type, ray_node_id=f"r-{node}", resources={})))
    return events


async def test_it_tells_the_cloud_what_to_hold_for_how_long() -> None:
    cluster = FakeCluster()
    await DelayLaunch(delay_s=4.0, node_type="gpu", count=2).inject(site_of(cluster))
    assert cluster.named("fault_launches") == [("run.i1", "20")]
    fault = cluster.effects["run.i1"][3]
    assert isinstance(fault, LaunchFault)
    assert (fault.delay_s, fault.node_type, fault.count, fault.error) == (4.0, "gpu", 2, None)


async def test_drawn_delays_take_the_injections_own_stream() -> None:
    cluster = FakeCluster()
    site = site_of(cluster, events=[(0.0, opened(seed=7))])
    await DelayLaunch(delay_s=4.0, up_to_s=9.0).inject(site)
    fault = cluster.effects["run.i1"][3]
    assert isinstance(fault, LaunchFault)
    assert (fault.delay_s, fault.up_to_s, fault.stream) == (4.0, 9.0, "7/i1")
    seen = await DelayLaunch(delay_s=4.0, up_to_s=9.0).probe(site_of(cluster, events=launch("w1", 11.0, 15.5, 17.0)))
    assert (seen.outcome, seen.asked, seen.measured) == ("took_effect", 9.0, 4.5)


def test_delays_cannot_be_drawn_from_nothing() -> None:
    with pytest.raises(ValueError, match="up_to_s 3 is below delay_s 4"):
        DelayLaunch(delay_s=4.0, up_to_s=3.0)


async def test_a_node_that_began_late_and_joined_is_the_proof() -> None:
    events = launch("w1", 11.0, 11.2, 13.0) + launch("w2", 12.0, 16.1, 18.0)
    seen = await DelayLaunch(delay_s=4.0).probe(site_of(FakeCluster(), events=events))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 4.0, 4.1, "s")
    assert seen.detail == "1 of 2 launches joined late"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="no launch"),
        pytest.param(launch("w1", 9.0, 14.0, 16.0), id="asked for before the injection"),
        pytest.param(launch("w1", 11.0, 15.5, None), id="began late but has not joined"),
        pytest.param(launch("w1", 11.0, 11.3, 25.0), id="slow to join of itself"),
        pytest.param(launch("w1", 11.0, 15.5, 17.0, "cpu"), id="of another node type"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    seen = await DelayLaunch(delay_s=4.0, node_type="gpu").probe(site_of(FakeCluster(), events=events))
    assert (seen.outcome, seen.asked) == ("unknown", 4.0)


async def test_it_is_healed_when_its_effect_is_no_longer_in_force_whatever_others_do() -> None:
    cluster, fault = FakeCluster(), DelayLaunch(delay_s=4.0)
    site = site_of(cluster)
    await fault.inject(site)
    assert (await fault.probe_healed(site)).outcome == "took_effect"
    await cluster.pause_node("w1", effect_id="run.i2.w1", lease_s=9.0)
    await fault.heal(site)
    await fault.heal(site)
    assert (await fault.probe_healed(site)).outcome == "no_effect"
    assert list(cluster.effects) == ["run.i2.w1"]
