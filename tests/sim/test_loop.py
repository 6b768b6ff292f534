"""Virtual time: it moves only when all wait, and everything of asyncio's keeps to it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from chaos.clock import RealClock, monotonic_s, wall_s
from chaos.sim.loop import EPOCH_S, NothingHappens, run_in_virtual_time


def test_a_year_passes_at_once_in_the_order_of_its_days() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, monotonic_s()))

    async def main() -> float:
        await asyncio.gather(sleeper("long", 365 * 86400.0), sleeper("short", 0.25), sleeper("middle", 60.0))
        return wall_s()

    began_s = time.monotonic()
    assert run_in_virtual_time(main) == EPOCH_S + 365 * 86400.0
    assert [name for name, _ in woken] == ["short", "middle", "long"]
    assert [at_s for _, at_s in woken] == pytest.approx([0.25, 60.0, 365 * 86400.0])
    assert time.monotonic() - began_s < 60.0


def test_a_runs_clock_and_limits_are_virtual_too() -> None:
    async def main() -> tuple[float, float]:
        await asyncio.sleep(5.0)
        clock = RealClock()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 30.0)
        return clock.now_s(), clock.at_monotonic(monotonic_s())

    assert run_in_virtual_time(main) == pytest.approx((30.0, 30.0))


def test_what_is_for_a_thread_is_done_at_once_and_here() -> None:
    async def main() -> tuple[int, float]:
        return await asyncio.to_thread(threading.get_ident), monotonic_s()

    assert run_in_virtual_time(main) == (threading.get_ident(), 0.0)

    async def fails() -> None:
        await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        run_in_virtual_time(fails)


def test_a_model_that_stands_still_says_so() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingHappens, match="everybody waits"):
        run_in_virtual_time(main)


def test_time_is_real_again_afterwards() -> None:
    async def main() -> None:
        await asyncio.sleep(1e6)

    run_in_virtual_time(main)
    assert abs(monotonic_s() - time.monotonic()) < 60.0
    assert abs(wall_s() - time.time()) < 60.0
