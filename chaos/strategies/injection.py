"""One injection: a fault of a kind with its parameters, a target, a trigger and a duration, valid by construction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import ValidationError

from chaos.blast_radius import BlastRadius
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.fault import Fault
from chaos.schedule import Anchor, Injection, Trigger
from chaos.strategies.dice import Dice, pick, scale
from chaos.strategies.fields import Fields, Surroundings, options_of
from chaos.survival import beyond_model, fatal
from chaos.target import Target

SHORTEST_S = 0.5  # the shortest duration that is drawn
LONGEST_AFTER_S = 8.0  # the longest that is waited after an anchor
_MOST_HIT = 3  # the most nodes that a target counts; more is a share, or all
_TWIN = "sim"
_ANCHORS = ("node.launching", "node.joined", "node.terminating", "node.died", "node.terminated", "batch.completed")

FaultKind: TypeAlias = type[Fault]


@dataclass(frozen=True)
class Scope:
    """What injections are drawn for: a cluster, how much of it may be hit, for how long, and what must survive.

    `any_kind`: which kind of cluster it will be is not known yet, so nothing is left out for what that cannot do.
    """

    cluster: ClusterSpec
    horizon_s: float
    blast_radius: BlastRadius = field(default_factory=BlastRadius)
    survivable: bool = True
    may_miss: bool = True
    anchored: bool = True
    any_kind: bool = False

    @property
    def setting(self) -> Surroundings:
        """What the fields of faults are drawn for."""
        return Surroundings(node_types=tuple(self.cluster.node_types), horizon_s=self.horizon_s)

    def selects(self) -> Iterator[Target]:
        """Targets, the simplest first: one node, some, all, those of a type, the head."""
        yield from (Target(select=select) for select in ("random", "newest", "oldest"))
        yield from (Target(select=f"w{number}") for number in range(1, min(_MOST_HIT, self.cluster.worker_limit) + 1))
        if len(self.cluster.node_types) > 1:
            yield from (Target(select="random", node_type=name) for name in self.cluster.node_types)
        for count in range(2, min(_MOST_HIT, self.cluster.worker_limit) + 1):
            yield from (Target(select=select, count=count) for select in ("random", "newest", "oldest"))
        yield from (Target(select="random", share=share) for share in (0.5, 1.0))
        yield from (Target(select="all"), Target(select="head"))

    def refusal(self, fault: Fault, target: Target | None) -> str:
        """Why an injection of this fault on that target may not be drawn; empty where it may."""
        selected = target.select if target else None
        if why := fault.impossible(self.cluster, selected):
            return why
        cluster = self.cluster
        if fault.restarts_head and (cluster.gcs_storage == "memory" or cluster.driver_on == "head"):
            return "it ends what lives on the head: the cluster needs gcs_storage, and a driver_on elsewhere"
        if cluster.kind == _TWIN and (why := beyond_model(fault, selected)):
            return why
        if self.any_kind and selected == "head":
            return "not every kind of cluster lets its head be hit: say which it is"
        if self.survivable and (ended := fatal(fault, selected)):
            return f"no job survives it: it ends the {' and the '.join(sorted(ended))}"
        if self.survivable and fault.strands:
            return fault.strands
        probe = Injection(fault=fault, target=target, at_s=0.0, duration_s=1.0 if fault.lasts else None)
        return self.blast_radius.impossible(probe, worker_limit=cluster.worker_limit)


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of fault in a scope: what its fields may be, and what it may hit."""

    kind: FaultKind
    scope: Scope
    fields: Fields
    simplest: Fault
    targets: Sequence[Target | None]

    @classmethod
    def of(cls, kind: FaultKind, scope: Scope) -> Kind | str:
        """The kind, or why the cluster cannot have it, or why nothing of it may be drawn."""
        from chaos.commands import cluster_class  # it knows every kind of cluster, which takes a while

        cluster = scope.cluster
        known = cluster_class(cluster.kind, provider=cluster.twin.provider)
        missing = () if scope.any_kind else kind.missing_capabilities(known)
        if missing:
            return f"it needs {', '.join(missing)}, which a {cluster.kind} cluster does not have"
        fields = options_of(kind, scope.setting)
        refusals: list[str] = []
        for choice in _choices(fields):
            fault = kind.model_validate(kind.agreed(choice))
            found, refused = _targets(fault, scope)
            if found:
                return cls(kind, scope, fields, fault, found)
            refusals += refused
        return refusals[0] if refusals else "there is nothing of it to draw"

    def draw(self, dice: Dice) -> tuple[Fault, Target | None]:
        """Parameters and target. Where the parameters leave nothing to hit, it is the simplest fault of the kind."""
        if not self.fields:
            return self.simplest, pick(dice, self.targets)
        drawn = {name: pick(dice, options) for name, options in self.fields.items()}
        fault = self.kind.model_validate(self.kind.agreed(drawn))
        if self.kind.impossible is not Fault.impossible or fault.strands:
            targets, _ = _targets(fault, self.scope)
            return (fault, pick(dice, targets)) if targets else (self.simplest, pick(dice, self.targets))
        return fault, pick(dice, self.targets)


def _choices(fields: Fields) -> Iterator[Mapping[str, Any]]:
    """Choices of the fields: of each the first, then each other option of one at a time."""
    first = {name: options[0] for name, options in fields.items()}
    yield first
    for name, options in fields.items():
        yield from ({**first, name: option} for option in options[1:])


def _targets(fault: Fault, scope: Scope) -> tuple[Sequence[Target | None], list[str]]:
    """What a fault may hit, and why it may not hit the rest."""
    candidates: list[Target | None] = list(scope.selects()) if fault.acts_on == "nodes" else [None]
    refusals = [scope.refusal(fault, target) for target in candidates]
    found = tuple(target for target, why in zip(candidates, refusals, strict=True) if not why)
    return found, [why for why in refusals if why]


def kinds_of(faults: Sequence[FaultKind], scope: Scope) -> tuple[tuple[Kind, ...], Mapping[str, str]]:
    """The kinds that can be drawn, and why the others cannot.

    Those that happen at once come before those that last, and of these the ones with few fields first.
    """
    found: list[Kind] = []
    unable: dict[str, str] = {}
    for fault in faults:
        try:
            kind = Kind.of(fault, scope)
        except ValidationError as error:
            raise InvalidSpec(
                f"{fault.name}: fields drawn within their bounds do not agree: {error.errors()[0]['msg']}; "
                f"let {fault.__name__}.agreed make them agree"
            ) from error
        if isinstance(kind, str):
            unable[fault.name] = kind
        else:
            found.append(kind)
    return tuple(sorted(found, key=lambda kind: (kind.kind.lasts, len(kind.fields)))), unable


def draw_injection(dice: Dice, kinds: Sequence[Kind], scope: Scope, *, earlier: Sequence[Injection] = ()) -> Injection:
    """An injection of one of the kinds; it may wait for one of the `earlier`, which have their ids."""
    kind = pick(dice, kinds)
    # What all kinds have comes first, and is drawn whether it is needed or not: so the rest stays as it is where
    # Hypothesis tries a simpler kind.
    trigger = _trigger(dice, scope, earlier)
    left_s = scope.horizon_s - (trigger.at_s or 0.0)
    duration_s = pick(dice, scale(SHORTEST_S, max(SHORTEST_S, left_s)))
    fault, target = kind.draw(dice)
    return Injection(
        fault=fault,
        target=target,
        at_s=trigger.at_s,
        on=trigger.on,
        after_s=trigger.after_s,
        duration_s=duration_s if kind.kind.lasts else None,
        may_miss=scope.may_miss,
    )


def _trigger(dice: Dice, scope: Scope, earlier: Sequence[Injection]) -> Trigger:
    """At a time; or after an event, progress, or something that became of an earlier injection."""
    ways = 1 + scope.anchored * (2 + bool(earlier))
    way = dice.below(ways)
    if way == 0:
        return Trigger(at_s=pick(dice, scale(0.0, scope.horizon_s)))
    if way == 1:
        anchor = Anchor(event=pick(dice, _ANCHORS), nth=1 + dice.below(_MOST_HIT))
    elif way == 2:
        anchor = Anchor(progress_percent=pick(dice, (10.0, 20.0, 40.0, 60.0, 80.0)))
    else:
        before = pick(dice, earlier[::-1])
        moments = ("fault.injected", "fault.healed") if before.fault.lasts else ("fault.injected",)
        anchor = Anchor(event=pick(dice, moments), injection=before.id)
    after_s = pick(dice, (0.0, *scale(0.1, min(LONGEST_AFTER_S, scope.horizon_s))))
    return Trigger(on=anchor, after_s=after_s)
