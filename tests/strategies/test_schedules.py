"""Schedules from the strategies: valid by construction, all kinds of fault in them, and shrunk to what is simple."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.statistics import collector
from pydantic import Field, model_validator

import faults
import workloads
from chaos import strategies
from chaos.blast_radius import BlastRadius
from chaos.cluster import FaultsViews, KillsNodes
from chaos.cluster_spec import ClusterSpec, NodeType, TwinSpec
from chaos.commands import cluster_class
from chaos.drawn import Drawn
from chaos.errors import InvalidSpec
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.kuberay import RunsOnKubeRay
from chaos.schedule import Injection, Schedule
from chaos.spec import Catalogue, RunSpec, from_data, missing_on, refuse_impossible
from chaos.strategies.dice import SeededDice
from chaos.strategies.schedule import Plan, draw_schedule
from chaos.survival import expected
from faults import KillNode, PauseNode, ThrottleNetwork
from faults.delay_launch import DelayLaunch
from faults.kill_gcs import KillGcs
from faults.restart_head import RestartHead
from workloads import BatchInference

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
DRAWN = 400
# What a default cluster lacks: a disk of limited size, clocks of the nodes' own, a head that may be restarted.
ABLE = ClusterSpec(
    kind="compose",
    gcs_storage="rocksdb",
    driver_on="drivers",
    node_types={
        "gpu": NodeType(resources={"CPU": 2.0, "GPU": 1.0}, disk_limit_mb=64, own_clock=True),
        "drivers": NodeType(resources={"CPU": 1.0}, min_workers=1, max_workers=1),
    },
)
ON_TWIN = ABLE.model_copy(update={"kind": "sim"})
ON_KUBERAY = ClusterSpec(kind="sim", twin=TwinSpec(provider="kuberay"))
# What no cluster but the twin can do, or the twin on one provider.
OF_TWIN = {name for name, fault in faults.ALL.items() if FaultsViews in fault.needs}
OF_KUBERAY = {name for name, fault in faults.ALL.items() if RunsOnKubeRay in fault.needs}
QUICK = settings(
    max_examples=2000,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def drawn(plan: Plan, count: int = DRAWN) -> Iterator[Schedule]:
    dice = SeededDice(random.Random(0))
    return (draw_schedule(dice, plan) for _ in range(count))


def smallest(condition: Callable[[Schedule], bool], **arguments: Any) -> list[dict[str, Any]]:
    """The smallest schedule that fulfils a condition, as data."""
    found = find(
        strategies.schedules(**{"faults": faults.ALL} | arguments), condition, settings=QUICK, random=random.Random(0)
    )
    return [dict(injection.to_data()) for injection in found.injections]


@pytest.mark.parametrize("kind", ["local", "compose", "sim"])
def test_every_schedule_can_be_meant_and_survived_on_its_cluster(kind: Any) -> None:
    cluster = ClusterSpec(kind=kind)
    for schedule in drawn(strategies.plan(cluster=cluster, faults=faults.ALL)):
        spec = RunSpec(cluster=cluster, workload=BatchInference(), schedule=schedule)
        refuse_impossible(spec, name="drawn")
        assert not missing_on(spec, cluster_class(kind))
        assert expected(spec).survives
        assert len(schedule.injections) <= strategies.MAX_INJECTIONS
        assert all(injection.may_miss for injection in schedule.injections)


@given(schedule=strategies.schedules(faults=faults.ALL, cluster=ABLE))
def test_a_schedule_is_the_same_after_yaml(schedule: Schedule) -> None:
    spec = RunSpec(cluster=ABLE, workload=BatchInference(), schedule=schedule)
    assert from_data(spec.to_data(), KNOWN).schedule == schedule
    assert Schedule.from_data(schedule.to_data(), faults.ALL).hash == schedule.hash


def test_hardly_a_draw_is_rejected() -> None:
    @settings(QUICK, max_examples=500, phases=[Phase.generate])
    @given(strategies.schedules(faults=faults.ALL))
    def take(schedule: Schedule) -> None:
        assert isinstance(schedule, Schedule)

    told: list[dict[str, Any]] = []
    with collector.with_value(told.append):  # type: ignore[arg-type]  # its own hints say None
        take()
    statuses = Counter(case["status"] for case in told[0]["generate-phase"]["test-cases"])
    assert statuses["valid"] == 500
    # `overrun` is Hypothesis's own trying, with fewer choices than a schedule takes.
    assert statuses["invalid"] < 0.01 * statuses["valid"], statuses


@pytest.mark.parametrize("name", sorted(faults.ALL))
def test_every_fault_is_drawn_with_more_than_one_value_of_each_field(name: str) -> None:
    kind = faults.ALL[name]
    cluster = ON_KUBERAY if name in OF_KUBERAY else ON_TWIN if name in OF_TWIN else ABLE
    plan = strategies.plan(cluster=cluster, faults=[kind], survivable=False, min_injections=1)
    found = [injection.fault for schedule in drawn(plan, 150) for injection in schedule.injections]
    assert {type(fault) for fault in found} == {kind}
    varied = set(kind.model_fields) - {"methods", "runs", "ports"}  # of these nothing is known but the default
    for field in varied:
        assert len({repr(getattr(fault, field)) for fault in found}) > 1, field


@pytest.mark.parametrize("survivable", [True, False])
def test_an_autoscaler_that_is_gone_for_good_is_drawn_only_where_the_job_need_not_survive(survivable: bool) -> None:
    plan = strategies.plan(cluster=ABLE, faults=[faults.KillAutoscaler], survivable=survivable, min_injections=1)
    found = {injection.fault.strands for schedule in drawn(plan, 150) for injection in schedule.injections}
    assert found == ({""} if survivable else {"", "what waits for nodes waits for ever without an autoscaler"})


def test_all_kinds_of_trigger_and_overlaps_come() -> None:
    seen: Counter[str] = Counter()
    for schedule in drawn(strategies.plan(faults=faults.ALL, cluster=ClusterSpec(kind="sim"))):
        spans = [(i.at_s, i.at_s + i.duration_s) for i in schedule.injections if i.at_s is not None and i.duration_s]
        seen["overlap"] += any(
            begin <= spans[other][0] < end
            for place, (begin, end) in enumerate(spans)
            for other in range(len(spans))
            if other != place
        )
        for injection in schedule.injections:
            seen["timed"] += injection.at_s is not None
            seen["event"] += injection.on is not None and injection.on.injection is None
            seen["progress"] += injection.on is not None and injection.on.progress_percent is not None
            seen["injection"] += injection.on is not None and injection.on.injection is not None
    assert min(seen.values()) > DRAWN / 20, seen
    assert len(seen) == 5


def test_durations_are_as_likely_in_each_order_of_magnitude() -> None:
    plan = strategies.plan(faults=[PauseNode], horizon_s=500.0, min_injections=1, anchored=False)
    durations = [i.duration_s for schedule in drawn(plan, 4000) for i in schedule.injections if i.at_s == 0.0]
    tens = Counter(0 if d < 5 else 1 if d < 50 else 2 for d in durations if d is not None)
    assert min(tens.values()) > 0.2 * sum(tens.values()), tens


def test_what_ends_within_the_horizon_when_it_is_timed() -> None:
    for schedule in drawn(strategies.plan(faults=faults.ALL, horizon_s=20.0)):
        for injection in schedule.injections:
            if injection.at_s is not None:
                assert injection.at_s + (injection.duration_s or 0.0) <= 20.0 + 0.5


def test_blast_radius_is_kept() -> None:
    radius = BlastRadius(max_nodes_down=1, max_share=0.5, head=False, driver=False)
    plan = strategies.plan(cluster=ABLE, faults=faults.ALL, blast_radius=radius, survivable=False)
    for schedule in drawn(plan):
        for injection in schedule.injections:
            assert not radius.impossible(injection, worker_limit=ABLE.worker_limit)
            assert not injection.mainstays


def test_what_ends_the_job_comes_only_where_it_may() -> None:
    tame = strategies.plan(cluster=ABLE, faults=faults.ALL)
    assert "kill_gcs" in tame.unable
    wild = [
        i
        for s in drawn(strategies.plan(cluster=ABLE, faults=[KillGcs, KillNode], survivable=False))
        for i in s.injections
    ]
    assert {type(i.fault) for i in wild} == {KillGcs, KillNode}
    assert any(i.target and i.target.select == "head" for i in wild)


def test_a_swarm_is_a_few_kinds_of_fault() -> None:
    plan = strategies.plan(cluster=ABLE, faults=faults.ALL)
    counts = Counter(len({type(i.fault) for i in s.injections}) for s in drawn(plan) if len(s.injections) > 4)
    assert max(counts) <= 4
    assert counts[1] > 0


# -- shrinking ------------------------------------------------------------------------------------------------


def test_it_shrinks_to_nothing_then_to_one() -> None:
    assert smallest(lambda _: True) == []
    assert smallest(lambda schedule: bool(schedule.injections)) == [
        {"fault": "kill_node", "target": "random", "at_s": 0.0, "id": "i1", "may_miss": True}
    ]


def test_it_shrinks_to_fewer_shorter_and_simpler() -> None:
    long = smallest(lambda schedule: any((i.duration_s or 0.0) >= 4.0 for i in schedule.injections))
    assert len(long) == 1
    assert not faults.ALL[long[0]["fault"]].model_fields
    assert long[0].get("target", "random") == "random"
    assert long[0]["at_s"] == 0.0
    assert long[0]["duration_s"] == pytest.approx(4.0, rel=0.2)


def test_it_shrinks_to_milder() -> None:
    slow = smallest(
        lambda schedule: any(
            isinstance(i.fault, ThrottleNetwork) and i.fault.rate_mbit < 50 for i in schedule.injections
        ),
        faults=[KillNode, ThrottleNetwork],
    )
    assert [one["fault"] for one in slow] == ["throttle_network"]
    assert 30 < slow[0]["rate_mbit"] < 50


def test_a_pair_shrinks_to_just_that_pair() -> None:
    pair = smallest(
        lambda schedule: {PauseNode, DelayLaunch} <= {type(i.fault) for i in schedule.injections},
        faults=[KillNode, PauseNode, DelayLaunch],
    )
    assert sorted(one["fault"] for one in pair) == ["delay_launch", "pause_node"]
    assert {one["duration_s"] for one in pair} == {0.5}
    assert {one["at_s"] for one in pair} == {0.0}


# -- refusals -------------------------------------------------------------------------------------------------


def test_what_a_cluster_cannot_do_is_refused_by_name_or_left_out() -> None:
    local = ClusterSpec(kind="local")
    with pytest.raises(InvalidSpec, match=r"throttle_network: it needs ShapesNetworks.*allow_missing"):
        strategies.schedules(cluster=local, faults=[KillNode, ThrottleNetwork])
    plan = strategies.plan(cluster=local, faults=[KillNode, ThrottleNetwork], allow_missing=True)
    assert [kind.kind for kind in plan.kinds] == [KillNode]
    with pytest.raises(InvalidSpec, match="no fault is left"):
        strategies.schedules(cluster=local, faults=[ThrottleNetwork], allow_missing=True)


def test_without_a_cluster_nothing_is_refused_for_its_kind() -> None:
    plan = strategies.plan(faults=[KillNode, DelayLaunch, ThrottleNetwork], horizon_s=20)
    assert len(plan.kinds) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"faults": []}, "faults is empty"),
        ({"faults": ["kill_node"]}, "no class of a fault"),
        ({"faults": [KillNode], "min_injections": 3, "max_injections": 2}, "0 ≤ min ≤ max"),
        ({"faults": [KillNode], "horizon_s": 0.0}, "horizon_s is 0"),
        (
            {"faults": [RestartHead], "cluster": ClusterSpec(kind="local")},
            "restart_head: it ends what lives on the head",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        strategies.schedules(**arguments)


def test_faults_may_be_left_to_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "_offered", [])
    strategies.offer({"kill_node": KillNode})
    assert [kind.kind for kind in strategies.plan().kinds] == [KillNode]


def test_faults_may_be_left_to_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def load(self) -> object:
            return faults.ALL

    monkeypatch.setattr(strategies, "_offered", [])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [Entry()] * (group == "raychaos.faults"))
    kinds = {kind.kind.name for kind in strategies.plan(cluster=ABLE, survivable=False).kinds}
    assert kinds == faults.ALL.keys() - OF_KUBERAY - OF_TWIN
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    with pytest.raises(InvalidSpec, match="which faults"):
        strategies.plan()


# -- faults of others -----------------------------------------------------------------------------------------


class _New(Fault):
    """A fault as somebody else would write it."""

    name: ClassVar[str] = "new"
    summary: ClassVar[str] = "new"
    needs: ClassVar[tuple[type, ...]] = (KillsNodes,)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True

    share: float = Field(ge=0.25, le=0.75)
    count: Annotated[int, Drawn(most=3)] = Field(default=1, ge=1)
    delay_s: float | None = Field(default=None, gt=0.0)

    async def inject(self, site: Site) -> None:
        """Nothing."""

    async def probe(self, site: Site) -> Effect:
        """Nothing."""
        return Effect(outcome="unknown", detail="")


class _Torn(_New):
    """One whose fields contradict each other, and which does not say so."""

    name: ClassVar[str] = "torn"

    @model_validator(mode="after")
    def _never(self) -> _Torn:
        raise ValueError("count and share contradict each other")


class _Strange(_New):
    """One with a field of which nothing is known."""

    name: ClassVar[str] = "strange"

    words: str


def test_a_new_fault_is_drawn_from_its_own_fields() -> None:
    plan = strategies.plan(faults=[_New], horizon_s=20.0, min_injections=1)
    found = [i.fault for s in drawn(plan) for i in s.injections if isinstance(i.fault, _New)]
    assert {fault.count for fault in found} == {1, 2, 3}
    assert min(fault.share for fault in found) == 0.25
    assert max(fault.share for fault in found) == 0.75
    assert {None} < {fault.delay_s for fault in found}


@pytest.mark.parametrize(
    ("kind", "message"), [(_Torn, "_Torn.agreed"), (_Strange, r"_Strange.words: nothing is known")]
)
def test_a_fault_that_cannot_be_drawn_is_named_at_once(kind: type[Fault], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        strategies.schedules(faults=[kind])


@given(injection=strategies.injections(faults=faults.ALL, cluster=ABLE))
def test_a_single_injection_waits_for_no_other(injection: Injection) -> None:
    assert injection.on is None or not injection.on.waits_for
    assert Schedule(injections=(injection,)).injections[0].id == "i1"
