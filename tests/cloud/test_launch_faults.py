"""Launch faults in virtual time: what a request gets, what befalls its instances, and what its caller is told."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from chaos.cloud.answers import draw
from chaos.cloud.harming import POLL_S
from chaos.cloud.instances import Instance
from chaos.cloud.launching import LaunchRefused
from chaos.events import (
    CloudAnsweredWrong,
    Event,
    NodeLaunchFailed,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
)
from chaos.harm import (
    CapacityLimit,
    DuplicatedLaunch,
    LateRay,
    LaunchFault,
    LostReply,
    PartialLaunch,
    TerminationFault,
)
from tests.cloud.fake_driver import Sky
from tests.doubles import VirtualClock, settle

TAGS = {"ray-launch-request": "req-1"}
RAY = ("ray", "start")


async def launched(sky: Sky, count: int = 1, node_type: str = "gpu") -> list[Instance]:
    asked = await sky.cloud.launch(node_type, count, TAGS)
    await settle()
    return asked


def nodes(sky: Sky) -> dict[str, str]:
    return {item.node: item.state for item in sky.cloud.instances() if item.node != "head"}


async def told(sky: Sky, *kinds: type[Event]) -> list[Event]:
    return [event for event in await sky.events() if isinstance(event, kinds)]


# -- how many -------------------------------------------------------------------------------------------------


async def test_beyond_the_limit_a_request_is_refused_and_the_rest_is_launched(sky: Sky) -> None:
    await sky.cloud.apply("e", CapacityLimit(at_most=2, error="no room"), lease_s=60.0)
    with pytest.raises(LaunchRefused, match=r"^no room \(2 of 3 were launched\)$"):
        await launched(sky, 3)
    with pytest.raises(LaunchRefused, match=r"^no room$"):
        await launched(sky, 3)
    await settle()
    assert nodes(sky) == {"w1": "running", "w2": "running"}
    failed = await told(sky, NodeLaunchFailed)
    assert [event.count for event in failed if isinstance(event, NodeLaunchFailed)] == [1, 3]


async def test_capacity_is_used_until_an_instance_is_gone(sky: Sky) -> None:
    await sky.cloud.apply("e", CapacityLimit(at_most=1, error="no room"), lease_s=60.0)
    [one] = await launched(sky)
    await sky.cloud.terminate(one.instance)
    with pytest.raises(LaunchRefused):
        await sky.cloud.launch("gpu", 1, TAGS)
    await settle()
    assert [item.node for item in await launched(sky)] == ["w2"]


async def test_a_limit_is_of_each_type_or_of_one(sky: Sky) -> None:
    await sky.cloud.apply("e", CapacityLimit(at_most=1, error="no room"), lease_s=60.0)
    await launched(sky, 1, "gpu")
    await launched(sky, 1, "cpu")
    with pytest.raises(LaunchRefused):
        await launched(sky, 1, "cpu")
    await sky.cloud.undo("e")
    await sky.cloud.apply("f", CapacityLimit(at_most=0, node_type="gpu", error="no room"), lease_s=60.0)
    await launched(sky, 1, "cpu")
    with pytest.raises(LaunchRefused):
        await launched(sky, 1, "gpu")


@pytest.mark.parametrize(
    ("asked", "share", "at_most", "launches"), [(1, 0.5, None, 1), (2, 0.5, None, 1), (5, 0.5, None, 3), (5, 0.9, 2, 2)]
)
async def test_a_share_of_a_request_is_launched(
    sky: Sky, asked: int, share: float, at_most: int | None, launches: int
) -> None:
    await sky.cloud.apply("e", PartialLaunch(share=share, at_most=at_most, error="in part"), lease_s=60.0)
    if launches == asked:
        await launched(sky, asked)
    else:
        with pytest.raises(LaunchRefused, match=rf"^in part \({launches} of {asked} were launched\)$"):
            await launched(sky, asked)
    assert len(nodes(sky)) == launches


async def test_refusals_never_add_up_to_more_than_was_asked_for(sky: Sky) -> None:
    await sky.cloud.apply("a", LaunchFault(error="no", count=1), lease_s=60.0)
    await sky.cloud.apply("b", PartialLaunch(share=0.5, error="in part"), lease_s=60.0)
    await sky.cloud.apply("c", CapacityLimit(at_most=0, error="no room"), lease_s=60.0)
    with pytest.raises(LaunchRefused, match=r"^no; in part; no room$"):
        await launched(sky, 4)
    failed = [event.count for event in await told(sky, NodeLaunchFailed) if isinstance(event, NodeLaunchFailed)]
    assert failed == [1, 1, 2]
    assert nodes(sky) == {}


# -- what the caller is told ----------------------------------------------------------------------------------


async def test_a_lost_reply_leaves_instances_its_caller_does_not_know_of(sky: Sky) -> None:
    await sky.cloud.apply("e", LostReply(requests=1, error="timed out"), lease_s=60.0)
    with pytest.raises(LaunchRefused, match=r"^timed out$") as caught:
        await launched(sky, 2)
    assert caught.value.status == HTTPStatus.GATEWAY_TIMEOUT
    await settle()
    assert nodes(sky) == {"w1": "running", "w2": "running"}
    assert await told(sky, CloudAnsweredWrong) == [
        CloudAnsweredWrong(effect="e", how="reply_lost", detail="i-00001, i-00002")
    ]
    assert await told(sky, NodeLaunchFailed) == []
    await launched(sky)  # only the first request is hit


async def test_of_a_duplicate_nobody_is_told(sky: Sky) -> None:
    await sky.cloud.apply("e", DuplicatedLaunch(count=1), lease_s=60.0)
    assert [item.node for item in await launched(sky, 2)] == ["w1", "w2"]
    assert nodes(sky) == {"w1": "running", "w2": "running", "w3": "running"}
    assert [event.node for event in await told(sky, NodeLaunching) if isinstance(event, NodeLaunching)] == ["w1", "w2"]
    started = [event.node for event in await told(sky, NodeStarted) if isinstance(event, NodeStarted)]
    assert started == ["head", "w1", "w2", "w3"]
    assert sky.cloud.instances()[-1].tags == TAGS  # as a copy of the request would have
    await launched(sky)
    assert len(nodes(sky)) == 4


# -- when Ray starts ------------------------------------------------------------------------------------------


async def test_ray_starts_late_on_an_instance_that_runs_at_once(sky: Sky) -> None:
    await sky.cloud.apply("e", LateRay(count=1, delay_s=4.0), lease_s=60.0)
    await launched(sky, 2)
    assert nodes(sky) == {"w1": "running", "w2": "running"}
    shell, flag, script, *rest = sky.driver.commands["i-00001"]
    assert (shell, flag, script) == ("sh", "-c", 'sleep "$0"; exec "$@"')
    assert rest == ["4", *RAY]
    assert sky.driver.commands["i-00002"] == RAY


async def test_what_runs_without_ray_is_ended_with_its_effect(sky: Sky) -> None:
    await sky.cloud.apply("e", LateRay(count=1), lease_s=60.0)
    await launched(sky, 2)
    assert nodes(sky) == {"w1": "running", "w2": "running"}
    assert "ray" not in " ".join(sky.driver.commands["i-00001"][:3])
    assert sky.driver.commands["i-00002"] == RAY
    await sky.cloud.undo("e")
    await sky.cloud.undo("e")
    await settle()
    assert nodes(sky) == {"w2": "running"}
    assert await told(sky, NodeTerminated, NodeTerminating) == [NodeTerminated(node="w1", cause="killed", stop_s=0.0)]


async def test_what_runs_without_ray_is_ended_when_the_lease_ends(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LateRay(), lease_s=2.0)
    await launched(sky)
    await clock.advance_to(2.0 + 2 * POLL_S)
    assert nodes(sky) == {}


async def test_an_instance_that_boots_after_the_healing_starts_ray(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("late", LaunchFault(delay_s=5.0), lease_s=60.0)
    await sky.cloud.apply("e", LateRay(), lease_s=60.0)
    await launched(sky)
    await sky.cloud.undo("e")
    await clock.advance_to(6.0)
    assert sky.driver.commands["i-00001"] == RAY
    assert nodes(sky) == {"w1": "running"}


async def test_an_instance_that_was_booting_without_ray_at_the_healing_is_ended(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", LateRay(), lease_s=60.0)
    sky.driver.slow_s["start"] = 3.0
    await launched(sky)
    await clock.advance_to(1.0)
    await sky.cloud.undo("e")
    await clock.advance_to(4.0)
    assert nodes(sky) == {}
    assert list(sky.driver.running.values()) == ["head"]


# -- drawn delays ---------------------------------------------------------------------------------------------


async def test_drawn_delays_are_the_same_again_and_within_bounds(sky: Sky) -> None:
    delays_s: list[list[float]] = []
    for effect in ("first run", "replay"):
        fault = LaunchFault(delay_s=2.0, up_to_s=6.0, stream="7/i1")
        await sky.cloud.apply(effect, fault, lease_s=60.0)
        asked = [*await sky.cloud.launch("gpu", 2, TAGS), *await sky.cloud.launch("gpu", 1, TAGS)]
        delays_s.append([round(item.boot_at_monotonic_s - item.asked_monotonic_s, 9) for item in asked])
        await sky.cloud.undo(effect)
    assert delays_s[0] == delays_s[1]
    assert len(set(delays_s[0])) == 3
    assert all(2.0 <= delay_s <= 6.0 for delay_s in delays_s[0])


def test_draws_differ_by_name_and_number() -> None:
    assert draw("a", 1).random() == draw("a", 1).random()
    assert len({draw(name, number).random() for name in "ab" for number in (1, 2)}) == 4


# -- the end --------------------------------------------------------------------------------------------------


async def test_a_termination_is_carried_out_late_and_the_instance_is_listed_until_then(
    sky: Sky, clock: VirtualClock
) -> None:
    [one] = await launched(sky)
    await sky.cloud.apply("e", TerminationFault(delay_s=3.0), lease_s=60.0)
    await sky.cloud.terminate(one.instance)
    await clock.advance_to(2.9)
    assert nodes(sky) == {"w1": "stopping"}
    assert "h2" in sky.driver.running
    await clock.advance_to(3.0 + 2 * POLL_S)
    assert nodes(sky) == {}
    assert await told(sky, NodeTerminating, NodeTerminated) == [
        NodeTerminating(node="w1"),
        NodeTerminated(node="w1", cause="autoscaler", stop_s=0.0),
    ]


async def test_the_healing_ends_at_once_what_was_held(sky: Sky, clock: VirtualClock) -> None:
    [one] = await launched(sky)
    await sky.cloud.apply("e", TerminationFault(delay_s=3600.0), lease_s=60.0)
    await sky.cloud.terminate(one.instance)
    await clock.advance_to(5.0)
    assert nodes(sky) == {"w1": "stopping"}
    await sky.cloud.undo("e")
    await clock.advance_to(5.0 + 2 * POLL_S)
    assert nodes(sky) == {}
