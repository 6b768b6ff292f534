"""Whom the nemesis strikes, and how many at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.blast_radius import BlastRadius
from chaos.errors import ClusterError, InjectionError, NothingToHit
from chaos.events import (
    FaultHealed,
    FaultInjected,
    FaultProbed,
    FaultSkipped,
    NodeDied,
    NodeTerminating,
)
from chaos.nemesis import stream
from tests.doubles import node_named
from tests.nemesis.stage import STARTED, Stage, harm, joined, kill, progressed, slow_network


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


async def test_a_target_with_nothing_to_hit_is_no_target() -> None:
    stage = Stage(slow_network())
    stage.cluster.failing["shape_network"] = NothingToHit("no such process on w1")
    await stage.play((0.0, STARTED))
    await stage.end(at_s=3.0)
    assert (stage.one(FaultSkipped).reason, stage.one(FaultSkipped).detail) == ("no_target", "no such process on w1")


async def test_a_target_that_is_listed_for_a_moment_after_it_ended_is_no_target_either() -> None:
    stage = Stage(slow_network())
    stage.cluster.failing["shape_network"] = InjectionError("container w1 is not running")
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.0)
    assert not stage.recorder.of(FaultSkipped)
    stage.cluster.members.pop("w1")
    await stage.end(at_s=3.0)
    assert stage.one(FaultSkipped).reason == "no_target"


@pytest.mark.parametrize("how", ["at once", "slowly", "while it is healed"])
async def test_a_target_that_the_autoscaler_ends_after_the_failure_was_there(how: str) -> None:
    stage = Stage(slow_network())
    stage.cluster.failing["shape_network"] = InjectionError("tc: invalid argument")
    stage.cluster.slow_s["undo"] = 1.0 if how == "while it is healed" else 0.0
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.5)
    assert not stage.recorder.of(FaultSkipped)
    if how == "slowly":  # which is seen before it is told
        stage.cluster.members["w1"] = node_named("w1", state="stopping")
        await stage.clock.advance_to(2.1)
    stage.recorder.append(NodeTerminating(node="w1"), at_s=1.5)
    stage.cluster.members.pop("w1")
    await stage.end(at_s=5.0)
    assert (stage.one(FaultSkipped).reason, stage.one(FaultSkipped).detail) == ("failed", "tc: invalid argument")


async def test_a_target_that_the_autoscaler_was_ending_already_is_no_target() -> None:
    stage = Stage(slow_network(target={"select": "oldest", "count": 2}))
    stage.cluster.failing["shape_network"] = InjectionError("container w1 is not running")

    def before(called: str) -> None:
        if called == "shape_network":
            stage.cluster.members["w1"] = node_named("w1", state="stopping")
            stage.recorder.append(NodeTerminating(node="w1"))

    stage.cluster.before = before
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.5)
    stage.cluster.members.pop("w2")
    await stage.end(at_s=3.5)
    assert stage.one(FaultSkipped).reason == "no_target"


async def test_cancelled_while_it_looks_for_the_target_an_injection_has_failed() -> None:
    stage = Stage(slow_network())
    stage.cluster.failing["shape_network"] = InjectionError("tc: invalid argument")
    await stage.play((0.0, STARTED))
    await stage.clock.advance_to(1.5)
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.clock.run(stage.running)
    assert (stage.one(FaultSkipped).reason, stage.one(FaultSkipped).detail) == ("failed", "tc: invalid argument")


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
