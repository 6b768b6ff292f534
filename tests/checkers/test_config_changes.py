"""Verdicts follow the configuration in force: limits, minimum and idle timeout as `config.changed` tells them."""

from __future__ import annotations

from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.facts import Facts, facts_of
from chaos.cluster_spec import ClusterSpec
from chaos.events import ConfigChanged, TypeInForce
from tests.checkers.histories import CLUSTER, NODE, Story, Timed, Worker, fault, four_workers, judged, waiting


def edited(
    at_s: float, *, most: int = 4, least: int = 0, idle_timeout_s: float = 6.0, undone: bool = False
) -> list[Timed]:
    kind = TypeInForce(resources=NODE, min_workers=least, max_workers=most)
    event = ConfigChanged(
        effect="e-i1", undone=undone, max_workers=most, idle_timeout_s=idle_timeout_s, node_types={"gpu": kind}
    )
    return [(at_s, event)]


def facts(story: Story) -> Facts:
    found = facts_of(story.history())
    assert isinstance(found, Facts)
    return found


def test_the_cluster_is_what_the_last_edit_made_it() -> None:
    found = facts(Story(more=[*edited(10.0, most=2), *edited(20.0, undone=True)]))
    assert [found.cluster_at(t_s).worker_limit for t_s in (9.0, 10.0, 19.0, 20.0)] == [4, 2, 2, 4]
    assert found.cluster_at(20.0) == found.cluster == ClusterSpec.model_validate(CLUSTER.model_dump())
    assert [cluster.max_workers for cluster in found.clusters_since(5.0, 15.0)] == [4, 2]
    assert (found.edited_s(15.0), found.edited_s(5.0)) == (10.0, float("-inf"))


def test_workers_above_a_lowered_maximum_may_stay_for_a_moment_only() -> None:
    verdict = judged("no_overshoot", Story(more=edited(15.0, most=2)))
    assert (verdict.verdict, verdict.measured, verdict.bound) == ("fail", 4.0, 2.0)
    leaving = [Worker(f"w{n}", 4.0, 8.0, busy_to_s=15.0, gone_s=20.0) for n in (3, 4)]
    followed = Story(workers=[*four_workers()[:2], *leaving], more=edited(15.0, most=2))
    assert judged("no_overshoot", followed).verdict == "pass"


def test_a_lowered_maximum_is_not_followed_while_a_fault_is_on_the_head() -> None:
    def verdict(*more: Timed) -> str:
        return judged("no_overshoot", Story(more=[*edited(15.0, most=2), *more])).verdict

    assert verdict(*fault("i2", 14.0, victims=("w1",), heal_due_s=60.0)) == "fail"
    assert verdict(*fault("i2", 14.0, victims=("head",), heal_due_s=17.0)) == "fail"
    assert verdict(*fault("i2", 14.0, victims=("head",), heal_due_s=60.0)) == "pass"
    assert verdict(*fault("i2", 24.0, victims=("head",), heal_due_s=60.0)) == "pass"
    assert verdict(*fault("i2", 27.0, victims=("head",), heal_due_s=60.0)) == "fail"


def test_workers_below_a_raised_maximum_are_no_overshoot() -> None:
    six = [*four_workers(), Worker("w5", 12.0, 16.0)]
    assert judged("no_overshoot", Story(workers=six)).verdict == "fail"
    assert judged("no_overshoot", Story(workers=six, more=edited(10.0, most=6))).verdict == "pass"


def test_an_idle_node_is_late_only_from_the_edit_that_shortened_its_timeout() -> None:
    idle = [Worker(f"w{n}", 4.0, 8.0, busy_to_s=12.0, gone_s=46.0) for n in (1, 2)]
    patient = edited(5.0, idle_timeout_s=100.0)

    def verdict(*more: Timed) -> str:
        served = Story(workers=idle, more=[*patient, *more], demand=lambda t_s: waiting(2) if 3.0 <= t_s < 8.0 else ())
        return judged("no_overshoot", served).verdict

    assert verdict() == "pass"
    assert verdict(*edited(40.0)) == "pass"
    assert verdict(*edited(20.0)) == "fail"


def test_scaling_is_excused_only_around_the_edits_of_an_injection() -> None:
    lasting = fault("i1", 10.0, heal_due_s=30.0)
    found = facts(Story(more=[*lasting, *edited(10.0, most=2), *edited(30.0, undone=True)]))
    whole = faults_cost_s(explained(found), from_s=0.0, to_s=100.0)
    around = faults_cost_s(explained(found, scaling=True), from_s=0.0, to_s=100.0)
    assert whole > 20.0
    assert around == 2 * (found.cluster.update_interval_s + 4.0)
