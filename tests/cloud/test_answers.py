"""What Ray's node provider is answered under harm, and that it is told of at a bounded rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest

from chaos.cloud.answers import TOLD_EVERY_S, ApiError, Unanswered
from chaos.events import CloudAnsweredWrong, NodeTerminated
from chaos.harm import LaunchFault, Omission, Outage, StaleListing, TerminationFault
from tests.cloud.fake_driver import Sky
from tests.doubles import VirtualClock, settle


@pytest.fixture
async def sky(clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Sky]:
    """A Cloud with a head and two workers, at one second."""
    sky = Sky(tmp_path, clock=clock)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    await sky.cloud.launch("gpu", 2, {})
    await clock.advance_to(1.0)
    yield sky
    await sky.cloud.tear_down()


def listed(sky: Sky) -> list[str]:
    return [item.instance for item in sky.cloud.answers.listed()]


def truth(sky: Sky) -> list[str]:
    return [item.instance for item in sky.cloud.instances()]


async def wrong(sky: Sky) -> list[tuple[str, str, int, str]]:
    events = [event for event in await sky.events() if isinstance(event, CloudAnsweredWrong)]
    return [(event.effect, event.how, event.count, event.detail) for event in events]


async def test_without_harm_the_answer_is_the_truth(sky: Sky) -> None:
    await sky.cloud.answers.admit()
    sky.cloud.answers.check_termination("i-00001")
    assert listed(sky) == truth(sky) == ["head", "i-00001", "i-00002"]
    assert await wrong(sky) == []


# -- listings -------------------------------------------------------------------------------------------------


async def test_an_instance_is_left_out_of_so_many_listings(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", Omission(answers=2), lease_s=60.0, node="w1")
    assert [listed(sky) for _ in range(3)] == [["head", "i-00002"]] * 2 + [["head", "i-00001", "i-00002"]]
    assert truth(sky) == ["head", "i-00001", "i-00002"]
    sky.cloud.answers.check_exists("i-00001")
    await sky.cloud.undo("e")
    assert await wrong(sky) == [("e", "omitted", 1, "without i-00001"), ("e", "omitted", 1, "without i-00001")]


async def test_an_instance_that_is_lost_does_not_exist_and_ends_with_its_effect(sky: Sky) -> None:
    await sky.cloud.apply("e", Omission(lost=True), lease_s=60.0, node="w2")
    assert listed(sky) == ["head", "i-00001"]
    for check in (sky.cloud.answers.check_exists, sky.cloud.answers.check_termination):
        with pytest.raises(ApiError, match="'i-00002' does not exist") as caught:
            check("i-00002")
        assert caught.value.status == HTTPStatus.NOT_FOUND
        check("i-00001")
    assert "h3" in sky.driver.running
    await sky.cloud.undo("e")
    assert truth(sky) == ["head", "i-00001", "i-00002"]  # it is about to end
    assert listed(sky) == ["head", "i-00001"]
    with pytest.raises(ApiError, match="'i-00002' does not exist"):
        sky.cloud.answers.check_exists("i-00002")
    await settle()
    assert truth(sky) == ["head", "i-00001"]
    assert (await sky.events())[-1] == NodeTerminated(node="w2", cause="killed", stop_s=0.0)
    assert [how for _, how, _, _ in await wrong(sky)] == ["omitted", "not_found", "not_found"]


async def test_an_instance_that_ended_by_itself_takes_its_effect_with_it(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", Omission(lost=True), lease_s=60.0, node="w1")
    sky.driver.vanish("h2")
    await clock.advance_to(2.0)
    assert sky.cloud.effects() == []
    await sky.cloud.undo("e")


async def test_a_listing_is_as_it_was_at_the_injection(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", StaleListing(), lease_s=60.0)
    assert listed(sky) == ["head", "i-00001", "i-00002"]
    assert await wrong(sky) == []
    await clock.advance_to(1.5)
    await sky.cloud.terminate("i-00001")
    await sky.cloud.launch("gpu", 1, {})
    await clock.advance_to(2.0)
    assert listed(sky) == ["head", "i-00001", "i-00002"]
    assert truth(sky) == ["head", "i-00002", "i-00003"]
    assert await wrong(sky) == [("e", "stale", 1, "without i-00003, with i-00001, which is gone")]
    await sky.cloud.undo("e")
    assert listed(sky) == truth(sky)


async def test_a_listing_has_an_age(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", StaleListing(age_s=5.0), lease_s=600.0)
    await clock.advance_to(10.0)
    assert listed(sky) == truth(sky)
    await sky.cloud.terminate("i-00001")
    await settle()
    await clock.advance_to(14.9)
    assert "i-00001" in listed(sky)
    await clock.advance_to(15.1)
    assert listed(sky) == truth(sky) == ["head", "i-00002"]


async def test_before_the_beginning_there_is_what_was_first(sky: Sky) -> None:
    await sky.cloud.apply("e", StaleListing(age_s=3000.0), lease_s=60.0)
    assert listed(sky) == ["head"]


async def test_a_state_that_differs_is_told(sky: Sky) -> None:
    await sky.cloud.apply("late", LaunchFault(delay_s=1.0), lease_s=60.0)
    await sky.cloud.launch("gpu", 1, {})
    await sky.cloud.apply("e", StaleListing(), lease_s=60.0)
    clock = sky.driver.clock
    assert clock is not None
    await clock.advance_to(5.0)
    assert listed(sky)[-1] == "i-00003"
    assert await wrong(sky) == [("e", "stale", 1, "i-00003 pending, which is running")]


# -- calls ----------------------------------------------------------------------------------------------------


async def test_terminations_are_refused_in_the_words_of_clouds(sky: Sky) -> None:
    await sky.cloud.apply("e", TerminationFault(error="InternalError"), lease_s=60.0)
    with pytest.raises(ApiError, match=r"^InternalError$") as caught:
        sky.cloud.answers.check_termination("i-00001")
    assert caught.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert await wrong(sky) == [("e", "not_terminated", 1, "i-00001")]


async def test_out_of_reach_no_call_is_answered(sky: Sky) -> None:
    await sky.cloud.apply("e", Outage(mode="unreachable"), lease_s=60.0)
    with pytest.raises(Unanswered):
        await sky.cloud.answers.admit()
    await sky.cloud.undo("e")
    await sky.cloud.answers.admit()
    assert await wrong(sky) == [("e", "unreachable", 1, "")]


async def test_a_percentage_of_calls_fails_and_the_same_ones_again(sky: Sky) -> None:
    async def failures(effect: str) -> list[int]:
        await sky.cloud.apply(effect, Outage(mode="failing", percent=30.0, stream="7/i1"), lease_s=60.0)
        failed = []
        for number in range(200):
            try:
                await sky.cloud.answers.admit()
            except ApiError:
                failed.append(number)
        await sky.cloud.undo(effect)
        return failed

    first = await failures("a")
    assert 30 < len(first) < 90
    assert first == await failures("b")


async def test_a_slow_call_is_let_through_late_but_not_later_than_the_healing(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", Outage(mode="slow", delay_s=2.0), lease_s=60.0)
    await clock.run(sky.cloud.answers.admit())
    assert clock.now_s() == pytest.approx(3.0)
    assert await wrong(sky) == [("e", "slow", 1, "2 s late")]
    await sky.cloud.undo("e")
    await sky.cloud.apply("f", Outage(mode="slow", delay_s=600.0), lease_s=60.0)

    async def healed() -> None:
        await clock.sleep(1.0)
        await sky.cloud.undo("f")

    await clock.run(asyncio.gather(sky.cloud.answers.admit(), healed()))
    assert clock.now_s() < 5.0


@pytest.mark.parametrize(
    ("delay_s", "held_s", "told"), [(600.0, 5.0, [2]), (600.0, 0.5, []), (5.05, 5.02, [2]), (5.0, 6.0, [1, 1])]
)
async def test_calls_that_are_let_go_were_late_if_their_callers_could_notice(
    sky: Sky, clock: VirtualClock, delay_s: float, held_s: float, told: list[int]
) -> None:
    await sky.cloud.apply("e", Outage(mode="slow", delay_s=delay_s), lease_s=60.0)

    async def healed() -> None:
        await clock.sleep(held_s)
        await sky.cloud.undo("e")

    await clock.run(asyncio.gather(sky.cloud.answers.admit(), sky.cloud.answers.admit(), healed()))
    assert [one[:3] for one in await wrong(sky)] == [("e", "slow", count) for count in told]


async def test_a_call_whose_caller_has_gone_does_not_keep_others_from_being_told(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", Outage(mode="slow", delay_s=600.0), lease_s=60.0)
    stays, goes = (asyncio.ensure_future(sky.cloud.answers.admit()) for _ in range(2))

    async def healed() -> None:
        await clock.sleep(5.0)
        await sky.cloud.undo("e")
        await stays
        goes.cancel()

    await clock.run(asyncio.gather(healed(), asyncio.wait({stays, goes})))
    assert [one[:2] for one in await wrong(sky)] == [("e", "slow")]


# -- telling --------------------------------------------------------------------------------------------------


async def test_wrong_answers_are_counted_and_told_at_most_once_a_second(sky: Sky, clock: VirtualClock) -> None:
    await sky.cloud.apply("e", Omission(), lease_s=60.0, node="w1")
    for _ in range(50):
        listed(sky)
    assert [count for _, _, count, _ in await wrong(sky)] == [1]
    await clock.advance_to(1.0 + TOLD_EVERY_S)
    for _ in range(50):
        listed(sky)
    assert [count for _, _, count, _ in await wrong(sky)] == [1, 50]
    await sky.cloud.undo("e")
    assert [count for _, _, count, _ in await wrong(sky)] == [1, 50, 49]
