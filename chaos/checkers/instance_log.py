"""What Ray's autoscaler v2 did with each instance it knew, read from the lines of its log that tell it.

Ray's instance manager keeps one row for each instance it asked for or found, and logs every change of a row's state
(`Update instance A->B (id=...)`, `New instance A (id=...)`) just before it makes it. A change that is refused
(`Invalid status transition`) takes the rest of its batch with it: those lines were logged and never came true. They are
dropped here, as far as the lines tell: each later line names the state that a row was really in.

An autoscaler that starts again knows nothing: the rows it had are over. It is known by the start of its head, or by its
first rows, of nodes that have one already; of one that was there before the history, the head's row was not heard. On a
head that came back it may see two heads: that of before, and the one that joins in its place.
"""

from __future__ import annotations

import itertools
import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from chaos.checker import Verdict
from chaos.checkers.facts import Facts, in_time
from chaos.checkers.property import Property
from chaos.events import (
    AutoscalerLogged,
    FaultInjected,
    GcsAnsweredWrong,
    NodeJoined,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
)
from chaos.history import History, Record

OVER = ("TERMINATED", "ALLOCATION_FAILED")
_NEVER_S = float("inf")
_HEAD_TYPES = ("head", "headgroup")  # the latter on KubeRay
SAME_MOMENT_S = 0.5
_LINE = re.compile(
    r"(?:Update instance (?P<before>\w+)->(?P<after>\w+)|New instance (?P<new>\w+))"
    r" \(id=(?P<id>[^,]*), type=(?P<type>[^,]*), cloud_instance_id=(?P<cloud>[^,]*), ray_id=(?P<ray>[^)]*)\):"
    r" (?P<why>.*)"
)
_ALLOCATED = re.compile(r"allocated un\w+ cloud instance :?(\S+)")
_RAY_NODE = re.compile(r"ray node:? ([0-9a-f]{8,})")
_REFUSED = "Invalid status transition"
_OF_SCALING = ("draining ray", "terminating ray", "allocation canceled", "queuing new instance")


@dataclass(frozen=True)
class Step:
    """One change of a row's state; `before` is empty where the row was new."""

    record: Record
    row: str
    node_type: str
    before: str
    after: str
    cloud_instance: str
    ray_node_id: str
    why: str

    @property
    def t_s(self) -> float:
        """When it was logged."""
        return self.record.t_s


@dataclass(frozen=True)
class Row:
    """One instance as the autoscaler knew it; `to_s` is when its autoscaler ended, if it did before the row was over.

    `autoscaler` counts those that ran: only the rows of one were kept beside each other.
    """

    name: str
    autoscaler: int
    node_type: str
    cloud_instance: str
    ray_node_id: str
    steps: tuple[Step, ...]
    to_s: float = _NEVER_S

    @property
    def status(self) -> str:
        """The state it was left in."""
        return self.steps[-1].after

    @property
    def over_s(self) -> float:
        """When it was no row of an instance any more."""
        return self.steps[-1].t_s if self.status in OVER else self.to_s

    @property
    def stays(self) -> Iterator[tuple[Step, float]]:
        """Each state with how it came to be and when it was left; infinity, where that was not seen."""
        for place, step in enumerate(self.steps):
            later = self.steps[place + 1].t_s if place + 1 < len(self.steps) else self.to_s
            yield step, later


@dataclass
class _Reading:
    """The rows of the autoscaler that runs now, while its log is read."""

    rows: dict[str, list[Step]] = field(default_factory=dict)
    living: dict[str, list[Step]] = field(default_factory=dict)
    taken: list[Step] = field(default_factory=list)
    done: list[Row] = field(default_factory=list)
    autoscaler: int = 1
    began_s: float = _NEVER_S
    head_started_s: tuple[float, ...] = ()

    def take(self, step: Step) -> None:
        self.began_s = min(self.began_s, step.t_s)
        steps = self.rows.setdefault(step.row, [])
        while len(steps) > 1 and steps[-1].after != step.before:
            steps.pop()  # logged, and never made
        steps.append(step)
        self.taken.append(step)
        self._place(step.row)

    def is_new(self, step: Step) -> bool:
        """Whether a step is the first of another autoscaler: after a start of the head, or a row for what has one."""
        if step.before or not self.rows:
            return False
        known = step.ray_node_id or step.cloud_instance
        if known and any(_is_for(steps, step) for steps in self.living.values()):
            return True
        if any(self.began_s < at_s <= step.t_s for at_s in self.head_started_s):
            return True
        return self.autoscaler == 1 and _of_head(step) and not any(_of_head(steps[0]) for steps in self.rows.values())

    def refuse(self, at_s: float) -> None:
        """The last batch did not come true, nor what was logged last of this moment."""
        moment = list(itertools.takewhile(lambda step: at_s - step.t_s <= SAME_MOMENT_S, reversed(self.taken)))
        touched = {step.row: self.rows[step.row] for step in reversed(moment) if step.row in self.rows}
        latest = max((steps[-1].record for steps in touched.values()), key=lambda r: r.seq, default=None)
        for name, steps in touched.items():
            last = steps[-1]
            of_batch = last.why.startswith(_OF_SCALING) and at_s - last.t_s <= SAME_MOMENT_S
            if of_batch or (last.record is latest and at_s - last.t_s <= SAME_MOMENT_S):
                steps.pop()
                self._place(name)

    def _place(self, name: str) -> None:
        """Puts a row where it belongs by what was logged of it last."""
        steps = self.rows[name]
        if not steps:
            del self.rows[name]
        if steps and steps[-1].after not in OVER:
            self.living[name] = steps
        else:
            self.living.pop(name, None)

    def end(self, at_s: float = _NEVER_S) -> None:
        """The autoscaler is gone, and its rows with it."""
        self.done += [_row(name, self.autoscaler, steps, at_s) for name, steps in self.rows.items()]
        self.rows, self.living, self.taken = {}, {}, []
        self.autoscaler += 1
        self.began_s = _NEVER_S


def rows(facts: Facts) -> tuple[Row, ...]:
    """Every row of every autoscaler that ran, in the order in which the log first named them."""
    return facts.history.derived(_rows)


def _rows(history: History) -> tuple[Row, ...]:
    reading = _Reading(
        head_started_s=tuple(record.t_s for record, event in history.of(NodeStarted) if event.node == "head")
    )
    for record, event in in_time(history.of(AutoscalerLogged)):
        if _REFUSED in event.text:
            reading.refuse(record.t_s)
        elif (step := _step(record, event)) is not None:
            if reading.is_new(step):
                reading.end(step.t_s)
            reading.take(step)
    reading.end()
    return tuple(sorted(reading.done, key=lambda row: row.steps[0].record.seq))


def _is_for(steps: list[Step], new: Step) -> bool:
    """Whether a row is for the Ray node or the cloud's instance of a new one."""
    return any(
        (new.ray_node_id and step.ray_node_id == new.ray_node_id)
        or (new.cloud_instance and step.cloud_instance == new.cloud_instance)
        for step in steps
    )


def _of_head(step: Step) -> bool:
    return step.node_type in _HEAD_TYPES or "(HEAD)" in step.why


def heard_to_s(facts: Facts) -> float:
    """Until when the log was heard: where the head was hit, and no line about an instance came later, until then."""
    last_s = max((r.t_s for r, e in facts.history.of(AutoscalerLogged) if e.about == "instance"), default=0.0)
    hit_s = [r.t_s for r, e in facts.history.of(FaultInjected) if "head" in e.victims]
    hit_s += [r.t_s for r, e in facts.history.of(NodeTerminated) if e.node == "head"]
    return min((t_s for t_s in hit_s if t_s >= last_s), default=_NEVER_S)


def _step(record: Record, event: AutoscalerLogged) -> Step | None:
    found = _LINE.search(event.text)
    if found is None:
        return None
    why = found["why"]
    allocated, ray_node = _ALLOCATED.search(why), _RAY_NODE.search(why)
    return Step(
        record=record,
        row=found["id"],
        node_type=found["type"],
        before=found["before"] or "",
        after=found["after"] or found["new"],
        cloud_instance=found["cloud"] or (allocated[1] if allocated else ""),
        ray_node_id=found["ray"] or (ray_node[1] if ray_node else ""),
        why=why,
    )


def _row(name: str, autoscaler: int, steps: list[Step], to_s: float) -> Row:
    cloud = next((step.cloud_instance for step in steps if step.cloud_instance), "")
    ray_node = next((step.ray_node_id for step in reversed(steps) if step.ray_node_id), "")
    kind = next((step.node_type for step in steps if step.node_type), "")
    row = Row(name, autoscaler, kind, cloud, ray_node, tuple(steps))
    return row if row.status in OVER else replace(row, to_s=to_s)


def nodes_by_instance(facts: Facts) -> dict[str, str]:
    """The node's name of each instance that started in this run, by what the Cloud calls the instance."""
    return {event.instance: event.node for _, event in facts.history.of(NodeStarted)}


def nodes_by_ray_id(facts: Facts) -> dict[str, str]:
    """The node's name of each Ray node that joined in this run."""
    return {event.ray_node_id: event.node for _, event in facts.history.of(NodeJoined)}


def on_purpose(facts: Facts, node: str, at_s: float, *, after_s: float) -> bool:
    """Whether a fault was on this node at a moment, or had been within `after_s` before."""
    return bool(hits_s(facts, node, at_s, after_s=after_s))


def hits_s(facts: Facts, node: str, at_s: float, *, after_s: float) -> list[float]:
    """When the faults began that were on this node at a moment, or had been within `after_s` before."""
    found = []
    for _, event in facts.history.of(FaultInjected):
        to_s = event.applied_s if event.heal_due_s is None else event.heal_due_s
        if node in event.victims and event.due_s <= at_s <= max(to_s, event.applied_s) + after_s:
            found.append(event.due_s)
    return found


def misled(facts: Facts, at_s: float, *, after_s: float) -> bool:
    """Whether a fault had the GCS show the autoscaler what was not so at a moment, or within `after_s` before.

    A drain that was refused shows nothing.
    """
    wrong = {event.effect for _, event in facts.history.of(GcsAnsweredWrong) if event.how != "refused"}
    for _, event in facts.history.of(FaultInjected):
        effects = {event.effect_id, *(f"{event.effect_id}.{victim}" for victim in event.victims)}
        to_s = event.applied_s if event.heal_due_s is None else event.heal_due_s
        if wrong & effects and event.due_s <= at_s <= max(to_s, event.applied_s) + after_s:
            return True
    return False


class InstanceProperty(Property):
    """A property of what the autoscaler did with its instances.

    Only v2 tells that. A log without a line about any instance, though some were launched, was not read: then nothing
    is known. Without a launch there was nothing to log.
    """

    needs_new = False

    def judge(self, facts: Facts) -> Verdict:
        """Judges the rows, where there are any."""
        if facts.cluster.autoscaler == "v1":
            return self.verdict("pass", "not applicable: the autoscaler v1 does not log what becomes of instances")
        seen = facts.samples()
        if not seen:
            return self.verdict("inconclusive", "the cluster was not sampled")
        found = rows(facts)
        launched = [record for record, _ in in_time(facts.history.of(NodeLaunching)) if record.t_s < seen[-1][0].t_s]
        if not found:
            if launched:
                return self.verdict("inconclusive", "nodes were launched, and the autoscaler's log was not read")
            return self.verdict("pass", "no instance came or went", [seen[0][0], seen[-1][0]])
        if self.needs_new and not any(not row.steps[0].before for row in found):
            return self.verdict("pass", "not applicable: recorded without the lines that tell of new instances")
        return self.judge_rows(facts, found)

    @abstractmethod
    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """The verdict on the rows of a history; there is at least one."""
