"""Reports say what happened, never raise for what a history holds, and can be read back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checker import Verdict
from chaos.errors import InvalidSpec
from chaos.events import RunOpened, RunSealed
from chaos.history import History
from chaos.report.junit import render_junit
from chaos.report.picture import draw_timeline
from chaos.report.table import WIDTH, digits, pairs, sparkline, table
from chaos.report.text import render_headline, render_report
from chaos.report.verdict_json import parse_verdict, render_verdict
from tests.report.sample_history import ROWS, sample_history, sample_verdicts

SAMPLE = sample_history()
KINDS = sorted({record.event.kind for record in SAMPLE})


@st.composite
def damaged(draw: st.DrawFn) -> History:
    """A prefix of the sample without some kinds of event."""
    length = draw(st.integers(0, len(SAMPLE)))
    dropped = draw(st.sets(st.sampled_from(KINDS), max_size=4))
    return History(record for record in list(SAMPLE)[:length] if record.event.kind not in dropped)


verdicts = st.lists(
    st.builds(
        Verdict,
        name=st.text(max_size=30),
        verdict=st.sampled_from(["pass", "fail", "inconclusive"]),
        summary=st.text(max_size=200),
        evidence=st.lists(st.integers(0, 500), max_size=20).map(tuple),
        measured=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        bound=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        unit=st.sampled_from(["", "s", "nodes"]),
    ),
    max_size=9,
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(history=damaged(), checks=verdicts, diagnosis=st.lists(st.text(max_size=150), max_size=3))
def test_no_history_breaks_a_report(history: History, checks: tuple[Verdict, ...], diagnosis: list[str]) -> None:
    text = render_report(history, checks, diagnosis)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    suite = ElementTree.fromstring(render_junit(history, checks).encode()).find("testsuite")
    assert suite is not None
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"])
    assert parse_verdict(json.dumps(render_verdict(history, checks))).checks == checks


def test_every_prefix_gives_a_report() -> None:
    for length in range(0, len(SAMPLE) + 1, 7):
        render_report(History(list(SAMPLE)[:length]), sample_verdicts(), [])


def test_report_tells_what_happened() -> None:
    text = render_report(SAMPLE, sample_verdicts(failing=True), ["the replacement launch was refused"])
    for expected in (
        "✗ FAIL  6 of 8 checks passed",
        f"{ROWS} of {ROWS} rows",
        "the replacement launch was refused",
        "20260704-120000-7f3a",
        "2 → 1.9 Mbit/s",
        "not made: no target",
        "1 failed (1 × InsufficientInstanceCapacity)",
        "4 autoscaler, 1 killed",
        "81 begun, 80 completed, 1 never completed",
        "left behind  nothing",
    ):
        assert expected in text, expected
    assert "never sealed" in render_report(sample_history(sealed=False), sample_verdicts(), [])


def test_headline_lists_only_what_did_not_pass() -> None:
    assert render_headline(SAMPLE, sample_verdicts()).count("\n") == 0
    failing = render_headline(SAMPLE, sample_verdicts(failing=True))
    assert failing.startswith("✗ FAIL")
    assert "? faults_took_effect" in failing
    assert "30 / 22 s" in failing
    assert render_headline(History(), ()).startswith("? INCONCLUSIVE  0 of 0")


def test_junit_has_a_case_for_each_check() -> None:
    root = ElementTree.fromstring(render_junit(SAMPLE, sample_verdicts(failing=True)).encode())
    suite = root.find("testsuite")
    assert root.tag == "testsuites"
    assert suite is not None
    assert {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.findall("properties/property")}
    assert properties["seed"] == "20260704"
    assert properties["version.ray"] == "2.60.0"
    failure = suite.find("testcase[@name='scale_up_converges']/failure")
    assert failure is not None
    assert "<demand> & room" in failure.attrib["message"]
    assert "measured 30 s, bound 22 s" in str(failure.text)
    assert suite.find("testcase[@name='faults_took_effect']/skipped") is not None


def test_junit_of_a_run_that_broke_off_has_an_error() -> None:
    opened = next(record.event for record in SAMPLE if isinstance(record.event, RunOpened))
    history = History.of_events([(0.0, opened), (3.0, RunSealed(reason="error", message="the head died\x00"))])
    suite = ElementTree.fromstring(render_junit(history, ()).encode()).find("testsuite")
    assert suite is not None
    assert suite.attrib["errors"] == "1"
    error = suite.find("testcase/error")
    assert error is not None
    assert error.attrib["message"] == "the head died\ufffd"


def test_verdict_json_names_the_run() -> None:
    data = render_verdict(SAMPLE, sample_verdicts())
    assert data["verdict"] == "pass"
    assert data["seed"] == 20260704
    assert data["durations_s"] == parse_verdict(json.dumps(data)).durations_s
    assert set(parse_verdict(json.dumps(data)).durations_s) >= {"starting", "workload", "idle", "workload_run", "total"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"verdict": "maybe"}'])
def test_a_bad_verdict_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"raychaos check RUN|JSON object"):
        parse_verdict(text)


def test_picture_is_drawn(tmp_path: Path) -> None:
    png, svg = tmp_path / "timeline.png", tmp_path / "timeline.svg"
    draw_timeline(SAMPLE, sample_verdicts(failing=True), png)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert int.from_bytes(png.read_bytes()[16:20], "big") == 1400
    draw_timeline(History(), (), svg)
    assert b"<svg" in svg.read_bytes()


def test_text_reports_do_not_load_matplotlib_ray_or_docker() -> None:
    code = (
        "import sys; import chaos.report.text, chaos.report.junit, chaos.report.live, chaos.report.picture\n"
        "import chaos.report.examination; print([m for m in ('matplotlib','ray','docker','torch') if m in sys.modules])"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_tables_wrap_instead_of_growing() -> None:
    lines = table(("a", "b"), [("x" * 30, "word " * 60), ("1", "2")], right=(0,))
    assert max(len(line) for line in lines) <= WIDTH
    assert " ".join(line[32:] for line in lines).count("word") == 60
    assert pairs([("name", "a\x1b[31mb")]) == ["name  a [31mb"]


def test_sparklines_show_shares() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0.0, 0.0]) == "  "
    assert digits([0, 3, 9]) == "·39"
    assert digits([0, 12]) == " █"
