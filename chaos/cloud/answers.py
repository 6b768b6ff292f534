"""What Ray's node provider is answered: the truth, but for the harm in force. Nobody else's calls pass through here."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import TypeAlias, TypeVar

from chaos.clock import monotonic_s
from chaos.cloud.instances import ActiveEffect, Instance
from chaos.cloud.journal import Journal
from chaos.cloud.ledger import Ledger
from chaos.errors import ClusterError
from chaos.events import CloudAnsweredWrong, GcsAnsweredWrong
from chaos.harm import Omission, Outage, StaleListing, TerminationFault
from chaos.value import Value

TOLD_EVERY_S = 1.0
_POLL_S = 0.1
_NOTICED_S = 1.0  # a call that is let go before its delay is over was late if it was held for so long
_PERCENT = 100.0

H = TypeVar("H", bound=Value)
_Wrong: TypeAlias = type[CloudAnsweredWrong | GcsAnsweredWrong]


class ApiError(ClusterError):
    """A call of Ray's node provider is answered with an error, and this status."""

    def __init__(self, message: str, *, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> None:
        super().__init__(message)
        self.status = status


class Unanswered(ClusterError):
    """A call of Ray's node provider gets no answer: the connection ends."""


class Deviations:
    """Counts the answers that were not the truth, and tells of them in the journal, at a bounded rate."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._untold: dict[tuple[str, str], tuple[int, str, _Wrong]] = {}
        self._told_s: dict[tuple[str, str], float] = {}

    def note(
        self, effect_id: str, how: str, detail: str = "", *, count: int = 1, event: _Wrong = CloudAnsweredWrong
    ) -> None:
        """Such an answer is given, under this effect: by the Cloud, unless the event is another's."""
        key = (effect_id, how)
        before = self._untold[key][0] if key in self._untold else 0
        self._untold[key] = (before + count, detail, event)
        if monotonic_s() - self._told_s.get(key, float("-inf")) >= TOLD_EVERY_S:
            self._tell(key)

    def settle(self, effect_id: str) -> None:
        """Tells what is left to tell of an effect that is over."""
        for key in [key for key in self._untold if key[0] == effect_id]:
            self._tell(key)
        for key in [key for key in self._told_s if key[0] == effect_id]:
            del self._told_s[key]

    def _tell(self, key: tuple[str, str]) -> None:
        count, detail, event = self._untold.pop(key)
        self._told_s[key] = monotonic_s()
        fields = {"effect": key[0], "how": key[1], "count": count, "detail": detail}
        self._journal.append(event.model_validate(fields))


class Answers:
    """The harm in force between the truth and what Ray's node provider is answered."""

    def __init__(self, ledger: Ledger, deviations: Deviations) -> None:
        self._ledger = ledger
        self._deviations = deviations
        self._held: Counter[str] = Counter()
        self._late: Counter[str] = Counter()

    async def admit(self) -> None:
        """Returns when a call is to be carried out: at once, or late.

        Raises:
            Unanswered: the API is out of reach.
            ApiError: this call fails.
        """
        for known, outage in self._in_force(Outage):
            effect = self._ledger.effect(known.effect_id)
            if effect is None:
                continue  # it was undone while another held the call
            if outage.mode == "unreachable":
                self._deviations.note(effect.effect_id, "unreachable")
                raise Unanswered("the API is out of reach")
            if outage.mode == "failing":
                self._ledger.put_effect(effect.model_copy(update={"hits": effect.hits + 1}))
                if draw(outage.stream, effect.hits).uniform(0.0, _PERCENT) < outage.percent:
                    self._deviations.note(effect.effect_id, "failed")
                    raise ApiError(
                        "ServiceUnavailable: the request has failed due to a temporary failure of the server"
                    )
            if outage.mode == "slow":
                await self._hold(effect.effect_id, outage.delay_s)

    def listed(self) -> list[Instance]:
        """The instances as a listing shows them."""
        truth = [item for item in self._ledger.instances() if not item.lost]
        shown = self._stale(truth)
        for effect, omission in self._in_force(Omission):
            kept = [item for item in shown if item.instance != effect.instance]
            spent = omission.answers is not None and effect.hits >= omission.answers
            if len(kept) == len(shown) or spent:
                continue
            shown = kept
            self._ledger.put_effect(effect.model_copy(update={"hits": effect.hits + 1}))
            self._deviations.note(effect.effect_id, "omitted", f"without {effect.instance}")
        return shown

    def check_exists(self, instance_id: str) -> None:
        """Returns unless an instance is to be said not to exist.

        Raises:
            ApiError: it is.
        """
        instance = self._ledger.find(instance_id)
        lost = instance is not None and instance.lost
        for effect, omission in self._in_force(Omission):
            if omission.lost and effect.instance == instance_id:
                self._deviations.note(effect.effect_id, "not_found", instance_id)
                lost = True
        if lost:
            raise ApiError(
                f"InvalidInstanceID.NotFound: the instance ID {instance_id!r} does not exist",
                status=HTTPStatus.NOT_FOUND,
            )

    def check_termination(self, instance_id: str) -> None:
        """Returns unless the termination of an instance is to be refused.

        Raises:
            ApiError: it is.
        """
        self.check_exists(instance_id)
        self.check_terminable(instance_id)

    def check_terminable(self, *instance_ids: str) -> None:
        """The same, of instances that are there, and of which all are terminated together, or none.

        Raises:
            ApiError: their termination is to be refused.
        """
        for effect, fault in self._in_force(TerminationFault):
            if fault.error is not None and instance_ids:
                told = ", ".join(instance_ids)
                self._deviations.note(effect.effect_id, "not_terminated", told, count=len(instance_ids))
                raise ApiError(fault.error)

    def _stale(self, truth: list[Instance]) -> list[Instance]:
        """The oldest view that is to be shown."""
        moments = {
            effect.effect_id: effect.applied_monotonic_s if stale.age_s is None else monotonic_s() - stale.age_s
            for effect, stale in self._in_force(StaleListing)
        }
        if not moments:
            return truth
        effect_id = min(moments, key=lambda name: moments[name])
        shown = self._ledger.instances_at(moments[effect_id])
        if difference := _difference(truth, shown):
            self._deviations.note(effect_id, "stale", difference)
        return shown

    async def _hold(self, effect_id: str, delay_s: float) -> None:
        begun_s = monotonic_s()
        self._held[effect_id] += 1
        try:
            while (left_s := begun_s + delay_s - monotonic_s()) > 0 and self._ledger.effect(effect_id) is not None:
                await asyncio.sleep(min(_POLL_S, left_s))
        finally:
            self._let_go(effect_id, monotonic_s() - begun_s)
        if self._ledger.effect(effect_id) is not None:
            self._deviations.note(effect_id, "slow", f"{delay_s:g} s late")

    def _let_go(self, effect_id: str, held_s: float) -> None:
        """An effect no longer holds a call; where it was undone, the last one tells of all that it still held."""
        self._held[effect_id] -= 1
        if held_s >= _NOTICED_S and self._ledger.effect(effect_id) is None:
            self._late[effect_id] += 1
        if not self._held[effect_id]:
            del self._held[effect_id]
            if late := self._late.pop(effect_id, 0):
                self._deviations.note(effect_id, "slow", "until the healing", count=late)
                self._deviations.settle(effect_id)

    def _in_force(self, kind: type[H]) -> Iterator[tuple[ActiveEffect, H]]:
        for effect in self._ledger.effects():
            if isinstance(effect.harm, kind):
                yield effect, effect.harm


def draw(stream: str, number: int) -> random.Random:
    """The source of one draw of a named stream: the same for the same name and number, in every process."""
    digest = hashlib.sha256(f"{stream}/{number}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _difference(truth: list[Instance], shown: list[Instance]) -> str:
    """How a view differs from the truth, in words; empty where it does not."""
    now, then = ({item.instance: item.state for item in view} for view in (truth, shown))
    told = [f"without {name}" for name in now if name not in then]
    told += [f"with {name}, which is gone" for name in then if name not in now]
    told += [f"{name} {then[name]}, which is {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    return ", ".join(told)
