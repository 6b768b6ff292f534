"""Code that waits where it stands takes turns with the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys

import pytest

from chaos.clock import monotonic_s
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.turns import run_in_turns, waited_for
from tests.conftest import ROOT

LIMIT_S = 30
# In a process of its own: it is interrupted as a whole.
INTERRUPTED = """
import asyncio, os, signal, time
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.turns import run_in_turns, waited_for

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10.0)  # until it is heard

def at_work():
    press()

def on_its_way_out():
    try:
        press()
    finally:
        waited_for(lambda: asyncio.sleep(100.0))

def waiting():
    waited_for(lambda: asyncio.to_thread(press))

def waiting_on_its_way_out():
    try:
        waiting()
    finally:
        waited_for(lambda: asyncio.sleep(100.0))

try:
    run_in_virtual_time(lambda: run_in_turns(CODE))
except KeyboardInterrupt:
    print("interrupted")
print(run_in_virtual_time(lambda: run_in_turns(lambda: waited_for(lambda: asyncio.sleep(1.0, "again")))))
"""


def test_the_code_stands_still_while_it_waits_and_others_go_on() -> None:
    order: list[tuple[str, float]] = []

    async def main() -> str:
        async def other() -> None:
            await asyncio.sleep(2.0)
            order.append(("other", monotonic_s()))

        def code() -> str:
            order.append(("begins", monotonic_s()))
            waited_for(lambda: asyncio.sleep(5.0))
            order.append(("goes on", monotonic_s()))
            return "done"

        waiting = asyncio.create_task(other())
        result = await run_in_turns(code)
        await waiting
        return result

    assert run_in_virtual_time(main) == "done"
    assert order == [("begins", 0.0), ("other", 2.0), ("goes on", 5.0)]


def test_what_it_raises_or_what_is_raised_to_it_comes_through() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise ValueError("asked")

        with pytest.raises(ValueError, match="asked"):
            await run_in_turns(lambda: waited_for(fails))
        with pytest.raises(ZeroDivisionError):
            await run_in_turns(lambda: 1 // 0)

    run_in_virtual_time(main)


def test_whoever_waits_may_give_up_and_the_code_ends_where_it_stands() -> None:
    ended: list[str] = []

    async def main() -> None:
        def code() -> None:
            try:
                waited_for(lambda: asyncio.sleep(100.0))
            except Exception:  # noqa: BLE001 -- as Ray's code does
                ended.append("swallowed")
            finally:
                ended.append("ended")

        running = asyncio.create_task(run_in_turns(code))
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()

    run_in_virtual_time(main)
    assert ended == ["ended"]


def test_code_that_never_ends_is_told_of() -> None:
    def clings() -> None:
        with contextlib.suppress(BaseException):
            waited_for(lambda: asyncio.sleep(100.0))
        clings()

    async def main() -> None:
        running = asyncio.create_task(run_in_turns(clings))
        await asyncio.sleep(1.0)
        running.cancel()
        await running

    with pytest.raises(RuntimeError, match="has not ended, though it was told to 100 times"):
        run_in_virtual_time(main)


@pytest.mark.parametrize("value", [None, (), (1,), (1, 2), [1]])
def test_what_it_returns_comes_through(value: object) -> None:
    assert run_in_virtual_time(lambda: run_in_turns(lambda: value)) == value


def test_nothing_is_awaited_for_code_that_does_not_run_in_turns() -> None:
    with pytest.raises(AssertionError, match="code that runs in turns"):
        waited_for(lambda: asyncio.sleep(1.0))


@pytest.mark.parametrize("code", ["at_work", "on_its_way_out", "waiting", "waiting_on_its_way_out"])
def test_whoever_interrupts_the_loop_leaves_no_code_waiting(code: str) -> None:
    script = INTERRUPTED.replace("CODE", code)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["interrupted", "again"], done.stderr


def test_tasks_it_makes_belong_to_the_loop() -> None:
    async def main() -> float:
        task = await run_in_turns(lambda: asyncio.create_task(asyncio.sleep(3.0)))
        await task
        return monotonic_s()

    assert run_in_virtual_time(main) == 3.0
