"""The wrapper of a local node, with real processes: nothing of what it runs outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.cloud.marks import environment_of, marked, signal_all, state_of
from chaos.cloud.node_process import children_of, cloud_alive, start_ticks
from chaos.cloud.ray_start import INSTANCE_VARIABLE, MARK_VARIABLE

LIMIT_S = 15.0
POLL_S = 0.02
SLEEP = "import time; time.sleep(600)"
# A child, a child in a session of its own, and a daemon whose parents are gone; then what is given.
FAMILY = f"""
import os, subprocess, sys
sleep = [sys.executable, "-c", {SLEEP!r}]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, sleep)
    os._exit(0)
os.wait()
open(sys.argv[1], "w").close()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition, and says what it waited for."""
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"after {LIMIT_S:g} s: not {what}"
        time.sleep(POLL_S)


class Nest:
    """A wrapper under way, its Cloud (a process that does nothing), and everything that carries the test's mark."""

    def __init__(self, directory: Path, mark: str) -> None:
        self.directory = directory
        self.mark = mark
        self.address = directory / "address.json"
        self.cloud = self.spawn([sys.executable, "-c", SLEEP])
        self.write_address(self.cloud.pid)
        self.wrapper: subprocess.Popen[bytes] | None = None

    def write_address(self, pid: int, *, off_by: int = 0) -> None:
        ticks = start_ticks(pid)
        assert ticks is not None
        self.address.write_text(json.dumps({"pid": pid, "start_ticks": ticks + off_by, "port": 1}))

    def start(self, script: str, *, grace_s: float = 30.0) -> subprocess.Popen[bytes]:
        """Runs a Python script under the wrapper; it tells by a file that it is ready."""
        ready = self.directory / "ready"
        self.wrapper = self.spawn(
            [
                sys.executable, "-m", "chaos.cloud.node_process", str(self.address), str(grace_s), "0",
                str(self.directory / "log"), sys.executable, "-c", script, str(ready),
            ],
            marked=True,
        )  # fmt: skip
        until(ready.exists, "ready")
        return self.wrapper

    def spawn(self, argv: list[str], *, marked: bool = False) -> subprocess.Popen[bytes]:
        own = {MARK_VARIABLE: self.mark, INSTANCE_VARIABLE: "i-00001"} if marked else {}
        return subprocess.Popen(argv, env={**os.environ, **own}, stdin=subprocess.DEVNULL, start_new_session=True)

    def living(self) -> list[int]:
        """Whatever of the node still runs."""
        return [pid for pid in marked(self.mark) if state_of(pid) not in ("Z", "X", "")]

    def end_cloud(self) -> None:
        self.cloud.kill()
        self.cloud.wait(LIMIT_S)

    def close(self) -> None:
        signal_all(self.living(), signal.SIGKILL)
        for process in (self.cloud, self.wrapper):
            if process is not None:
                process.kill()
                process.wait(LIMIT_S)


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    nest = Nest(tmp_path, f"test#{tmp_path.name}-{os.getpid()}")
    yield nest
    nest.close()


def test_sigterm_ends_every_descendant(nest: Nest) -> None:
    wrapper = nest.start(FAMILY + SLEEP)
    assert len(nest.living()) == 5  # wrapper, command, child, session, daemon
    wrapper.send_signal(signal.SIGTERM)
    wrapper.wait(LIMIT_S)
    assert nest.living() == []


def test_sigterm_lets_the_command_end_politely(nest: Nest) -> None:
    goodbye = nest.directory / "goodbye"
    polite = f"""
import signal, sys, time
def leave(*_):
    open({str(goodbye)!r}, "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
open(sys.argv[1], "w").close()
time.sleep(600)
"""
    wrapper = nest.start(polite)
    wrapper.send_signal(signal.SIGTERM)
    wrapper.wait(LIMIT_S)
    assert goodbye.exists()
    assert nest.living() == []


def test_a_command_that_does_not_listen_is_ended_all_the_same(nest: Nest) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FAMILY}{SLEEP}"
    wrapper = nest.start(deaf)
    wrapper.send_signal(signal.SIGTERM)
    wrapper.send_signal(signal.SIGTERM)
    wrapper.wait(LIMIT_S)
    assert nest.living() == []


def test_when_the_command_ends_so_does_what_it_left_behind(nest: Nest) -> None:
    wrapper = nest.start(FAMILY)
    wrapper.wait(LIMIT_S)
    assert nest.living() == []


# Notes its PID, has the family above, and ends when it is told to.
RUNS = """
import os, sys, time
with open({runs!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
{family}
while not os.path.exists({end!r}):
    time.sleep(0.02)
"""


def test_when_it_was_asked_to_it_runs_the_command_again_once(nest: Nest) -> None:
    runs, end = nest.directory / "runs", nest.directory / "end"
    wrapper = nest.start(RUNS.format(runs=str(runs), end=str(end), family=FAMILY))
    (first,) = runs.read_text().split()
    before = set(nest.living())
    wrapper.send_signal(signal.SIGUSR1)
    os.kill(int(first), signal.SIGKILL)
    until(lambda: len(runs.read_text().split()) == 2, "run again")
    until(lambda: len(nest.living()) == 5, "with its family")
    assert set(nest.living()) & before == {wrapper.pid}
    end.touch()
    wrapper.wait(LIMIT_S)
    assert nest.living() == []
    assert len(runs.read_text().split()) == 2


def test_what_was_asked_of_it_can_be_taken_back(nest: Nest) -> None:
    runs, end = nest.directory / "runs", nest.directory / "end"
    wrapper = nest.start(RUNS.format(runs=str(runs), end=str(end), family=FAMILY))
    wrapper.send_signal(signal.SIGUSR1)
    wrapper.send_signal(signal.SIGUSR2)
    end.touch()
    wrapper.wait(LIMIT_S)
    assert nest.living() == []
    assert len(runs.read_text().split()) == 1


def test_one_that_is_to_end_does_not_run_the_command_again(nest: Nest) -> None:
    wrapper = nest.start(FAMILY + SLEEP)
    wrapper.send_signal(signal.SIGUSR1)
    wrapper.send_signal(signal.SIGTERM)
    wrapper.wait(LIMIT_S)
    assert nest.living() == []


def test_without_files_it_watches_nobody_and_writes_where_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos.cloud.node_process", "-", "0", "0", "-", sys.executable, "-c", "print(7)"]
    assert subprocess.run(command, capture_output=True, check=True, timeout=LIMIT_S, cwd=tmp_path).stdout == b"7\n"


def test_when_the_cloud_is_dead_for_the_grace_period_everything_ends(nest: Nest) -> None:
    grace_s = 0.6
    wrapper = nest.start(FAMILY + SLEEP, grace_s=grace_s)
    died_s = time.monotonic()
    nest.end_cloud()
    wrapper.wait(LIMIT_S)
    assert time.monotonic() - died_s >= grace_s - 0.25  # the Cloud was last seen up to one look before it died
    assert nest.living() == []


def test_a_cloud_that_comes_back_in_time_keeps_the_node(nest: Nest) -> None:
    grace_s = 1.0
    wrapper = nest.start(FAMILY + SLEEP, grace_s=grace_s)
    again = nest.spawn([sys.executable, "-c", SLEEP])
    nest.end_cloud()
    nest.cloud = again
    nest.write_address(again.pid)
    until_s = time.monotonic() + 1.5 * grace_s
    while time.monotonic() < until_s:
        assert wrapper.poll() is None
        time.sleep(POLL_S)
    assert len(nest.living()) == 5


def test_another_process_with_the_clouds_pid_is_not_the_cloud(nest: Nest) -> None:
    assert cloud_alive(nest.address)
    nest.write_address(nest.cloud.pid, off_by=1)
    assert not cloud_alive(nest.address)
    wrapper = nest.start(FAMILY + SLEEP, grace_s=0.3)
    wrapper.wait(LIMIT_S)
    assert nest.living() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x", "start_ticks": 1}', "7"])
def test_an_address_that_cannot_be_read_is_no_living_cloud(tmp_path: Path, text: str) -> None:
    address = tmp_path / "address.json"
    assert not cloud_alive(address)
    address.write_text(text)
    assert not cloud_alive(address)


def test_start_ticks_tell_a_process_from_a_later_one_of_the_same_pid() -> None:
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    until(lambda: start_ticks(process.pid) is None, "ended")  # a zombie is gone, too
    process.wait(LIMIT_S)
    assert start_ticks(process.pid) is None
    assert state_of(process.pid) == ""
    assert environment_of(process.pid) == {}


def test_children_are_found_however_deep(nest: Nest) -> None:
    wrapper = nest.start(FAMILY + SLEEP)
    assert sorted([wrapper.pid, *children_of(wrapper.pid)]) == sorted(nest.living())
    assert set(marked(nest.mark, instance="i-00001")) == set(nest.living())
    assert list(marked(nest.mark, instance="i-00002")) == []
