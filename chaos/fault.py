"""A fault: frozen, validated parameters of one kind of harm, with its proof and its undoing.

The nemesis owns order and time. A fault says what it needs, injects, looks whether it bit, heals, and looks whether it
is gone; it never sleeps, retries or times itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from chaos.cluster import Cluster, UndoesEffects
from chaos.events import Outcome
from chaos.history import History
from chaos.value import Value


class Effect(Value):
    """What a probe saw. `unknown` means: not yet, or cannot be told; the nemesis looks again until its limit."""

    outcome: Outcome
    detail: str
    asked: float | None = None
    measured: float | None = None
    unit: str = ""


Readings: TypeAlias = Mapping[tuple[str, ...], float]
"""What was measured, each number by the nodes it is of, in the unit the fault says."""


@dataclass(frozen=True)
class Site:
    """Where one injection acts: cluster, chosen nodes, id of the lasting effect, and the history so far.

    `before` is what the fault's `measure_before` found.
    """

    cluster: Cluster
    victims: tuple[str, ...]
    effect_id: str
    lease_s: float
    injected_s: float
    history: History
    before: Readings = field(default_factory=dict)

    @property
    def effect_ids(self) -> tuple[str, ...]:
        """The lasting effects this injection makes: one for each victim, or one where there are no victims."""
        return tuple(self.effect_for(victim) for victim in self.victims) or (self.effect_id,)

    def effect_for(self, victim: str) -> str:
        """The id of the lasting effect on one victim."""
        return f"{self.effect_id}.{victim}"

    async def active(self) -> tuple[bool, bool]:
        """Whether an effect of this injection is in force, and whether one of another is."""
        assert isinstance(self.cluster, UndoesEffects)
        active = set(await self.cluster.active_effects())
        ours = set(self.effect_ids)
        return bool(active & ours), bool(active - ours)


class Fault(Value, ABC):
    """One kind of harm.

    `needs` are the capability protocols a cluster must implement; `shapes` the fields of `NetworkShape` it sets, where
    it sets any. `acts_on` says whether targets are nodes, the Cloud's launches, or the cluster as a whole. A fault that
    `lasts` takes a duration and is healed; `effect_within_s` bounds how long after the injection (for launch faults:
    after the healing) the effect may still show. One that `restarts_head` takes every driver on the head with it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[tuple[type, ...]]
    shapes: ClassVar[tuple[str, ...]] = ()
    acts_on: ClassVar[Literal["nodes", "launches", "cluster"]]
    lasts: ClassVar[bool]
    restarts_head: ClassVar[bool] = False
    effect_within_s: ClassVar[float] = 30.0

    async def measure_before(self, site: Site) -> Readings:
        """Measures what the harm is to change, right before it; the probes find it in `site.before`.

        Its time counts as lateness of the injection, so it takes a few hundred milliseconds at most. Most faults need
        nothing to compare with.

        Raises:
            ChaosError: the cluster refused or did not answer.
        """
        return site.before

    @abstractmethod
    async def inject(self, site: Site) -> None:
        """Applies the harm.

        Raises:
            InjectionError: the cluster refused or did not answer.
        """

    @abstractmethod
    async def probe(self, site: Site) -> Effect:
        """Looks, independently of what `inject` returned, whether the harm is there."""

    async def heal(self, site: Site) -> None:
        """Undoes the harm; idempotent, and harmless when the target is gone."""
        if self.lasts:
            assert isinstance(site.cluster, UndoesEffects)
            for effect_id in site.effect_ids:
                await site.cluster.undo(effect_id)

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether the harm is gone: `no_effect` then."""
        ours, _ = await site.active() if self.lasts else (False, False)
        return (
            Effect(outcome="took_effect", detail="still in force")
            if ours
            else Effect(outcome="no_effect", detail="undone")
        )

    @classmethod
    def missing_capabilities(cls, cluster: Cluster | type) -> tuple[str, ...]:
        """Names of the needed protocols the cluster, or class of cluster, does not implement."""
        kind = cluster if isinstance(cluster, type) else type(cluster)
        return tuple(need.__name__ for need in cls.needs if not issubclass(kind, need))


FaultCatalogue = Mapping[str, type[Fault]]
