"""A node's processes are found even when they overwrote what /proc shows as their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from chaos.cloud.marks import marked, processes, state_of
from chaos.cloud.node_process import start_ticks
from chaos.cloud.ray_start import INSTANCE_VARIABLE, MARK_VARIABLE

LIMIT_S = 10.0
# Does what a process that sets its title does to the memory behind /proc/PID/environ.
OVERWRITE = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
first = ctypes.cast(ctypes.c_void_p.in_dll(libc, "environ").value, ctypes.POINTER(ctypes.c_void_p))[0]
ctypes.memset(first, 0, sum(len(f"{k}={v}") + 1 for k, v in os.environ.items()))
print("overwritten", flush=True)
time.sleep(60)
"""
# A wrapper's stand-in: begins a session, starts the process above in it, and ends at once.
LEADER = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {OVERWRITE!r}])"


@pytest.fixture
def mark() -> str:
    return f"test#{os.getpid()}"


@pytest.fixture
def session(mark: str) -> Iterator[str]:
    """The session of a dead leader with one living, unmarkable member."""
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER],
        env={**os.environ, MARK_VARIABLE: mark, INSTANCE_VARIABLE: "i-00001"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout is not None
    with leader.stdout:
        ticks = start_ticks(leader.pid)
        assert leader.stdout.readline() == "overwritten\n"
    leader.wait(timeout=LIMIT_S)
    yield f"{leader.pid}:{ticks or 1}"
    for pid in processes(mark, sessions=[f"{leader.pid}:{ticks or 1}"]):
        os.kill(pid, signal.SIGKILL)


def test_an_overwritten_environment_hides_the_mark_but_not_the_session(mark: str, session: str) -> None:
    assert list(marked(mark)) == []
    found = processes(mark, sessions=[session])
    assert len(found) == 1
    os.kill(found[0], signal.SIGKILL)
    deadline_s = time.monotonic() + LIMIT_S
    while state_of(found[0]) not in ("", "Z"):
        assert time.monotonic() < deadline_s
    assert processes(mark, sessions=[session]) == []


def test_a_session_number_that_another_leader_took_is_left_alone(mark: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        ticks = start_ticks(other.pid)
        assert ticks is not None
        assert processes(mark, sessions=[f"{other.pid}:{ticks}"]) == [other.pid]
        assert processes(mark, sessions=[f"{other.pid}:{ticks - 1}"]) == []
    finally:
        other.communicate()
