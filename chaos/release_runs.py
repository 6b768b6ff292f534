"""What `--ray` does: the same command once with each release of Ray, in a process of its own, and side by side."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from chaos.checker import Judgement, merge
from chaos.checkers.facts import facts_of
from chaos.comparison import Side, side_of
from chaos.errors import ClusterError
from chaos.exit_codes import EXIT_INTERRUPTED
from chaos.history import History
from chaos.release import Release, Tell
from chaos.report.table import table
from chaos.results import Results, judge
from chaos.spec import RunSpec
from chaos.store import RunDirectory

RAYCHAOS = ("-m", "chaos.cli")
_REPORT = re.compile(r"^report: (.*)/report\.txt$", re.MULTILINE)
_NONE = "–"
# What a terminal says, by Ctrl-\ or as it is closed, it says to this process alone.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_AS: dict[int, int] = {signal.SIGHUP: signal.SIGTERM, signal.SIGQUIT: signal.SIGTERM}


@dataclass(frozen=True)
class ReleaseRun:
    """A run with one release: where it lies, what was judged, and its figures, where the history tells them."""

    ray: str
    directory: RunDirectory
    results: Results
    told: str

    @property
    def side(self) -> Side | None:
        """The launches, the ends and the times it took to converge."""
        facts = facts_of(self.results.history)
        return None if isinstance(facts, str) else side_of(facts)

    @property
    def failed(self) -> list[str]:
        """The properties that did not hold."""
        return [verdict.name for verdict in self.results.verdicts if verdict.verdict == "fail"]


@dataclass(frozen=True)
class ReleaseRuns:
    """One run with each release, in the order asked for; fewer where the user interrupted."""

    runs: tuple[ReleaseRun, ...]
    interrupted: bool

    @property
    def judgement(self) -> Judgement:
        """The worst of them."""
        return merge(run.results.judgement for run in self.runs)

    @property
    def text(self) -> str:
        """Of one release what its run said; of several, a table, and where each run lies."""
        if len(self.runs) == 1:
            return self.runs[0].told.rstrip()
        rows = [
            (
                run.ray,
                run.results.judgement,
                ", ".join(run.failed) or _NONE,
                *_figures(run.side),
            )
            for run in self.runs
        ]
        header = ("Ray", "verdict", "what failed", "launched", "ended", "up", "down")
        return "\n".join(
            [*table(header, rows, right=(3, 4, 5, 6)), "", *(f"{run.ray}: {run.directory.report}" for run in self.runs)]
        )

    @property
    def json(self) -> str:
        """Of one release its verdict; of several, one object each in `releases`. Times are seconds."""
        if len(self.runs) == 1:
            return self.runs[0].results.json
        told: list[dict[str, Any]] = []
        for run in self.runs:
            side = run.side
            told.append(
                {
                    "ray": run.ray,
                    "verdict": run.results.judgement,
                    "failed": run.failed,
                    "launches": side and side.launches,
                    "terminations": side and side.terminations,
                    "up_s": side and side.up_s,
                    "down_s": side and side.down_s,
                    "directory": str(run.directory.path),
                }
            )
        return json.dumps({"verdict": self.judgement, "releases": told}, indent=1)


def _figures(side: Side | None) -> tuple[str, str, str, str]:
    if side is None:
        return _NONE, _NONE, _NONE, _NONE
    up, down = (_NONE if value is None else f"{value:.1f} s" for value in (side.up_s, side.down_s))
    return str(side.launches), str(side.terminations), up, down


def run_with_each(spec: RunSpec, each: Sequence[Release], *, store: Path, tell: Tell) -> ReleaseRuns:
    """The specification, run on the twin with one release after the other, each in a directory of its own.

    Raises:
        ClusterError: a run could not be done; what it said has been shown.
    """
    runs: list[ReleaseRun] = []
    with tempfile.TemporaryDirectory(prefix="raychaos-releases-") as scratch:
        given = Path(scratch) / "spec.yaml"
        given.write_text(spec.to_yaml())
        for release in each:
            if len(each) > 1:
                tell(f"with Ray {release.version}:")
            code, told = told_by(release, [*RAYCHAOS, "run", str(given), "--store", str(store)])
            found = _REPORT.search(told)
            if found is not None:
                directory = RunDirectory(Path(found[1]))
                runs.append(ReleaseRun(release.version, directory, judge(History.load(directory.history)), told))
            if code == EXIT_INTERRUPTED:
                return ReleaseRuns(tuple(runs), interrupted=True)
            if found is None:
                raise ClusterError(f"the run with Ray {release.version} ended with exit code {code}, and no report")
    return ReleaseRuns(tuple(runs), interrupted=False)


def told_by(release: Release, arguments: Sequence[str]) -> tuple[int, str]:
    """Runs Python with a release to its end: its exit code, and what it wrote to standard output.

    Ctrl-C and what else would end this process are for that one: it heals and closes, and says so. Whether or not it
    could do so, it was interrupted then.
    """
    with _passing_on() as passing, release.start(arguments) as process:
        passing.to(process)
        told, _ = process.communicate()
    return (EXIT_INTERRUPTED if passing.heard else process.returncode), told


class _Passing:
    """Signals on their way to another process, each once, also those that came before it was there."""

    def __init__(self) -> None:
        self.heard = False
        self._left: list[int] = []
        self._process: subprocess.Popen[str] | None = None

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """One came."""
        self.heard = True
        self._left.append(_AS.get(number, number))
        self._pass()

    def to(self, process: subprocess.Popen[str]) -> None:
        """All are for that one."""
        self._process = process
        self._pass()

    def _pass(self) -> None:
        while self._process is not None:
            try:
                number = self._left.pop(0)
            except IndexError:
                return
            self._process.send_signal(number)


@contextmanager
def _passing_on() -> Iterator[_Passing]:
    """Signals that would end this process are another's."""
    passing = _Passing()
    before = {
        number: signal.signal(number, passing.hear)
        for number in _PASSED_ON
        if number not in _AS or signal.getsignal(number) != signal.SIG_IGN  # as nohup has it
    }
    try:
        yield passing
    finally:
        for number, handler in before.items():
            # One that was not set from Python cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
