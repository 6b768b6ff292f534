"""When the nemesis strikes, and how late it was."""

from __future__ import annotations

from chaos.errors import ClusterError, InjectionError
from chaos.events import (
    FaultDue,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
)
from chaos.fault import Fault
from chaos.nemesis import LISTED_WITHIN_S
from tests.doubles import settle
from tests.nemesis.stage import STARTED, Stage, harm, joined, kill, launching, progressed, slow_network


async def test_what_can_be_made_ready_is_once_and_what_cannot_is_left_to_the_injection() -> None:
    notices = [{"fault": "preempt_node", "target": f"w{number}", "at_s": 1, "duration_s": 5} for number in (1, 2)]
    stage = Stage(*notices, {"fault": "kill_node", "target": "w3", "at_s": 2})
    await stage.nemesis.prepare()
    assert stage.cluster.named("prepare_notice") == [()]
    stage.cluster.failing["prepare_notice"] = ClusterError("the Cloud does not answer")
    await stage.nemesis.prepare()
    assert len(stage.cluster.named("prepare_notice")) == 2
    stage.running.cancel()


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


async def test_time_stands_in_for_an_event_that_does_not_come_and_the_history_says_so() -> None:
    stage = Stage(kill(at_s=None, on={"event": "node.joined", "nth": 9}, after_s=2.0, or_at_s=6.0))
    await stage.play((1.0, STARTED), (2.0, joined("w1")))
    await stage.clock.advance_to(6.9)
    assert stage.none(FaultInjected)
    await stage.clock.advance_to(7.1)
    assert stage.one(FaultInjected).due_s == 7.0
    assert stage.one(FaultDue).by_time
    await stage.end()


async def test_an_event_that_comes_before_that_time_is_what_counts() -> None:
    stage = Stage(kill(at_s=None, on={"event": "node.joined"}, after_s=2.0, or_at_s=4.0))
    await stage.play((0.0, STARTED), (3.0, joined("w1")))
    await stage.clock.advance_to(4.5)
    assert stage.none(FaultInjected)
    await stage.clock.advance_to(5.1)
    assert stage.one(FaultInjected).due_s == 5.0
    assert not stage.one(FaultDue).by_time
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
    await stage.clock.advance_to(1.0 + Fault.measure_within_s + LISTED_WITHIN_S + 0.1)
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
