"""What launch faults make of a request: how many instances it gets, what befalls them, and what it is answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from chaos.cloud.answers import draw
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import ActiveEffect, Fate, Instance
from chaos.cloud.ledger import Ledger
from chaos.harm import CapacityLimit, DuplicatedLaunch, LateRay, LaunchFault, LaunchHarm, LostReply, PartialLaunch
from chaos.value import Value

H = TypeVar("H", bound=Value)

# What a driver adds to the command's end is Ray's; a shell that does not ask for it does not see it.
_NO_RAY = ("sh", "-c", "exec sleep infinity", "no-ray")
_LATE_RAY = ("sh", "-c", 'sleep "$0"; exec "$@"')


@dataclass(frozen=True)
class Decision:
    """What is done with a request: an instance for each fate, so many refused for each reason, and a lost reply.

    `lost` holds, by effect, what the caller is told in place of the answer.
    """

    fates: tuple[Fate, ...]
    refused: tuple[tuple[int, str], ...]
    lost: tuple[tuple[str, str], ...]


class LaunchFaults:
    """Decides requests by the launch faults in force, and counts what each has hit."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def decide(self, node_type: str, count: int) -> Decision:
        """What becomes of a request for `count` instances; faults that hit a number of them have used up that many."""
        refused = self._refused(node_type, count)
        accepted = count - sum(hit for hit, _ in refused)
        fates = self._with_duplicates(node_type, self.fates(node_type, accepted))
        lost = self.lost(node_type) if fates else ()
        return Decision(tuple(fates), tuple(refused), lost)

    def _refused(self, node_type: str, count: int) -> list[tuple[int, str]]:
        refused: list[tuple[int, str]] = []

        def left() -> int:
            return count - sum(hit for hit, _ in refused)

        for effect, fault in self.of(LaunchFault, node_type):
            if fault.error is not None and (hit := self.hit(effect, fault.count, left())):
                refused.append((hit, fault.error))
        for _, partial in self.of(PartialLaunch, node_type):
            most = min(math.ceil(partial.share * count), partial.at_most or count)
            if left() > most:
                refused.append((left() - most, partial.error))
        for _, capacity in self.of(CapacityLimit, node_type):
            there = Counter(item.node_type for item in self.ledger.instances())[node_type]
            if there + left() > capacity.at_most:
                refused.append((min(left(), there + left() - capacity.at_most), capacity.error))
        return [(hit, error) for hit, error in refused if hit]

    def fates(self, node_type: str, count: int) -> list[Fate]:
        """Each effect with hits left hits the first of them; the longest of several delays holds."""
        fates = [Fate()] * count
        for effect, fault in self.of(LaunchFault, node_type):
            for place in range(self.hit(effect, fault.count, count) if fault.error is None else 0):
                delay_s = max(fates[place].delay_s, _delay_s(fault, effect.hits + place))
                fates[place] = fates[place].model_copy(update={"delay_s": delay_s})
        for effect, late in self.of(LateRay, node_type):
            for place in range(self.hit(effect, late.count, count)):
                fate = fates[place]
                harmed = (
                    {"rayless": fate.rayless or effect.effect_id}
                    if late.delay_s is None
                    else {"ray_delay_s": max(fate.ray_delay_s, late.delay_s)}
                )
                fates[place] = fate.model_copy(update=harmed)
        return fates

    def _with_duplicates(self, node_type: str, fates: list[Fate]) -> list[Fate]:
        twins = [
            fates[place].model_copy(update={"asked": False})
            for effect, twice in self.of(DuplicatedLaunch, node_type)
            for place in range(self.hit(effect, twice.count, len(fates)))
        ]
        return fates + twins

    def lost(self, node_type: str) -> tuple[tuple[str, str], ...]:
        """The effects that lose the reply to a request, each with what the caller is told instead; one hit each."""
        return tuple(
            (effect.effect_id, reply.error)
            for effect, reply in self.of(LostReply, node_type)
            if self.hit(effect, reply.requests, 1)
        )

    def of(self, kind: type[H], node_type: str) -> Iterator[tuple[ActiveEffect, H]]:
        """The effects in force of a kind of launch harm, on this node type."""
        for effect in self.ledger.effects():
            harm = effect.harm
            if isinstance(harm, kind) and isinstance(harm, LaunchHarm) and harm.node_type in (None, node_type):
                yield effect, harm

    def hit(self, effect: ActiveEffect, limit: int | None, count: int) -> int:
        """How many of `count` the effect hits, as many as it has hits left for; they are used up."""
        hit = count if limit is None else max(0, min(count, limit - effect.hits))
        if hit:
            self.ledger.put_effect(effect.model_copy(update={"hits": effect.hits + hit}))
        return hit


def fated(launch: NodeLaunch, instance: Instance, *, rayless: bool) -> NodeLaunch:
    """How to start a node whose fate it is that Ray starts on it late, or never."""
    if rayless:
        return launch.model_copy(update={"argv": _NO_RAY})
    if instance.fate.ray_delay_s:
        return launch.model_copy(update={"argv": (*_LATE_RAY, f"{instance.fate.ray_delay_s:g}", *launch.argv)})
    return launch


def _delay_s(fault: LaunchFault, number: int) -> float:
    if fault.up_to_s is None:
        return fault.delay_s
    return draw(fault.stream, number).uniform(fault.delay_s, fault.up_to_s)
