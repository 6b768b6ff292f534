"""Strategies for Hypothesis: schedules, injections, demand and clusters, valid by construction.

What is drawn shrinks towards fewer injections, of faults that need no healing, milder, shorter, and on simpler targets.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from hypothesis.strategies import SearchStrategy

from chaos.blast_radius import BlastRadius
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.fault import Fault, FaultCatalogue
from chaos.schedule import Injection, Schedule
from chaos.strategies.dice import Thrown
from chaos.strategies.injection import Scope, draw_injection, kinds_of
from chaos.strategies.schedule import Plan, draw_schedule
from chaos.strategies.world import ClusterKind, draw_cluster, draw_profile
from chaos.workload import Stage

Faults: TypeAlias = Iterable[type[Fault]] | FaultCatalogue | None

ENTRY_POINT = "raychaos.faults"
MAX_INJECTIONS = 6
HORIZON_S = 30.0

__all__ = ["cluster_specs", "demand_profiles", "injections", "offer", "plan", "schedules"]

_offered: list[FaultCatalogue] = []


def offer(catalogue: FaultCatalogue) -> None:
    """Makes a catalogue what `faults=None` means from now on, in place of what is installed (`ENTRY_POINT`)."""
    _offered[:] = [catalogue]


def schedules(
    *,
    cluster: ClusterSpec | None = None,
    faults: Faults = None,
    max_injections: int = MAX_INJECTIONS,
    min_injections: int = 0,
    horizon_s: float = HORIZON_S,
    survivable: bool = True,
    blast_radius: BlastRadius | None = None,
    anchored: bool = True,
    may_miss: bool = True,
    allow_missing: bool = False,
) -> SearchStrategy[Schedule]:
    """Schedules of `min_injections` to `max_injections` faults within `horizon_s` seconds that this cluster can have.

    `faults` are classes, or a catalogue of them, of which the cluster does what it can; None: all that are installed.
    Without a `cluster` it is a default one of any kind, whose head no target selects: whether that can do a fault is
    found out when it runs.
    `survivable` leaves out what ends the head or the driver for good. With `anchored`, injections may wait for events,
    not only for a time. `may_miss` is that of the injections: what finds no target is no fault of the test. Of faults
    that the cluster cannot have, `allow_missing` leaves out even those that were named.

    Raises:
        InvalidSpec: at once, not at the first draw: no fault is left, or a named one is impossible, and why.
    """
    made = plan(
        cluster=cluster,
        faults=faults,
        max_injections=max_injections,
        min_injections=min_injections,
        horizon_s=horizon_s,
        survivable=survivable,
        blast_radius=blast_radius,
        anchored=anchored,
        may_miss=may_miss,
        allow_missing=allow_missing,
    )
    return Thrown(lambda dice: draw_schedule(dice, made))


def injections(
    *,
    cluster: ClusterSpec | None = None,
    faults: Faults = None,
    horizon_s: float = HORIZON_S,
    survivable: bool = True,
    blast_radius: BlastRadius | None = None,
    anchored: bool = True,
    may_miss: bool = True,
    allow_missing: bool = False,
) -> SearchStrategy[Injection]:
    """Single injections, which wait for no other; arguments and errors as of `schedules`."""
    made = plan(
        cluster=cluster,
        faults=faults,
        horizon_s=horizon_s,
        survivable=survivable,
        blast_radius=blast_radius,
        anchored=anchored,
        may_miss=may_miss,
        allow_missing=allow_missing,
    )
    return Thrown(lambda dice: draw_injection(dice, made.kinds, made.scope))


def cluster_specs(
    *, kind: ClusterKind = "local", max_workers: int = 8, node_types: int = 3
) -> SearchStrategy[ClusterSpec]:
    """Clusters of a kind: up to `node_types` node types, limits up to `max_workers`, timeouts and speeds.

    The first node type, `gpu`, always has room for a task or actor of each workload, and the cluster for such a node.
    """
    if max_workers < 1 or not 1 <= node_types <= 3:
        raise InvalidSpec(f"max_workers {max_workers}, node_types {node_types}: allowed are 1 and more, and 1 to 3")
    return Thrown(lambda dice: draw_cluster(dice, kind=kind, max_workers=max_workers, node_types=node_types))


def demand_profiles(*, max_stages: int = 4, pauses: bool = True) -> SearchStrategy[tuple[Stage, ...]]:
    """Demand in time: up to `max_stages` stages of one to eight tasks at a time, with `pauses` of none between them."""
    if max_stages < 1:
        raise InvalidSpec(f"max_stages is {max_stages}; allowed: 1 and more")
    return Thrown(lambda dice: draw_profile(dice, max_stages=max_stages, pauses=pauses))


def plan(
    *,
    cluster: ClusterSpec | None = None,
    faults: Faults = None,
    max_injections: int = MAX_INJECTIONS,
    min_injections: int = 0,
    horizon_s: float = HORIZON_S,
    survivable: bool = True,
    blast_radius: BlastRadius | None = None,
    anchored: bool = True,
    may_miss: bool = True,
    allow_missing: bool = False,
) -> Plan:
    """What `schedules` draws from; with dice of one's own, schedules can be drawn without Hypothesis.

    Raises:
        InvalidSpec: no fault is left, or a named one is impossible, and why; or numbers that cannot be meant.
    """
    _refuse_numbers(min_injections, max_injections, horizon_s)
    chosen, named = _chosen(faults)
    scope = Scope(
        cluster=cluster or ClusterSpec(),
        horizon_s=horizon_s,
        blast_radius=blast_radius or BlastRadius(),
        survivable=survivable,
        may_miss=may_miss,
        anchored=anchored,
        any_kind=cluster is None,
    )
    kinds, unable = kinds_of(chosen, scope)
    if unable and named and not allow_missing:
        raise InvalidSpec(f"{_told(unable)}; name others, or let them be left out with allow_missing")
    if not kinds and max_injections:
        raise InvalidSpec(f"no fault is left to draw from: {_told(unable)}")
    return Plan(scope, kinds, min_injections, max_injections, unable)


def _chosen(faults: Faults) -> tuple[Sequence[type[Fault]], bool]:
    """The classes, and whether the caller named each of them."""
    if faults is None:
        if not (known := _offered[0] if _offered else _installed()):
            raise InvalidSpec("which faults? give faults=[KillNode, …], or all: `import faults`, faults=faults.ALL")
        return tuple(known.values()), False
    if isinstance(faults, Mapping):
        return tuple(faults.values()), False
    listed = tuple(faults)
    if not listed:
        raise InvalidSpec("faults is empty: there is nothing to inject; name some, or leave it out for all")
    for item in listed:
        if not (isinstance(item, type) and issubclass(item, Fault)):
            raise InvalidSpec(f"faults holds {item!r}, which is no class of a fault; give KillNode, not 'kill_node'")
    return tuple(dict.fromkeys(listed)), True


def _installed() -> FaultCatalogue:
    """The catalogues that installed packages name under the entry point `raychaos.faults`, ours among them."""
    found: dict[str, type[Fault]] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT):
        found |= entry.load()
    return found


def _refuse_numbers(min_injections: int, max_injections: int, horizon_s: float) -> None:
    if not 0 <= min_injections <= max_injections:
        raise InvalidSpec(f"min_injections {min_injections} and max_injections {max_injections}: 0 ≤ min ≤ max, please")
    if not 1.0 <= horizon_s <= 86_400.0:
        raise InvalidSpec(f"horizon_s is {horizon_s:g}; allowed: from 1 to 86400 seconds")


def _told(unable: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in unable.items())
