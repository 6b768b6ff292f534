"""Schedules: the codec, the identity, and what a wrong one says, with toy faults the engine does not know."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from chaos import yaml_text
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.schedule import Anchor, Frame, Injection, Misplaced, Schedule, Trigger
from chaos.target import Target


class _Toy(Fault):
    summary: ClassVar[str] = "does nothing"
    needs: ClassVar[tuple[type, ...]] = ()

    async def inject(self, site: Site) -> None:
        """Nothing."""

    async def probe(self, site: Site) -> Effect:
        """Nothing to see."""
        outcome: Outcome = "unknown"
        return Effect(outcome=outcome, detail="")


class Blow(_Toy):
    """Happens at once, to nodes."""

    name: ClassVar[str] = "blow"
    acts_on: ClassVar[Literal["nodes", "launches"]] = "nodes"
    lasts: ClassVar[bool] = False
    force: float = Field(default=1.0, gt=0.0)


class Slow(_Toy):
    """Lasts, on launches."""

    name: ClassVar[str] = "slow"
    acts_on: ClassVar[Literal["nodes", "launches"]] = "launches"
    lasts: ClassVar[bool] = True
    delay_s: float = Field(ge=0.0)
    node_type: str | None = None


class Hang(_Toy):
    """Lasts, on the one head."""

    name: ClassVar[str] = "hang"
    acts_on: ClassVar[ActsOn] = "head"
    lasts: ClassVar[bool] = True


CATALOGUE: Mapping[str, type[Fault]] = {"blow": Blow, "slow": Slow}
BLOW: dict[object, object] = {"fault": "blow", "at_s": 1.0, "target": "w1"}
SLOW: dict[object, object] = {"fault": "slow", "at_s": 1.0, "duration_s": 2.0, "delay_s": 3.0}

MOMENTS = st.floats(0.0, 1000.0)
ANCHORS = st.builds(
    Anchor,
    event=st.sampled_from(("node.launching", "node.joined", "workload.progressed")),
    nth=st.integers(1, 9),
    node_type=st.none() | st.just("gpu"),
) | st.builds(Anchor, progress_percent=st.floats(0.1, 100.0))
TRIGGERS = st.builds(Trigger, at_s=MOMENTS) | st.builds(Trigger, on=ANCHORS, after_s=MOMENTS)
TARGETS = st.builds(
    Target,
    select=st.sampled_from(("oldest", "newest", "random")),
    count=st.none() | st.integers(1, 4),
    node_type=st.none() | st.just("gpu"),
) | st.sampled_from(("w3", "head", "all")).map(lambda word: Target(select=word))


@st.composite
def injections(draw: st.DrawFn) -> Injection:
    trigger = draw(TRIGGERS)
    when = {"at_s": trigger.at_s, "on": trigger.on, "after_s": trigger.after_s, "may_miss": draw(st.booleans())}
    if draw(st.booleans()):
        return Injection(fault=Blow(force=draw(st.floats(0.1, 9.0))), target=draw(TARGETS), **when)
    fault = Slow(delay_s=draw(MOMENTS), node_type=draw(st.none() | st.just("gpu")))
    return Injection(fault=fault, duration_s=draw(st.floats(0.1, 60.0)), **when)


SCHEDULES = st.lists(injections(), max_size=5).map(lambda made: Schedule(injections=tuple(made)))


@given(schedule=SCHEDULES)
def test_a_schedule_survives_data_and_yaml(schedule: Schedule) -> None:
    assert Schedule.from_data(schedule.to_data(), CATALOGUE) == schedule
    text = schedule.to_yaml()
    again = Schedule.from_data(yaml_text.load(text), CATALOGUE)
    assert again == schedule
    assert again.to_yaml() == text
    assert again.hash == schedule.hash


@given(schedule=SCHEDULES, data=st.data())
def test_the_hash_is_of_the_content(schedule: Schedule, data: st.DataObject) -> None:
    assert len(schedule.hash) == 16
    items = schedule.to_data()
    assert all(isinstance(item, dict) for item in items)
    shuffled = [dict(data.draw(st.permutations(list(item.items())))) for item in items if isinstance(item, dict)]
    assert Schedule.from_data(shuffled, CATALOGUE).hash == schedule.hash
    if schedule.injections:
        fewer = Schedule(injections=schedule.injections[1:])
        assert fewer.hash != schedule.hash


def test_the_hash_does_not_change_between_versions_and_processes() -> None:
    schedule = Schedule.from_data([BLOW, SLOW], CATALOGUE)
    assert schedule.hash == "c12d3482f3e4c951"
    assert Schedule().hash == "4f53cda18c2baa0c"
    [one] = Schedule(injections=(Injection(fault=Blow(), target=Target(), on=Anchor(event="node.joined")),)).injections
    assert len({Schedule(injections=(one.model_copy(update={"or_at_s": s}),)).hash for s in (None, 1.0, 2.0)}) == 3
    script = "from chaos.schedule import Schedule; print(Schedule().hash)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == Schedule().hash


def test_defaults_written_out_change_nothing() -> None:
    written = {**BLOW, "force": 1.0, "after_s": 0.0, "may_miss": False, "id": "i1"}
    assert Schedule.from_data([written], CATALOGUE).hash == Schedule.from_data([BLOW], CATALOGUE).hash


def test_injections_without_an_id_are_named_by_their_place() -> None:
    schedule = Schedule.from_data({"injections": [BLOW, {**BLOW, "id": "mine"}, SLOW]}, CATALOGUE)
    assert [injection.id for injection in schedule.injections] == ["i1", "mine", "i3"]
    assert isinstance(schedule.injections[2].fault, Slow)
    assert schedule.injections[2].fault.delay_s == 3.0


def without(data: Mapping[object, object], *names: str) -> dict[object, object]:
    return {name: value for name, value in data.items() if name not in names}


def after(injection: str, event: str = "fault.healed", field: str = "injection") -> dict[object, object]:
    """An injection that waits for another."""
    return {**without(BLOW, "at_s"), "on": {"event": event, field: injection}}


@pytest.mark.parametrize(
    ("data", "place", "says"),
    [
        (7, (), "a schedule is a list of injections, not int"),
        ({"injectons": []}, ("injectons",), "did you mean 'injections'?"),
        ({"injections": None}, ("injections",), "not NoneType"),
        ([BLOW, 5], (1,), "must be a mapping with a `fault`, not int"),
        ([without(BLOW, "fault")], (0,), "needs a `fault`; allowed: blow, slow"),
        ({"injections": [{**BLOW, "fault": "blwo"}]}, ("injections", 0, "fault"), "did you mean 'blow'?"),
        ([{**BLOW, "fault": ["blow"]}], (0, "fault"), "allowed: blow, slow"),
        ([{**BLOW, "forec": 2.0}], (0, "forec"), "unknown field of blow 'forec'; did you mean 'force'?"),
        ([{True: 2.0} | BLOW], (0, "True"), "unknown field of blow 'True'"),
        ([{**BLOW, "force": -1.0}], (0, "force"), "greater than 0"),
        ([{**BLOW, "target": "w0"}], (0, "target"), "cannot exist"),
        ([{**BLOW, "target": {"select": "random", "cout": 1}}], (0, "target", "cout"), "did you mean 'count'?"),
        ([without(BLOW, "target")], (0,), "blow needs a target"),
        ([{**BLOW, "duration_s": 1.0}], (0,), "duration_s has no meaning"),
        ([without(SLOW, "duration_s")], (0,), "slow lasts: give duration_s"),
        ([without(SLOW, "delay_s")], (0, "delay_s"), "Field required"),
        ([{**SLOW, "target": "w1"}], (0,), "acts on launches"),
        ([without(BLOW, "at_s")], (0,), "give either `at_s` or `on`"),
        ([{**BLOW, "on": {"event": "node.joined"}}], (0,), "give either `at_s` or `on`"),
        ([{**BLOW, "after_s": 1.0}], (0,), "`after_s` goes with `on`"),
        ([{**BLOW, "or_at_s": 1.0}], (0,), "`or_at_s` goes with `on`"),
        ([{**without(BLOW, "at_s"), "on": {"event": "node.joind"}}], (0, "on", "event"), "did you mean 'node.joined'?"),
        (
            [{**without(BLOW, "at_s"), "on": {"event": "node.joined", "nht": 2}}],
            (0, "on", "nht"),
            "unknown field of on 'nht'; did you mean 'nth'?",
        ),
        ([{**without(BLOW, "at_s"), "on": {}}], (0, "on"), "give either `event` or `progress_percent`"),
        ([{**BLOW, "at_s": float("inf")}], (0, "at_s"), "finite"),
        ([{**BLOW, "id": "a b"}], (0, "id"), "pattern"),
        ([{**BLOW, "id": "x"}, {**BLOW, "id": "x"}], (), "two injections have the id 'x'"),
        ([BLOW, after("i3")], (), "i2 waits for unknown injection 'i3' (allowed: i1, i2)"),
        ([BLOW, after("i2")], (), "i2 waits for itself"),
        ([after("i2", "fault.probed"), after("i1", "fault.probed")], (), "i1 waits for itself, by way of i2"),
        ([BLOW, after("i1")], (), "i2 waits until i1 is healed, which does not last: use fault.probed"),
        ([BLOW, after("i1", "node.joined")], (1, "on"), "`injection` goes with the events of injections"),
        ([BLOW, after("i3", "node.joined", "since")], (), "i2 waits for unknown injection 'i3' (allowed: i1, i2)"),
        (
            [after("i3", "node.joined", "since"), after("i1", "fault.probed"), after("i2", "fault.probed")],
            (),
            "i1 waits for itself, by way of i3 and i2",
        ),
        (
            [BLOW, {**without(BLOW, "at_s"), "on": {"progress_percent": 5, "since": "i1"}}],
            (1, "on"),
            "`since` goes with `event`",
        ),
    ],
)
def test_what_cannot_be_meant_says_what_and_where(data: object, place: tuple[str | int, ...], says: str) -> None:
    with pytest.raises(Misplaced) as caught:
        Schedule.from_data(data, CATALOGUE)
    assert caught.value.place == place
    assert says in caught.value.message
    assert "Value error" not in caught.value.message


@given(
    data=st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda x: (
            st.lists(x) | st.dictionaries(st.sampled_from(("injections", "fault", "on", "target", "at_s", "x")), x)
        ),
    )
)
def test_any_data_is_a_schedule_or_misplaced(data: object) -> None:
    try:
        Schedule.from_data(data, CATALOGUE)
    except Misplaced as error:
        told = error.message
    else:
        told = "a schedule"
    assert told


def test_no_toy_has_a_field_the_frame_takes() -> None:
    for kind in CATALOGUE.values():
        assert not kind.model_fields.keys() & Frame.model_fields.keys()


def test_what_there_is_one_of_takes_no_target() -> None:
    hang = {"fault": "hang", "at_s": 1.0, "duration_s": 2.0}
    assert Schedule.from_data([hang], {"hang": Hang}).injections[0].target is None
    with pytest.raises(Misplaced, match="hang acts on the head, of which there is one: leave out target"):
        Schedule.from_data([{**hang, "target": "head"}], {"hang": Hang})
