"""Baselines: measured as the checkers measure, and refused where a run cannot be one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.baseline import measure
from chaos.checkers import ALL
from chaos.cluster_spec import NodeType
from chaos.errors import ClusterError
from chaos.events import BaselineKnown, NodeJoined, RowsVerified, WorkloadFinished, WorkloadProgressed, WorkloadStarted
from chaos.history import History
from tests.checkers.histories import (
    CLUSTER,
    NODE,
    Story,
    Worker,
    fault,
    four_workers,
    judged,
    opened,
    verified,
    waiting,
)


def fault_free(**changes: object) -> Story:
    return replace(Story(baseline=None), **changes)  # type: ignore[arg-type]


def test_what_a_fault_free_run_measures() -> None:
    assert measure(fault_free().history()) == BaselineKnown(
        run_id="r1",
        job_s=38.0,
        rows_per_s=290 / 38.0,
        longest_pause_s=9.0,
        scale_up_s=5.0,
        scale_down_s=8.0,
        join_s=4.0,
        peak_nodes=4,
        sources=1,
    )


def test_the_checkers_measure_what_the_baseline_measures() -> None:
    history = fault_free().history()
    known = measure(history)
    assert judged("scale_up_converges", history).measured == known.scale_up_s
    assert judged("scale_down_converges", history).measured == known.scale_down_s
    assert judged("stayed_live", history).measured == known.longest_pause_s
    again = Story(baseline=known).history()
    assert {checker(again).verdict for checker in ALL} == {"pass"}


def test_demand_that_grows_in_steps_is_measured_step_by_step() -> None:
    workers = [Worker("w1", 4.0, 8.0), Worker("w2", 21.0, 25.0)]
    story = fault_free(workers=workers, demand=lambda t_s: waiting(1 if t_s < 8 else 0 if t_s < 20 else 2))
    assert measure(story.history()).scale_up_s < 8.0


def test_a_cluster_of_fixed_size_is_its_own_measure() -> None:
    kind = NodeType(resources=NODE, min_workers=2, max_workers=2)
    cluster = CLUSTER.model_copy(update={"node_types": {"gpu": kind}, "max_workers": 2})
    workers = [Worker("w1", 0.0, 0.5, gone_s=99.0), Worker("w2", 0.0, 0.5, gone_s=99.0)]
    known = measure(fault_free(workers=workers, opening=opened(cluster=cluster)).history())
    assert (known.scale_up_s, known.scale_down_s, known.peak_nodes) == (0.0, 0.0, 2)


@pytest.mark.parametrize(
    ("story", "says"),
    [
        (fault_free(sealed=None), "not sealed"),
        (fault_free(sealed="interrupted"), "cut short"),
        (fault_free(sealed="deadline"), "deadline"),
        (fault_free(outcome="failed"), "'failed', without any fault"),
        (fault_free(more=fault("i1", 20.0)), "faults were injected"),
        (fault_free(without=(RowsVerified,)), "not compared"),
        (fault_free(without=(RowsVerified,), more=[(41.0, verified())], outcome="hung"), "'hung'"),
        (fault_free(without=(WorkloadStarted,)), "never began"),
        (fault_free(without=(WorkloadFinished,)), "not recorded"),
        (fault_free(without=(WorkloadProgressed,)), "no progress"),
        (fault_free(without=(NodeJoined,)), "no demand was met"),
        (fault_free(demand=lambda _: ()), "too small to make this cluster scale"),
        (fault_free(workers=[*four_workers()[:3], Worker("w4", 4.0, 8.0, gone_s=99.0)]), "did not go back"),
    ],
)
def test_a_run_that_cannot_be_a_baseline_says_why(story: Story, says: str) -> None:
    with pytest.raises(ClusterError, match="cannot serve as a baseline") as caught:
        measure(story.history())
    assert says in str(caught.value)


def test_wrong_rows_are_no_baseline() -> None:
    events = [pair for pair in fault_free().events() if not isinstance(pair[1], RowsVerified)]
    events.insert(-2, (41.0, verified(wrong=2)))
    with pytest.raises(ClusterError, match="2 of its rows are not right"):
        measure(History.of_events(events))


def test_an_empty_history_is_no_baseline() -> None:
    with pytest.raises(ClusterError, match=r"run\.opened"):
        measure(History())
