"""The blast radius: what may be down at once, who counts as down, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import faults
from chaos.blast_radius import BlastRadius, workers_down, workers_joined
from chaos.events import (
    Event,
    FaultHealed,
    FaultInjected,
    FaultProbed,
    NodeDied,
    NodeJoined,
    NodeTerminated,
)
from chaos.history import History
from chaos.schedule import Injection

Timed = tuple[float, Event]


def injection(target: Any = "w1", **fields: object) -> Injection:
    return Injection.from_data({"fault": "kill_node", "target": target, "at_s": 0, "id": "i1", **fields}, faults.ALL)


def joined(*nodes: str, at_s: float = 0.0) -> list[Timed]:
    return [(at_s, NodeJoined(node=node, node_type="gpu", ray_node_id=f"r-{node}", resources={})) for node in nodes]


def hit(name: str, at_s: float, *victims: str, heal_due_s: float | None = None) -> Timed:
    event = FaultInjected(
        injection=name,
        fault="toy",
        victims=victims,
        due_s=at_s,
        applied_s=at_s,
        lateness_s=0.0,
        effect_id=name,
        heal_due_s=heal_due_s,
    )
    return at_s, event


def probed(name: str, at_s: float) -> Timed:
    return at_s, FaultProbed(injection=name, fault="toy", outcome="took_effect", detail="")


def healed(name: str, at_s: float) -> Timed:
    return at_s, FaultHealed(injection=name, fault="toy", due_s=at_s, healed_s=at_s, proven=True)


def died(node: str, at_s: float) -> Timed:
    return at_s, NodeDied(node=node, ray_node_id=f"r-{node}")


def down(*events: Timed) -> set[str]:
    return set(workers_down(History.of_events([*joined("w1", "w2", "w3"), *events])))


# -- who is down ----------------------------------------------------------------------------------------------


def test_a_victim_of_a_lasting_fault_is_down_until_it_is_healed() -> None:
    paused = hit("i1", 5.0, "w1", "w2", heal_due_s=9.0)
    assert down(paused) == {"w1", "w2"}
    assert down(paused, probed("i1", 6.0)) == {"w1", "w2"}
    assert down(paused, probed("i1", 6.0), healed("i1", 9.0)) == set()
    assert down(paused, hit("i2", 6.0, "w1", heal_due_s=20.0), healed("i1", 9.0)) == {"w1"}


def test_a_killed_worker_is_down_until_another_joins() -> None:
    killed: list[Timed] = [hit("i1", 5.0, "w1"), (5.1, NodeTerminated(node="w1", cause="killed")), died("w1", 5.5)]
    assert down(*killed[:1]) == {"w1"}
    assert down(*killed, probed("i1", 5.6)) == {"w1"}
    assert down(*killed, probed("i1", 5.6), *joined("head", at_s=7.0)) == {"w1"}
    assert down(*killed, probed("i1", 5.6), *joined("w4", at_s=8.0)) == set()


def test_each_worker_that_joins_replaces_one() -> None:
    killed = [hit("i1", 5.0, "w1", "w2"), died("w2", 5.2), died("w1", 5.5), probed("i1", 5.6)]
    assert down(*killed, *joined("w4", at_s=8.0)) == {"w1"}
    assert down(*killed, *joined("w4", "w5", at_s=8.0)) == set()


def test_a_victim_that_lives_on_after_a_fault_that_does_not_last_is_not_down() -> None:
    assert down(hit("i1", 5.0, "w1"), probed("i1", 6.0)) == set()


def test_a_paused_worker_that_the_gcs_gave_up_is_down_after_the_healing_too() -> None:
    paused = [hit("i1", 5.0, "w1", heal_due_s=30.0), died("w1", 22.0), healed("i1", 30.0)]
    assert down(*paused) == {"w1"}
    assert down(*paused, *joined("w4", at_s=31.0)) == set()


def test_who_died_before_its_fault_or_after_it_or_without_one_was_not_lost_to_it() -> None:
    paused = [hit("i1", 5.0, "w1", heal_due_s=9.0), healed("i1", 9.0)]
    assert down(died("w1", 4.0), *paused) == set()
    assert down(*paused, died("w1", 20.0)) == set()
    assert down(died("w2", 6.0)) == set()


def test_the_head_is_no_worker() -> None:
    assert down(hit("i1", 5.0, "head", heal_due_s=9.0)) == set()
    assert workers_joined(History.of_events([*joined("head", "w1", "w2"), died("w1", 4.0)])) == {"w2"}


def test_the_driver_is_no_worker() -> None:
    assert down(hit("i1", 5.0, "driver")) == set()
    assert down(hit("i1", 5.0, "driver"), *joined("w4", at_s=6.0)) == set()
    killed = Injection.from_data({"fault": "kill_driver", "at_s": 0, "id": "i1"}, faults.ALL)
    radius = BlastRadius(max_nodes_down=0, max_share=0.1)
    assert radius.refusal(killed, ("driver",), down=(), joined=("w1", "w2")) == ""


def back(node: str, at_s: float) -> list[Timed]:
    return [(at_s, NodeJoined(node=node, node_type="gpu", ray_node_id=f"again-{node}", resources={}))]


def test_a_worker_that_came_back_is_up_and_may_be_lost_again() -> None:
    restarted = [hit("i1", 5.0, "w1"), died("w1", 5.5)]
    assert down(*restarted, probed("i1", 9.0), *back("w1", 8.0)) == set()
    assert workers_joined(History.of_events([*joined("w1", "w2"), *restarted, *back("w1", 8.0)])) == {"w1", "w2"}
    again: list[Timed] = [(11.0, NodeDied(node="w1", ray_node_id="again-w1")), probed("i2", 12.0)]
    assert down(*restarted, *back("w1", 8.0), probed("i1", 9.0), hit("i2", 10.0, "w1"), *again) == {"w1"}


def test_a_worker_that_was_back_before_its_death_was_seen_is_up() -> None:
    events = [hit("i1", 5.0, "w1"), *back("w1", 7.0), died("w1", 7.0), probed("i1", 8.0)]
    assert down(*events) == set()
    assert workers_joined(History.of_events([*joined("w1", "w2"), *events])) == {"w1", "w2"}


def test_a_worker_that_came_back_replaces_no_other() -> None:
    killed = [hit("i1", 5.0, "w1", "w2"), died("w1", 5.2), died("w2", 5.5)]
    assert down(*killed, *back("w2", 8.0), probed("i1", 9.0)) == {"w1"}


# -- what is refused when it is due ---------------------------------------------------------------------------


def test_a_refusal_names_the_limit_what_was_asked_and_what_is_down() -> None:
    radius = BlastRadius(max_nodes_down=2)
    told = radius.refusal(injection("all"), ("w2", "w3"), down=("w1",), joined=("w1", "w2", "w3"))
    assert told == "blast_radius.max_nodes_down is 2: 2 workers asked for, 1 already down (w1)"
    radius = BlastRadius(max_share=0.5)
    told = radius.refusal(injection("all"), ("w1", "w2"), down=(), joined=("w1", "w2", "w3"))
    assert told == "blast_radius.max_share is 0.5, of 3 joined that is 1: 2 workers asked for, 0 already down"


def test_a_worker_that_is_down_already_may_be_hit_again() -> None:
    radius = BlastRadius(max_nodes_down=1, max_share=0.34)
    assert not radius.refusal(injection(), ("w1",), down=("w1",), joined=("w1", "w2", "w3"))
    assert radius.refusal(injection(), ("w2",), down=("w1",), joined=("w1", "w2", "w3"))


def test_a_dead_worker_still_counts_towards_what_the_share_is_of() -> None:
    radius = BlastRadius(max_share=0.5)
    assert not radius.refusal(injection(), ("w2",), down=("w1",), joined=("w2", "w3", "w4"))


@given(
    victims=st.sets(st.sampled_from(["w1", "w2", "w3", "w4"]), min_size=1),
    already=st.sets(st.sampled_from(["w1", "w2", "w3", "w4", "w5"])),
    nodes=st.integers(0, 6) | st.none(),
    share=st.floats(0.01, 1.0) | st.none(),
)
def test_what_is_not_refused_stays_within_the_limits(
    victims: set[str], already: set[str], nodes: int | None, share: float | None
) -> None:
    known = {f"w{n}" for n in range(1, 7)}
    told = BlastRadius(max_nodes_down=nodes, max_share=share).refusal(
        injection("all"), victims, down=already, joined=known
    )
    after = len(victims | already)
    within = (nodes is None or after <= nodes) and (share is None or after <= share * len(known) + 1e-6)
    assert bool(told) == (not within and not victims <= already)


# -- what is refused before anything starts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "target", "says"),
    [
        (BlastRadius(head=False), "head", "the head would be hit, blast_radius.head is false; choose workers"),
        (BlastRadius(driver=False), "head", "the driver, which runs on the head, would be hit, blast_radius.driver"),
        (BlastRadius(max_nodes_down=1), {"select": "random", "count": 2}, "2 workers would be hit, blast_radius.max_n"),
        (BlastRadius(max_nodes_down=0), "w1", "1 worker would be hit, blast_radius.max_nodes_down is 0"),
        (BlastRadius(max_share=0.5), {"select": "random", "share": 0.6}, "a share of 0.6 would be hit"),
        (BlastRadius(max_share=0.2), "w1", "1 worker would be hit, blast_radius.max_share 0.2 of at most 4 is 0"),
    ],
)
def test_what_can_never_be_allowed_is_refused_before(radius: BlastRadius, target: Any, says: str) -> None:
    assert radius.impossible(injection(target), worker_limit=4).startswith(says)


@pytest.mark.parametrize(
    ("radius", "target"),
    [
        (BlastRadius(), "head"),
        (BlastRadius(max_nodes_down=0, max_share=0.1), "head"),
        (BlastRadius(head=False, driver=False, max_nodes_down=1), "w1"),
        (BlastRadius(max_nodes_down=2, max_share=0.5), {"select": "oldest", "share": 0.5}),
        (BlastRadius(max_nodes_down=1), "all"),  # there may be one worker only
        (BlastRadius(max_share=0.5), {"select": "random", "share": 0.9, "node_type": "gpu"}),
    ],
)
def test_what_may_be_allowed_is_not(radius: BlastRadius, target: Any) -> None:
    assert radius.impossible(injection(target), worker_limit=4) == ""


def test_a_fault_on_launches_is_not_limited() -> None:
    late = Injection.from_data({"fault": "delay_launch", "delay_s": 1, "at_s": 0, "duration_s": 2}, faults.ALL)
    radius = BlastRadius(max_nodes_down=0, head=False, driver=False)
    assert radius.impossible(late, worker_limit=4) == ""
    assert radius.refusal(late, (), down=(), joined=()) == ""


@pytest.mark.parametrize("data", [{"max_nodes_down": -1}, {"max_share": 0}, {"max_share": 1.1}, {"heads": True}])
def test_limits_that_cannot_be_meant(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BlastRadius.model_validate(data)
