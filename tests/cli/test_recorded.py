"""Commands on recorded runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.said import GOLDEN, Command, edited


@pytest.mark.parametrize("run", sorted(GOLDEN.iterdir()), ids=lambda run: run.name)
def test_check_ends_with_the_code_of_the_verdict(raychaos: Command, run: Path) -> None:
    expected = json.loads((run / "expected.json").read_text())["verdict"]
    said = raychaos("check", run)
    assert said.code == {"pass": 0, "fail": 1, "inconclusive": 3}[expected]
    assert expected.upper() in said.out.splitlines()[0]
    as_json = raychaos("check", run, "--json")
    assert as_json.code == said.code
    assert json.loads(as_json.out)["verdict"] == expected
    report = raychaos("report", run)
    assert report.code == 0
    assert expected.upper() in report.out


def test_a_run_is_found_in_the_store(raychaos: Command) -> None:
    assert raychaos("check", "local_pass", "--store", GOLDEN).code == 0
    assert raychaos("check", GOLDEN / "local_pass" / "history.jsonl").code == 0


@pytest.mark.parametrize("command", ["check", "report"])
def test_a_run_that_is_not_there_is_2(raychaos: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for run, says in (("nothing", "no run 'nothing'"), ("empty", "no history.jsonl in it"), ("", "no history.jsonl")):
        said = raychaos(command, run)
        assert (said.code, said.out) == (2, "")
        assert says in said.err


def version_99(lines: list[str]) -> list[str]:
    return [lines[0].replace('"format":1', '"format":99'), *lines[1:]]


def unknown_event(lines: list[str]) -> list[str]:
    return [*lines[:5], lines[5].replace('"kind":"', '"kind":"future.'), *lines[6:]]


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        pytest.param(lambda lines: lines[:0], "the history holds no complete event; the run never began", id="empty"),
        pytest.param(lambda lines: [lines[0][:50]], "no complete event", id="torn in the first line"),
        pytest.param(lambda lines: lines[1:], "line 1: event 1 stands where 0 belongs", id="front missing"),
        pytest.param(lambda lines: [*lines[:9], *lines[12:]], "line 10: event 12 stands where 9 belongs", id="hole"),
        pytest.param(
            lambda lines: [*lines[:9], "{\n", *lines[10:]], "line 10: not an event of this version", id="damaged"
        ),
        pytest.param(version_99, "history format 99, this raychaos reads format 1; check it with the version", id="99"),
        pytest.param(unknown_event, "line 6: not an event of this version: ", id="unknown event"),
    ],
)
def test_a_history_that_cannot_be_read_is_2_and_says_where(
    raychaos: Command, tmp_path: Path, command: str, edit: Callable[[list[str]], list[str]], says: str
) -> None:
    said = raychaos(command, edited(tmp_path, edit))
    assert (said.code, said.out) == (2, "")
    assert "history.jsonl" in said.err
    assert says in said.err


def test_a_history_cut_short_is_inconclusive_not_a_pass(raychaos: Command, tmp_path: Path) -> None:
    cut = edited(tmp_path, lambda lines: [*lines[:400], lines[400][:30]])
    said = raychaos("check", cut)
    assert said.code == 3
    assert raychaos("report", cut).code == 0


def test_a_failure_stays_one_when_the_seal_is_lost(raychaos: Command, tmp_path: Path) -> None:
    assert raychaos("check", edited(tmp_path, lambda lines: lines[:-1], "local_hung")).code == 1
