"""Recorded runs keep their verdicts: what a checker said of a real history it goes on saying, or says why not here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chaos.history import History
from chaos.results import judge
from chaos.schedule import Schedule
from chaos.yaml_text import load
from tests.test_spec_schema import CATALOGUE

GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())
MOST_BYTES = 200_000

each_run = pytest.mark.parametrize("run", GOLDEN, ids=lambda run: run.name)


def test_there_is_one_of_each_judgement() -> None:
    assert {json.loads((run / "expected.json").read_text())["verdict"] for run in GOLDEN} == {
        "pass", "fail", "inconclusive",
    }  # fmt: skip


@each_run
def test_the_verdicts_stay(run: Path) -> None:
    results = judge(History.load(run / "history.jsonl"))
    expected = json.loads((run / "expected.json").read_text())
    told = "\n".join(f"{verdict.name}: {verdict.verdict}: {verdict.summary}" for verdict in results.verdicts)
    # Checkers that came later have nothing recorded to keep.
    assert {v.name: v.verdict for v in results.verdicts if v.name in expected["checks"]} == expected["checks"], told
    assert results.judgement == expected["verdict"]


@each_run
def test_every_verdict_points_at_what_it_saw(run: Path) -> None:
    history = History.load(run / "history.jsonl")
    for verdict in judge(history).verdicts:
        assert all(0 <= seq < len(history) for seq in verdict.evidence)


@each_run
def test_the_report_still_reads(run: Path) -> None:
    results = judge(History.load(run / "history.jsonl"))
    assert results.headline
    assert results.report.count("\n") > 20
    assert json.loads(results.json)["verdict"] == results.judgement


@each_run
def test_the_schedule_can_be_run_again(run: Path) -> None:
    text = (run / "schedule.yaml").read_text()
    assert Schedule.from_data(load(text), CATALOGUE.faults).to_yaml() == text


@each_run
def test_nothing_of_the_machine_that_recorded_it_is_in_it(run: Path) -> None:
    for path in run.iterdir():
        text = path.read_text()
        assert len(text) < MOST_BYTES
        assert not re.search(r"/(?:tmp|home|root|work|opt)/", text)
