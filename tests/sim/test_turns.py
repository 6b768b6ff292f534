"""Code that waits where it stands takes turns with the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from chaos.clock import monotonic_s
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.turns import Turns
from tests.conftest import ROOT

LIMIT_S = 30
# In a process of its own: a thread that was left waiting could not be ended.
INTERRUPTED = """
import asyncio, os, signal, threading, time
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.turns import Turns

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)  # the main thread is interrupted where it waits

def begins(turns):
    press()  # while the main thread starts this one
    turns.ask(lambda: asyncio.sleep(100.0))

def asks(turns):
    time.sleep(0.1)
    press()
    turns.ask(lambda: asyncio.sleep(100.0))

def ends(turns):
    time.sleep(0.1)
    press()

def asks_on_its_way_out(turns):
    try:
        asks(turns)
    finally:
        turns.ask(lambda: asyncio.sleep(100.0))

def waits(turns):
    turns.ask(lambda: asyncio.to_thread(press))

turns = Turns()
try:
    run_in_virtual_time(lambda: turns.run(lambda: CODE(turns)))
except KeyboardInterrupt:
    print("interrupted", threading.active_count())
print(run_in_virtual_time(lambda: turns.run(lambda: turns.ask(lambda: asyncio.sleep(1.0, "again")))))
"""


def test_the_code_stands_still_while_it_waits_and_others_go_on() -> None:
    order: list[tuple[str, float]] = []

    async def main() -> str:
        turns = Turns()

        async def other() -> None:
            await asyncio.sleep(2.0)
            order.append(("other", monotonic_s()))

        def code() -> str:
            order.append(("begins", monotonic_s()))
            turns.ask(lambda: asyncio.sleep(5.0))
            order.append(("goes on", monotonic_s()))
            return "done"

        waiting = asyncio.create_task(other())
        result = await turns.run(code)
        await waiting
        return result

    assert run_in_virtual_time(main) == "done"
    assert order == [("begins", 0.0), ("other", 2.0), ("goes on", 5.0)]


def test_what_it_raises_or_what_is_raised_to_it_comes_through() -> None:
    async def main() -> None:
        turns = Turns()

        async def fails() -> None:
            raise ValueError("asked")

        with pytest.raises(ValueError, match="asked"):
            await turns.run(lambda: turns.ask(fails))
        with pytest.raises(ZeroDivisionError):
            await turns.run(lambda: 1 // 0)

    run_in_virtual_time(main)


def test_whoever_waits_may_give_up_and_the_code_ends_where_it_stands() -> None:
    ended: list[str] = []

    async def main() -> None:
        turns = Turns()

        def code() -> None:
            try:
                turns.ask(lambda: asyncio.sleep(100.0))
            except Exception:  # noqa: BLE001 -- as Ray's code does
                ended.append("swallowed")
            finally:
                ended.append("ended")

        running = asyncio.create_task(turns.run(code))
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()

    before = threading.active_count()
    run_in_virtual_time(main)
    assert ended == ["ended"]
    assert threading.active_count() == before


@pytest.mark.parametrize("code", ["begins", "asks", "ends", "asks_on_its_way_out", "waits"])
def test_whoever_interrupts_the_loop_leaves_no_code_waiting(code: str) -> None:
    script = INTERRUPTED.replace("CODE", code)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["interrupted", "1", "again"], done.stderr


def test_tasks_it_makes_belong_to_the_loop() -> None:
    async def main() -> float:
        turns = Turns()
        task = await turns.run(lambda: asyncio.create_task(asyncio.sleep(3.0)))
        await task
        return monotonic_s()

    assert run_in_virtual_time(main) == 3.0
