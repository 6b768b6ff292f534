"""`report.txt`: what a run did and what was found, readable in a terminal and in a CI log."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from chaos.checker import Verdict, merge
from chaos.events import (
    BaselineKnown,
    CleanlinessChecked,
    RowsVerified,
    RunOpened,
    RunSealed,
    WorkloadFinished,
    WorkloadStarted,
)
from chaos.history import History
from chaos.report.describe import MARKS, WORDS, listed, number, quantity
from chaos.report.figures import scaling_lines, work_lines
from chaos.report.injections import InjectionStory, injection_stories
from chaos.report.scaling import phases, worker_counts
from chaos.report.table import WIDTH, one_line, pairs, table
from chaos.report.timeline import timeline_lines


def render_headline(history: History, verdicts: Sequence[Verdict]) -> str:
    """The verdict in a line or two, then one line per check that did not pass; for the end of `run` and `check`."""
    verdict = merge(check.verdict for check in verdicts)
    passed = sum(check.verdict == "pass" for check in verdicts)
    lines = [f"{MARKS[verdict]} {WORDS[verdict]}  {passed} of {len(verdicts)} checks passed · {_gist(history)}"]
    for check in verdicts:
        if check.verdict != "pass":
            against = f" [{_measured(check)}]" if check.measured is not None else ""
            lines.append(f"  {MARKS[check.verdict]} {one_line(f'{check.name}: {check.summary}')}{against}")
    return "\n".join(lines)


def render_report(history: History, verdicts: Sequence[Verdict], diagnosis: Sequence[str]) -> str:
    """The whole report as plain text of at most 110 columns; `diagnosis` are lines that explain a failure."""
    sections: list[tuple[str, list[str]]] = [
        ("Run", _run(history)),
        (
            "Diagnosis",
            [piece for line in diagnosis for piece in textwrap.wrap(one_line(line), WIDTH, subsequent_indent="  ")],
        ),
        ("Checks", _checks(verdicts)),
        ("Faults", _faults(history)),
        ("Timeline", timeline_lines(history)),
        ("Scaling", scaling_lines(history)),
        ("Work", work_lines(history)),
    ]
    headline = [
        piece
        for line in render_headline(history, verdicts).splitlines()
        for piece in textwrap.wrap(one_line(line), WIDTH, subsequent_indent="    ")
    ]
    lines = ["═" * WIDTH, *headline, "═" * WIDTH]
    for title, body in sections:
        if body:
            lines += ["", f"{title} {'─' * (WIDTH - len(title) - 1)}", "", *body]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _gist(history: History) -> str:
    started, verified = history.first(WorkloadStarted), history.last(RowsVerified)
    finished, sealed = history.first(WorkloadFinished), history.last(RunSealed)
    opened = history.first(RunOpened)
    parts = []
    if started:
        parts.append(started[1].workload + (f" on {opened[1].cluster}" if opened else ""))
    if started and finished:
        parts.append(f"{finished[1].outcome} in {number(finished[0].t_s - started[0].t_s)} s")
    if verified:
        found = verified[1]
        bad = found.missing_count + found.duplicated_count + found.wrong_count + found.unexpected_count
        parts.append(f"{found.rows_found} of {found.rows_expected} rows, {bad or 'none'} wrong")
    peak = worker_counts(history).up.peak
    parts.append(f"up to {peak} worker{'' if peak == 1 else 's'}")
    made = sum(story.applied_s is not None for story in injection_stories(history))
    parts.append(f"{made} fault{'' if made == 1 else 's'} injected")
    if sealed is None:
        parts.append("the history was never sealed")
    elif sealed[1].reason != "complete":
        parts.append(f"run ended early: {sealed[1].reason}")
    return " · ".join(parts)


def _run(history: History) -> list[str]:
    opened, started = history.first(RunOpened), history.first(WorkloadStarted)
    baseline, sealed, clean = history.last(BaselineKnown), history.last(RunSealed), history.last(CleanlinessChecked)
    items: list[tuple[str, str]] = []
    if opened:
        run = opened[1]
        items += [("run", run.run_id), ("cluster", run.cluster), ("seed", str(run.seed))]
        items += [("schedule", run.schedule_hash)]
        items += [("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items()))]
    if started:
        job = started[1]
        items.append(("workload", f"{job.workload}, {job.rows_total} rows, device {job.device}"))
    passed = [f"{phase} {number(end_s - begin_s)} s" for phase, begin_s, end_s in phases(history)]
    items.append(("phases", " → ".join(passed) or "none began"))
    if baseline:
        known = baseline[1]
        runs = f"{known.sources} fault-free run{'' if known.sources == 1 else 's'}, last {known.run_id}"
        figures = f"job {number(known.job_s)} s, {number(known.rows_per_s)} rows/s, joins in {number(known.join_s)} s"
        items.append(("baseline", f"{figures}, longest pause {number(known.longest_pause_s)} s ({runs})"))
    if sealed:
        items.append(("ended", sealed[1].reason + (f": {sealed[1].message}" if sealed[1].message else "")))
    else:
        items.append(("ended", "never sealed: the runner was killed, or the file is a copy of a run under way"))
    if clean:
        items.append(("left behind", listed(clean[1].leftovers, most=20) or "nothing"))
    return pairs(items)


def _measured(check: Verdict) -> str:
    if check.measured is None:
        return ""
    bound = "" if check.bound is None else f" / {quantity(check.bound, check.unit)}"
    return (number(check.measured) if bound else quantity(check.measured, check.unit)) + bound


def _checks(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [
        (
            f"{MARKS[check.verdict]} {check.name}",
            check.verdict,
            _measured(check),
            check.summary,
            listed([str(seq) for seq in check.evidence], most=5),
        )
        for check in verdicts
    ]
    return table(("check", "verdict", "measured / bound", "summary", "evidence"), rows) if rows else ["no checks ran"]


def _faults(history: History) -> list[str]:
    def moment(t_s: float | None) -> str:
        return "–" if t_s is None else f"{t_s:.1f}"

    def effect(story: InjectionStory) -> str:
        if story.asked is None and story.measured is None:
            return "–"
        return f"{quantity(story.asked, '')} → {quantity(story.measured, story.unit)}"

    stories = injection_stories(history)
    rows = [
        (
            story.injection,
            story.fault,
            listed(story.victims) or "–",
            moment(story.due_s),
            moment(story.applied_s),
            "–" if story.lateness_s is None else number(story.lateness_s * 1000),
            moment(story.healed_s) + ("" if story.healed_s is None or story.proven_healed else " unproven"),
            effect(story),
            f"not made: {story.skipped.replace('_', ' ')}" if story.skipped else story.outcome.replace("_", " "),
        )
        for story in stories
    ]
    if not rows:
        return ["none was due"]
    header = ("id", "fault", "on", "due s", "applied s", "late ms", "healed s", "asked → seen", "outcome")
    details = pairs([(story.injection, story.detail) for story in stories if story.detail])
    return [*table(header, rows, right=(3, 4, 5, 6)), "", *details]
