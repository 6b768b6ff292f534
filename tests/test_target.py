"""Targets: who is hit, and who never is."""

from __future__ import annotations

import math
import random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chaos.cluster import Node
from chaos.target import SELECTORS, Target

STATES: tuple[Literal["pending", "running", "paused", "stopping"], ...] = ("pending", "running", "paused", "stopping")


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    ordinals = draw(st.lists(st.integers(1, 40), unique=True, max_size=12))
    workers = [
        Node(
            node=f"w{ordinal}",
            node_type=draw(st.sampled_from(("gpu", "cpu"))),
            state=draw(st.sampled_from(STATES)),
            instance=f"i-{ordinal}",
        )
        for ordinal in ordinals
    ]
    head = Node(node="head", node_type="head", state="running", instance="head")
    return draw(st.permutations([head, *workers]))


@st.composite
def targets(draw: st.DrawFn) -> Target:
    select = draw(st.sampled_from((*SELECTORS, "w1", "w7")))
    size: dict[str, float] = {}
    if select in ("oldest", "newest", "random"):
        size = draw(
            st.one_of(
                st.just(size),
                st.integers(1, 9).map(lambda count: {"count": float(count)}),
                st.floats(0.01, 1.0).map(lambda share: {"share": share}),
            )
        )
    node_type = draw(st.sampled_from((None, "gpu", "cpu")))
    return Target.model_validate({"select": select, **size, **({"node_type": node_type} if node_type else {})})


def ordinal(node: str) -> int:
    return int(node[1:])


@given(target=targets(), nodes=clusters(), seed=st.integers(0, 2**32))
def test_a_target_resolves_to_live_workers_and_to_the_head_only_by_name(
    target: Target, nodes: list[Node], seed: int
) -> None:
    chosen = target.resolve(nodes, random.Random(seed))
    if target.select == "head":
        assert chosen == ("head",)
        return
    live = {node.node: node for node in nodes if node.state in ("running", "paused") and node.node != "head"}
    assert set(chosen) <= live.keys()
    assert list(chosen) == sorted(set(chosen), key=ordinal)
    assert all(target.node_type in (None, live[node].node_type) for node in chosen)
    fitting = [node for node in live.values() if target.node_type in (None, node.node_type)]
    if target.select in ("oldest", "newest", "random"):
        asked = target.count or (max(1, math.ceil(target.share * len(fitting) - 1e-9)) if target.share else 1)
        assert len(chosen) == min(asked, len(fitting))


@given(target=targets(), nodes=clusters(), seed=st.integers(0, 2**32), data=st.data())
def test_the_same_seed_chooses_the_same_whatever_the_order(
    target: Target, nodes: list[Node], seed: int, data: st.DataObject
) -> None:
    other = data.draw(st.permutations(nodes))
    assert target.resolve(nodes, random.Random(seed)) == target.resolve(other, random.Random(seed))


@given(target=targets())
def test_a_target_survives_being_written(target: Target) -> None:
    assert Target.model_validate(target.model_dump(mode="json")) == target


def workers(count: int) -> list[Node]:
    return [Node(node=f"w{n}", node_type="gpu", state="running", instance=f"i{n}") for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [(0.5, 4, 2), (0.5, 3, 2), (0.01, 3, 1), (1.0, 3, 3), (0.07, 100, 7), (0.55, 20, 11), (0.3, 10, 3)],
)
def test_a_share_is_rounded_up_but_not_by_rounding_errors(share: float, count: int, expected: int) -> None:
    assert len(Target(select="random", share=share).resolve(workers(count), random.Random(1))) == expected


def test_oldest_and_newest_go_by_launch_order_not_by_name() -> None:
    nodes = workers(12)
    assert Target(select="oldest", count=2).resolve(nodes, random.Random(1)) == ("w1", "w2")
    assert Target(select="newest", count=3).resolve(nodes, random.Random(1)) == ("w10", "w11", "w12")
    assert Target(select="w11").resolve(nodes, random.Random(1)) == ("w11",)
    assert Target(select="w13").resolve(nodes, random.Random(1)) == ()
    assert Target(select="all").resolve([], random.Random(1)) == ()


def test_random_reaches_every_worker() -> None:
    rng = random.Random(1)
    assert {Target().resolve(workers(4), rng) for _ in range(200)} == {("w1",), ("w2",), ("w3",), ("w4",)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("w0", "cannot exist"),
        ("worker", "cannot exist"),
        ("", "cannot exist"),
        ({"select": "random", "count": 1, "share": 0.5}, "not both"),
        ({"select": "all", "count": 1}, "no meaning"),
        ({"select": "head", "share": 0.5}, "no meaning"),
        ({"select": "w3", "count": 2}, "no meaning"),
        ({"select": "random", "count": 0}, "greater than or equal to 1"),
        ({"select": "random", "share": 1.5}, "less than or equal to 1"),
        ({"select": "random", "cuont": 1}, "Extra inputs"),
    ],
)
def test_targets_that_cannot_be_meant(data: object, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Target.model_validate(data)
