"""The shrinker against simulated flaky oracles: never another bug, always a valid schedule, within its budget."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faults
from chaos.errors import ClusterError, InvalidSpec
from chaos.outcomes import Beginning, Outcomes
from chaos.schedule import Anchor, Injection, Schedule, Trigger
from chaos.shrink import Progress, Shrinker, ShrinkPlan, Shrunk, Unseen
from chaos.signature import Signature
from chaos.target import Target
from faults.delay_launch import DelayLaunch
from faults.kill_node import KillNode
from faults.pause_node import PauseNode
from tests.bench.shrinking import quality

BUG = Signature(property="job_completes", autoscaler="REQUESTED")
OTHER = Signature(property="no_overshoot")


class Oracle:
    """Fails as `rate` says where all that is needed is there; the nth run of a schedule always comes out the same."""

    def __init__(self, needed: frozenset[str], *, rate: float = 1.0, seed: int = 0, least_s: float = 0.0) -> None:
        self.needed = needed
        self.rate = rate
        self.runs: Counter[str] = Counter()
        self._seed = seed
        self._least_s = least_s

    async def __call__(self, schedule: Schedule) -> Signature | None:
        self.runs[schedule.hash] += 1
        rng = random.Random(f"{self._seed}/{schedule.hash}/{self.runs[schedule.hash]}")
        there = {i.id for i in schedule.injections if (i.duration_s or self._least_s) >= self._least_s}
        if self.needed <= there and rng.random() < self.rate:
            return BUG
        return OTHER if rng.random() < 0.3 else None


def kill(name: str, at_s: float = 5.0) -> Injection:
    return Injection(id=name, fault=KillNode(), target=Target(select="random"), at_s=at_s)


def kills(count: int) -> Schedule:
    return Schedule(injections=tuple(kill(f"k{place}", 3.0 + place) for place in range(count)))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Timed and anchored injections; some wait for others."""
    injections: list[Injection] = []
    for place in range(draw(st.integers(1, 12))):
        earlier = [injection.id for injection in injections]
        at_s = draw(st.floats(0.0, 60.0).map(lambda value: round(value, 2)))
        since = draw(st.none() | st.sampled_from(earlier)) if earlier else None
        anchor = Anchor(event="node.joined", nth=draw(st.integers(1, 3)), since=since)
        when = draw(st.sampled_from([Trigger(at_s=at_s), Trigger(on=anchor, after_s=at_s)]))
        lasts_s = draw(st.floats(0.5, 30.0).map(lambda value: round(value, 2)))
        fault = draw(st.sampled_from([KillNode(), PauseNode(), DelayLaunch(delay_s=4.5)]))
        injections.append(
            Injection(
                id=f"n{place}",
                fault=fault,
                target=None if isinstance(fault, DelayLaunch) else Target(select="newest"),
                duration_s=None if isinstance(fault, KillNode) else lasts_s,
                **dict(when),
            )
        )
    return Schedule(injections=tuple(injections))


def shrunk_by(shrinker: Shrinker) -> Shrunk:
    return asyncio.run(shrinker.run())


@settings(max_examples=60, deadline=None)
@given(schedules(), st.data())
def test_what_is_found_is_the_same_bug_smaller_and_valid_within_the_budget(
    schedule: Schedule, data: st.DataObject
) -> None:
    ids = [injection.id for injection in schedule.injections]
    oracle = Oracle(
        frozenset(data.draw(st.sets(st.sampled_from(ids), max_size=3))),
        rate=data.draw(st.sampled_from([1.0, 0.6, 0.3])),
        seed=data.draw(st.integers(0, 1000)),
    )
    times_s = {name: 1.0 for name in ids if data.draw(st.booleans())}
    budget = data.draw(st.integers(5, 300))
    shrinker = Shrinker(schedule, oracle, plan=ShrinkPlan(runs=budget), signature=BUG, times_s=times_s)
    try:
        result = shrunk_by(shrinker)
    except Unseen:
        assert all(run == schedule.hash for run in oracle.runs)
        return
    assert oracle.runs.total() <= budget
    assert result.runs == oracle.runs.total()
    assert result.signature == BUG
    assert oracle.needed <= {injection.id for injection in result.schedule.injections} <= set(ids)
    assert result.schedule == schedule or result.schedule.hash in oracle.runs
    assert Schedule.from_data(result.schedule.to_data(), faults.ALL).hash == result.schedule.hash


@settings(max_examples=25, deadline=None)
@given(schedules(), st.integers(0, 1000), st.lists(st.integers(4, 60), min_size=1, max_size=4))
def test_a_resumed_shrinking_comes_to_the_same_result(
    tmp_path_factory: pytest.TempPathFactory, schedule: Schedule, seed: int, budgets: list[int]
) -> None:
    needed = frozenset([schedule.injections[-1].id])
    path = tmp_path_factory.mktemp("resumed") / "outcomes.jsonl"
    whole = Shrinker(schedule, Oracle(needed, rate=0.7, seed=seed), signature=BUG, plan=ShrinkPlan(confirm_runs=0))
    expected = shrunk_by(whole)
    # One oracle for all parts: its nth run of a schedule is the nth, whichever part makes it.
    oracle = Oracle(needed, rate=0.7, seed=seed)
    for budget in (*budgets, None):
        outcomes = Outcomes(Beginning(schedule=schedule.hash, identity=""), path)
        plan = ShrinkPlan(runs=budget, confirm_runs=0)
        try:
            part = shrunk_by(Shrinker(schedule, oracle, plan=plan, signature=BUG, outcomes=outcomes))
        except Unseen:
            continue
        finally:
            outcomes.close()
    assert part.finished
    assert part == expected.model_copy(update={"seconds": part.seconds})
    assert oracle.runs.total() == expected.runs


async def test_an_interrupted_shrinking_keeps_the_best_so_far_and_loses_no_outcome(tmp_path: Path) -> None:
    schedule, oracle = kills(12), Oracle(frozenset(["k7"]))
    beginning, path = Beginning(schedule=schedule.hash, identity=""), tmp_path / "outcomes.jsonl"

    async def interrupted(schedule: Schedule) -> Signature | None:
        if oracle.runs.total() == 8:
            raise asyncio.CancelledError
        return await oracle(schedule)

    outcomes = Outcomes(beginning, path)
    shrinker = Shrinker(schedule, interrupted, signature=BUG, outcomes=outcomes)
    with pytest.raises(asyncio.CancelledError):
        await shrinker.run()
    assert "k7" in {injection.id for injection in shrinker.result.schedule.injections}
    assert len(shrinker.result.schedule.injections) < 12
    assert not shrinker.result.finished
    with pytest.raises(ClusterError, match="another process writes it"):
        Outcomes(beginning, path)
    outcomes.close()
    path.write_text(path.read_text() + '{"schedule": "torn')
    resumed = Outcomes(beginning, path)
    assert resumed.resumed == 8
    again = await Shrinker(schedule, oracle, signature=BUG, outcomes=resumed).run()
    resumed.close()
    assert [injection.id for injection in again.schedule.injections] == ["k7"]
    assert again.runs == oracle.runs.total()


def test_outcomes_of_another_shrinking_are_refused(tmp_path: Path) -> None:
    path, ours = tmp_path / "outcomes.jsonl", Beginning(schedule="a", identity="x")
    Outcomes(ours, path).close()
    begun = path.read_text()
    with pytest.raises(InvalidSpec, match="of another one, or of another version"):
        Outcomes(Beginning(schedule="a", identity="y"), path)
    path.write_text("nonsense\n")
    with pytest.raises(InvalidSpec, match="does not begin as such a file does"):
        Outcomes(ours, path)
    path.write_text(f"{begun}nonsense\n{begun}")
    with pytest.raises(InvalidSpec, match="2 of its lines cannot be read"):
        Outcomes(ours, path)
    assert "nonsense" in path.read_text()


def test_where_one_run_decides_no_schedule_is_run_twice() -> None:
    schedule, oracle = kills(16), Oracle(frozenset(["k3", "k11"]))
    result = shrunk_by(Shrinker(schedule, oracle, plan=ShrinkPlan(exact=True, confirm_runs=0)))
    assert {injection.id for injection in result.schedule.injections} == {"k3", "k11"}
    assert [injection.at_s for injection in result.schedule.injections] == [0.0, 0.0]
    assert max(oracle.runs.values()) == 1
    assert result.finished


def test_values_become_simpler_as_far_as_the_bug_shows() -> None:
    needs = Injection(id="p", fault=PauseNode(), target=Target(select="random", count=2), at_s=17.31, duration_s=24.0)
    schedule = Schedule(injections=(needs, kill("k")))
    result = shrunk_by(Shrinker(schedule, Oracle(frozenset("p"), least_s=5.0), plan=ShrinkPlan(exact=True)))
    [left] = result.schedule.injections
    assert left.at_s == 0.0
    assert left.target == Target(select="oldest")
    assert left.duration_s is not None
    assert 5.0 <= left.duration_s < 10.0


async def test_a_schedule_that_lost_most_of_its_rate_gives_way_to_what_it_came_from() -> None:
    """With k1 it fails each time, without it in one run of six: that is not the same rate any more."""
    rng = random.Random(3)

    async def oracle(schedule: Schedule) -> Signature | None:
        ids = {injection.id for injection in schedule.injections}
        rate = 0.0 if "k0" not in ids else 1.0 if "k1" in ids else 1 / 6
        return BUG if rng.random() < rate else None

    results = [await Shrinker(kills(6), oracle, plan=ShrinkPlan(values=False), signature=BUG).run() for _ in range(40)]
    kept = sum({injection.id for injection in result.schedule.injections} >= {"k0", "k1"} for result in results)
    assert kept >= 38


async def test_a_rate_that_drifts_away_does_not_make_every_candidate_fail() -> None:
    """The machine becomes quieter after a while; the parent, run in between, says so."""
    runs = 0

    async def oracle(schedule: Schedule) -> Signature | None:
        nonlocal runs
        runs += 1
        rate = 1.0 if runs < 8 else 0.4
        there = "k5" in {injection.id for injection in schedule.injections}
        return BUG if there and random.Random(runs).random() < rate else None

    result = await Shrinker(kills(20), oracle, plan=ShrinkPlan(values=False), signature=BUG).run()
    assert "k5" in {injection.id for injection in result.schedule.injections}
    assert len(result.schedule.injections) <= 4


async def test_a_schedule_that_does_not_fail_is_refused() -> None:
    with pytest.raises(Unseen, match="did not fail with job_completes"):
        await Shrinker(kills(3), Oracle(frozenset(["absent"])), signature=BUG).run()


async def test_progress_is_told_with_what_is_tried() -> None:
    told: list[Progress] = []
    await Shrinker(kills(6), Oracle(frozenset(["k2"])), signature=BUG, on_progress=told.append).run()
    assert [one.phase for one in told][-1] == "done"
    assert {one.phase for one in told} == {"estimating", "removing", "simplifying", "confirming", "done"}
    assert sorted((one.size for one in told), reverse=True) == [one.size for one in told]
    assert any(one.trying.startswith("without ") for one in told)


async def test_a_budget_in_seconds_leaves_time_for_fresh_runs() -> None:
    now_s = 0.0

    async def slow(schedule: Schedule) -> Signature | None:
        nonlocal now_s
        now_s += 10.0
        return BUG

    schedule = kills(64)
    result = await Shrinker(schedule, slow, plan=ShrinkPlan(seconds=100.0), signature=BUG, now_s=lambda: now_s).run()
    assert now_s <= 110.0
    assert not result.finished
    assert len(result.schedule.injections) < 64
    assert result.after.runs >= 2


def test_quality_on_a_few_planted_bugs() -> None:
    """`make bench` measures it on many."""
    seen = quality(0.5, bugs=12)
    assert seen.size <= 1.5
    assert seen.runs <= seen.plain_runs / 2
    assert seen.strays == 0
