"""Stand-ins for tests: a clock that moves only when told, and a cluster without nodes that can be harmed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from chaos.cluster import (
    Connection,
    FaultsLaunches,
    KillsNodes,
    NetworkView,
    Node,
    PathMeasurement,
    PathSample,
    PausesNodes,
    ShapesNetworks,
    UndoesEffects,
    Vitals,
)
from chaos.errors import InjectionError
from chaos.events import Event
from chaos.fault import Effect, Fault, Site
from chaos.harm import LaunchFault, NetworkShape
from chaos.history import History, Recorder

T = TypeVar("T")

_TURNS = 60  # more turns of the event loop than any chain of callbacks between two waits takes
OPEN_MBIT = 900.0


async def settle() -> None:
    """Lets everything run that can run without time passing."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class VirtualClock:
    """Time that stands still until `run` or `advance_to` moves it from one sleeper to the next, in order."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        """Virtual seconds so far."""
        return self._now_s

    def wall_s(self) -> float:
        """The same, a million seconds after the epoch."""
        return 1e6 + self._now_s

    async def sleep(self, duration_s: float) -> None:
        """Returns when the clock has been moved that far."""
        if duration_s <= 0.0:
            await asyncio.sleep(0)
            return
        waking = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + duration_s, next(self._order), waking))
        await waking

    async def advance_to(self, t_s: float) -> None:
        """Moves time to `t_s`, waking everyone on the way at their time."""
        await settle()
        while (next_s := self._next_s()) is not None and next_s <= t_s:
            await self._wake()
        self._now_s = max(self._now_s, t_s)
        await settle()

    async def run(self, work: Awaitable[T], *, limit_s: float = 1000.0) -> T:
        """Moves time until the work is done; fails when nothing can happen any more, or at `limit_s`."""
        task = asyncio.ensure_future(work)
        await settle()
        while not task.done():
            next_s = self._next_s()
            if next_s is None or next_s > limit_s:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise AssertionError(f"at {self._now_s:g} s it is not done, and nothing happens before {limit_s:g} s")
            await self._wake()
        return task.result()

    def _next_s(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake(self) -> None:
        at_s, _, waking = heapq.heappop(self._sleepers)
        self._now_s = max(self._now_s, at_s)
        waking.set_result(None)
        await settle()


class FakeProcess:
    """A program whose lines and status are given; with `hangs` it ends only when stopped."""

    def __init__(self, lines: list[str], *, status: int = 0, hangs: bool = False) -> None:
        self._lines = lines
        self._status = status
        self._stopped = asyncio.Event()
        self.was_stopped = False
        if not hangs:
            self._stopped.set()

    async def lines(self) -> AsyncIterator[str]:
        """The given lines; each may wait for what a test does between them."""
        for line in self._lines:
            await asyncio.sleep(0)
            yield line
        await self._stopped.wait()

    async def wait(self) -> int:
        """The given status."""
        await self._stopped.wait()
        return self._status

    async def stop(self) -> None:
        """Ends it."""
        self.was_stopped = True
        self._stopped.set()


class FakeCluster:
    """A cluster in name only, with every capability.

    Harm is in force as soon as it is applied and shows in vitals and paths, unless `harmless`. `failing` maps the name
    of a method to the error it raises; `slow_s` to how long it takes on the clock; `calls` is what was asked, in order;
    `open_mbit` is how fast a path is without harm.
    """

    kind = "fake"

    def __init__(self, clock: VirtualClock | None = None, *, workers: int = 3, name: str = "fake") -> None:
        self.name = name
        self.clock = clock
        self.calls: list[tuple[str, ...]] = []
        self.failing: dict[str, Exception] = {}
        self.slow_s: dict[str, float] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.open_mbit = OPEN_MBIT
        self.harmless = False
        self.effects: dict[str, tuple[str, bool, NetworkShape | None, LaunchFault | None]] = {}
        self.members: dict[str, Node] = {"head": node_named("head")}
        for ordinal in range(1, workers + 1):
            self.members[f"w{ordinal}"] = node_named(f"w{ordinal}")
        self.processes: list[FakeProcess] = []
        self.executed: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
        self.data = Path()
        self.seen: dict[str, list[Effect]] = {}

    def named(self, method: str) -> list[tuple[str, ...]]:
        """The calls of one method, without its name."""
        return [call[1:] for call in self.calls if call[0] == method]

    async def start(self) -> None:
        """Nothing to start."""

    async def begin_run(self, recorder: Recorder) -> None:
        """Nothing to record."""

    async def end_run(self) -> None:
        """Every effect is undone."""
        self.effects.clear()

    async def stop(self) -> None:
        """Nothing to stop."""

    async def nodes(self) -> tuple[Node, ...]:
        """The members, head first."""
        await self._called("nodes")
        return tuple(sorted(self.members.values(), key=lambda node: node.ordinal))

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> FakeProcess:
        """The next of `processes`."""
        self.executed.append((module, arguments, dict(environment)))
        return self.processes.pop(0)

    def data_directory(self, run_id: str) -> tuple[Path, str]:
        """`data`, also on the nodes."""
        return self.data, f"/on-nodes/{run_id}"

    async def dump_stacks(self, into: Path) -> int:
        """No stacks."""
        return 0

    async def collect_logs(self, into: Path) -> None:
        """No logs."""

    async def leftovers(self) -> tuple[str, ...]:
        """The effects in force."""
        return tuple(self.effects)

    async def undo(self, effect_id: str) -> None:
        """Removes the effect."""
        await self._called("undo", effect_id)
        self.effects.pop(effect_id, None)

    async def active_effects(self) -> tuple[str, ...]:
        """The effects in force."""
        return tuple(self.effects)

    async def kill_node(self, node: str) -> None:
        """Takes the node out."""
        await self._called("kill_node", node)
        self._live(node)
        del self.members[node]

    async def pause_node(self, node: str, *, effect_id: str, lease_s: float) -> None:
        """Notes the pause."""
        await self._called("pause_node", node, effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, True, None, None)

    async def vitals(self, node: str) -> Vitals | None:
        """Three processes, all stopped while paused."""
        await self._called("vitals", node)
        if node not in self.members:
            return None
        paused = not self.harmless and any(effect[0] == node and effect[1] for effect in self.effects.values())
        return Vitals(processes=3, stopped=3 if paused else 0, cpu_s=1.0)

    async def fault_launches(self, fault: LaunchFault, *, effect_id: str, lease_s: float) -> None:
        """Notes the fault."""
        await self._called("fault_launches", effect_id, f"{lease_s:g}")
        self.effects[effect_id] = ("", False, None, fault)

    async def shape_network(self, node: str, shape: NetworkShape, *, effect_id: str, lease_s: float) -> None:
        """Notes the shape."""
        await self._called("shape_network", node, effect_id, f"{lease_s:g}")
        self._live(node)
        self.effects[effect_id] = (node, False, shape, None)

    async def measure_path(self, source: str, destination: str, *, transfer_kib: int) -> PathMeasurement:
        """What the shapes in force leave of a fast path."""
        await self._called("measure_path", source, destination, str(transfer_kib))
        if not {source, destination} <= self.members.keys():
            return PathMeasurement(reachable=False)
        shapes = [(node, shape) for node, _, shape, _ in self.effects.values() if shape and not self.harmless]
        cut = any((shape.cut or shape.reset) and hit(node, shape, source, destination) for node, shape in shapes)
        rates = [shape.rate_mbit for node, shape in shapes if node in (source, destination) and shape.rate_mbit]
        if cut:
            return PathMeasurement(reachable=False)
        return PathMeasurement(reachable=True, rtt_ms=0.1, rate_mbit=min([self.open_mbit, *rates]))

    async def sample_path(
        self, source: str, destination: str, *, packets: int, interval_ms: float, patience_ms: float, port: int = 0
    ) -> PathSample:
        """Exactly the shares that the shapes in force ask for."""
        await self._called("sample_path", source, destination, str(packets), str(port))
        if not {source, destination} <= {*self.members, "cloud"}:
            return PathSample(sent=packets, arrived=0)
        shapes = [
            shape
            for node, _, shape, _ in self.effects.values()
            if shape and not self.harmless and hit(node, shape, source, destination, port=port)
        ]
        down = any(shape.cut and not shape.up_s for shape in shapes)
        share = sum(shape.down_s / (shape.down_s + shape.up_s) for shape in shapes if shape.cut and shape.up_s)
        lost = round(packets * (share + sum(shape.loss_percent for shape in shapes) / 100.0))
        arrived = 0 if down else packets - lost
        return PathSample(
            sent=packets,
            arrived=arrived,
            duplicates=round(arrived * sum(shape.duplicate_percent for shape in shapes) / 100.0),
            damaged=round(arrived * sum(shape.corrupt_percent for shape in shapes) / 100.0),
            overtaken=round(arrived * sum(shape.reorder_percent for shape in shapes) / 100.0),
            delay_ms=0.1 + sum(shape.delay_ms for shape in shapes) if arrived else None,
            spread_ms=0.0 if arrived else None,
        )

    async def view_network(self, node: str) -> NetworkView:
        """A connection to each other node that was not reset, and `fake` as the means of every shape."""
        await self._called("view_network", node)
        shapes = [(at, shape) for at, _, shape, _ in self.effects.values() if shape and not self.harmless]
        return NetworkView(
            means=("fake",) if any(at == node for at, _ in shapes) else (),
            connections=tuple(
                Connection(peer=peer, own_port=40000, peer_port=6379)
                for peer in self.members
                if peer != node and not any(shape.reset and hit(at, shape, node, peer) for at, shape in shapes)
            ),
        )

    async def _called(self, method: str, *arguments: str) -> None:
        self.before(method)
        self.calls.append((method, *arguments))
        if method in self.slow_s:
            assert self.clock is not None
            await self.clock.sleep(self.slow_s[method])
        if method in self.failing:
            raise self.failing[method]

    def _live(self, node: str) -> None:
        if node not in self.members:
            raise InjectionError(f"node {node!r} does not run")


def hit(node: str, shape: NetworkShape, source: str, destination: str, *, port: int = 0) -> bool:
    """Whether a shape of a node is of packets that go along a path, to a port."""
    way = {source: "out", destination: "in"}.get(node)
    peer = destination if source == node else source
    return (
        way is not None
        and shape.direction in ("both", way)
        and (shape.peers is None or peer in shape.peers)
        and (not shape.ports or port in (0, *shape.ports))
    )


CAPABILITIES: tuple[type, ...] = (UndoesEffects, KillsNodes, PausesNodes, FaultsLaunches, ShapesNetworks)
assert all(issubclass(FakeCluster, capability) for capability in CAPABILITIES)


class Scripted(Fault):
    """Harm whose probes answer what the cluster's `seen` says for its injection, in turn; the last answer stays."""

    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "a stand-in"
    needs: ClassVar[tuple[type, ...]] = (PausesNodes, UndoesEffects)
    acts_on: ClassVar[Literal["nodes", "launches"]] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    async def inject(self, site: Site) -> None:
        """Pauses the victims."""
        for victim in site.victims:
            await fake(site).pause_node(victim, effect_id=site.effect_for(victim), lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """The next scripted answer."""
        return self._next(site, site.effect_id, "took_effect")

    async def probe_healed(self, site: Site) -> Effect:
        """The next scripted answer."""
        return self._next(site, f"{site.effect_id}/healed", "no_effect")

    def _next(self, site: Site, key: str, otherwise: Literal["took_effect", "no_effect"]) -> Effect:
        answers = fake(site).seen.get(key, [])
        if len(answers) > 1:
            return answers.pop(0)
        return answers[0] if answers else Effect(outcome=otherwise, detail="as ever")


class ScriptedLaunch(Scripted):
    """The same, on launches."""

    name: ClassVar[str] = "scripted_launch"
    acts_on: ClassVar[Literal["nodes", "launches"]] = "launches"

    async def inject(self, site: Site) -> None:
        """Faults launches."""
        await fake(site).fault_launches(LaunchFault(error="no"), effect_id=site.effect_id, lease_s=site.lease_s)


def fake(site: Site) -> FakeCluster:
    """The site's cluster, known to be a double."""
    assert isinstance(site.cluster, FakeCluster)
    return site.cluster


def node_named(
    name: str, *, node_type: str = "gpu", state: Literal["pending", "running", "paused", "stopping"] = "running"
) -> Node:
    """A node; the head is of its own type."""
    return Node(
        node=name,
        node_type="head" if name == "head" else node_type,
        state=state,
        instance="head" if name == "head" else f"i-{int(name[1:]):05d}",
    )


async def injected(fault: Fault, site: Site) -> Site:
    """Measures and injects as the nemesis does; the site its probes are given."""
    measured = replace(site, before=await fault.measure_before(site))
    await fault.inject(measured)
    return measured


def site_of(
    cluster: FakeCluster, *victims: str, events: list[tuple[float, Event]] | None = None, injected_s: float = 10.0
) -> Site:
    """Where an injection `run.i1` made at `injected_s` acts, with a history of `(t_s, event)` pairs."""
    return Site(
        cluster=cluster,
        victims=victims,
        effect_id="run.i1",
        lease_s=20.0,
        injected_s=injected_s,
        history=History.of_events(events or []),
    )


def unknown(detail: str = "not yet") -> Effect:
    """A probe that cannot tell."""
    return Effect(outcome="unknown", detail=detail)


__all__ = [
    "OPEN_MBIT",
    "FakeCluster",
    "FakeProcess",
    "Scripted",
    "ScriptedLaunch",
    "VirtualClock",
    "fake",
    "injected",
    "node_named",
    "settle",
    "site_of",
    "unknown",
]
