"""`raychaos shrink`: the smallest schedule that still shows a failure, as YAML and as a test, with its rate."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.commands import TWIN
from chaos.errors import InvalidSpec
from chaos.installed import ray_version
from chaos.outcomes import Beginning, Outcomes
from chaos.rate import clean_runs_to_prove_fixed, unseen_below
from chaos.replay import Subject
from chaos.rerun import Reruns
from chaos.schedule import Schedule
from chaos.shrink import Progress, Shrinker, ShrinkPlan, Shrunk
from chaos.signature import Signature

_TEST_RUNS_LIMIT = 59  # what fails in 5 % of runs is proven gone by so many clean ones


@dataclass(frozen=True)
class ShrunkDirectory:
    """The files of one shrinking, in a directory of the store; `outcomes.jsonl` is what it is resumed from."""

    path: Path

    @property
    def outcomes(self) -> Path:
        """All runs' outcomes, in order."""
        return self.path / "outcomes.jsonl"

    @property
    def schedule(self) -> Path:
        """The smallest schedule so far."""
        return self.path / "schedule.yaml"

    @property
    def spec(self) -> Path:
        """The specification with that schedule."""
        return self.path / "spec.yaml"

    @property
    def test(self) -> Path:
        """A test that replays it."""
        return self.path / "test_shrunk.py"

    @property
    def result(self) -> Path:
        """Sizes, rates and runs spent, for machines."""
        return self.path / "shrunk.json"


@dataclass(frozen=True)
class Shrinking:
    """What came of a shrinking, whether or not it came to its end."""

    directory: ShrunkDirectory
    shrunk: Shrunk
    exact: bool
    interrupted: bool
    flags: Sequence[str]


async def shrink(
    what: Subject,
    *,
    store: Path,
    plan: ShrinkPlan,
    anew: bool,
    tell: Callable[[str], None],
    live: bool = False,
    flags: Sequence[str] = (),
) -> Shrinking:
    """Shrinks until nothing gets smaller, the budget is spent, or it is interrupted; goes on where it was before.

    `flags` are what a command takes that runs the result as it was run here.

    Raises:
        InvalidSpec: there is nothing to shrink, or it does not fail.
        ClusterError: another process shrinks it; this machine cannot run the cluster, or it failed.
        BaselineFailed: the fault-free run did not pass.
    """
    if not what.spec.schedule.injections:
        raise InvalidSpec("the schedule has no injections, so there is nothing to remove")
    plan = plan.model_copy(update={"exact": what.spec.cluster.kind == TWIN})
    identity = _identity(what)
    directory = ShrunkDirectory(store / f"shrunk-{what.spec.schedule.hash}-{identity[:4]}")
    beginning = Beginning(schedule=what.spec.schedule.hash, identity=identity)
    outcomes = Outcomes(beginning, directory.outcomes, anew=anew)
    if outcomes.resumed:
        tell(f"going on after {outcomes.resumed} runs recorded in {directory.outcomes}; --anew begins anew")
    with contextlib.closing(outcomes):
        return await _shrink(what, directory, outcomes, plan, tell, live=live, flags=flags)


async def _shrink(
    what: Subject,
    directory: ShrunkDirectory,
    outcomes: Outcomes,
    plan: ShrinkPlan,
    tell: Callable[[str], None],
    *,
    live: bool,
    flags: Sequence[str],
) -> Shrinking:
    async with Reruns(what.spec) as reruns:

        async def oracle(schedule: Schedule) -> Signature | None:
            return (await reruns.run(schedule)).signature

        teller = _Teller(tell, live=live)
        shrinker = Shrinker(
            what.spec.schedule,
            oracle,
            plan=plan,
            signature=what.signature,
            outcomes=outcomes,
            times_s=what.times_s,
            possible=reruns.possible,
            on_progress=teller,
        )
        interrupted = False
        try:
            await shrinker.run()
        except asyncio.CancelledError:
            interrupted = True
        finally:
            teller.close()
            if shrinker.result.before.failures:
                _write(directory, what, shrinker.result, flags)
    return Shrinking(directory, shrinker.result, plan.exact, interrupted, flags)


def conclusion(what: Subject, done: Shrinking, *, again: str) -> str:
    """What was found, in lines; `again` is the command that goes on where it was left."""
    shrunk = done.shrunk
    if not shrunk.before.failures:
        return f"interrupted after {shrunk.runs} runs, before the failure was seen; to go on: {again}"
    before, after = len(what.spec.schedule.injections), len(shrunk.schedule.injections)
    spent = f"in {shrunk.runs} runs and {shrunk.seconds:.0f} s of them"
    lines = [f"{before} injections → {after}, {spent}, with Ray {ray_version()}"]
    if shrunk.signature:
        lines.append(f"  failure: {shrunk.signature.text}")
    if done.exact:
        lines.append("  on the twin the same schedule and seed give the same run each time")
    else:
        lines.append(f"  before: {shrunk.before.text}")
        fresh = f"{shrunk.after.text}, all of them fresh" if shrunk.after.runs else "not yet estimated by fresh runs"
        lines.append(f"  after:  {fresh}")
    lines += [f"  another failure, not counted: {name}, {count} times" for name, count in shrunk.others.items()]
    lines += ["", shrunk.schedule.to_yaml().rstrip(), ""]
    lines += [f"schedule: {done.directory.schedule}", f"test:     {done.directory.test}"]
    lines.append(f"replay:   {shlex.join(['raychaos', 'replay', str(done.directory.spec), *done.flags])}")
    if not shrunk.finished:
        why = "interrupted" if done.interrupted else "the budget is spent"
        lines.append(f"{why}; this is the smallest so far. To go on: {again}")
    return "\n".join(lines)


class _Teller:
    """Tells how the shrinking goes: on a terminal in one line that changes, elsewhere a line for each step."""

    def __init__(self, tell: Callable[[str], None], *, live: bool) -> None:
        self._tell = tell
        self._live = live
        self._told = ("", -1)

    def __call__(self, progress: Progress) -> None:
        """Takes in where it is."""
        text = (
            f"{progress.phase}: {progress.size} of {progress.size_before} injections left, {progress.runs} runs, "
            f"{progress.seconds:.0f} s" + (f", fails in {progress.rate:.0%}" if progress.rate is not None else "")
        )
        if self._live:
            trying = f"; trying {progress.trying}" if progress.trying else ""
            self._write(f"{text}{trying}"[: shutil.get_terminal_size().columns - 1])
        elif (progress.phase, progress.size) != self._told:
            self._told = (progress.phase, progress.size)
            self._tell(text)

    def close(self) -> None:
        """Leaves the terminal's line empty."""
        if self._live:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _identity(what: Subject) -> str:
    """What else outcomes depend on: those of another specification, failure or release of Ray do not count."""
    rest = what.spec.model_copy(update={"schedule": Schedule()}).to_yaml()
    signature = what.signature.text if what.signature else ""
    return hashlib.sha256(f"{rest}\n{signature}\n{ray_version()}".encode()).hexdigest()[:16]


def _write(directory: ShrunkDirectory, what: Subject, shrunk: Shrunk, flags: Sequence[str]) -> None:
    """The result so far, each file whole or not at all."""
    spec = what.spec.model_copy(update={"schedule": shrunk.schedule})
    result = {"ray": ray_version(), **shrunk.model_dump(mode="json", exclude={"schedule"})}
    for path, text in (
        (directory.schedule, shrunk.schedule.to_yaml()),
        (directory.spec, spec.to_yaml()),
        (directory.test, as_test(spec.to_yaml(), shrunk, exact=spec.cluster.kind == TWIN, flags=flags)),
        (directory.result, json.dumps(result, indent=1) + "\n"),
    ):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def as_test(spec: str, shrunk: Shrunk, *, exact: bool, flags: Sequence[str] = ()) -> str:
    """A pytest file that fails where this failure is seen again, and passes when enough runs have passed.

    Enough are as many as show, with 95 % confidence, that it comes less often than it did by the low end of its rate's
    interval; but not more than 59, which show that it comes in less than 5 % of runs.
    """
    assert shrunk.signature is not None
    counts = shrunk.after if shrunk.after.failures else shrunk.before
    low = counts.interval95[0]
    times = 1 if exact else min(_TEST_RUNS_LIMIT, clean_runs_to_prove_fixed(low))
    seen = "each run of it fails so" if exact else f"it failed so in {counts.text}"
    if not exact and not shrunk.after.failures:
        seen = f"the schedule it came from failed so in {counts.text}"
    gone = f"{times} of them prove (95 %) that it comes in less than {unseen_below(times):.0%} of runs"
    proof = "on the twin one is enough" if exact else gone
    return _TEST.format(
        told=shrunk.signature.text,
        seen=seen,
        proof=proof,
        times=times,
        name=shrunk.signature.property,
        ray=ray_version(),
        flags="".join(f", {json.dumps(flag)}" for flag in flags),
        spec=spec.replace("\\", "\\\\").replace('"""', r"\"\"\""),
    )


_TEST = '''"""{told}: {seen}, with Ray {ray}.

Written by `raychaos shrink`. The test fails when a run fails so again, and passes when all runs pass: {proof}.
Where runs fail otherwise or are inconclusive it fails, too, for nothing is proven then.
"""

from pathlib import Path

import pytest

from chaos import cli

FAILURE = "{told}"
TIMES = {times}
SPEC = """\\
{spec}"""


def test_{name}(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    words = ["--failure", FAILURE, "--times", str(TIMES), "--store", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", str(spec), *words{flags}])
    assert ended.value.code != cli.EXIT_FAIL, "the failure is there: " + FAILURE
    assert ended.value.code == cli.EXIT_PASS, "not every run passed, so it is not proven gone; see the output"
'''
