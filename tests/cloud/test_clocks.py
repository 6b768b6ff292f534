"""A clock of a node's own: the library in real processes, and the file that moves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.cloud.clocks import CLOCK_VARIABLE, Clocks
from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cluster import NodeProcess
from chaos.cluster_spec import NodeType
from chaos.errors import InjectionError
from chaos.harm import ClockSkew

SOURCE = Path(__file__).parent.parent.parent / "compose" / "clock.c"
LIMIT_S = 20.0
NEAR_S = 0.5
# Says its time of day when it is asked to.
CLOCK = "import sys, time\nfor _ in sys.stdin: print(time.time(), flush=True)"
# C's own functions, and a time of day 0.4 s ahead of what this process reads.
LIBRARY = """
import ctypes, os, platform, sys, time
class Time(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
libc, now = ctypes.CDLL(None), Time()
def read(fraction): return now.s + now.ns * fraction
def room(): return ctypes.create_string_buffer(64)
until = time.time() + 0.4
at = ctypes.byref(Time(int(until), int(until % 1 * 1e9)))
number = {{"x86_64": (202, 228), "aarch64": (98, 113)}}[platform.machine()]
"""
READ = {
    "clock_gettime": "libc.clock_gettime(0, ctypes.byref(now)); told = read(1e-9)",
    "coarse": "libc.clock_gettime(5, ctypes.byref(now)); told = read(1e-9)",
    "gettimeofday": "libc.gettimeofday(ctypes.byref(now), None); told = read(1e-6)",
    "time": "libc.time.restype = ctypes.c_long; told = libc.time(None) + 0.5",
    "timespec_get": "assert libc.timespec_get(ctypes.byref(now), 1) == 1; told = read(1e-9)",
    "syscall": "libc.syscall(ctypes.c_long(number[1]), ctypes.c_long(0), ctypes.byref(now)); told = read(1e-9)",
}
# Each waits for what never comes.
WAIT = {
    "clock_nanosleep": "libc.clock_nanosleep(0, 1, at, None)",
    "sem_timedwait": "s = room(); libc.sem_init(s, 0, 0); libc.sem_timedwait(s, at)",
    "sem_clockwait": "s = room(); libc.sem_init(s, 0, 0); libc.sem_clockwait(s, 0, at)",
    "pthread_cond_timedwait": (
        "c, m = room(), room(); libc.pthread_mutex_lock(m); libc.pthread_cond_timedwait(c, m, at)"
    ),
    "pthread_cond_clockwait": (
        "c, m = room(), room(); libc.pthread_mutex_lock(m); libc.pthread_cond_clockwait(c, m, 0, at)"
    ),
    "pthread_mutex_timedlock": "m = room(); libc.pthread_mutex_lock(m); libc.pthread_mutex_timedlock(m, at)",
    "pthread_mutex_clocklock": "m = room(); libc.pthread_mutex_lock(m); libc.pthread_mutex_clocklock(m, 0, at)",
    "pthread_rwlock_timedrdlock": (
        "m = room(); libc.pthread_rwlock_wrlock(m); in_a_thread(libc.pthread_rwlock_timedrdlock, m, at)"
    ),
    "pthread_rwlock_timedwrlock": "m = room(); libc.pthread_rwlock_rdlock(m); libc.pthread_rwlock_timedwrlock(m, at)",
    "pthread_rwlock_clockrdlock": (
        "m = room(); libc.pthread_rwlock_wrlock(m); in_a_thread(libc.pthread_rwlock_clockrdlock, m, 0, at)"
    ),
    "pthread_rwlock_clockwrlock": (
        "m = room(); libc.pthread_rwlock_rdlock(m); libc.pthread_rwlock_clockwrlock(m, 0, at)"
    ),
    "cnd_timedwait": (
        "c, m = room(), room(); libc.cnd_init(c); libc.mtx_init(m, 2); libc.mtx_lock(m); libc.cnd_timedwait(c, m, at)"
    ),
    "mtx_timedlock": "m = room(); libc.mtx_init(m, 2); libc.mtx_lock(m); libc.mtx_timedlock(m, at)",
    # FUTEX_WAIT_BITSET until a time of day, as Abseil calls it.
    "futex": (
        "word = ctypes.byref(ctypes.c_int(0));"
        " libc.syscall(ctypes.c_long(number[0]), word, ctypes.c_long(9 | 256), ctypes.c_long(0), at,"
        " None, ctypes.c_long(0xFFFFFFFF))"
    ),
    "event": "__import__('threading').Event().wait(0.4)",
    "sleep": "time.sleep(0.4)",
}
WAITS = (
    LIBRARY
    + """
import threading
def in_a_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()
began = time.monotonic()
{wait}
print(time.monotonic() - began)
"""
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, as the image has it."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to compile compose/clock.c as the image does")
    made = tmp_path_factory.mktemp("library") / "clock.so"
    subprocess.run(
        ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True, timeout=LIMIT_S
    )
    return made


class Place:
    """A node with a clock of its own, and one process that reads it."""

    def __init__(self, root: Path, library: Path) -> None:
        self.directory = CloudDirectory(root)
        self.node = Instance(
            instance="i-00001",
            node="w1",
            node_type="gpu",
            state="running",
            shape=NodeType(resources={"CPU": 1.0}, own_clock=True),
        )
        (self.directory.nodes / "i-00001").mkdir(parents=True)
        self.clocks = Clocks(self.directory, self.look, root_on_nodes=str(root), library=str(library))
        self.environment = self.clocks.environment(self.node)
        self.process = self.run(CLOCK)

    def run(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def look(self, instance: Instance) -> tuple[NodeProcess, ...]:
        assert instance == self.node
        return (NodeProcess(pid=self.process.pid, started_ticks=1, role="raylet", title="raylet"),)

    def offset_s(self) -> float:
        """How far the process's clock is ahead of ours."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) - time.time()

    async def move(self, *offsets_s: float) -> None:
        await self.clocks.obey(self.node, [ClockSkew(offset_s=offset_s) for offset_s in offsets_s], addresses={})


@pytest.fixture
def place(tmp_path: Path, library: Path) -> Iterator[Place]:
    place = Place(tmp_path, library)
    yield place
    place.process.kill()
    place.process.communicate(timeout=LIMIT_S)


async def test_a_process_that_runs_jumps_ahead_and_back(place: Place) -> None:
    assert abs(place.offset_s()) < NEAR_S
    for offsets_s in ((3600.25,), (-90.5,), (100.0, -40.0)):
        await place.move(*offsets_s)
        assert place.offset_s() == pytest.approx(sum(offsets_s), abs=NEAR_S)
        assert await place.clocks.read(place.node) == pytest.approx(sum(offsets_s), abs=NEAR_S)
        assert place.clocks.seen(place.node) == [f"w1: clock off by {sum(offsets_s):g} s"]
    await place.move()
    assert abs(place.offset_s()) < NEAR_S
    assert place.clocks.seen(place.node) == []


@pytest.mark.parametrize("read", READ.values(), ids=READ)
async def test_whatever_reads_the_time_of_day_reads_the_moved_one(place: Place, read: str) -> None:
    await place.move(-500.0)
    process = place.run(LIBRARY.format() + read + "\nprint(told)")
    told, _ = process.communicate(timeout=LIMIT_S)
    assert float(told) - time.time() == pytest.approx(-500.0, abs=LIMIT_S)


@pytest.mark.parametrize("offset_s", [500.0, -500.0])
@pytest.mark.parametrize("wait", WAIT.values(), ids=WAIT)
async def test_waits_take_as_long_as_ever(place: Place, offset_s: float, wait: str) -> None:
    await place.move(offset_s)
    process = place.run(WAITS.format(wait=wait))
    waited, _ = process.communicate(timeout=LIMIT_S)
    assert 0.35 < float(waited) < LIMIT_S


async def test_without_a_clock_of_its_own_nothing_can_be_moved(tmp_path: Path, library: Path) -> None:
    place = Place(tmp_path, library)
    bare = place.node.model_copy(update={"instance": "i-00002", "node": "w2", "shape": None})
    try:
        assert place.clocks.environment(bare) == {}
        await place.clocks.obey(bare, [], addresses={})
        with pytest.raises(InjectionError, match="w2 has no clock of its own; give its node type `own_clock`"):
            await place.clocks.obey(bare, [ClockSkew(offset_s=3.0)], addresses={})
        assert await place.clocks.read(bare) is None
        assert place.clocks.seen(bare) == []
    finally:
        place.process.kill()
        place.process.communicate(timeout=LIMIT_S)


async def test_a_raylet_that_does_not_read_the_clock_shows_nothing(place: Place) -> None:
    await place.move(60.0)
    place.process.kill()
    place.process.communicate(timeout=LIMIT_S)
    del place.environment["LD_PRELOAD"]
    place.process = place.run(CLOCK)
    assert abs(place.offset_s()) < NEAR_S
    assert place.environment[CLOCK_VARIABLE]
    assert await place.clocks.read(place.node) is None
