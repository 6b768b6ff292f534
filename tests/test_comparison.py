"""Two runs held against each other: a run does not part from itself, and planted differences are found and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.cluster_spec import ClusterSpec
from chaos.comparison import compare
from chaos.errors import InvalidSpec
from chaos.events import AutoscalerLogged, NodeLaunching, NodeTerminating
from chaos.history import History
from chaos.report.comparison import render_comparison, verdict_line
from chaos.report.comparison_picture import draw_comparison
from tests.checkers.histories import CLUSTER, Story, Timed, Worker, opened, waiting

GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())
GOOD = Story().history()


def later(seconds: float) -> History:
    """The good run, all of it so much later; its clock begins before."""
    first, *rest = Story().events()
    return History.of_events([first, *((t_s + seconds, event) for t_s, event in rest)])


def story_of(count: int, *, launch_s: float = 4.0, more: list[Timed] | None = None) -> Story:
    """The good run with other workers."""
    workers = [Worker(f"w{place}", launch_s, launch_s + 4.0) for place in range(1, count + 1)]
    return Story(workers=workers, more=more or [])


@pytest.mark.parametrize("run", GOLDEN, ids=lambda run: run.name)
def test_a_run_does_not_part_from_itself(run: Path) -> None:
    history = History.load(run / "history.jsonl")
    found = compare(history, history, tolerance_s=0.0)
    assert found.parting is None
    assert (found.same_schedule, found.same_launches, found.same_terminations) == (True, True, True)
    assert found.near_share == 1.0
    assert {found.up_ratio, found.down_ratio} <= {1.0, None}


def test_the_figures_of_the_good_run() -> None:
    side = compare(GOOD, GOOD).a
    assert (side.launches, side.terminations, side.joined, side.peak, side.outcome) == (4, 4, 4, 4, "ok")
    assert (side.load_s, side.up_s, side.down_s) == (38.0, 5.0, 8.0)
    assert [decision.at_s for decision in side.decisions] == pytest.approx([2.0] * 4 + [45.1] * 4)
    assert [side.workers_at(t_s) for t_s in (1.0, 2.0, 45.5, 46.5)] == [0, 4, 4, 0]


@settings(deadline=None)
@given(seconds=st.floats(0.5, 500.0))
def test_runs_are_aligned_on_the_beginning_of_their_loads(seconds: float) -> None:
    found = compare(GOOD, later(seconds))
    assert found.parting is None
    assert found.near_share == pytest.approx(1.0)
    assert found.b.down_s == pytest.approx(8.0)


def test_a_launch_that_only_one_made_is_where_they_part() -> None:
    found = compare(GOOD, story_of(5).history())
    assert found.parting is not None
    assert (found.parting.what, found.parting.number, found.parting.at_s) == ("launch", 5, 2.0)
    assert found.parting.a is None
    assert found.parting.b is not None
    assert found.parting.b.node == "w5"
    assert (found.same_launches, found.same_terminations) == (False, False)
    assert found.near_share == 1.0, "one worker more is near"


def test_two_workers_more_are_not_near() -> None:
    found = compare(GOOD, story_of(6).history())
    assert found.near_share == pytest.approx(1.0 - 44.0 / 50.0)


def test_a_late_decision_parts_only_beyond_the_tolerance() -> None:
    late = story_of(4, launch_s=10.0).history()
    found = compare(GOOD, late, tolerance_s=5.0)
    assert found.same_launches
    assert found.parting is not None
    assert (found.parting.number, found.parting.at_s) == (1, 2.0)
    assert found.parting.a is not None
    assert found.parting.b is not None
    assert found.parting.b.at_s - found.parting.a.at_s == 6.0
    assert compare(GOOD, late, tolerance_s=6.0).parting is None
    assert found.up_ratio == 11.0 / 5.0


def test_it_says_what_each_autoscaler_said_then() -> None:
    told: list[Timed] = [(30.0, AutoscalerLogged(about="error", text="much later"))]
    found = compare(GOOD, story_of(5, more=told).history())
    assert found.parting is not None
    assert found.parting.said_b[0].startswith("2.0 s: it saw 5 workers, 0 of them busy, 8 requests waiting")
    assert any("Update instance QUEUED->REQUESTED (id=w5-row" in line for line in found.parting.said_b[1:])
    assert not any("much later" in line for line in found.parting.said_b)
    assert not any("w5-row" in line for line in found.parting.said_a)


def test_other_schedules_and_specifications_are_warned_of() -> None:
    other = opened(cluster=CLUSTER.model_copy(update={"idle_timeout_s": 60.0}))
    changed = Story(opening=other.model_copy(update={"schedule_hash": "1" * 16})).history()
    found = compare(GOOD, changed)
    assert not found.same_schedule
    assert any("different schedules" in warning for warning in found.warnings)
    assert any("cluster.idle_timeout_s" in warning for warning in found.warnings)
    assert found.parting is None, "compared all the same"


def test_another_kind_of_cluster_is_no_difference() -> None:
    twin = opened(cluster=ClusterSpec.model_validate(CLUSTER.model_dump() | {"kind": "sim"}))
    assert compare(GOOD, Story(opening=twin).history()).warnings == ()


def test_a_run_that_was_cut_short_is_warned_of() -> None:
    found = compare(GOOD, Story(sealed="interrupted").history())
    assert found.warnings == ("b is not whole: the run was cut short (interrupted)",)


def test_an_asked_for_end_that_is_asked_for_again_is_one() -> None:
    again: list[Timed] = [(t_s + 0.5, e) for t_s, e in Story().events() if isinstance(e, NodeTerminating)]
    assert compare(GOOD, Story(more=again).history()).parting is None


def test_a_history_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"cannot be compared: .* no run\.opened"):
        compare(GOOD, History())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(3.0, 30.0), st.floats(1.0, 9.0)), max_size=6), st.floats(0.0, 10.0))
def test_who_is_a_and_who_is_b_changes_nothing_but_the_names(
    lives: list[tuple[float, float]], tolerance_s: float
) -> None:
    workers = [Worker(f"w{n}", at_s, at_s + boot_s) for n, (at_s, boot_s) in enumerate(lives, start=1)]
    other = Story(workers=workers).history()
    one, back = compare(GOOD, other, tolerance_s=tolerance_s), compare(other, GOOD, tolerance_s=tolerance_s)
    assert one.near_share == pytest.approx(back.near_share)
    assert (one.a, one.b) == (back.b, back.a)
    assert (one.parting is None) == (back.parting is None)
    if one.parting is not None and back.parting is not None:
        assert one.parting.at_s == back.parting.at_s
    launched = len([event for _, event in other.of(NodeLaunching)])
    assert one.same_launches == (launched == 4)


# -- told and drawn -------------------------------------------------------------------------------------------


def test_the_text_has_both_timelines_and_the_parting() -> None:
    text = render_comparison(compare(GOOD, story_of(6).history()))
    assert "they part at 2.0 s: the 5th launch, of w5 (gpu), is only in b; a has only 4" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "444" in lines["a workers"]
    assert "666" in lines["b workers"]
    assert "222" in lines["differ by"]
    assert lines["they part"].index("▲") == lines["b launches"].index("6")
    assert max(len(line) for line in text.splitlines()) <= 120


def test_where_they_agree_it_says_so() -> None:
    comparison = compare(GOOD, GOOD)
    assert verdict_line(comparison) == (
        "as many launches and terminations; within one worker of each other 100 % of the time"
    )
    assert render_comparison(comparison).endswith("every decision of one is in the other, at most 5 s apart")


def test_the_json_can_be_read_back() -> None:
    comparison = compare(GOOD, story_of(6).history())
    assert type(comparison).model_validate(json.loads(comparison.model_dump_json())) == comparison


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    draw_comparison(compare(GOOD, story_of(6).history()), path)
    assert path.stat().st_size > 10_000
    empty = replace(Story(), workers=[], demand=lambda _: waiting(0)).history()
    draw_comparison(compare(empty, empty), path)
    assert path.stat().st_size > 5_000
