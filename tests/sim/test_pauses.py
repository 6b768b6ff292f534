"""Patient pauses leave out looks at which nothing is to be seen, and none at which something is."""

from __future__ import annotations

import asyncio
import math

import pytest

from chaos.clock import monotonic_s, pause
from chaos.sim.loop import run_in_virtual_time

INTERVAL_S = 0.25


def looks(
    *, patient: bool, changes_s: tuple[float, ...], until_s: float, within_s: float = math.inf
) -> list[tuple[float, int]]:
    """When somebody looks at a number that changes at these moments, and what is seen."""
    seen: list[tuple[float, int]] = []
    number = 0

    async def change() -> None:
        nonlocal number
        for at_s in changes_s:
            await asyncio.sleep(at_s - monotonic_s())
            number += 1

    async def look() -> None:
        while True:
            seen.append((monotonic_s(), number))
            await (pause(INTERVAL_S, within_s=within_s) if patient else asyncio.sleep(INTERVAL_S))

    async def main() -> None:
        tasks = [asyncio.create_task(look()), asyncio.create_task(change())]
        await asyncio.sleep(until_s)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(main)
    return seen


def firsts(seen: list[tuple[float, int]]) -> list[tuple[float, int]]:
    return [now for before, now in zip([(0.0, -1), *seen], seen, strict=False) if before[1] != now[1]]


@pytest.mark.parametrize("changes_s", [(1.1,), (1.0, 1.3, 7.6), (3.3, 3.31, 3.7), (0.25,)])
def test_what_changes_is_seen_when_it_would_have_been(changes_s: tuple[float, ...]) -> None:
    every, few = (looks(patient=patient, changes_s=changes_s, until_s=100.0) for patient in (False, True))
    assert firsts(few) == firsts(every)
    assert len(every) >= 400
    assert len(few) <= 2 + 3 * len(changes_s)


def test_a_pause_ends_at_the_first_tick_after_its_limit() -> None:
    seen = looks(patient=True, changes_s=(), until_s=10.0, within_s=3.1)
    assert [at_s for at_s, _ in seen] == [0.0, 0.25, 3.5, 6.75]  # at 0.25 others had just begun


def test_timers_of_one_moment_come_in_the_order_they_were_set() -> None:
    order: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(50):
            loop.call_at(5.0, order.append, number)
            loop.call_at(4.0 - number / 50, lambda: None)
        await asyncio.sleep(6.0)

    run_in_virtual_time(main)
    assert order == list(range(50))


@pytest.mark.parametrize("several", [False, True])
def test_who_looks_at_one_thing_is_not_woken_by_others(several: bool) -> None:
    woken_s: list[float] = []
    other, thing = object(), object()

    async def look() -> None:
        while True:
            await pause(INTERVAL_S, of=lambda: (other, thing) if several else thing)
            woken_s.append(monotonic_s())

    async def main() -> None:
        nonlocal thing
        looking = asyncio.create_task(look())
        for _ in range(20):
            await asyncio.sleep(0.61)
        thing = object()
        await asyncio.sleep(1.0)
        looking.cancel()

    run_in_virtual_time(main)
    assert woken_s == [12.25]
