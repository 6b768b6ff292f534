"""A fault: frozen, validated parameters of one kind of harm, with its proof and its undoing.

The nemesis owns order and time. A fault says what it needs, injects, looks whether it bit, heals, and looks whether it
is gone; it never sleeps, retries or times itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from chaos.cluster import Cluster, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.events import CloudAnsweredWrong, FaultInjected, GcsAnsweredWrong, Outcome, RunOpened
from chaos.history import History
from chaos.value import Value

ActsOn: TypeAlias = Literal["nodes", "launches", "cloud", "cluster", "head", "driver"]
"""What a fault hits: the nodes its target chooses; or, without a target, launches, the head, the job's driver."""


class Effect(Value):
    """What a probe saw. `unknown` means: not yet, or cannot be told; the nemesis looks again until its limit."""

    outcome: Outcome
    detail: str
    asked: float | None = None
    measured: float | None = None
    unit: str = ""


Mainstay: TypeAlias = Literal["head", "driver"]
"""What a job cannot do without: the node of the control plane, and the job's own program, which runs there."""

Readings: TypeAlias = Mapping[tuple[str, ...], float]
"""What was measured, each number by the nodes it is of, in the unit the fault says."""


@dataclass(frozen=True)
class Others:
    """Effects of other injections that are in force, and the injections that have been made.

    One of which the history says nothing yet may be on any node, and of any fault.
    """

    effects: frozenset[str] = frozenset()
    made: tuple[FaultInjected, ...] = ()

    def explain(self, *nodes: str, fault: str = "") -> bool:
        """Whether one of them may be why harm still shows: on any of these nodes, of this fault, where they are given.

        One without victims (on launches, or the Cloud's answers) is on no node.
        """
        return any(self._may(effect_id, nodes, fault) for effect_id in self.effects)

    def _may(self, effect_id: str, nodes: tuple[str, ...], fault: str) -> bool:
        for event in self.made:
            if effect_id == event.effect_id or effect_id.startswith(f"{event.effect_id}."):
                victim = effect_id.removeprefix(event.effect_id).removeprefix(".")
                hit = {victim} if victim else set(event.victims)
                return fault in ("", event.fault) and (not nodes or not hit.isdisjoint(nodes))
        return True


@dataclass(frozen=True)
class Site:
    """Where one injection acts: cluster, chosen nodes, id of the lasting effect, and the history so far.

    `before` is what the fault's `measure_before` found; `duration_s` how long the harm is to last, where it lasts.
    """

    cluster: Cluster
    victims: tuple[str, ...]
    effect_id: str
    lease_s: float
    injected_s: float
    history: History
    before: Readings = field(default_factory=dict)
    duration_s: float | None = None

    @property
    def effect_ids(self) -> tuple[str, ...]:
        """The lasting effects this injection makes: one for each victim, or one where there are no victims."""
        return tuple(self.effect_for(victim) for victim in self.victims) or (self.effect_id,)

    @property
    def stream(self) -> str:
        """The name of this injection's own stream of randomness: the same in every run with the same seed."""
        opened = self.history.first(RunOpened)
        if opened is None:
            return self.effect_id
        _, run = opened
        return f"{run.seed}/{self.effect_id.removeprefix(f'{run.run_id}.')}"

    def answered_wrong(self, how: str) -> int:
        """How often the Cloud, or the GCS, really answered Ray so under this injection's effects."""
        events: list[CloudAnsweredWrong | GcsAnsweredWrong] = [
            *(event for _, event in self.history.of(CloudAnsweredWrong, since_s=self.injected_s)),
            *(event for _, event in self.history.of(GcsAnsweredWrong, since_s=self.injected_s)),
        ]
        return sum(event.count for event in events if event.how == how and event.effect in self.effect_ids)

    def effect_for(self, victim: str) -> str:
        """The id of the lasting effect on one victim."""
        return f"{self.effect_id}.{victim}"

    async def active(self) -> tuple[bool, Others]:
        """Whether an effect of this injection is in force, and which of others are."""
        assert isinstance(self.cluster, UndoesEffects)
        active = set(await self.cluster.active_effects())
        ours = set(self.effect_ids)
        made = tuple(event for _, event in self.history.of(FaultInjected))
        return bool(active & ours), Others(frozenset(active - ours), made)


class Fault(Value, ABC):
    """One kind of harm.

    `needs` are the capability protocols a cluster must implement; `shapes` the fields of `NetworkShape` it sets, where
    it sets any. `acts_on` says what it hits: only one that acts on nodes takes a target. A fault that `lasts` takes a
    duration and is healed; `effect_within_s` bounds how long after the injection (for faults of the Cloud and its
    launches: after the healing) the effect may still show, `measure_within_s` how long `measure_before` may take.
    `fatal_to` are the mainstays that it ends when it hits them: a system that has nothing to bring them back is not
    expected to survive that. One that `restarts_head` takes every driver on the head with it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[tuple[type, ...]]
    shapes: ClassVar[tuple[str, ...]] = ()
    acts_on: ClassVar[ActsOn]
    lasts: ClassVar[bool]
    restarts_head: ClassVar[bool] = False
    effect_within_s: ClassVar[float] = 30.0
    measure_within_s: ClassVar[float] = 2.0
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ()

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields that were drawn each by itself, made to agree with one another; for one whose fields depend on others.

        What comes of it must be valid, whatever was drawn within the fields' own bounds.
        """
        return drawn

    def hits(self, selected: str | None) -> frozenset[Mainstay]:
        """Which mainstays it hits where its target selects that; None for a fault without a target."""
        if self.acts_on == "driver":
            return frozenset(("driver",))
        if self.acts_on == "head" or self.restarts_head:
            return frozenset(("head",))
        return frozenset(("head", "driver")) if selected == "head" else frozenset()

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:  # noqa: ARG002 -- most faults always can
        """Why no cluster of this specification can have it, on what its target selects; empty where one can."""
        return ""

    @property
    def strands(self) -> str:
        """Why a job may wait for ever though nothing that it cannot do without has ended; empty where it need not."""
        return ""

    async def prepare(self, cluster: Cluster) -> None:
        """Has made ready, before the load begins, what takes long and harms nothing; what fails here is done later.

        Raises:
            ChaosError: the cluster refused or did not answer.
        """

    async def measure_before(self, site: Site) -> Readings:
        """Measures what the harm is to change, right before it; the probes find it in `site.before`.

        Its time counts as lateness of the injection, so it takes a few hundred milliseconds at most; past
        `measure_within_s` the injection is given up. Most faults need nothing to compare with.

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
