"""A worker of a campaign: makes the runs of whole worlds, and trims what failed; in a process of its own or in ours."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue, SimpleQueue
from pathlib import Path
from typing import Any, TypeAlias

from chaos.campaign import BaselineFailed, NoBaseline
from chaos.checker import merge
from chaos.errors import ChaosError
from chaos.events import BaselineKnown
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import Judged, Runner, TwinRunner
from chaos.fuzz.trial import LIVE_DEADLINE_S, Wish, World, world
from chaos.fuzz.trim import trim
from chaos.schedule import Schedule
from chaos.signature import Signature, signature_of
from chaos.spec import Catalogue, RunSpec, parse
from chaos.store import RunDirectory

ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Numbers:
    """Runs to make, all of one world."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Again:
    """A specification to run again: it is of an `entry` of the corpus."""

    spec: str
    entry: str


@dataclass(frozen=True)
class Confirm:
    """A specification that failed of a signature, to be run on the kind of cluster that confirms."""

    spec: str
    of: Signature


Task: TypeAlias = Numbers | Again | Confirm


def work(
    wish: Wish,
    catalogue: Catalogue,
    scratch: Path,
    keep: Path,
    tasks: SimpleQueue[Task],
    told: Queue[Outcome | Task],
) -> None:
    """Does tasks until it or its parent is ended; after the outcomes of one it tells the task. Ctrl-C is not for it.

    It is started with `ENDING` blocked. All it writes before it is kept lies under `scratch`, which whoever ends it
    removes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    tempfile.tempdir = str(scratch)
    settle_in()
    worker = Worker(wish, catalogue, TwinRunner(Path(tempfile.mkdtemp(prefix="worker-"))), keep=keep)
    while True:
        task = tasks.get()
        for outcome in worker.outcomes(task):
            told.put(outcome)
        told.put(task)


def settle_in() -> None:
    """For a process that only makes runs: what is loaded by now stays, and garbage is not looked for in it again."""
    gc.collect()
    gc.freeze()


def _end_with_parent(scratch: Path) -> None:
    """Nobody will end a worker whose parent was killed, nor remove what it wrote."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


class Worker:
    """Makes runs. Of a failed run it keeps the directory, where its signature is new here or its schedule smaller.

    Where runs are exact, such a schedule is trimmed. Whatever keeps a run from being made is that run's outcome.
    """

    def __init__(self, wish: Wish, catalogue: Catalogue, runner: Runner, *, keep: Path) -> None:
        self._wish = wish
        self._catalogue = catalogue
        self._runner = runner
        self._keep = keep
        self._smallest: dict[Signature, int] = {}

    def outcomes(self, task: Task) -> Iterator[Outcome]:
        """What comes of a task, run by run."""
        return (outcome for outcome in self.signs(task) if outcome is not None)

    def signs(self, task: Task) -> Iterator[Outcome | None]:
        """What comes of a task, run by run; None for each that is made and not told, a sign that it goes on."""
        if isinstance(task, Numbers):
            yield from self._of_world(task.numbers)
        elif isinstance(task, Again):
            yield from self._again(task.spec, task.entry, {"number": -1, "source": "corpus", "entry": task.entry})
        else:
            assert self._wish.confirm_on is not None
            there = (f"cluster.kind={self._wish.confirm_on}", f"deadline_s={LIVE_DEADLINE_S}")
            about = {"number": -1, "source": "confirmation", "of": task.of, "cluster": self._wish.confirm_on}
            yield from self._again(task.spec, "confirmation", about, there)

    def _of_world(self, numbers: Sequence[int]) -> Iterator[Outcome | None]:
        try:
            here = world(self._wish, numbers[0] // self._wish.world_runs, self._catalogue)
        except Exception as error:  # noqa: BLE001 -- a run that cannot be drawn is one that cannot be made
            yield _broken(error, {"number": numbers[0], "source": "baseline", "stands_for": len(numbers)})
            return
        baseline = self._baseline(here.spec, {"number": numbers[0], "source": "baseline"})
        if isinstance(baseline, Outcome):
            yield baseline.model_copy(update={"stands_for": len(numbers)}) if baseline.broken else baseline
            return
        if self._wish.search == "guided":
            yield from self._guided(here, baseline, numbers)
            return
        for number in numbers:
            about = {"number": number, "source": "drawn"}
            try:
                spec = here.trial(number)
            except Exception as error:  # noqa: BLE001 -- as above
                yield _broken(error, about)
                continue
            yield self._outcome(spec, baseline, about)

    def _guided(self, here: World, baseline: BaselineKnown, numbers: Sequence[int]) -> Iterator[Outcome | None]:
        """The runs of a world from its first on: those that an earlier sitting has told are made again, to learn."""
        guide = here.guide()
        for number in range(here.runs.start, max(numbers) + 1):
            about: dict[str, Any] = {"number": number, "source": "drawn"}
            outcome: Outcome | None = None
            try:
                spec = here.guided(guide.schedule())
                about |= {"guided": guide.guides, "injections": len(spec.schedule.injections)}
                judged = self._runner.run(spec, baseline)
                guide.learn(judged.history)
                if number in numbers:
                    outcome = self._judged(spec, baseline, judged, about)
                else:
                    shutil.rmtree(judged.directory.path)
            except Exception as error:  # noqa: BLE001 -- as above
                outcome = _broken(error, about)
            yield outcome if number in numbers else None

    def _again(self, text: str, name: str, about: dict[str, Any], overrides: Sequence[str] = ()) -> Iterator[Outcome]:
        try:
            spec = parse(text, self._catalogue, name=name, overrides=overrides)
        except ChaosError as error:
            yield Outcome(**about, judgement="inconclusive", summary=str(error))
            return
        baseline = self._baseline(spec, about)
        if not isinstance(baseline, Outcome):
            yield self._outcome(spec, baseline, about)
        else:
            yield baseline.model_copy(update={} if baseline.source == "confirmation" else {"source": "baseline"})

    def _baseline(self, spec: RunSpec, about: dict[str, Any]) -> BaselineKnown | Outcome:
        """What the fault-free run measures, or what became of it."""
        about = {"cluster": spec.cluster.kind, **about}
        try:
            return self._runner.baseline(_fault_free(spec))
        except BaselineFailed as failed:
            try:
                return self._without_faults(failed, spec, about)
            except Exception as error:  # noqa: BLE001 -- as below
                return _broken(error, about)
        except NoBaseline as error:
            # Where it lies is left out: it goes with this worker, and equal reasons are counted together.
            return Outcome(**about, judgement="inconclusive", summary=str(error.__cause__ or error))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is told, and many of them end the campaign
            return _broken(error, about)

    def _without_faults(self, failed: BaselineFailed, spec: RunSpec, about: dict[str, Any]) -> Outcome:
        """What a failed fault-free run of that is to the campaign."""
        summary = f"without faults: {failed.results.headline}"
        if about["source"] == "confirmation" and spec.schedule.injections:
            # Without a ruler nothing is confirmed, nor is it refuted.
            shutil.rmtree(failed.directory.path)
            return Outcome(**about, judgement="inconclusive", summary=summary, spec=_fault_free(spec).to_yaml())
        signature = signature_of(failed.results.history, failed.results.verdicts)
        return Outcome(
            **about,
            judgement="fail",
            signature=signature,
            summary=summary,
            spec=_fault_free(spec).to_yaml(),
            kept=self._kept_if_smaller(failed.directory, signature, 0),
        )

    def _outcome(self, spec: RunSpec, baseline: BaselineKnown, about: dict[str, Any]) -> Outcome:
        size = len(spec.schedule.injections)
        about = {"cluster": spec.cluster.kind, "injections": size, **about}
        try:
            return self._judged(spec, baseline, self._runner.run(spec, baseline), about)
        except Exception as error:  # noqa: BLE001 -- as above
            return _broken(error, about)

    def _judged(self, spec: RunSpec, baseline: BaselineKnown, judged: Judged, about: dict[str, Any]) -> Outcome:
        judgement = merge(verdict.verdict for verdict in judged.verdicts)
        signature = signature_of(judged.history, judged.verdicts)
        if signature is None:
            shutil.rmtree(judged.directory.path)
            why = next((each.summary for each in judged.verdicts if each.verdict == "inconclusive"), "")
            return Outcome(**about, judgement=judgement, summary=why)
        summary = next(verdict.summary for verdict in judged.verdicts if verdict.verdict == "fail")
        found = Outcome(**about, judgement="fail", signature=signature, summary=summary, spec=spec.to_yaml())
        size = len(spec.schedule.injections)
        if self._runner.exact and self._is_smaller(signature, size):
            return self._trimmed(found, spec, judged, baseline, signature)
        return found.model_copy(update={"kept": self._kept_if_smaller(judged.directory, signature, size)})

    def _is_smaller(self, signature: Signature, size: int) -> bool:
        """Than what was kept of that signature, if anything was."""
        return size < self._smallest.get(signature, size + 1)

    def _kept_if_smaller(self, directory: RunDirectory, signature: Signature | None, size: int) -> str:
        """Where it is kept; else it is removed, and this is empty."""
        if signature is None or not self._is_smaller(signature, size):
            shutil.rmtree(directory.path)
            return ""
        kept = self._kept(directory)
        self._smallest[signature] = size
        return kept

    def _kept(self, directory: RunDirectory) -> str:
        self._keep.mkdir(parents=True, exist_ok=True)
        return str(shutil.move(directory.path, self._keep / directory.path.name))

    def _trimmed(
        self, found: Outcome, spec: RunSpec, judged: Judged, baseline: BaselineKnown, signature: Signature
    ) -> Outcome:
        """The failure with what it does not need left out, and the directory of that run kept."""
        best = judged

        def again(schedule: Schedule) -> Signature | None:
            nonlocal best
            try:
                made = self._runner.run(spec.model_copy(update={"schedule": schedule}), baseline)
            except Exception:  # noqa: BLE001 -- what cannot be run does not show the failure
                return None
            seen = signature_of(made.history, made.verdicts)
            worse = best if seen == signature else made
            best = made if seen == signature else best
            shutil.rmtree(worse.directory.path)
            return seen

        smallest, runs = trim(spec.schedule, signature, again)
        kept = self._kept(best.directory)
        self._smallest[signature] = len(smallest.injections)
        return found.model_copy(
            update={
                "trimmed": spec.model_copy(update={"schedule": smallest}).to_yaml(),
                "trimmed_injections": len(smallest.injections),
                "trim_runs": runs,
                "kept": kept,
            }
        )


def _fault_free(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"schedule": Schedule()})


def _broken(error: Exception, about: dict[str, Any]) -> Outcome:
    return Outcome(**about, judgement="inconclusive", summary=f"{type(error).__name__}: {error}", broken=True)
