"""Guided search: what it reads in histories, what it makes of that, and that it repeats."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import faults
import workloads
from chaos.checker import Verdict
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.events import (
    AutoscalerLogged,
    DemandChanged,
    Event,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    WorkloadFinished,
    WorkloadStarted,
)
from chaos.events.cluster import Demand
from chaos.fuzz.command import Ask, settled
from chaos.fuzz.guidance import Guide
from chaos.fuzz.nearness import Lesson, Moment, Nearness
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import TwinRunner
from chaos.fuzz.tally import Tally
from chaos.fuzz.trial import Wish
from chaos.fuzz.worker import Numbers, Worker
from chaos.history import History
from chaos.schedule import Schedule
from chaos.spec import Catalogue
from chaos.strategies import plan
from chaos.strategies.injection import SHORTEST_S

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
HORIZON_S = 30.0
PLAN = plan(
    cluster=ClusterSpec(kind="sim"),
    faults={name: faults.ALL[name] for name in ("kill_node", "pause_node", "delay_terminate")},
    min_injections=1,
    max_injections=5,
    horizon_s=HORIZON_S,
)
WISH = Wish(seed=3, faults=("kill_node", "pause_node"), workloads=("task_bursts",), search="guided")
ROW = "(id=a, type=gpu, cloud_instance_id=i-1, ray_id=): why"


def history(schedule: Schedule, *, slow: float = 0.0) -> tuple[History, tuple[Verdict, ...]]:
    """A load from 10 s to 40 s, a launch 2 s after its start, each injection felt for a second; and how near it was."""
    events: list[tuple[float, Event]] = [
        (10.0, WorkloadStarted(workload="task_bursts", rows_total=1)),
        (10.0, DemandChanged(bundles=(Demand(shape={"CPU": 1.0}, count=1),))),
        (12.0, AutoscalerLogged(about="instance", text=f"Update instance QUEUED->REQUESTED {ROW}")),
        (30.0, DemandChanged(bundles=())),
        (40.0, WorkloadFinished(outcome="ok")),
        (41.0, AutoscalerLogged(about="instance", text=f"Update instance RAY_RUNNING->RAY_STOPPED {ROW}")),
    ]
    for each in schedule.injections:
        at_s, name = 10.0 + (each.at_s or 0.0), each.fault.name
        about: dict[str, Any] = {"injection": each.id, "fault": name}
        applied = {"due_s": at_s, "applied_s": at_s, "lateness_s": 0.0, "victims": ("w1",), "effect_id": each.id}
        events += [
            (at_s, FaultInjected(**about, **applied)),
            (at_s + 1.0, FaultHealed(**about, due_s=at_s + 1.0, healed_s=at_s + 1.0, proven=True)),
            (50.0, FaultProbed(**about, outcome="took_effect", detail="")),
        ]
    verdict = Verdict(name="scale_up_converges", verdict="pass", summary="", measured=slow, bound=10.0, unit="s")
    made = History.of_events(sorted(events, key=lambda one: one[0]))
    return made, (verdict, verdict.model_copy(update={"name": "faults_took_effect"}))


def test_a_lesson_has_the_moments_under_load_and_what_the_faults_did() -> None:
    schedule = Schedule.from_data([{"fault": "kill_node", "target": "random", "at_s": 1.5}], faults.ALL)
    lesson = Lesson.of(*history(schedule, slow=4.0))
    assert list(lesson.moments) == [Moment(0.0, "demand"), Moment(2.0, "REQUESTED"), Moment(20.0, "no demand")]
    (force,) = lesson.forces
    assert (force.injection, force.fault, force.from_s, force.to_s, force.felt) == ("i1", "kill_node", 1.5, 2.5, True)
    assert lesson.near == {"scale_up_converges": Nearness(0.4, 0.0, float("inf"))}
    assert lesson.meetings == {("kill_node", "REQUESTED")}


def test_what_failed_is_near_nothing_and_a_run_without_load_says_nothing() -> None:
    made, verdicts = history(Schedule())
    failed = Verdict(name="no_overshoot", verdict="fail", summary="")
    assert Lesson.of(made, (*verdicts, failed)).near is None
    assert Lesson.of(History(), ()) == Lesson((), (), None)


def told(seed: int, runs: int) -> list[tuple[Schedule, bool]]:
    """The schedules of a guide for which longer delays come nearer."""
    guide, found = Guide(PLAN, random.Random(seed)), []
    for number in range(runs):
        schedule = guide.schedule()
        found.append((schedule, guide.guides))
        delays = [getattr(each.fault, "delay_s", 0.0) for each in schedule.injections]
        if number % 7 != 3:  # a run that could not be made
            guide.learn(*history(schedule, slow=max(delays, default=0.0) / 4.0))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_schedules_are_valid_and_those_of_the_stream(seed: int) -> None:
    schedules = told(seed, 60)
    assert schedules == told(seed, 60)
    assert not schedules[0][1]
    assert any(guided for _, guided in schedules)
    for schedule, _ in schedules:
        assert Schedule.from_data(schedule.to_data(), faults.ALL) == schedule
        assert 1 <= len(schedule.injections) <= 5
        for each in schedule.injections:
            assert (each.at_s or 0.0) + (each.duration_s or 0.0) <= HORIZON_S + 1.0
            assert not PLAN.scope.refusal(each.fault, each.target)


def test_what_is_placed_is_in_force_when_something_happens_or_near_it() -> None:
    placed = [schedule for schedule, guided in told(1, 20)[1:] if guided]
    for each in (each for schedule in placed for each in schedule.injections if each.on is None):
        assert each.at_s is not None
        nearest_s = min(abs(each.at_s - moment_s) for moment_s in (0.0, 2.0, 20.0))
        assert nearest_s <= 5.0


def test_nothing_is_placed_at_what_happens_after_the_horizon() -> None:
    def late(schedule: Schedule) -> tuple[History, tuple[Verdict, ...]]:
        made, verdicts = history(schedule)
        shifted = [(record.t_s + (70.0 if record.t_s > 20.0 else 0.0), record.event) for record in made]
        return History.of_events(shifted), verdicts

    guide, at_s = Guide(PLAN, random.Random(4)), list[float | None]()
    for _ in range(30):
        schedule = guide.schedule()
        guide.learn(*late(schedule))
        at_s += [each.at_s for each in schedule.injections]
    assert len(at_s) > 60
    assert HORIZON_S - SHORTEST_S not in at_s  # where what comes too late to be met would be put


def test_runs_that_failed_do_not_make_what_is_usual_look_near() -> None:
    failed = Verdict(name="no_overshoot", verdict="fail", summary="")
    guide = Guide(PLAN, random.Random(0))
    for number in range(40):
        made, verdicts = history(guide.schedule(), slow=5.0)
        guide.learn(made, verdicts if number % 3 == 0 else (*verdicts, failed))
        assert not guide._slopes()  # all that did not fail came equally near


def test_where_more_delay_comes_nearer_delays_grow() -> None:
    def long(schedules: list[Schedule]) -> int:
        return sum(getattr(each.fault, "delay_s", 0.0) > 20.0 for one in schedules for each in one.injections)

    for seed in range(3):
        unled = Guide(PLAN, random.Random(seed))  # it is told nothing, so all that it says is drawn
        assert long([schedule for schedule, _ in told(seed, 80)]) > long([unled.schedule() for _ in range(80)])


def test_a_guided_world_that_is_gone_on_with_comes_to_the_same(tmp_path: Path) -> None:
    def outcomes(*numbers: int) -> list[Outcome]:
        worker = Worker(WISH, KNOWN, TwinRunner(tmp_path), keep=tmp_path / "keep")
        return [one.model_copy(update={"kept": ""}) for one in worker.outcomes(Numbers(numbers))]

    whole = outcomes(0, 1, 2, 3)
    assert [one.number for one in whole] == [0, 1, 2, 3]
    assert not whole[0].guided
    assert any(one.guided for one in whole)
    assert outcomes(2, 3) == whole[2:]
    signs = Worker(WISH, KNOWN, TwinRunner(tmp_path), keep=tmp_path / "keep").signs(Numbers((2,)))
    assert [one if one is None else one.number for one in signs] == [None, None, 2]


def test_guided_worlds_last_longer_and_only_on_the_twin() -> None:
    wish, _, _ = settled(Ask(search="guided"), KNOWN)
    assert (wish.search, wish.world_runs) == ("guided", 64)
    assert settled(Ask(), KNOWN)[0].world_runs == 16
    with pytest.raises(InvalidSpec, match="--search guided: on local no run repeats"):
        settled(Ask(search="guided", cluster="local"), KNOWN)


def test_only_runs_that_were_drawn_at_random_are_a_sample() -> None:
    tally = Tally()
    assert tally.confidence == "no run has ended, so nothing can be said"
    tally.take(Outcome(number=100, judgement="pass", guided=True), after_s=1.0)
    assert tally.confidence == "no run was drawn at random, so nothing can be said"
    for number in range(100):
        tally.take(Outcome(number=number, judgement="pass", guided=number >= 30), after_s=1.0)
    assert "the 30 runs drawn at random comes in less than 9.5 %" in tally.confidence
    assert tally.unseen_below == pytest.approx(0.095, rel=0.01)
