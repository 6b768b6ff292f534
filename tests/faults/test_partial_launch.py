"""`partial_launch`: proven by one request of which some were launched and some refused, and that was noticed."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, Event, NodeLaunchFailed, NodeLaunching
from chaos.harm import PartialLaunch as PartialLaunches
from faults.partial_launch import PartialLaunch
from tests.doubles import FakeCluster, site_of

WORDS = "InsufficientInstanceCapacity: the request could be filled in part only"
NOTICED = (13.0, AutoscalerLogged(about="instance", text="Update instance REQUESTED->ALLOCATION_FAILED"))
LAUNCHED = (12.0, NodeLaunching(node="w1", node_type="gpu", request="r"))


def refused(request: str = "r", reason: str = WORDS) -> tuple[float, Event]:
    return 12.0, NodeLaunchFailed(node_type="gpu", count=3, reason=reason, request=request)


async def test_the_cloud_is_told_the_share() -> None:
    cluster = FakeCluster()
    await PartialLaunch(share=0.3, at_most=2).inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == PartialLaunches(share=0.3, at_most=2, error=WORDS)


async def test_a_request_filled_in_part_is_the_proof() -> None:
    seen = await PartialLaunch().probe(site_of(FakeCluster(), events=[refused(), LAUNCHED, NOTICED]))
    assert (seen.outcome, seen.asked, seen.measured) == ("took_effect", 0.5, 0.25)
    assert seen.detail == "1 of 4 were launched, and the autoscaler saw the rest fail"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([LAUNCHED, NOTICED], id="filled"),
        pytest.param([refused(), NOTICED], id="refused as a whole"),
        pytest.param([refused("other"), LAUNCHED, NOTICED], id="another request"),
        pytest.param([refused(reason="no space"), LAUNCHED, NOTICED], id="another reason"),
        pytest.param([refused(), LAUNCHED], id="not noticed"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    assert (await PartialLaunch().probe(site_of(FakeCluster(), events=events))).outcome == "unknown"
