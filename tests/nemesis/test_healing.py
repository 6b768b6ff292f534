"""What the nemesis has done it undoes, however it ends."""

from __future__ import annotations

import asyncio

import pytest

from chaos.errors import ClusterError, ExceptionGroup, InjectionError
from chaos.events import (
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
)
from chaos.fault import Effect
from chaos.nemesis import HEAL_PROOF_LIMIT_S, LEASE_MARGIN_S
from tests.doubles import settle, unknown
from tests.nemesis.stage import STARTED, Stage, harm, kill


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
