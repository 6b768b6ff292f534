"""Starts that share a machine slow each other while they are under way, and only then."""

from __future__ import annotations

import asyncio

import pytest

from chaos.clock import monotonic_s
from chaos.sim.crowd import Crowd
from chaos.sim.loop import run_in_virtual_time


def durations(crowding: float, *starts: tuple[float, float]) -> list[float]:
    """What starts take, each given by when it begins and what it would take alone."""

    async def move(seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True

    async def main() -> list[float]:
        crowd = Crowd(crowding)

        async def start(begins_s: float, alone_s: float) -> float:
            await asyncio.sleep(begins_s)
            begun_s = monotonic_s()
            assert await crowd.takes(alone_s, move)
            return monotonic_s() - begun_s

        return list(await asyncio.gather(*(start(*each) for each in starts)))

    return run_in_virtual_time(main)


def test_alone_it_takes_its_own_time() -> None:
    assert durations(0.5, (0.0, 3.0), (10.0, 2.0)) == pytest.approx([3.0, 2.0])


def test_each_other_one_makes_it_longer() -> None:
    assert durations(0.5, (0.0, 4.0), (0.0, 4.0)) == pytest.approx([6.0, 6.0], abs=0.3)
    assert durations(0.5, (0.0, 4.0), (0.0, 4.0), (0.0, 4.0)) == pytest.approx([8.0] * 3, abs=0.3)


def test_only_while_both_are_under_way() -> None:
    first_s, second_s = durations(1.0, (0.0, 4.0), (3.0, 4.0))
    assert first_s == pytest.approx(5.0, abs=0.3)
    assert second_s == pytest.approx(5.0, abs=0.3)


def test_without_crowding_nobody_is_in_the_way() -> None:
    assert durations(0.0, (0.0, 4.0), (0.0, 4.0)) == [4.0, 4.0]


def test_what_ends_before_it_is_through_is_in_nobodys_way_any_more() -> None:
    async def move(seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True

    async def ended(_: float) -> bool:
        return False

    async def main() -> float:
        crowd = Crowd(3.0)
        assert not await crowd.takes(4.0, ended)
        begun_s = monotonic_s()
        assert await crowd.takes(4.0, move)
        return monotonic_s() - begun_s

    assert run_in_virtual_time(main) == pytest.approx(4.0)
