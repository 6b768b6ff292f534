"""A campaign's tasks on a Ray cluster where results are lost, on a stand-in for Ray; and what a task leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import GetTimeoutError, WorkerCrashedError

import faults
import workloads
from chaos.errors import ClusterError
from chaos.fuzz import on_ray
from chaos.fuzz.on_ray import RayCrew
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.trial import Wish
from chaos.fuzz.worker import Numbers
from chaos.spec import Catalogue
from tests.conftest import ROOT

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
WISH = Wish(faults=("kill_node",), workloads=("task_bursts",))
TASK = Numbers((0, 1))
LIMIT_S = 30.0
SIGN = "a run that is not told"
Told = Outcome | Exception | str | None
"""What a stream says: an outcome, a sign that a run was made, an error of Ray's, or nothing within the limit."""


class Reference:
    """What an item of a stream is fetched by; nil where there is none."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def is_nil(self) -> bool:
        """Whether nothing came."""
        return self.told is None


class Stream:
    """A task's outcomes as Ray hands them out; it is asked with a limit only."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._told = list(told)

    def __next__(self) -> object:
        raise AssertionError("without a limit")

    def _next_sync(self, timeout_s: float) -> Reference:
        assert timeout_s > 0
        if not self._told:
            raise StopIteration
        return Reference(self._told.pop(0))


class Cluster:
    """Hands out streams one by one, and notes which were cancelled and how many outcomes each was to leave out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *streams: Stream) -> None:
        self.cancelled: list[Stream] = []
        self.heard: list[int] = []
        self.silent = False
        self.ended = 0
        self._streams = list(streams)
        self._lost: type[Exception] | None = None
        for name in ("cancel", "wait", "get", "shutdown"):
            monkeypatch.setattr(ray, name, getattr(self, name))
        monkeypatch.setattr(ray, "init", lambda **_: None)
        monkeypatch.setattr(ray, "put", lambda value: value)
        monkeypatch.setattr(ray, "remote", lambda **_: lambda _: SimpleNamespace(remote=self._submit))

    def _submit(self, wish: str, catalogue: Catalogue, task: Numbers, heard: int) -> Stream:
        self.heard.append(heard)
        return self._streams.pop(0)

    def wait(self, streams: list[Stream], *, timeout: float, fetch_local: bool) -> tuple[list[Stream], list[Stream]]:
        """All are ready, or none."""
        return ([], streams) if self.silent else (streams, [])

    def get(self, reference: Reference, *, timeout: float) -> tuple[Outcome | None, bytes]:
        """What the stream told."""
        assert timeout > 0
        if isinstance(reference.told, Exception):
            raise reference.told
        assert reference.told is not None
        return None if isinstance(reference.told, str) else reference.told, b""

    def cancel(self, stream: Stream, *, force: bool) -> None:
        """Notes it."""
        assert force
        self.cancelled.append(stream)

    def shutdown(self) -> None:
        """Counts."""
        self.ended += 1


def crew(tmp_path: Path) -> RayCrew:
    return RayCrew(WISH, KNOWN, "here:1", count=1, keep=tmp_path)


def outcome(number: int) -> Outcome:
    return Outcome(number=number, judgement="pass")


def heard_by(workers: RayCrew) -> list[int]:
    """The numbers of all outcomes until all is done."""
    numbers = []
    while workers.open_tasks:
        if (told := workers.listen()) is not None:
            numbers.append(told.number)
    return numbers


@pytest.mark.parametrize("lost", [None, GetTimeoutError("no answer"), WorkerCrashedError()])
def test_a_task_whose_outcome_does_not_come_is_given_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Told
) -> None:
    first, second = Stream([outcome(0), lost]), Stream([outcome(1)])
    cluster = Cluster(monkeypatch, first, second)
    workers = crew(tmp_path)
    workers.give(TASK)
    assert heard_by(workers) == [0, 1]
    assert (cluster.heard, cluster.cancelled) == ([0, 1], [first])


def test_a_task_that_is_lost_again_and_again_ends_the_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, *(Stream([None]) for _ in range(3)))
    workers = crew(tmp_path)
    workers.give(TASK)
    with pytest.raises(ClusterError, match=r"lost 3 times, the last time so: its outcomes were not there within 60 s"):
        heard_by(workers)


def test_silence_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, Stream([outcome(0)]), Stream([]))
    workers = crew(tmp_path)
    workers.give(TASK)
    cluster.silent = True
    assert workers.listen() is None
    monkeypatch.setattr(on_ray, "_SILENCE_LIMIT_S", 0.0)
    with pytest.raises(ClusterError, match="no task told anything for 0 s"):
        workers.listen()


def test_a_task_that_makes_runs_again_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(on_ray, "time", SimpleNamespace(monotonic=lambda: now_s))
    cluster = Cluster(monkeypatch, Stream([SIGN, outcome(1), None]), Stream([SIGN, outcome(2)]))
    workers = crew(tmp_path)
    workers.give(TASK)
    now_s = 800.0
    assert workers.listen() is None
    cluster.silent, now_s = True, 1600.0
    assert workers.listen() is None
    cluster.silent = False
    assert heard_by(workers) == [1, 2]
    assert cluster.heard == [0, 1]  # signs are no outcomes


def test_outcomes_that_are_known_are_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [None, outcome(1), None, outcome(2)]
    monkeypatch.setattr(on_ray, "_worker", lambda *_: SimpleNamespace(signs=lambda _: iter(told)))
    assert [one for one, _ in on_ray._outcomes("", KNOWN, TASK, 1)] == [None, None, None, outcome(2)]


def test_the_cluster_is_left_though_a_task_cannot_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, Stream([]))
    workers = crew(tmp_path)
    workers.give(TASK)

    def cancel(*_: Any, **__: Any) -> None:
        raise WorkerCrashedError

    monkeypatch.setattr(ray, "cancel", cancel)
    with pytest.raises(ClusterError, match="a task could not be taken back"):
        workers.end()
    assert cluster.ended == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_directory_of_a_task_goes_with_its_process(tmp_path: Path, number: signal.Signals) -> None:
    script = "from chaos.fuzz.on_ray import _scratch; import time; print(_scratch(), flush=True); time.sleep(600)"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        scratch = Path(process.stdout.readline().strip())
        (scratch / "run").mkdir()
        assert scratch.parent == tmp_path
        for child in psutil.Process(process.pid).children(recursive=True):  # as Ray does
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.1)
        assert scratch.exists()
        process.send_signal(number)
    deadline_s = time.monotonic() + LIMIT_S
    while scratch.exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not scratch.exists()
