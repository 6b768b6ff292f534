"""Guided search: what it reads in histories, what it makes of that, and that it repeats."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import faults
import workloads
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
from chaos.fuzz.moments import Moment, faults_felt, moments_of
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.runner import TwinRunner
from chaos.fuzz.tally import Tally
from chaos.fuzz.trial import Wish, world
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


def history(schedule: Schedule) -> History:
    """A load from 10 s to 40 s, a launch 2 s after its start, each injection felt."""
    events: list[tuple[float, Event]] = [
        (10.0, WorkloadStarted(workload="task_bursts", rows_total=1)),
        (10.0, DemandChanged(bundles=(Demand(shape={"CPU": 1.0}, count=1),))),
        (12.003, AutoscalerLogged(about="instance", text=f"Update instance QUEUED->REQUESTED {ROW}")),
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
    return History.of_events(sorted(events, key=lambda one: one[0]))


def test_moments_are_those_under_load() -> None:
    schedule = Schedule.from_data([{"fault": "kill_node", "target": "random", "at_s": 1.5}], faults.ALL)
    made = history(schedule)
    assert moments_of(made) == (Moment(0.0, "demand"), Moment(2.003, "REQUESTED"), Moment(20.0, "no demand"))
    assert faults_felt(made) == 1


def test_a_run_without_load_says_nothing() -> None:
    assert moments_of(History()) == ()
    guide = Guide(PLAN, random.Random(2))
    for _ in range(5):
        guide.schedule()
        assert not guide.guides
        guide.learn(History())


def told(seed: int, runs: int) -> list[tuple[Schedule, bool]]:
    """The schedules of a guide, and whether it made them of what it had learned."""
    guide, found = Guide(PLAN, random.Random(seed)), []
    for number in range(runs):
        schedule = guide.schedule()
        found.append((schedule, guide.guides))
        if number % 7 != 3:  # a run that could not be made
            guide.learn(history(schedule))
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


def placed(seed: int, runs: int) -> list[Schedule]:
    return [schedule for schedule, guided in told(seed, runs) if guided]


def test_what_acts_on_calls_to_the_cloud_is_in_force_when_there_is_one() -> None:
    found = [each for schedule in placed(1, 40) for each in schedule.injections if each.fault.acts_on == "cloud"]
    assert len(found) > 20
    for each in found:
        assert each.at_s is not None
        assert each.duration_s is not None
        assert each.at_s <= 2.003 < each.at_s + each.duration_s


def test_what_is_felt_at_any_time_is_placed_at_any_time() -> None:
    at_s = [each.at_s for schedule in placed(1, 80) for each in schedule.injections if each.fault.acts_on == "nodes"]
    assert all(sum(low <= (one or 0.0) < low + 10.0 for one in at_s) > 10 for low in (0.0, 10.0, 20.0))


def test_each_kind_has_its_turn() -> None:
    kinds = [each.fault.name for schedule in placed(3, 40) for each in schedule.injections]
    counts = [kinds.count(name) for name in ("kill_node", "pause_node", "delay_terminate")]
    assert max(counts) - min(counts) <= 1


def test_moments_are_those_of_the_run_that_was_disturbed_least() -> None:
    guide = Guide(PLAN, random.Random(5))
    calm = history(Schedule())
    guide.learn(calm)
    fault = {"fault": "kill_node", "target": "random", "at_s": 1.5}
    shifted = [
        (record.t_s + (5.0 if record.t_s > 11.0 else 0.0), record.event)
        for record in history(Schedule.from_data([fault], faults.ALL))
    ]
    guide.learn(History.of_events(shifted))
    assert guide._moments == list(moments_of(calm))


def test_nothing_is_placed_at_what_happens_after_the_horizon() -> None:
    def late(schedule: Schedule) -> History:
        shifted = [(record.t_s + (70.0 if record.t_s > 20.0 else 0.0), record.event) for record in history(schedule)]
        return History.of_events(shifted)

    guide, at_s = Guide(PLAN, random.Random(4)), list[float | None]()
    for _ in range(30):
        schedule = guide.schedule()
        guide.learn(late(schedule))
        at_s += [each.at_s for each in schedule.injections]
    assert len(at_s) > 60
    assert HORIZON_S - SHORTEST_S not in at_s  # where what comes too late to be met would be put


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


def test_modes_are_of_the_twin() -> None:
    wish, _, _ = settled(Ask(mode="exact"), KNOWN)
    assert world(wish, 1, KNOWN).spec.cluster.twin.mode == "exact"
    assert world(settled(Ask(), KNOWN)[0], 1, KNOWN).spec.cluster.twin.mode == "fast"
    with pytest.raises(InvalidSpec, match="--mode exact: local has no modes"):
        settled(Ask(mode="exact", cluster="local"), KNOWN)


def test_only_runs_that_were_drawn_at_random_are_a_sample() -> None:
    tally = Tally()
    assert tally.confidence == "no run has ended, so nothing can be said"
    tally.take(Outcome(number=100, judgement="pass", guided=True), after_s=1.0)
    assert tally.confidence == "no run was drawn at random, so nothing can be said"
    for number in range(100):
        tally.take(Outcome(number=number, judgement="pass", guided=number >= 30), after_s=1.0)
    assert "the 30 runs drawn at random comes in less than 9.5 %" in tally.confidence
    assert tally.unseen_below == pytest.approx(0.095, rel=0.01)
