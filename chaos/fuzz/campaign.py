"""The coordinator of a campaign: hands out worlds to workers, takes in outcomes, keeps what was found."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import queue
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal, Protocol

from chaos import __version__
from chaos.deferral import heard_after
from chaos.errors import ClusterError, ExceptionGroup
from chaos.fuzz.corpus import Corpus, Entry
from chaos.fuzz.log import Line, Log
from chaos.fuzz.on_ray import RayCrew
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import LiveRunner
from chaos.fuzz.tally import Tally
from chaos.fuzz.trial import TWIN, Wish
from chaos.fuzz.worker import ENDING, Again, Confirm, Numbers, Task, Worker, work
from chaos.spec import Catalogue

_POLL_S = 0.2
_END_S = 5.0
_EXPLORING = 0.5  # of the time, where what is found is then confirmed on another kind of cluster
_BROKEN_LIMIT = 4


@dataclass(frozen=True)
class Limits:
    """When a campaign ends; None: not for that.

    What is confirmed on another kind of cluster is run there `confirm_runs` times, each failure. `on` is the address of
    the Ray cluster that makes the runs, where it is not this machine.
    """

    budget_s: float | None = None
    max_runs: int | None = None
    stop_on: Literal["first", "never"] = "never"
    workers: int = 1
    on: str | None = None
    confirm_runs: int = 5


@dataclass
class State:
    """What a campaign has come to, for whoever shows it."""

    tally: Tally = field(default_factory=Tally)
    elapsed_s: float = 0.0
    resumed_runs: int = 0
    replayed: list[Outcome] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unreadable: int = 0
    interrupted: bool = False
    gave_up: str = ""


Show = Callable[[State, Outcome | None], None]
"""Told where a campaign is: again and again, and with each outcome."""


def hunt(
    wish: Wish,
    limits: Limits,
    catalogue: Catalogue,
    *,
    log: Log,
    corpus: Corpus,
    ray: str,
    show: Show = lambda _, __: None,
    tell: Callable[[str], None] = lambda _: None,
) -> State:
    """Runs a campaign to its end, or until the user interrupts it, which loses no outcome.

    The entries of the corpus are run first. What an earlier sitting of the same wish has done is not done again, and
    counts towards the limit of runs, not of time; what could not be made then is tried again. Where failures are to be
    confirmed on another kind of cluster, half of the time is for that. It gives up, and says why, where most runs
    cannot be made, or something cannot be written.

    Raises:
        InvalidSpec: the corpus is of another version.
        ClusterError: another campaign of the same wish runs.
    """
    state = State()
    done: set[int] = set()
    entries = corpus.entries()
    known, state.unreadable = log.open()
    with contextlib.closing(log):
        for line in known:
            state.elapsed_s = line.after_s
            if not line.outcome.broken:
                state.tally.take(line.outcome, after_s=line.after_s)
                done.update(_done_by(line.outcome, wish))
        state.resumed_runs = state.tally.runs
        desk = _Desk(state, log, corpus, ray, show, limits)
        share = 1.0 if wish.confirm_on is None else _EXPLORING
        try:
            with _crew(wish, limits, catalogue, log.path, tell) as crew:
                desk.oversee(crew, _tasks(entries, done, limits.max_runs, wish), share=share)
            if wish.confirm_on is not None and state.tally.failures and not state.gave_up:
                with _solo(wish, catalogue, log.path, tell) as crew:
                    desk.oversee(crew, _confirmations(state.tally, limits.confirm_runs), share=1.0)
        except KeyboardInterrupt:
            state.interrupted = True
        except (ClusterError, ExceptionGroup) as error:
            parts = [str(part) for part in error.exceptions] if isinstance(error, ExceptionGroup) else [str(error)]
            state.gave_up = "; ".join(parts)
            state.interrupted = _was_interrupted(error)
    return state


def _was_interrupted(error: BaseException) -> bool:
    """Whether the error came up while an interruption was seen to: what cannot be ended then takes its place."""
    before = error.__context__
    return before is not None and (isinstance(before, KeyboardInterrupt) or _was_interrupted(before))


def _done_by(outcome: Outcome, wish: Wish) -> Iterable[int]:
    """The numbers of the runs that need not be made any more: all of a world that has no baseline."""
    if outcome.source == "drawn":
        return (outcome.number,)
    lost = outcome.source == "baseline" and not outcome.entry
    return wish.world_of(outcome.number) if lost else ()


def _tasks(entries: Sequence[Entry], done: set[int], max_runs: int | None, wish: Wish) -> Iterator[Task]:
    """The corpus's entries on this kind of cluster, then the runs of world after world, up to `max_runs` if given."""
    for entry in entries:
        if entry.cluster == wish.cluster:
            yield Again(entry.spec, entry.name)
    for first in itertools.count(0, wish.world_runs):
        if max_runs is not None and first >= max_runs:
            return
        past = first + wish.world_runs if max_runs is None else min(first + wish.world_runs, max_runs)
        if numbers := tuple(number for number in range(first, past) if number not in done):
            yield Numbers(numbers)


def _confirmations(tally: Tally, runs: int) -> Iterator[Task]:
    """Each failure's smallest specification once, the most frequent first; then each as often as is left.

    Each may be of another cluster, and to change that takes a while.
    """
    failures = sorted(tally.failures.values(), key=lambda failure: -failure.hits)
    tasks = [(Confirm(failure.smallest_spec, failure.signature), failure.confirmation.tried) for failure in failures]
    once = [task for task, tried in tasks if not tried]
    return iter(once + [task for task, tried in tasks for _ in range(max(1, tried), runs)])


class _Workers(Protocol):
    """Whoever makes the runs."""

    @property
    def open_tasks(self) -> int:
        """Tasks that were given, and are not done."""
        ...

    @property
    def wants_more(self) -> bool:
        """Whether there is nothing to do next."""
        ...

    def give(self, task: Task) -> None:
        """One more task."""
        ...

    def listen(self) -> Outcome | None:
        """The next outcome; None when there was none for a moment, or a task is done.

        Raises:
            ClusterError: there is nobody left to make runs.
        """
        ...


class _Solo:
    """One worker in this process, for clusters of which the machine has room for one."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._outcomes: Iterator[Outcome] = iter(())
        self.open_tasks = 0

    @property
    def wants_more(self) -> bool:
        """Whether it has no task."""
        return not self.open_tasks

    def give(self, task: Task) -> None:
        """Its task."""
        self._outcomes = self._worker.outcomes(task)
        self.open_tasks = 1

    def listen(self) -> Outcome | None:
        """Makes a run; None when the task is done."""
        outcome = next(self._outcomes, None)
        if outcome is None:
            self.open_tasks = 0
        return outcome


@contextlib.contextmanager
def _solo(wish: Wish, catalogue: Catalogue, home: Path, tell: Callable[[str], None]) -> Iterator[_Solo]:
    with (
        tempfile.TemporaryDirectory(prefix="scratch-", dir=home) as scratch,
        contextlib.closing(LiveRunner(Path(scratch), tell)) as runner,
    ):
        yield _Solo(Worker(wish, catalogue, runner, keep=home / "runs"))


class _Crew:
    """Worker processes, each with at most one task more than it works on."""

    def __init__(self, wish: Wish, count: int, catalogue: Catalogue, scratch: Path, keep: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks = context.SimpleQueue()
        self._told = context.Queue()
        self._started: list[SpawnProcess] = []
        plain = Catalogue(faults=dict(catalogue.faults), workloads=dict(catalogue.workloads))
        self._processes = [
            context.Process(
                target=work, args=(wish, plain, scratch, keep, self._tasks, self._told), name=f"raychaos-fuzz-{n}"
            )
            for n in range(count)
        ]
        self.open_tasks = 0

    def start(self) -> None:
        """Starts the workers. Who presses Ctrl-C meanwhile is heard after it, and not by those who are just born."""
        with heard_after(ENDING):
            for process in self._processes:
                process.start()
                self._started.append(process)

    @property
    def wants_more(self) -> bool:
        """Whether a worker would have nothing to do."""
        return self.open_tasks < len(self._processes)

    def give(self, task: Task) -> None:
        """One more task."""
        self._tasks.put(task)
        self.open_tasks += 1

    def listen(self) -> Outcome | None:
        """The next outcome; None when there was none for a moment, or a task is done.

        Raises:
            ClusterError: a worker died.
        """
        try:
            told = self._told.get(timeout=_POLL_S)
        except queue.Empty:
            for process in self._processes:
                if process.exitcode:
                    raise ClusterError(
                        f"worker {process.name} ended with {process.exitcode}: memory? fewer --workers need less"
                    ) from None
            return None
        if isinstance(told, Outcome):
            return told
        self.open_tasks -= 1
        return None

    def end(self) -> None:
        """Ends the workers, wherever they are."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._told.cancel_join_thread()
        self._told.close()


@contextlib.contextmanager
def _crew(
    wish: Wish, limits: Limits, catalogue: Catalogue, home: Path, tell: Callable[[str], None]
) -> Iterator[_Workers]:
    """Whoever makes a campaign's runs: for the twin processes, or tasks elsewhere; for other kinds this one."""
    if wish.cluster != TWIN:
        with _solo(wish, catalogue, home, tell) as solo:
            yield solo
        return
    if limits.on is not None:
        with contextlib.ExitStack() as after:
            tasks = RayCrew(wish, catalogue, limits.on, count=limits.workers, keep=home / "runs")
            after.callback(tasks.end)
            yield tasks
        return
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="raychaos-fuzz-", dir=memory if memory.is_dir() else None) as scratch:
        crew = _Crew(wish, limits.workers, catalogue, Path(scratch), home / "runs")
        try:
            crew.start()
            yield crew
        finally:
            crew.end()


class _Desk:
    """Takes in what the workers tell."""

    def __init__(self, state: State, log: Log, corpus: Corpus, ray: str, show: Show, limits: Limits) -> None:
        self._state = state
        self._log = log
        self._corpus = corpus
        self._ray = ray
        self._show = show
        self._limits = limits
        self._began_s = time.monotonic()
        self._before_s = state.elapsed_s
        self._made = self._broken = 0

    def oversee(self, crew: _Workers, tasks: Iterator[Task], *, share: float) -> None:
        """Returns when there is nothing more to do, or the share of the time is over."""
        budget_s = None if self._limits.budget_s is None else self._limits.budget_s * share
        upcoming = next(tasks, None)
        while upcoming is not None or crew.open_tasks:
            if upcoming is not None and crew.wants_more:
                crew.give(upcoming)
                upcoming = next(tasks, None)
                continue
            outcome = crew.listen()
            sitting_s = time.monotonic() - self._began_s
            self._state.elapsed_s = self._before_s + sitting_s
            new = outcome is not None and self._take(outcome)
            self._show(self._state, outcome)
            if (new and self._limits.stop_on == "first") or (outcome is not None and self._gives_up(outcome)):
                return
            if budget_s is not None and sitting_s >= budget_s:
                return

    def _gives_up(self, outcome: Outcome) -> bool:
        """Whether most runs of this sitting could not be made, and not only a few of a few."""
        self._broken += outcome.broken
        self._made += not outcome.broken
        if self._broken < _BROKEN_LIMIT or self._broken <= self._made:
            return False
        tried = self._broken + self._made
        self._state.gave_up = f"{self._broken} of {tried} tries came to no run, the last of them: {outcome.summary}"
        return True

    def _take(self, outcome: Outcome) -> bool:
        """Whether it is a failure that was not known."""
        state, after_s = self._state, self._state.elapsed_s
        new = state.tally.take(outcome, after_s=after_s)
        self._log.write(Line(after_s=round(after_s, 2), outcome=outcome))
        if outcome.source == "corpus" or outcome.entry:
            if outcome.broken:
                return False
            state.replayed.append(outcome)
            if self._corpus.count(outcome.entry, clean=outcome.judgement == "pass"):
                state.dropped.append(outcome.entry)
            return False
        failure = state.tally.failures.get(outcome.signature) if outcome.signature else None
        if failure is not None and failure.smallest is outcome and outcome.source in ("drawn", "baseline"):
            self._corpus.keep(
                Entry(
                    raychaos=__version__,
                    ray=self._ray,
                    signature=failure.signature,
                    summary=outcome.summary,
                    spec=failure.smallest_spec,
                )
            )
        return new
