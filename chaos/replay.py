"""`raychaos replay`: how often a recorded run, or a schedule, fails, and of what."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from chaos.checker import Judgement, merge
from chaos.commands import TWIN, SpecWish
from chaos.errors import ChaosError, ExceptionGroup, InvalidSpec
from chaos.events import RunOpened
from chaos.history import History
from chaos.installed import ray_version
from chaos.rate import Rate, clean_runs_to_prove_fixed, unseen_below
from chaos.rerun import Rerun, Reruns, due_times
from chaos.results import judge, write
from chaos.sequential import confident
from chaos.signature import Signature, signature_of
from chaos.simpler import with_times
from chaos.spec import Catalogue, RunSpec, read_text, read_yaml
from chaos.store import RunDirectory, find

TIMES = 10


@dataclass(frozen=True)
class Subject:
    """What is to be run again: a specification, what its run failed of, and when its injections came, where known.

    `ray` is the release of Ray that a run of the twin was made with, where it is run on the twin again.
    """

    spec: RunSpec
    signature: Signature | None = None
    times_s: dict[str, float] = field(default_factory=dict)
    ray: str | None = None


def subject(given: str, wish: SpecWish, catalogue: Catalogue, *, store: Path) -> Subject:
    """The run, the specification or the schedule a user names, with what `wish` changes in it.

    A file that holds injections alone is run by the specification of `wish`, else by `spec.yaml` beside it, else by the
    built-in one. In a run, what waited for an event also gets the time at which that came.

    Raises:
        InvalidSpec: there is no such thing, or it cannot be meant.
    """
    path = Path(given)
    if path.is_file() and path.suffix != ".jsonl":
        data, _ = read_yaml(read_text(path), name=given)
        if isinstance(data, list) or (isinstance(data, dict) and set(data) == {"injections"}):
            beside = path.parent / "spec.yaml"
            base = wish.spec or (str(beside) if beside.is_file() else None)
            return Subject(replace(wish, spec=base, schedule=given).resolve(catalogue))
        if wish.spec:
            raise InvalidSpec(f"{given} is a specification itself: leave --spec out")
        return Subject(replace(wish, spec=given).resolve(catalogue))
    directory = find(given, store)
    if wish.spec:
        raise InvalidSpec(f"{given} is a run, which has its specification: leave --spec out")
    spec = replace(wish, spec=str(directory.spec)).resolve(catalogue)
    history = History.load(directory.history)
    times_s = due_times(history)
    schedule = with_times(spec.schedule, times_s)
    return Subject(
        spec.model_copy(update={"schedule": schedule}),
        signature_of(history, judge(history).verdicts),
        times_s,
        _ray_of(history) if spec.cluster.kind == TWIN else None,
    )


def _ray_of(history: History) -> str | None:
    """The release of Ray that the twin ran with; None where it was another cluster, or is not known."""
    opened = history.first(RunOpened)
    return opened[1].versions.get("ray") if opened and opened[1].cluster == TWIN else None


@dataclass
class Replayed:
    """What the runs came to so far; `interrupted`, or ended by an `error`, where there were to be more."""

    counts: Rate = field(default_factory=Rate)
    signatures: Counter[str] = field(default_factory=Counter)
    judgements: Counter[Judgement] = field(default_factory=Counter)
    by_time: Counter[str] = field(default_factory=Counter)
    kept: dict[str, RunDirectory] = field(default_factory=dict)
    interrupted: bool = False
    error: Exception | None = None

    def add(self, run: Rerun) -> None:
        """Takes in one run."""
        self.counts = self.counts.and_one(failed=run.signature is not None)
        self.judgements[run.judgement] += 1
        self.by_time.update(run.by_time)
        if run.signature is not None:
            self.signatures[run.signature.text] += 1

    @property
    def judgement(self) -> Judgement:
        """The worst of all runs."""
        return merge(self.judgements)

    def judgement_of(self, failure: str | None) -> Judgement:
        """Of one failure, by its signature's text: `fail` if it was seen, `pass` if all passed; else it is not known.

        Where none is given: the worst of all runs.
        """
        if failure is None:
            return self.judgement
        if failure in self.signatures:
            return "fail"
        return "pass" if set(self.judgements) == {"pass"} else "inconclusive"

    def lines(self, *, exact: bool) -> list[str]:
        """The rate by signature, for people; of runs that are all the same, only what they came to."""

        def rate(failures: int) -> str:
            counts = Rate(runs=self.counts.runs, failures=failures)
            return f"{failures} of {counts.runs} runs" if exact else counts.text

        told = [f"failed: {rate(self.counts.failures)}"]
        for name, count in self.signatures.most_common():
            kept = f"; the first of them: {self.kept[name].report}" if name in self.kept else ""
            told.append(f"  {name}: {rate(count)}{kept}")
        if unsure := self.judgements["inconclusive"]:
            told.append(f"  inconclusive: {unsure} of {self.counts.runs} runs, counted as not failed")
        told += [
            f"  {name} came by time in {count} of {self.counts.runs} runs: its event had not come"
            for name, count in sorted(self.by_time.items())
        ]
        return told


async def replay(
    what: Subject,
    *,
    store: Path,
    times: int | None,
    until_confident: bool,
    tell: Callable[[str], None],
) -> Replayed:
    """Runs it `times` times (default: 10; on the twin once, where each run is the same), or until the rate is known.

    Of each signature the first run is kept in the store, with its report. What was seen before it was cancelled, or
    before an error, is returned; what was started is healed and ended then, too.

    Raises:
        ClusterError: this machine cannot run the cluster, or it failed in the first run.
        BaselineFailed: the fault-free run did not pass.
    """
    exact = what.spec.cluster.kind == TWIN
    wanted = times if times is not None else 1 if exact else TIMES
    tally = Replayed()

    def enough() -> bool:
        if until_confident:
            return tally.counts.runs >= 1 if exact else confident(tally.counts)
        return tally.counts.runs >= wanted

    try:
        async with Reruns(what.spec) as reruns:
            while not enough():
                run = await reruns.run(what.spec.schedule)
                tally.add(run)
                tell(f"run {tally.counts.runs}: {run.signature.text if run.signature else run.judgement}")
                if run.signature is not None and run.signature.text not in tally.kept:
                    tally.kept[run.signature.text] = _keep(run, store)
    except asyncio.CancelledError:
        tally.interrupted = True
    except (ChaosError, ExceptionGroup) as error:
        if not tally.counts.runs:
            raise
        tally.error = error
    return tally


def _keep(run: Rerun, store: Path) -> RunDirectory:
    store.mkdir(parents=True, exist_ok=True)
    kept = RunDirectory(store / run.path.name)
    shutil.copytree(run.path, kept.path)
    write(judge(History.load(kept.history)), kept)
    return kept


def conclusion(what: Subject, tally: Replayed) -> str:
    """What the runs say, in lines."""
    if not tally.counts.runs:
        return "interrupted before the first run had ended"
    where = f"on {what.spec.cluster.kind} with Ray {ray_version()}"
    lines = [f"schedule {what.spec.schedule.hash} {where}, {_count(tally.counts.runs)}"]
    exact = what.spec.cluster.kind == TWIN
    lines += tally.lines(exact=exact)
    if exact:
        lines.append("  on the twin the same schedule and seed give the same run each time")
    elif not tally.counts.failures:
        below = unseen_below(tally.counts.runs)
        lines.append(f"  with 95 % confidence it fails in less than {below:.0%} of runs")
        lines.append(f"  what fails in 10 % of runs is proven gone by {clean_runs_to_prove_fixed(0.1)} clean runs")
    if tally.interrupted or tally.error is not None:
        why = "by Ctrl-C" if tally.error is None else str(tally.error)
        lines.append(f"  interrupted: {why}; there were to be more runs")
    if what.signature and what.signature.text not in tally.signatures:
        lines.append(f"  the recorded failure was not seen: {what.signature.text}")
    return "\n".join(lines)


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
