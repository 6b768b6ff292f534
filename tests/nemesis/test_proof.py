"""What the nemesis proves of what it did."""

from __future__ import annotations

import pytest

from chaos.errors import ClusterError
from chaos.events import (
    FaultHealed,
    FaultProbed,
    NodeDied,
    NodeTerminated,
)
from chaos.fault import Effect
from tests.doubles import Scripted, unknown
from tests.nemesis.stage import STARTED, Stage, harm, kill


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
