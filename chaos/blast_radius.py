"""Blast radius: how much of the cluster a schedule's faults may have down at any moment."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field

from chaos.events import FaultHealed, FaultInjected, FaultProbed, NodeDied, NodeJoined, NodeTerminated
from chaos.history import History, Record
from chaos.schedule import Injection
from chaos.value import Value

# What a fault without a target names as its victim, which is no worker.
NO_WORKERS = frozenset(("head", "driver"))
_ROUNDING = 1e-9  # a share such as 0.29 of 100 workers is 29 workers, though the product is a little less than 29


class BlastRadius(Value):
    """Limits on what injections may hit; one that would exceed a limit is refused as a whole, never made in part.

    `max_nodes_down` and `max_share` (rounded down) are about workers that are down at once, see `workers_down`. The
    share is of the workers that have joined, those down included. `head` and `driver` say whether these may be hit at
    all; the driver runs on the head, so who hits the head hits it too. Faults on launches hit no node, and are not
    limited.
    """

    max_nodes_down: int | None = Field(default=None, ge=0)
    max_share: float | None = Field(default=None, gt=0.0, le=1.0)
    head: bool = True
    driver: bool = True

    def impossible(self, injection: Injection, *, worker_limit: int) -> str:
        """Why an injection exceeds a limit whatever the cluster looks like then; empty where it may be made."""
        forbidden = self._forbidden(injection)
        if forbidden or injection.target is None or injection.target.select == "head":
            return forbidden
        target = injection.target
        asked = target.count or 1
        if self.max_nodes_down is not None and asked > self.max_nodes_down:
            return (
                f"{_workers(asked)} would be hit, blast_radius.max_nodes_down is {self.max_nodes_down}; "
                "hit fewer, or allow more"
            )
        if self.max_share is not None:
            if target.share is not None and target.node_type is None and target.share > self.max_share:
                return (
                    f"a share of {target.share:g} would be hit, blast_radius.max_share is {self.max_share:g}; "
                    "hit fewer, or allow more"
                )
            if asked > (most := self._of(worker_limit)):
                return (
                    f"{_workers(asked)} would be hit, blast_radius.max_share {self.max_share:g} of at most "
                    f"{worker_limit} is {most}; hit fewer, or allow more"
                )
        return ""

    def refusal(
        self, injection: Injection, victims: Iterable[str], *, down: Iterable[str], joined: Iterable[str]
    ) -> str:
        """Why these victims may not be hit now; empty where they may.

        `down` are the workers down already, `joined` those that have joined and not died. A victim that is down already
        adds nothing.
        """
        if forbidden := self._forbidden(injection):
            return forbidden
        already = set(down)
        asked = set(victims) - NO_WORKERS - already
        if not asked:
            return ""
        told = f"{_workers(len(asked))} asked for, {len(already)} already down"
        if already:
            told = f"{told} ({', '.join(sorted(already))})"
        after = len(asked | already)
        if self.max_nodes_down is not None and after > self.max_nodes_down:
            return f"blast_radius.max_nodes_down is {self.max_nodes_down}: {told}"
        known = len({*joined, *already} - NO_WORKERS)
        if self.max_share is not None and after > (most := self._of(known)):
            return f"blast_radius.max_share is {self.max_share:g}, of {known} joined that is {most}: {told}"
        return ""

    def _forbidden(self, injection: Injection) -> str:
        for name in ("head", "driver"):
            if name in injection.mainstays and not getattr(self, name):
                where = ", which runs on the head," if name == "driver" and "head" in injection.mainstays else ""
                return f"the {name}{where} would be hit, blast_radius.{name} is false; choose workers, or allow it"
        return ""

    def _of(self, workers: int) -> int:
        assert self.max_share is not None
        return math.floor(self.max_share * workers + _ROUNDING)


def workers_down(history: History) -> frozenset[str]:
    """The workers that faults have down now.

    A victim is down while the fault on it is in force: until it is healed, or, for one that does not last, until its
    effect was probed. One that was seen to die by then stays down until it joins again, or a worker that joins later
    replaces it, the one lost first before the others.
    """
    force: dict[str, FaultInjected] = {}
    over: dict[str, int] = {}
    for record in history.among(FaultInjected, FaultHealed, FaultProbed):
        event = record.event
        if isinstance(event, FaultInjected):
            force[event.injection] = event
        elif isinstance(event, FaultHealed) or (
            isinstance(event, FaultProbed) and event.injection in force and force[event.injection].heal_due_s is None
        ):
            over[event.injection] = record.seq
    in_force = {node for name, event in force.items() if name not in over for node in event.victims}
    lost: list[str] = []
    dead: set[str] = set()
    ray_node_ids: dict[str, str] = {}
    changes = history.among(NodeJoined, NodeDied, NodeTerminated)
    for record in sorted(changes, key=lambda record: record.t_s):
        event = record.event
        if isinstance(event, NodeJoined) and event.node != "head":
            if event.node in lost:
                lost.remove(event.node)
            elif lost and (event.node in dead or event.node not in ray_node_ids):
                lost.pop(0)
            dead.discard(event.node)
            ray_node_ids[event.node] = event.ray_node_id
        elif isinstance(event, (NodeDied, NodeTerminated)) and event.node not in dead:
            if isinstance(event, NodeDied) and ray_node_ids.get(event.node, event.ray_node_id) != event.ray_node_id:
                continue  # it is back already, under another identity
            dead.add(event.node)
            if any(_fell(event.node, record, one, over.get(name)) for name, one in force.items()):
                lost.append(event.node)
    return frozenset(in_force.union(lost) - NO_WORKERS)


def workers_joined(history: History) -> frozenset[str]:
    """The workers that have joined and that the GCS has not seen die since; one that comes back has a new id."""
    alive: dict[str, str] = {}
    for record in sorted(history, key=lambda record: record.t_s):
        if isinstance(record.event, NodeJoined):
            alive[record.event.ray_node_id] = record.event.node
        elif isinstance(record.event, NodeDied):
            alive.pop(record.event.ray_node_id, None)
    return frozenset(alive.values()) - NO_WORKERS


def _fell(node: str, death: Record, event: FaultInjected, over_seq: int | None) -> bool:
    """Whether a node died of a fault: from when that was due until it was over."""
    in_time = death.t_s >= event.due_s and (over_seq is None or death.seq < over_seq)
    return node in event.victims and in_time


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"
