"""Campaigns on real clusters, and those that confirm there what the twin finds, on stand-ins for both."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import faults
import workloads
from chaos import __version__
from chaos.campaign import BaselineFailed, NoBaseline
from chaos.checkers import evaluate
from chaos.errors import ClusterError, ExceptionGroup
from chaos.events import BaselineKnown
from chaos.fuzz import campaign
from chaos.fuzz.campaign import Limits, State, hunt
from chaos.fuzz.command import Ask, as_json, settled, summary
from chaos.fuzz.corpus import Corpus
from chaos.fuzz.log import Log
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import Judged
from chaos.fuzz.trial import Wish
from chaos.fuzz.worker import Worker
from chaos.history import History
from chaos.results import judge
from chaos.spec import Catalogue, RunSpec
from chaos.store import RunDirectory
from tests.conftest import ROOT

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
LOCAL = Wish(cluster="local", brief=True, seed=3, faults=("kill_node",), workloads=("task_bursts",), max_workers=3)
BOTH = LOCAL.model_copy(update={"cluster": "sim", "confirm_on": "local"})
GOLDEN = ROOT / "tests" / "golden"
HUNG, PASSED = "local_hung", "local_pass"
LIMIT_S, _STEP_S = 60.0, 0.005
RULER = BaselineKnown(
    run_id="b", job_s=9.0, rows_per_s=9.0, longest_pause_s=1.0, scale_up_s=5.0, scale_down_s=9.0, join_s=4.0,
    peak_nodes=2, busy_share=0.5,
)  # fmt: skip


class Recordings:
    """Plays recorded runs; `story` says which, or what goes wrong, by the number of the run."""

    exact = False
    story: Callable[[int], str | Exception] = staticmethod(lambda _: PASSED)
    ruler: Callable[[RunSpec], BaselineKnown] = staticmethod(lambda _: RULER)
    made: int = 0
    closed: int = 0
    kinds: list[str] = []  # noqa: RUF012 -- the story is all runners'

    def __init__(self, scratch: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self._scratch = scratch

    def baseline(self, spec: RunSpec) -> BaselineKnown:
        """The ruler."""
        return Recordings.ruler(spec)

    def run(self, spec: RunSpec, baseline: BaselineKnown) -> Judged:
        """The next of the story."""
        told = Recordings.story(Recordings.made)
        Recordings.made += 1
        Recordings.kinds.append(spec.cluster.kind)
        if isinstance(told, Exception):
            raise told
        path = self._scratch / f"run-{Recordings.made}"
        shutil.copytree(GOLDEN / told, path)
        directory = RunDirectory(path)
        history = History.load(directory.history)
        return Judged(history, evaluate(history), directory)

    def close(self) -> None:
        """Counts."""
        Recordings.closed += 1


@pytest.fixture(autouse=True)
def recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "LiveRunner", Recordings)
    for name, value in (("made", 0), ("closed", 0), ("kinds", [])):
        monkeypatch.setattr(Recordings, name, value)
    monkeypatch.setattr(Recordings, "story", staticmethod(lambda _: PASSED))
    monkeypatch.setattr(Recordings, "ruler", staticmethod(lambda _: RULER))


def tell(monkeypatch: pytest.MonkeyPatch, *story: str | Exception) -> None:
    """Each run as the story says, over and over."""
    monkeypatch.setattr(Recordings, "story", staticmethod(lambda number: story[number % len(story)]))


def sitting(tmp_path: Path, wish: Wish, limits: Limits) -> tuple[State, list[Outcome]]:
    seen: list[Outcome] = []

    def show(state: State, outcome: Outcome | None) -> None:
        seen.extend([outcome] if outcome else [])

    corpus = Corpus(tmp_path / "corpus", raychaos=__version__)
    return hunt(
        wish, limits, KNOWN, log=Log(tmp_path, wish, ray="2.60.0"), corpus=corpus, ray="2.60.0", show=show
    ), seen


def test_a_campaign_on_a_real_cluster_is_told_run_by_run_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, PASSED, HUNG, HUNG)
    state, seen = sitting(tmp_path, LOCAL, Limits(max_runs=3))
    assert [outcome.judgement for outcome in seen] == ["pass", "fail", "fail"]
    assert (Recordings.closed, set(Recordings.kinds)) == (1, {"local"})
    (failure,) = state.tally.failures.values()
    assert (failure.hits, state.tally.runs, state.tally.judgement) == (2, 3, "fail")
    assert (Path(failure.first.kept) / "history.jsonl").is_file()
    assert [path.name for path in Log(tmp_path, LOCAL, ray="2.60.0").path.iterdir() if path.is_dir()] == ["runs"]
    (entry,) = Corpus(tmp_path / "corpus", raychaos=__version__).entries()
    assert entry.cluster == "local"
    # It goes on where it was, after what failed before.
    again, seen = sitting(tmp_path, LOCAL, Limits(max_runs=4))
    assert (again.resumed_runs, [outcome.number for outcome in seen]) == (3, [-1, 3])


def test_what_keeps_a_run_from_being_made_is_that_runs_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, PASSED, ZeroDivisionError("ours"), ClusterError("theirs"))
    state, seen = sitting(tmp_path, LOCAL, Limits(max_runs=6))
    assert [outcome.broken for outcome in seen] == [False, True, True] * 2
    assert (state.tally.runs, state.tally.passed, state.tally.unsure) == (2, 2, 0)
    assert state.gave_up == "4 of 6 tries came to no run, the last of them: ClusterError: theirs"
    assert state.tally.broken_for == {"ZeroDivisionError: ours": 2, "ClusterError: theirs": 2}
    assert "could not be made, 2 times: ClusterError: theirs" in summary(state, LOCAL)
    assert "4 runs could not be made and are left out of the rates" in summary(state, LOCAL)
    assert (json.loads(as_json(state, LOCAL))["runs"], json.loads(as_json(state, LOCAL))["not_made"]) == (2, 4)
    # What was made stays, and the rest is tried again.
    tell(monkeypatch, PASSED)
    state, seen = sitting(tmp_path, LOCAL, Limits(max_runs=6))
    assert [outcome.number for outcome in seen] == [1, 2, 4, 5]
    assert (state.tally.runs, state.resumed_runs, state.tally.broken) == (6, 2, 0)
    assert sitting(tmp_path, LOCAL, Limits(max_runs=6))[1] == []


def test_a_world_without_a_fault_free_run_is_as_many_runs_that_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> BaselineKnown:
        raise ClusterError("no room")

    monkeypatch.setattr(Recordings, "ruler", staticmethod(none))
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=11))
    assert (state.tally.broken, state.tally.broken_for) == (11, {"ClusterError: no room": 11})
    monkeypatch.setattr("chaos.fuzz.worker.world", none)
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=11))
    assert state.tally.broken == 11


def test_an_interruption_is_one_though_the_cluster_cannot_be_ended_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> str:
        raise KeyboardInterrupt

    def close(_: Recordings) -> None:
        try:
            raise ClusterError("w1 is still there")
        except ClusterError as error:
            raise ExceptionGroup("ending", [error]) from error

    monkeypatch.setattr(Recordings, "story", staticmethod(interrupted))
    monkeypatch.setattr(Recordings, "close", close)
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=2))
    assert (state.interrupted, state.gave_up) == (True, "w1 is still there")
    assert "goes on where it was" in summary(state, LOCAL)
    # Nor is it taken for one where nobody interrupted.
    tell(monkeypatch, PASSED)
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=2))
    assert (state.interrupted, state.gave_up) == (False, "w1 is still there")


def test_where_most_runs_cannot_be_made_it_gives_up_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(_: RunSpec) -> BaselineKnown:
        raise ClusterError("no memory")

    monkeypatch.setattr(Recordings, "ruler", staticmethod(unable))
    state, seen = sitting(tmp_path, LOCAL, Limits(max_runs=800))
    assert (len(seen), Recordings.made) == (4, 0)
    assert "4 of 4 tries came to no run, the last of them: ClusterError: no memory" in summary(state, LOCAL)
    # What broke is tried again another time.
    monkeypatch.setattr(Recordings, "ruler", staticmethod(lambda _: RULER))
    assert sitting(tmp_path, LOCAL, Limits(max_runs=1))[0].tally.passed == 1


def test_a_world_without_a_baseline_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(_: RunSpec) -> BaselineKnown:
        raise NoBaseline("too small")

    monkeypatch.setattr(Recordings, "ruler", staticmethod(small))
    state, seen = sitting(tmp_path, LOCAL, Limits(max_runs=20))
    assert [outcome.number for outcome in seen] == [0, 8, 16]
    assert (state.gave_up, state.tally.worlds_lost) == ("", {"too small": 3})
    assert sitting(tmp_path, LOCAL, Limits(max_runs=20))[1] == []


def fails_without_faults(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    """Each fault-free run hangs."""
    numbers = itertools.count()

    def hangs(_: RunSpec) -> BaselineKnown:
        directory = RunDirectory(scratch / f"baseline-{next(numbers)}")
        shutil.copytree(GOLDEN / HUNG, directory.path)
        raise BaselineFailed(directory, judge(History.load(directory.history)))

    monkeypatch.setattr(Recordings, "ruler", staticmethod(hangs))


def test_a_failure_without_faults_is_kept_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_without_faults(monkeypatch, tmp_path / "scratch")
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=16))
    (failure,) = state.tally.failures.values()
    kept = Path(failure.smallest.kept)
    assert kept.parent == Log(tmp_path, LOCAL, ray="2.60.0").path / "runs"
    assert RunDirectory(kept).history.exists()
    assert f"raychaos report {kept}" in summary(state, LOCAL)
    assert [path for path in (tmp_path / "scratch").iterdir() if path.name.startswith("baseline")] == []
    (entry,) = Corpus(tmp_path / "corpus", raychaos=__version__).entries()
    _, seen = sitting(tmp_path, LOCAL, Limits(max_runs=16))
    (again,) = seen
    assert (again.entry, again.source, again.judgement) == (entry.name, "baseline", "fail")


def test_ctrl_c_ends_the_cluster_and_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(number: int) -> str:
        if number == 2:
            raise KeyboardInterrupt
        return HUNG

    monkeypatch.setattr(Recordings, "story", staticmethod(interrupted))
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=9))
    assert (state.interrupted, state.tally.runs, Recordings.closed) == (True, 2, 1)
    assert "goes on where it was" in summary(state, LOCAL)


def test_a_cluster_that_cannot_be_ended_is_told_beside_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(_: Recordings) -> None:
        raise ExceptionGroup("clusters could not be ended", [ClusterError("fuzz-1 stays")])

    monkeypatch.setattr(Recordings, "close", close)
    tell(monkeypatch, HUNG)
    state, _ = sitting(tmp_path, LOCAL, Limits(max_runs=1))
    assert (state.tally.judgement, state.gave_up) == ("fail", "fuzz-1 stays")


# -- confirmation ---------------------------------------------------------------------------------------------


@contextmanager
def twins(
    wish: Wish, count: int, catalogue: Catalogue, home: Path, tell: Callable[[str], None]
) -> Iterator[campaign._Solo]:
    """A worker for the twin in this process, whose runs are recordings."""
    scratch = home / "twins"
    scratch.mkdir(parents=True)
    yield campaign._Solo(Worker(wish, catalogue, Recordings(scratch), keep=home / "runs"))


@pytest.mark.parametrize(
    ("live", "finding", "judgement"),
    [
        ([HUNG, PASSED, HUNG], "confirmed", "fail"),
        ([PASSED], "twin only", "inconclusive"),
        ([ClusterError("no memory")], "not tried", "fail"),
    ],
)
def test_what_the_twin_finds_is_confirmed_or_is_a_disagreement(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    live: list[str | Exception],
    finding: str,
    judgement: str,
) -> None:
    monkeypatch.setattr(campaign, "_crew", twins)
    story = itertools.chain([HUNG, PASSED], itertools.cycle(live))
    monkeypatch.setattr(Recordings, "story", staticmethod(lambda _: next(story)))
    state, _ = sitting(tmp_path, BOTH, Limits(max_runs=2, confirm_runs=3))
    assert Recordings.kinds == ["sim", "sim", "local", "local", "local"]
    (failure,) = state.tally.failures.values()
    assert (failure.confirmation.finding, failure.confirmation.tried) == (finding, 3)
    assert (state.tally.judgement, state.tally.runs, failure.hits) == (judgement, 2, 1)
    (told,) = json.loads(as_json(state, BOTH))["failures"]
    text = summary(state, BOTH)
    assert (told["rate"], told["local"]["finding"]) == (0.5, finding)
    assert f"on local: {finding}" in text
    only = json.loads(as_json(state, BOTH))["disagreements"]
    expected = finding == "twin only"
    assert ("disagreements: fails on the twin only" in text, len(only)) == (expected, int(expected))
    if finding == "confirmed":
        assert (told["local"]["failed_alike"], told["local"]["runs"], told["local"]["rate"]) == (2, 3, 2 / 3)
    # The next sitting has nothing to confirm any more, but for what could not be made.
    shutil.rmtree(Log(tmp_path, BOTH, ray="2.60.0").path / "twins")
    shutil.rmtree(tmp_path / "corpus")
    again = sitting(tmp_path, BOTH, Limits(max_runs=2, confirm_runs=3))[1]
    assert [outcome.source for outcome in again] == ["confirmation"] * (3 if finding == "not tried" else 0)


def test_where_runs_without_faults_fail_there_nothing_is_confirmed_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "_crew", twins)
    tell(monkeypatch, HUNG)
    fails_without_faults(monkeypatch, tmp_path / "scratch")
    hangs = Recordings.ruler
    monkeypatch.setattr(
        Recordings, "ruler", staticmethod(lambda spec: RULER if spec.cluster.kind == "sim" else hangs(spec))
    )
    state, _ = sitting(tmp_path, BOTH, Limits(max_runs=1, confirm_runs=2))
    (failure,) = state.tally.failures.values()
    assert (failure.confirmation.finding, failure.confirmation.unsure.total()) == ("not tried", 2)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_is_confirmed_is_what_both_kinds_can_have() -> None:
    wish, _, _ = settled(Ask(cluster="sim,compose", seed=1), KNOWN)
    assert (wish.cluster, wish.confirm_on, wish.brief, wish.max_workers) == ("sim", "compose", True, 3)
    assert "kill_node" in wish.faults
    assert "throttle_network" not in wish.faults  # the twin has no network


# -- ends of campaigns ----------------------------------------------------------------------------------------


def test_ctrl_c_while_the_workers_start_leaves_none(tmp_path: Path) -> None:
    started = threading.Event()

    def press() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it is for the thread that starts the workers
        started.wait()
        limit_s = time.monotonic() + LIMIT_S
        while set(_children()) <= before and time.monotonic() < limit_s:
            time.sleep(_STEP_S)
        os.kill(os.getpid(), signal.SIGINT)

    before = set(_children())
    presser = threading.Thread(target=press)
    presser.start()
    started.set()
    wish = Wish(faults=("kill_node",), workloads=("task_bursts",))
    state, _ = sitting(tmp_path, wish, Limits(max_runs=64, workers=3))
    presser.join()
    assert state.interrupted
    assert set(_children()) <= before


def _children() -> list[int]:
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "multiprocessing.resource_tracker" not in " ".join(child.cmdline())
    ]
