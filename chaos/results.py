"""What a recorded history amounts to: its verdicts, their explanation, and the files a run directory holds of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chaos.checker import Judgement, Verdict, merge
from chaos.checkers import evaluate
from chaos.diagnosis import diagnose
from chaos.history import History
from chaos.report.junit import render_junit
from chaos.report.picture import draw_timeline, get_ready
from chaos.report.text import render_headline, render_report
from chaos.report.verdict_json import render_verdict
from chaos.store import RunDirectory


@dataclass(frozen=True)
class Results:
    """The verdicts on one history, and what is said of them."""

    history: History
    verdicts: tuple[Verdict, ...]
    diagnosis: tuple[str, ...]

    @property
    def judgement(self) -> Judgement:
        """The verdicts, merged."""
        return merge(verdict.verdict for verdict in self.verdicts)

    @property
    def headline(self) -> str:
        """The judgement in a few lines."""
        return "\n".join([render_headline(self.history, self.verdicts), *(f"  ⇒ {line}" for line in self.diagnosis)])

    @property
    def report(self) -> str:
        """The whole report."""
        return render_report(self.history, self.verdicts, self.diagnosis)

    @property
    def json(self) -> str:
        """The judgement, for machines."""
        return json.dumps(render_verdict(self.history, self.verdicts), indent=1, ensure_ascii=False)


def judge(history: History) -> Results:
    """Runs every checker over a history, and says why it did not pass where it did not."""
    verdicts = evaluate(history)
    return Results(history, verdicts, tuple(diagnosis.text for diagnosis in diagnose(history, verdicts)))


def prepare() -> None:
    """Does what `write` can do before there are results, some half a second; for where time is to spare."""
    get_ready()


def write(results: Results, directory: RunDirectory) -> None:
    """Writes verdict, report, picture and JUnit file."""
    directory.verdict.write_text(results.json + "\n")
    directory.report.write_text(results.report)
    directory.junit.write_text(render_junit(results.history, results.verdicts))
    draw_timeline(results.history, results.verdicts, directory.picture)
