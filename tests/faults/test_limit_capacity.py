"""`limit_capacity`: proven by a refusal the autoscaler noticed, while there were never more than the limit."""

from __future__ import annotations

import pytest

from chaos.events import AutoscalerLogged, Event, NodeLaunchFailed, NodeStarted, NodeTerminated
from chaos.harm import CapacityLimit
from faults.limit_capacity import LimitCapacity
from tests.doubles import FakeCluster, site_of

WORDS = "InsufficientInstanceCapacity: all capacity of this type in this zone is in use"
NOTICED = (12.5, AutoscalerLogged(about="launch_failed", text="x"))


def refused(at_s: float = 12.0, node_type: str = "gpu", reason: str = WORDS) -> tuple[float, Event]:
    return at_s, NodeLaunchFailed(node_type=node_type, count=2, reason=reason, request="r")


def there(at_s: float, *names: str) -> list[tuple[float, Event]]:
    """Nodes that began at some time."""
    return [(at_s, NodeStarted(node=name, node_type="gpu", instance=f"i-{name}")) for name in names]


async def test_the_cloud_is_told_its_limit() -> None:
    cluster = FakeCluster()
    await LimitCapacity(at_most=2, node_type="gpu").inject(site_of(cluster))
    assert cluster.effects["run.i1"][3] == CapacityLimit(at_most=2, node_type="gpu", error=WORDS)


async def test_a_noticed_refusal_at_the_limit_is_the_proof() -> None:
    seen = await LimitCapacity(at_most=1).probe(site_of(FakeCluster(), events=[*there(11.0, "w1"), refused(), NOTICED]))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 1.0, 1.0, "instances")
    assert seen.detail == "the autoscaler saw 2 launches refused with 1 of type gpu there"


async def test_more_than_the_limit_is_no_effect_unless_they_were_there_before() -> None:
    fault = LimitCapacity(at_most=1, node_type="gpu")
    after = [*there(9.0, "w1"), *there(11.0, "w1", "w2"), refused(), NOTICED]
    seen = await fault.probe(site_of(FakeCluster(), events=after))
    assert (seen.outcome, seen.measured) == ("no_effect", 2.0)
    before = [*there(9.0, "w1", "w2"), *there(11.0, "w1", "w2"), refused(), NOTICED]
    assert (await fault.probe(site_of(FakeCluster(), events=before))).outcome == "took_effect"


async def test_what_is_gone_no_longer_counts() -> None:
    gone: tuple[float, Event] = (11.5, NodeTerminated(node="w1", cause="autoscaler"))
    events = [*there(11.0, "w1"), gone, *there(11.8, "w2"), refused(), NOTICED]
    assert (await LimitCapacity(at_most=1).probe(site_of(FakeCluster(), events=events))).outcome == "took_effect"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([NOTICED], id="no refusal"),
        pytest.param([refused()], id="not noticed"),
        pytest.param([refused(9.0), NOTICED], id="before the injection"),
        pytest.param([refused(node_type="cpu"), NOTICED], id="another type"),
        pytest.param([refused(reason="no space"), NOTICED], id="another reason"),
    ],
)
async def test_anything_less_is_unknown(events: list[tuple[float, Event]]) -> None:
    seen = await LimitCapacity(at_most=1, node_type="gpu").probe(site_of(FakeCluster(), events=events))
    assert seen.outcome == "unknown"
