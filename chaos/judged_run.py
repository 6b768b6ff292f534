"""A run as a test sees it: whether it passed, and if not, why, with all that is needed to see it again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from chaos.checker import Judgement, Verdict
from chaos.events import RunOpened
from chaos.history import History
from chaos.report.describe import describe
from chaos.results import Results, judge, write
from chaos.spec import RunSpec
from chaos.store import RunDirectory

_EVIDENCE_SHOWN = 3


@dataclass(frozen=True)
class JudgedRun:
    """One run of a test. It is kept in `directory` until the test has ended, and longer if the test failed."""

    spec: RunSpec
    directory: RunDirectory
    results: Results

    @staticmethod
    def load(spec: RunSpec, directory: RunDirectory) -> JudgedRun:
        """The run recorded in a directory, judged."""
        return JudgedRun(spec, directory, judge(History.load(directory.history)))

    @property
    def judgement(self) -> Judgement:
        """`pass`, `fail` or `inconclusive`."""
        return self.results.judgement

    @property
    def passed(self) -> bool:
        """Whether every property was proven to hold."""
        return self.judgement == "pass"

    @property
    def history(self) -> History:
        """Everything that happened, for assertions of your own."""
        return self.results.history

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What each checker found."""
        return self.results.verdicts

    def explain(self) -> str:
        """Verdict, evidence, the schedule, and how to see it again; for an assertion's message."""
        return self._explanation

    @cached_property
    def _explanation(self) -> str:
        lines = [self.results.headline]
        for verdict in self.verdicts:
            if verdict.verdict != "pass" and (shown := self._evidence(verdict)):
                lines += [f"  evidence of {verdict.name}:", *(f"    {line}" for line in shown)]
        schedule = self.spec.schedule
        lines += ["", f"schedule {schedule.hash} (seed {self.spec.seed}):"]
        lines += [f"  {line}" for line in schedule.to_yaml().rstrip().splitlines()]
        lines += [
            "",
            f"again:     raychaos replay {self.directory.path}",
            f"smaller:   raychaos shrink {self.directory.path}",
            f"in Python: {self.example}",
        ]
        return "\n".join(lines)

    @property
    def example(self) -> str:
        """The schedule as a decorator of Hypothesis's, which makes a test try it each time."""
        return f"@example(schedule=Schedule.from_data({self.spec.schedule.to_data()!r}, faults.ALL))"

    def write_report(self) -> None:
        """Writes the report, its picture and the verdict beside the history."""
        write(self.results, self.directory)

    def properties(self) -> dict[str, str]:
        """What identifies the run, for JUnit."""
        opened = self.history.first(RunOpened)
        versions = opened[1].versions if opened else {}
        return {
            "raychaos.verdict": self.judgement,
            "raychaos.cluster": self.spec.cluster.kind,
            "raychaos.seed": str(self.spec.seed),
            "raychaos.schedule_hash": self.spec.schedule.hash,
            "raychaos.ray": versions.get("ray", "unknown"),
            "raychaos.directory": str(self.directory.path),
        }

    def _evidence(self, verdict: Verdict) -> list[str]:
        """The first of the events a verdict rests on, in words where there are any."""
        lines = []
        for seq in verdict.evidence[:_EVIDENCE_SHOWN]:
            record = self.history[seq]
            lines.append(f"{seq}: {record.t_s:.1f} s {describe(record.event) or record.event.kind}")
        if more := len(verdict.evidence) - len(lines):
            lines.append(f"and {more} more, in {self.directory.history}")
        return lines
