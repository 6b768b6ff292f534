"""The live view: its state is a pure reduction, and both renderers show it."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from chaos.events import (
    Demand,
    DemandChanged,
    NodeDied,
    NodeTerminated,
    RunAborted,
    RunOpened,
    SurvivalExpected,
    WorkloadProgressed,
)
from chaos.history import History, Record
from chaos.report.describe import describe
from chaos.report.live import PlainView, TerminalView, live_view, panel
from chaos.report.live_state import LiveState
from chaos.report.scaling import worker_counts
from tests.report.sample_history import GPU, ROWS, sample_history

SAMPLE = sample_history()


def _at(until_s: float) -> LiveState:
    state = LiveState()
    for record in SAMPLE:
        if record.t_s > until_s:
            break
        state = state.after(record)
    return state.at(until_s)


def test_state_in_the_middle_of_the_sample() -> None:
    early, middle, late = _at(7.0), _at(30.0), _at(48.0)
    assert (early.wanted, early.launching, early.up) == (4, 4, 0)
    assert [fault.words(7.0) for fault in early.faults] == ["delay_launch (3 s left)"]
    assert (middle.phase, middle.wanted, middle.up, middle.launching) == ("workload", 4, 4, 0)
    assert [fault.words(30.0) for fault in middle.faults] == ["throttle_network on w1 (6 s left)"]
    assert 20 < middle.rows_per_s < 60
    assert (late.rows_done, late.idle, late.wanted, late.rows_per_s) == (ROWS, 4, 0, 0.0)
    assert (_at(60.0).ended, _at(60.0).up, _at(60.0).faults) == ("complete", 0, ())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(SAMPLE)))
def test_state_agrees_with_the_report(length: int) -> None:
    records = list(SAMPLE)[:length]
    state = LiveState()
    for record in records:
        assert state.after(record) == state.after(record)
        state = state.after(record)
    counts = worker_counts(History(records))
    if records:
        assert abs(state.up - counts.up.at(records[-1].t_s - 1e-9)) <= 1
    assert state.progress_line()
    Console(file=io.StringIO(), width=60).print(panel(state))


def test_what_is_expected_and_what_aborts_a_run_are_told() -> None:
    expected = SurvivalExpected(survives=False, fatal=("i1",), reason="i1 ends the head")
    aborted = RunAborted(condition="disk_free_mb", measured=90.0, limit=500.0, unit="MiB")
    assert describe(expected) == "expected to fail: i1 ends the head"
    assert describe(aborted) == "ABORTED by disk_free_mb: 90 MiB, limit 500"
    probed = RunAborted(condition="command", measured=1.0, limit=0.0, unit="status", detail="it objects")
    assert describe(probed) == "ABORTED by command: it objects"


def test_rate_falls_while_no_row_comes() -> None:
    state = LiveState()
    for t_s, rows in ((0.0, 0), (2.0, 100)):
        event = WorkloadProgressed(rows_done=rows, rows_total=1000)
        state = state.after(Record(seq=0, t_s=t_s, wall_s=0.0, event=event))
    assert state.rows_per_s == 50.0
    assert state.at(10.0).rows_per_s == 10.0
    assert state.at(1.0) == state


def test_events_out_of_order_do_not_turn_time_back() -> None:
    gone, dead = NodeTerminated(node="w7", cause="killed"), NodeDied(node="w7", ray_node_id="7")
    state = LiveState().after(Record(seq=0, t_s=5.0, wall_s=0.0, event=gone))
    assert state.after(Record(seq=1, t_s=3.0, wall_s=0.0, event=dead)).now_s == 5.0


def test_demand_without_a_readable_spec_is_unknown() -> None:
    opened = RunOpened(run_id="r", seed=1, cluster="local", schedule_hash="h", spec={"cluster": 3}, versions={})
    demand = DemandChanged(bundles=(Demand(shape=GPU, count=2),))
    state = LiveState().after(Record(seq=0, t_s=0.0, wall_s=0.0, event=opened))
    assert "? wanted" in state.after(Record(seq=1, t_s=1.0, wall_s=0.0, event=demand)).progress_line()


def test_plain_lines() -> None:
    stream = io.StringIO()
    with live_view(stream) as view:
        assert isinstance(view, PlainView)
        view.step("building the image")
        for record in SAMPLE:
            view.tick(record.t_s)
            view.show(record)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[ setup ] building the image"
    assert "[  18.0s] i2 kill_node on w2, 8 ms late" in lines
    assert "[  20.4s] w2 is dead, says the GCS" in lines
    assert sum("rows/s · workers:" in line for line in lines) == 8
    assert lines[-1] == "[  55.1s] run ended: complete"


def test_panel_on_a_terminal_leaves_nothing_running() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with TerminalView(console, elapsed_s=iter(range(100)).__next__) as view:
        view.step("starting the cluster")
        view.step("waiting [for] w1")
        for record in SAMPLE:
            view.show(record)
            view.tick(record.t_s)
    view.close()
    shown = stream.getvalue()
    assert "✓ starting the cluster (" in shown
    assert "✓ waiting [for] w1 (" in shown
    assert "\x1b[?25h" in shown


def test_panel_shows_the_moment() -> None:
    stream = io.StringIO()
    Console(file=stream, width=110).print(panel(_at(30.0)))
    shown = stream.getvalue()
    for expected in ("4 wanted, 0 launching, 4 up", "throttle_network on w1 (6 s left)", "to go", "■■■■"):
        assert expected in shown
