"""The nemesis: when it strikes, whom, what it proves, and that it leaves nothing in force, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faults
from chaos.blast_radius import BlastRadius, workers_down
from chaos.cluster import Node
from chaos.errors import ClusterError, ExceptionGroup, InjectionError
from chaos.events import (
    Event,
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
    NodeDied,
    NodeJoined,
    NodeLaunching,
    NodeTerminated,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.fault import Effect, Fault, FaultCatalogue
from chaos.history import History, Recorder
from chaos.nemesis import HEAL_PROOF_LIMIT_S, LEASE_MARGIN_S, Nemesis, stream
from chaos.schedule import Schedule
from tests.doubles import FakeCluster, Scripted, ScriptedLaunch, VirtualClock, node_named, settle, unknown

CATALOGUE: FaultCatalogue = {**faults.ALL, "scripted": Scripted, "scripted_launch": ScriptedLaunch}
STARTED = WorkloadStarted(workload="toy", rows_total=100)


def joined(node: str) -> NodeJoined:
    return NodeJoined(node=node, node_type="gpu", ray_node_id=f"r-{node}", resources={})


class Stage:
    """A nemesis on a fake cluster, whose clock and history a test drives."""

    def __init__(
        self, *injections: dict[str, Any], seed: int = 1, workers: int = 3, blast_radius: BlastRadius | None = None
    ) -> None:
        self.clock = VirtualClock()
        self.cluster = FakeCluster(self.clock, workers=workers)
        self.recorder = Recorder(None, self.clock)
        for ordinal in range(1, workers + 1):
            self.recorder.append(joined(f"w{ordinal}"))
        schedule = Schedule.from_data(list(injections), CATALOGUE)
        self.nemesis = Nemesis(
            schedule,
            self.cluster,
            self.recorder,
            run_id="run",
            seed=seed,
            blast_radius=blast_radius or BlastRadius(),
        )
        self.running = asyncio.ensure_future(self.nemesis.run())

    async def play(self, *events: tuple[float, Event]) -> None:
        """Lets each event happen at its time."""
        for t_s, event in events:
            await self.clock.advance_to(t_s)
            self.recorder.append(event)
            await settle()

    async def end(self, at_s: float | None = None) -> None:
        """The load ends, and with it the nemesis."""
        if at_s is not None:
            await self.clock.advance_to(at_s)
        self.nemesis.finish()
        await self.clock.run(self.running)

    def one(self, kind: type[Any], injection: str = "i1") -> Any:
        """The only event of a class for an injection."""
        found = [event for _, event in self.recorder.of(kind) if event.injection == injection]
        assert len(found) == 1, found
        return found[0]

    def none(self, kind: type[Any]) -> bool:
        """Whether there is no event of a class."""
        return not self.recorder.of(kind)


def kill(**changes: object) -> dict[str, Any]:
    return {"fault": "kill_node", "target": "w1", "at_s": 0.0} | changes


def harm(**changes: object) -> dict[str, Any]:
    return {"fault": "scripted", "target": "w1", "at_s": 0.0, "duration_s": 4.0} | changes


def progressed(rows: int) -> WorkloadProgressed:
    return WorkloadProgressed(rows_done=rows, rows_total=100)


def launching(node: str, node_type: str = "gpu") -> NodeLaunching:
    return NodeLaunching(node=node, node_type=node_type, request="r")


# -- when -----------------------------------------------------------------------------------------------------


async def test_at_s_counts_from_the_start_of_the_workload() -> None:
    stage = Stage(kill(at_s=5.0))
    await stage.play((3.0, progressed(0)), (7.0, STARTED))
    await stage.clock.advance_to(11.9)
    assert stage.none(FaultDue)
    await stage.clock.advance_to(12.1)
    assert stage.one(FaultDue).due_s == stage.one(FaultInjected).due_s == 12.0
    assert stage.cluster.named("kill_node") == [("w1",)]
    await stage.end()


async def test_an_anchor_waits_for_the_nth_event_of_its_node_type_after_the_start() -> None:
    stage = Stage(kill(at_s=None, on={"event": "node.launching", "nth": 2, "node_type": "gpu"}))
    await stage.play(
        (1.0, launching("w1")),  # before the workload: a warm cluster's own affair
        (2.0, STARTED),
        (3.0, launching("w2")),
        (4.0, launching("w3", "cpu")),
        (5.0, launching("w4")),
    )
    assert stage.one(FaultInjected).due_s == 5.0
    await stage.end()


async def test_an_anchor_may_mean_the_events_of_one_injection() -> None:
    slow, quick = harm(duration_s=6.0), harm(target="w2", duration_s=2.0)
    then = kill(at_s=None, on={"event": "fault.healed", "injection": "i1"})
    stage = Stage(slow, quick, then)
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(5.0)
    assert [event.injection for _, event in stage.recorder.of(FaultDue)] == ["i1", "i2"]
    assert stage.one(FaultHealed, "i2").healed_s == 2.0
    await stage.clock.advance_to(8.0)
    assert stage.one(FaultInjected, "i3").due_s == stage.one(FaultHealed, "i1").healed_s == 6.0
    await stage.end()


async def test_an_anchor_may_count_from_another_injection() -> None:
    then = kill(target="w3", at_s=None, on={"event": "node.launching", "since": "i1"})
    stage = Stage(kill(at_s=3.0), then)
    await stage.play((0.0, STARTED), (2.0, launching("w2")))
    await stage.clock.advance_to(4.0)
    await stage.play((5.0, launching("w3")))
    assert stage.one(FaultInjected, "i2").due_s == 5.0
    await stage.end()


async def test_after_s_is_added_to_the_anchor() -> None:
    stage = Stage(kill(at_s=None, on={"event": "node.joined"}, after_s=2.5))
    await stage.play((0.0, STARTED), (4.0, joined("w1")))
    await stage.clock.advance_to(6.4)
    assert stage.none(FaultInjected)
    await stage.clock.advance_to(6.6)
    assert stage.one(FaultInjected).due_s == 6.5
    await stage.end()


async def test_progress_triggers_once_the_share_is_reached() -> None:
    stage = Stage(kill(at_s=None, on={"progress_percent": 40}))
    await stage.play((0.0, STARTED), (1.0, progressed(39)))
    assert stage.none(FaultInjected)
    await stage.play((2.0, progressed(41)), (3.0, progressed(90)))
    assert stage.one(FaultInjected).due_s == 2.0
    await stage.end()


async def test_an_event_that_is_written_late_counts_from_when_it_happened() -> None:
    stage = Stage(kill(at_s=None, on={"event": "node.launching"}, after_s=1.0))
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(5.0)
    stage.recorder.append(launching("w1"), at_s=3.0)
    await settle()
    injected = stage.one(FaultInjected)
    assert (injected.due_s, injected.applied_s, injected.lateness_s) == (4.0, 5.0, 1.0)
    await stage.end()


async def test_lateness_is_what_the_injection_took() -> None:
    stage = Stage(harm(at_s=1.0))
    stage.cluster.slow_s["pause_node"] = 0.75
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    injected = stage.one(FaultInjected)
    assert (injected.due_s, injected.applied_s, injected.lateness_s) == (1.0, 1.75, 0.75)
    assert injected.heal_due_s == 5.75
    await stage.end()


def slow_network(**changes: object) -> dict[str, Any]:
    return {"fault": "throttle_network", "rate_mbit": 5.0, "target": "w1", "at_s": 1.0, "duration_s": 4.0} | changes


async def test_what_is_measured_before_the_harm_is_late_too_and_the_probes_get_it() -> None:
    stage = Stage(slow_network())
    stage.cluster.slow_s["measure_path"] = 0.125
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    injected = stage.one(FaultInjected)
    assert (injected.due_s, injected.applied_s, injected.lateness_s) == (1.0, 1.25, 0.25)
    assert injected.heal_due_s == 5.25
    probed = stage.one(FaultProbed)
    assert (probed.outcome, probed.measured) == ("took_effect", 5.0)
    await stage.end(at_s=6.0)
    assert stage.one(FaultHealed).proven


async def test_what_cannot_be_measured_before_is_not_injected() -> None:
    stage = Stage(slow_network())
    stage.cluster.failing["measure_path"] = InjectionError("node 'w1' does not run")
    await stage.play((0.0, STARTED))
    await stage.end(at_s=3.0)
    skipped = stage.one(FaultSkipped)
    assert (skipped.reason, skipped.detail) == ("failed", "node 'w1' does not run")
    assert stage.none(FaultInjected)
    assert stage.cluster.named("shape_network") == []


async def test_measuring_before_the_harm_is_given_up_at_its_limit() -> None:
    stage = Stage(slow_network())
    stage.cluster.slow_s["measure_path"] = 60.0
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.0 + Fault.measure_within_s - 0.1)
    assert stage.none(FaultSkipped)
    await stage.clock.advance_to(1.0 + Fault.measure_within_s + 0.1)
    skipped = stage.one(FaultSkipped)
    assert skipped.reason == "failed"
    assert skipped.detail == "what throttle_network compares with was not measured within 2 s, so nothing was done"
    await stage.end(at_s=70.0)
    assert stage.none(FaultInjected)
    assert stage.cluster.named("shape_network") == []


async def test_what_was_not_triggered_when_the_load_ends_is_skipped() -> None:
    stage = Stage(kill(at_s=50.0), kill(at_s=None, on={"event": "node.died"}))
    await stage.play((0.0, STARTED))
    await stage.end(at_s=10.0)
    assert [event.reason for _, event in stage.recorder.of(FaultSkipped)] == ["not_triggered"] * 2
    assert stage.cluster.calls == []


async def test_a_workload_that_never_starts_triggers_nothing() -> None:
    stage = Stage(kill())
    await stage.end(at_s=10.0)
    assert stage.one(FaultSkipped).reason == "not_triggered"


# -- whom -----------------------------------------------------------------------------------------------------


async def test_the_resolution_of_a_target_is_recorded() -> None:
    stage = Stage(kill(target={"select": "oldest", "count": 2}), workers=4)
    await stage.play((0.0, STARTED))
    assert stage.one(FaultInjected).victims == ("w1", "w2")
    assert stage.cluster.named("kill_node") == [("w1",), ("w2",)]
    await stage.end()


async def test_a_selector_chooses_among_the_nodes_ray_has_but_a_name_is_a_name() -> None:
    oldest = {"select": "oldest", "count": 9}
    stage = Stage(kill(target=oldest, at_s=1.0), kill(target="w1", at_s=2.0), workers=2)
    for node in ("w3", "w4"):
        stage.cluster.members[node] = node_named(node)
    await stage.play((0.0, STARTED), (0.5, NodeDied(node="w1", ray_node_id="r-w1")), (0.6, joined("w4")))
    await stage.clock.advance_to(3.0)
    assert stage.one(FaultInjected).victims == ("w2", "w4")  # w1 has died, w3 has not joined
    assert stage.one(FaultInjected, "i2").victims == ("w1",)
    await stage.end()


async def test_a_target_that_fits_no_node_is_skipped_and_says_so() -> None:
    stage = Stage(kill(target="w9"), kill(target={"select": "random", "node_type": "cpu"}))
    await stage.play((0.0, STARTED))
    await stage.end()
    skipped = stage.one(FaultSkipped)
    assert skipped.reason == "no_target"
    assert "w9" in skipped.detail
    assert stage.one(FaultSkipped, "i2").reason == "no_target"
    assert stage.cluster.named("kill_node") == []


async def test_a_target_that_an_earlier_injection_took_is_gone_when_it_is_due() -> None:
    stage = Stage(kill(), {"fault": "pause_node", "target": "w1", "at_s": 1.0, "duration_s": 2.0}, kill(at_s=3.0))
    await stage.play((0.0, STARTED), (0.5, NodeDied(node="w1", ray_node_id="r-w1")))
    await stage.end(at_s=4.0)
    assert [(event.injection, event.reason) for _, event in stage.recorder.of(FaultSkipped)] == [
        ("i2", "no_target"),
        ("i3", "no_target"),
    ]
    assert stage.cluster.named("pause_node") == []
    assert stage.cluster.named("kill_node") == [("w1",)]


@pytest.mark.parametrize("method", ["measure_path", "shape_network"])
async def test_a_target_that_goes_away_while_it_is_being_hit_is_no_target_and_healed(method: str) -> None:
    stage = Stage(slow_network())

    def before(called: str) -> None:
        if called == method:
            stage.cluster.members.pop("w1", None)
            stage.cluster.failing["measure_path"] = InjectionError("node 'w1' does not run")

    stage.cluster.before = before
    await stage.play((0.0, STARTED))
    await stage.end(at_s=3.0)
    skipped = stage.one(FaultSkipped)
    assert skipped.reason == "no_target"
    assert skipped.detail == "w1 went away before it could be hit: node 'w1' does not run"
    assert not stage.cluster.effects


async def test_a_driver_that_could_not_be_killed_did_not_go_away() -> None:
    stage = Stage({"fault": "kill_driver", "at_s": 0.0})
    stage.cluster.failing["processes_of"] = InjectionError("the kernel said no")
    await stage.play((0.0, STARTED))
    await stage.end(at_s=3.0)
    skipped = stage.one(FaultSkipped)
    assert (skipped.reason, skipped.detail) == ("failed", "the kernel said no")


async def test_the_driver_takes_no_worker_s_place_in_the_blast_radius() -> None:
    stage = Stage({"fault": "kill_driver", "at_s": 0.0}, kill(at_s=0.0), blast_radius=BlastRadius(max_nodes_down=1))
    await stage.play((0.0, STARTED))
    await stage.end(at_s=3.0)
    assert stage.none(FaultSkipped)


async def test_whether_the_target_is_there_is_not_guessed() -> None:
    stage = Stage(harm())

    def before(called: str) -> None:
        if called == "pause_node":
            stage.cluster.failing |= {"pause_node": InjectionError("refused"), "nodes": ClusterError("no answer")}

    stage.cluster.before = before
    await stage.play((0.0, STARTED))
    await stage.end(at_s=1.0)
    assert (stage.one(FaultSkipped).reason, stage.one(FaultSkipped).detail) == ("failed", "refused")


async def test_the_same_lasting_fault_twice_on_one_victim_is_in_force_until_the_last_is_healed() -> None:
    pause = {"fault": "pause_node", "target": "w1", "duration_s": 4.0}
    stage = Stage({**pause, "at_s": 0.0}, {**pause, "at_s": 2.0})
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(5.0)
    assert set(stage.cluster.effects) == {"run.i2.w1"}
    await stage.end(at_s=7.0)
    assert not stage.cluster.effects
    assert [event.proven for _, event in stage.recorder.of(FaultHealed)] == [True, True]


# -- how many -------------------------------------------------------------------------------------------------


async def test_what_exceeds_the_blast_radius_is_refused_and_says_why() -> None:
    stage = Stage(
        harm(duration_s=10.0),
        harm(target={"select": "newest", "count": 2}, at_s=2.0),
        kill(target="w1", at_s=3.0),
        blast_radius=BlastRadius(max_nodes_down=2),
    )
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(4.0)
    skipped = stage.one(FaultSkipped, "i2")
    assert skipped.reason == "refused"
    assert skipped.detail == "blast_radius.max_nodes_down is 2: 2 workers asked for, 1 already down (w1)"
    assert stage.one(FaultInjected, "i3").victims == ("w1",)  # it is down already
    assert stage.cluster.named("pause_node") == [("w1", "run.i1.w1", "25")]
    await stage.end()


async def test_a_healed_worker_leaves_room_for_the_next() -> None:
    stage = Stage(
        harm(duration_s=3.0), harm(target="w2", at_s=5.0, duration_s=3.0), blast_radius=BlastRadius(max_nodes_down=1)
    )
    await stage.play((0.0, STARTED))
    await stage.end(at_s=9.0)
    assert stage.none(FaultSkipped)


async def test_injections_of_one_moment_count_each_other() -> None:
    stage = Stage(kill(), kill(target="w2"), kill(target="w3"), blast_radius=BlastRadius(max_share=0.7))
    stage.cluster.slow_s["kill_node"] = 1.0
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(2.0)
    assert len(stage.recorder.of(FaultInjected)) == 2
    ((_, refused),) = stage.recorder.of(FaultSkipped)
    assert refused.reason == "refused"
    assert refused.detail.startswith("blast_radius.max_share is 0.7, of 3 joined that is 2: 1 worker asked for, 2")
    await stage.end()


async def test_an_injection_that_was_not_made_takes_no_room() -> None:
    stage = Stage(harm(), harm(target="w2", at_s=1.0), blast_radius=BlastRadius(max_nodes_down=1))
    stage.cluster.failing["pause_node"] = InjectionError("refused")
    await stage.play((0.0, STARTED), (0.5, progressed(1)))
    stage.cluster.failing.clear()
    await stage.clock.advance_to(2.0)
    assert stage.one(FaultInjected, "i2").victims == ("w2",)
    await stage.end()


async def test_a_cluster_that_does_not_list_its_nodes_makes_the_injection_fail_not_the_run() -> None:
    stage = Stage(kill())
    stage.cluster.failing["nodes"] = ClusterError("the Cloud does not answer")
    await stage.play((0.0, STARTED))
    await stage.end()
    assert stage.one(FaultSkipped).reason == "failed"
    assert "does not answer" in stage.one(FaultSkipped).detail


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 8))
def test_the_same_seed_chooses_the_same_victims(seed: int, workers: int) -> None:
    async def victims(others: int) -> tuple[str, ...]:
        more = [kill(target="random", at_s=100.0 + n, id=f"more{n}") for n in range(others)]
        stage = Stage(kill(target="random", id="mine"), *more, seed=seed, workers=workers)
        await stage.play((0.0, STARTED))
        found: tuple[str, ...] = stage.one(FaultInjected, "mine").victims
        await stage.end()
        return found

    chosen = asyncio.run(victims(0))
    assert chosen == asyncio.run(victims(3))
    assert chosen == (f"w{1 + stream(seed, 'target/mine').sample(range(workers), 1)[0]}",)


def test_different_seeds_choose_differently() -> None:
    assert len({stream(seed, "target/i1").random() for seed in range(50)}) == 50
    assert stream(1, "target/i1").random() != stream(1, "target/i2").random()


async def test_what_there_is_one_of_is_hit_without_a_target() -> None:
    stage = Stage({"fault": "pause_gcs", "at_s": 0.0, "duration_s": 4.0}, {"fault": "kill_driver", "at_s": 1.0})
    await stage.play((0.0, STARTED))
    await stage.end(at_s=6.0)
    assert stage.one(FaultInjected).victims == ("head",)
    assert stage.one(FaultInjected, "i2").victims == ("driver",)
    assert stage.cluster.named("stop_processes") == [("head", "gcs_server", "run.i1.head", "19")]
    assert stage.one(FaultProbed).outcome == stage.one(FaultProbed, "i2").outcome == "took_effect"
    assert stage.one(FaultHealed).proven


async def test_a_fault_knows_how_long_it_is_to_last() -> None:
    stage = Stage({"fault": "preempt_node", "target": "w2", "at_s": 0.0, "duration_s": 7.5})
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.0)
    assert stage.cluster.named("give_notice") == [("w2", "drain_notice", "7.5", "run.i1.w2", "22.5")]
    await stage.end()


# -- healing --------------------------------------------------------------------------------------------------


async def test_harm_is_done_under_an_id_and_a_lease_that_outlasts_it() -> None:
    stage = Stage(harm(duration_s=4.0))
    await stage.play((0.0, STARTED))
    await stage.end(at_s=6.0)
    assert stage.cluster.named("pause_node") == [("w1", "run.i1.w1", f"{4.0 + LEASE_MARGIN_S:g}")]


async def test_an_injection_that_fails_is_undone_all_the_same() -> None:
    stage = Stage(harm())
    stage.cluster.failing["pause_node"] = InjectionError("the node is made of jelly")
    await stage.play((0.0, STARTED))
    await stage.end()
    assert stage.cluster.named("undo") == [("run.i1.w1",)]


async def test_harm_lasts_as_long_as_asked_and_its_healing_is_proven() -> None:
    stage = Stage(harm(duration_s=4.0))
    await stage.play((2.0, STARTED))
    await stage.clock.advance_to(5.9)
    assert stage.cluster.effects
    await stage.clock.advance_to(6.1)
    assert not stage.cluster.effects
    healed = stage.one(FaultHealed)
    assert (healed.due_s, healed.healed_s, healed.proven) == (6.0, 6.0, True)
    await stage.end()


async def test_the_end_of_the_load_heals_at_once() -> None:
    stage = Stage(harm(duration_s=60.0), harm(target="w2", at_s=1.0, duration_s=90.0))
    await stage.play((0.0, STARTED))
    await stage.end(at_s=5.0)
    assert stage.clock.now_s() == 5.0
    assert not stage.cluster.effects
    assert [(event.due_s, event.healed_s) for _, event in stage.recorder.of(FaultHealed)] == [(5.0, 5.0)] * 2


async def test_the_end_of_the_load_also_ends_the_looking() -> None:
    stage = Stage(harm(duration_s=60.0))
    stage.cluster.seen["run.i1"] = [unknown()]
    await stage.play((0.0, STARTED))
    await stage.end(at_s=1.0)
    assert stage.clock.now_s() <= 1.25
    assert stage.one(FaultProbed).outcome == "unknown"


async def test_a_cancelled_nemesis_heals_and_records_it() -> None:
    stage = Stage(harm(duration_s=60.0), harm(target="w2", duration_s=60.0), kill(at_s=99.0))
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    stage.cluster.slow_s["undo"] = 0.5
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.clock.run(stage.running)
    assert not stage.cluster.effects
    assert [event.proven for _, event in stage.recorder.of(FaultHealed)] == [True, True]


async def test_cancelling_again_does_not_stop_the_healing() -> None:
    stage = Stage(harm(duration_s=60.0))
    await stage.play((0.0, STARTED))
    stage.cluster.slow_s["undo"] = 2.0
    stage.running.cancel()
    await settle()
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.clock.run(stage.running)
    assert not stage.cluster.effects
    assert stage.clock.now_s() == 2.0


async def test_cancelling_during_the_healing_lets_it_end() -> None:
    stage = Stage(harm(duration_s=4.0))
    stage.cluster.slow_s["undo"] = 2.0
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(5.0)
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.clock.run(stage.running)
    assert not stage.cluster.effects


async def test_cancelling_during_the_injection_heals_what_it_may_have_done() -> None:
    stage = Stage(harm())
    stage.cluster.slow_s["pause_node"] = 5.0
    await stage.play((0.0, STARTED))
    assert stage.cluster.named("pause_node")
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.clock.run(stage.running)
    assert stage.cluster.named("undo") == [("run.i1.w1",)]
    assert stage.none(FaultInjected)


async def test_an_injection_that_fails_is_healed_and_skipped_as_failed() -> None:
    stage = Stage(harm(target="all"))
    del stage.cluster.members["w2"]

    def before(method: str) -> None:
        if method == "pause_node":
            stage.cluster.members.pop("w3", None)

    stage.cluster.before = before
    await stage.play((0.0, STARTED))
    await stage.end()
    assert "'w3' does not run" in stage.one(FaultSkipped).detail
    assert stage.one(FaultSkipped).reason == "failed"
    assert not stage.cluster.effects
    assert stage.cluster.named("undo") == [("run.i1.w1",), ("run.i1.w3",)]
    assert stage.none(FaultInjected)


async def test_a_bug_in_an_injection_is_healed_and_told() -> None:
    stage = Stage(harm(), harm(target="w2", at_s=1.0))
    stage.cluster.failing["pause_node"] = ZeroDivisionError("a bug")
    await stage.play((0.0, STARTED))
    with pytest.raises(ExceptionGroup) as caught:
        await stage.end()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert stage.cluster.named("undo")[0] == ("run.i1.w1",)


async def test_an_injection_and_its_healing_that_both_fail_are_both_told() -> None:
    stage = Stage(harm())
    stage.cluster.failing |= {"pause_node": InjectionError("refused"), "undo": ClusterError("gone")}
    await stage.play((0.0, STARTED))
    with pytest.raises(ExceptionGroup) as caught:
        await stage.end()
    inner = caught.value.exceptions[0]
    assert isinstance(inner, ExceptionGroup)
    assert [str(error) for error in inner.exceptions] == ["refused", "gone"]
    assert stage.one(FaultSkipped).reason == "failed"


async def test_an_error_while_healing_surfaces_and_the_others_are_healed_all_the_same() -> None:
    stage = Stage(harm(duration_s=2.0), harm(target="w2", duration_s=6.0), harm(target="w3", duration_s=9.0))
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.0)
    stage.cluster.failing["undo"] = ClusterError("no answer")
    await stage.clock.advance_to(3.0)
    del stage.cluster.failing["undo"]
    with pytest.raises(ExceptionGroup) as caught:
        await stage.end(at_s=7.0)
    assert [str(error) for error in caught.value.exceptions] == ["no answer"]
    assert list(stage.cluster.effects) == ["run.i1.w1"]
    assert [event.injection for _, event in stage.recorder.of(FaultHealed)] == ["i2", "i3"]


async def test_healing_that_cannot_be_proven_is_recorded_as_such() -> None:
    stage = Stage(harm(duration_s=1.0))
    stage.cluster.seen["run.i1/healed"] = [Effect(outcome="took_effect", detail="still slow")]
    await stage.play((0.0, STARTED))
    await stage.end(at_s=1.0 + HEAL_PROOF_LIMIT_S + 1.0)
    healed = stage.one(FaultHealed)
    assert (healed.healed_s, healed.proven, healed.detail) == (1.0, False, "still slow")


async def test_the_proof_of_healing_may_take_a_while() -> None:
    stage = Stage(harm(duration_s=1.0))
    stage.cluster.seen["run.i1/healed"] = [unknown(), unknown(), Effect(outcome="no_effect", detail="gone")]
    await stage.play((0.0, STARTED))
    await stage.end(at_s=5.0)
    healed = stage.one(FaultHealed)
    assert (healed.healed_s, healed.proven, healed.detail) == (1.0, True, "gone")


async def test_overlapping_harm_on_one_node_is_healed_one_by_one() -> None:
    stage = Stage(harm(duration_s=4.0), harm(at_s=2.0, duration_s=4.0))
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    assert set(stage.cluster.effects) == {"run.i1.w1", "run.i2.w1"}
    await stage.clock.advance_to(5.0)
    assert set(stage.cluster.effects) == {"run.i2.w1"}
    await stage.end(at_s=7.0)
    assert not stage.cluster.effects
    assert [event.healed_s for _, event in stage.recorder.of(FaultHealed)] == [4.0, 6.0]


# -- proof of effect ------------------------------------------------------------------------------------------


async def test_a_probe_looks_until_it_sees_the_effect() -> None:
    stage = Stage(harm())
    seen = Effect(outcome="took_effect", detail="there", asked=1.0, measured=2.0, unit="x")
    stage.cluster.seen["run.i1"] = [unknown(), Effect(outcome="no_effect", detail="no"), seen]
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    probed = stage.one(FaultProbed)
    assert (probed.outcome, probed.detail, probed.asked, probed.measured, probed.unit) == (
        "took_effect", "there", 1.0, 2.0, "x",
    )  # fmt: skip
    await stage.end()


@pytest.mark.parametrize("outcome", ["unknown", "no_effect"])
async def test_a_probe_that_sees_nothing_says_so_when_the_harm_ends(outcome: str) -> None:
    stage = Stage(harm(duration_s=2.0))
    stage.cluster.seen["run.i1"] = [Effect.model_validate({"outcome": outcome, "detail": "nothing"})]
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.9)
    assert stage.none(FaultProbed)
    await stage.clock.advance_to(2.5)
    assert stage.one(FaultProbed).outcome == outcome
    await stage.end()


async def test_a_probe_gives_up_at_the_faults_own_limit() -> None:
    stage = Stage(harm(duration_s=60.0))
    stage.cluster.seen["run.i1"] = [unknown()]
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(Scripted.effect_within_s - 0.5)
    assert stage.none(FaultProbed)
    await stage.clock.advance_to(Scripted.effect_within_s + 0.5)
    assert stage.one(FaultProbed).outcome == "unknown"
    await stage.end()


async def test_a_probe_that_cannot_be_made_is_unknown_with_its_reason() -> None:
    stage = Stage({"fault": "pause_node", "target": "w1", "at_s": 0.0, "duration_s": 2.0})
    stage.cluster.failing["vitals"] = ClusterError("no answer")
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(3.0)
    assert (stage.one(FaultProbed).outcome, stage.one(FaultProbed).detail) == ("unknown", "no answer")
    del stage.cluster.failing["vitals"]
    await stage.end(at_s=9.0)
    assert stage.one(FaultHealed).proven


async def test_harm_to_launches_may_show_after_it_was_healed_until_the_load_ends() -> None:
    launch = {"fault": "scripted_launch", "at_s": 0.0, "duration_s": 2.0}
    stage = Stage(launch, {**launch, "at_s": 1.0})
    stage.cluster.seen["run.i1"] = [*[unknown()] * 15, Effect(outcome="took_effect", detail="late")]
    stage.cluster.seen["run.i2"] = [unknown()]
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(4.0)
    assert stage.one(FaultHealed).healed_s == 2.0
    assert stage.one(FaultProbed).outcome == "took_effect"
    assert len(stage.recorder.of(FaultProbed)) == 1
    await stage.end(at_s=5.0)
    assert stage.one(FaultProbed, "i2").outcome == "unknown"
    assert stage.clock.now_s() <= 5.25


async def test_a_kill_is_proven_by_the_history_even_after_the_load_has_ended() -> None:
    stage = Stage(kill())
    await stage.play((0.0, STARTED))
    stage.nemesis.finish()
    await stage.play((0.5, NodeTerminated(node="w1", cause="killed")), (4.0, NodeDied(node="w1", ray_node_id="r1")))
    await stage.clock.run(stage.running)
    probed = stage.one(FaultProbed)
    assert (probed.outcome, probed.measured, probed.unit) == ("took_effect", 4.0, "s")
    assert stage.none(FaultHealed)


# -- anything -------------------------------------------------------------------------------------------------

HARMS = st.fixed_dictionaries(
    {
        "fault": st.just("scripted"),
        "target": st.sampled_from(("w1", "w2", "all", "random", "w9")),
        "at_s": st.floats(0.0, 20.0),
        "duration_s": st.floats(0.1, 20.0),
    }
)


@settings(max_examples=40, deadline=None)
@given(harms=st.lists(HARMS, max_size=5), end_s=st.floats(0.0, 30.0), cancel=st.booleans(), seed=st.integers(0, 99))
def test_whatever_the_schedule_and_its_end_nothing_stays_and_all_is_told(
    harms: list[dict[str, Any]], end_s: float, cancel: bool, seed: int
) -> None:
    async def story() -> tuple[Stage, list[str]]:
        stage = Stage(*harms, seed=seed)
        await stage.play((0.0, STARTED))
        await stage.clock.advance_to(end_s)
        if cancel:
            stage.running.cancel()
            await asyncio.gather(stage.running, return_exceptions=True)
        else:
            await stage.end()
        return stage, [record.to_line() for record in stage.recorder]

    stage, lines = asyncio.run(story())
    assert not stage.cluster.effects
    injected = {event.injection for _, event in stage.recorder.of(FaultInjected)}
    healed = {event.injection for _, event in stage.recorder.of(FaultHealed)}
    skipped = {event.injection for _, event in stage.recorder.of(FaultSkipped)}
    assert injected == healed
    assert not injected & skipped
    if not cancel:
        assert injected | skipped == {f"i{place}" for place in range(1, len(harms) + 1)}
        assert {event.injection for _, event in stage.recorder.of(FaultProbed)} == injected
    assert asyncio.run(story())[1] == lines


@settings(max_examples=40, deadline=None)
@given(harms=st.lists(HARMS, max_size=6), limit=st.integers(0, 3), seed=st.integers(0, 99))
def test_whatever_the_schedule_no_more_is_down_than_allowed(harms: list[dict[str, Any]], limit: int, seed: int) -> None:
    async def story() -> Stage:
        stage = Stage(*harms, seed=seed, blast_radius=BlastRadius(max_nodes_down=limit))
        stage.cluster.slow_s["pause_node"] = 0.5
        await stage.play((0.0, STARTED))
        await stage.end(at_s=50.0)
        return stage

    history = asyncio.run(story()).recorder
    most = max(len(workers_down(History(list(history)[:count]))) for count in range(len(history) + 1))
    assert most <= limit
    made = {event.injection for _, event in history.of(FaultInjected)}
    told = made | {event.injection for _, event in history.of(FaultSkipped)}
    assert told == {f"i{place}" for place in range(1, len(harms) + 1)}


def test_the_double_resolves_nodes_as_a_cluster_does() -> None:
    assert node_named("w3") == Node(node="w3", node_type="gpu", state="running", instance="i-00003")
