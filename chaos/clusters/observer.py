"""Watches a running cluster: keeps what is known now, and records it while a run is on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import psutil

from chaos.clock import RealClock
from chaos.cluster import Node
from chaos.errors import ClusterError, ExceptionGroup
from chaos.events import (
    AutoscalerLogged,
    ClusterSampled,
    Demand,
    Event,
    HostSampled,
    NodeDied,
    NodeJoined,
    NodeView,
)
from chaos.history import Recorder

SAMPLE_INTERVAL_S = 0.25
RECORD_AT_LEAST_S = 1.0
# How long a sampler that ended is waited for before another is started, and how long one must have lived to be well.
_LEAST_PAUSE_S = 0.5
_MOST_PAUSE_S = 8.0
_WELL_AFTER_S = 10.0
_LINE_LIMIT = 4 * 1024 * 1024
_STORE = "object_store_memory"
# What Ray makes of a node's resources for the bundles of a placement group; of the node they are none.
_OF_GROUP = re.compile(r"_group_(?:\d+_)?[0-9a-f]{16,}$")
# Each begins where a line may: without that, one that does not match is tried from every character on.
_LOG_LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("instance", re.compile(r"(?:Update|New) instance .*")),
    ("stuck", re.compile(r"^.*is stuck in.*", re.MULTILINE)),
    ("launch_failed", re.compile(r"^.*(?:Failed to launch|Failed to create|Launch failed).*", re.MULTILINE)),
    ("no_state", re.compile(r"No autoscaling state to report.*")),
    ("error", re.compile(r"^.*\bERROR\b.*", re.MULTILINE)),
)
LogKind = Literal["instance", "stuck", "launch_failed", "no_state", "error"]


class Listed(Protocol):
    """What the observer asks of a Cloud."""

    async def nodes(self) -> tuple[Node, ...]:
        """The instances that are not terminated."""
        ...

    async def renumber(self) -> int:
        """Numbers the workers from w1; returns the number of the next event."""
        ...

    def events(self, after: int) -> AsyncIterator[tuple[float, Event]]:
        """Node lifecycle events from a number on, each with its monotonic time."""
        ...


class Observer:
    """Follows the GCS, the Cloud, the autoscaler's log and this machine, from `open` to `close`."""

    def __init__(self, client: Listed, *, gcs_address: str, environment: Mapping[str, str]) -> None:
        self._client = client
        self._gcs_address = gcs_address
        self._environment = environment
        self._tasks: list[asyncio.Task[None]] = []
        self._run_tasks: list[asyncio.Task[None]] = []
        self._recorder: Recorder | None = None
        self._clock: RealClock | None = None
        self._names: dict[str, Node] = {}
        self._cloud: dict[str, Literal["pending", "running", "paused", "stopping"]] = {}
        self._alive: dict[str, str] = {}
        self._joined: set[str] = set()
        self._died: set[str] = set()
        self._views: dict[str, tuple[dict[str, Any], NodeView]] = {}
        self._last: ClusterSampled | None = None
        self._last_s = float("-inf")
        self.sample: dict[str, Any] = {"reachable": False, "error": "not asked yet"}

    def open(self) -> None:
        """Samples from now on, by a process that is started again whenever it ends."""
        self._tasks.append(_start(self._keep_sampling()))

    async def close(self) -> None:
        """Ends the sampler process."""
        await self.detach()
        await _cancel(self._tasks)

    def workers_alive(self) -> int:
        """How many workers the GCS sees alive."""
        return sum(1 for node in self.sample.get("nodes", ()) if _is_alive(node) and node["instance"] != "head")

    def head_alive(self) -> bool:
        """Whether the GCS sees its own node alive."""
        return any(_is_alive(node) and node["instance"] == "head" for node in self.sample.get("nodes", ()))

    async def attach(self, recorder: Recorder, *, monitor_log: Callable[[], Path | None]) -> None:
        """Begins to record into a history, with workers numbered anew."""
        assert isinstance(recorder.clock, RealClock)
        first_event = await self._client.renumber()
        self._recorder, self._clock = recorder, recorder.clock
        self._names.clear()
        self._joined.clear()
        self._died = {node["ray_node_id"] for node in self.sample.get("nodes", ()) if not _is_alive(node)}
        self._alive.clear()
        self._views.clear()
        self._last, self._last_s = None, float("-inf")
        await self._learn_names()
        for work in (
            self._follow_cloud(recorder, recorder.clock, first_event),
            self._follow_log(recorder, monitor_log),
            self._watch_host(recorder),
        ):
            self._run_tasks.append(_start(work))
        self._record(self.sample)

    async def detach(self) -> None:
        """Stops recording."""
        self._recorder = None
        await _cancel(self._run_tasks)

    async def _keep_sampling(self) -> None:
        pause_s = _LEAST_PAUSE_S
        while True:
            began_s = time.monotonic()
            sampler = await asyncio.create_subprocess_exec(
                *sampler_command(self._gcs_address),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=dict(self._environment),
                limit=_LINE_LIMIT,
                start_new_session=True,
            )
            try:
                await self._follow_sampler(sampler)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    sampler.kill()
                await sampler.wait()
            # Until the next one answers nothing is known, and the history says so.
            await self._take({"reachable": False, "error": "the process that asks the GCS ended; it is started again"})
            well = time.monotonic() - began_s >= _WELL_AFTER_S
            pause_s = _LEAST_PAUSE_S if well else min(2 * pause_s, _MOST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _follow_sampler(self, sampler: asyncio.subprocess.Process) -> None:
        assert sampler.stdout is not None
        async for line in sampler.stdout:
            if line.endswith(b"\n"):  # else it died while it wrote
                await self._take(json.loads(line))

    async def _take(self, sample: dict[str, Any]) -> None:
        self.sample = sample
        alive = {node["instance"] for node in sample.get("nodes", ()) if _is_alive(node) and node["instance"]}
        if self._recorder is not None:
            with contextlib.suppress(ClusterError):
                await self._learn_names(only_if=bool(alive - self._names.keys()) or self._stale())
            self._record(sample)

    def _stale(self) -> bool:
        return self._recorder is not None and self._recorder.clock.now_s() - self._last_s >= RECORD_AT_LEAST_S

    async def _learn_names(self, *, only_if: bool = True) -> None:
        if only_if:
            listed = await self._client.nodes()
            self._cloud = {node.node: node.state for node in listed if node.state != "terminated"}
            self._names |= {node.instance: node for node in listed}

    def _record(self, sample: dict[str, Any]) -> None:
        recorder, clock = self._recorder, self._clock
        if recorder is None or clock is None:
            return
        at_s = clock.at_monotonic(sample["monotonic_s"]) if "monotonic_s" in sample else clock.now_s()
        views = []
        for node in sample.get("nodes", ()):
            known = self._names.get(node["instance"])
            ray_node_id = node["ray_node_id"]
            if known is None:
                continue
            if not _is_alive(node):
                self._bury(recorder, ray_node_id, known.node, at_s)
                continue
            if ray_node_id not in self._joined:
                self._joined.add(ray_node_id)
                self._alive[ray_node_id] = known.node
                recorder.append(
                    NodeJoined(
                        node=known.node,
                        node_type=node["node_type"],
                        ray_node_id=ray_node_id,
                        resources=_counted(node["total"]),
                    ),
                    at_s=at_s,
                )
            views.append(self._view(known.node, node))
        if sample["reachable"]:
            present = {node["ray_node_id"] for node in sample["nodes"]}
            for ray_node_id in [key for key in self._alive if key not in present]:
                self._bury(recorder, ray_node_id, self._alive[ray_node_id], at_s)
        event = ClusterSampled(
            reachable=sample["reachable"],
            nodes=tuple(sorted(views, key=lambda view: view.node)),
            demands=tuple(self._demand(demand) for demand in sample.get("demands", ())),
            cloud=dict(self._cloud),
            autoscaler_pending=sample.get("pending", 0),
            autoscaler_failed=sample.get("failed", 0),
            infeasible=sample.get("infeasible", 0),
        )
        if event != self._last or clock.now_s() - self._last_s >= RECORD_AT_LEAST_S:
            self._last, self._last_s = event, clock.now_s()
            recorder.append(event, at_s=at_s)

    def _demand(self, demand: dict[str, Any]) -> Demand:
        known = (self._names.get(instance) for instance in demand.get("not_on", ()))
        return Demand.model_validate({**demand, "not_on": [node.node for node in known if node is not None]})

    def _view(self, name: str, node: dict[str, Any]) -> NodeView:
        """A node as it is shown; the same value as long as that is the same."""
        before, view = self._views.get(node["ray_node_id"], (None, None))
        if view is None or view.node != name or before != node:
            view = NodeView(
                node=name,
                node_type=node["node_type"],
                status=cast(Literal["running", "idle", "draining"], node["status"]),
                idle_s=round(node["idle_s"]),
                total=_counted(node["total"]),
                available=_counted(node["available"]),
                store_used=_store_used(node["total"], node["available"]),
            )
            self._views[node["ray_node_id"]] = (node, view)
        return view

    def _bury(self, recorder: Recorder, ray_node_id: str, node: str, at_s: float) -> None:
        self._alive.pop(ray_node_id, None)
        self._views.pop(ray_node_id, None)
        if ray_node_id in self._joined and ray_node_id not in self._died:
            self._died.add(ray_node_id)
            recorder.append(NodeDied(node=node, ray_node_id=ray_node_id), at_s=at_s)

    async def _follow_cloud(self, recorder: Recorder, clock: RealClock, number: int) -> None:
        while True:
            async for monotonic_s, event in self._client.events(number):
                number += 1
                recorder.append(event, at_s=clock.at_monotonic(monotonic_s))
                with contextlib.suppress(ClusterError):
                    await self._learn_names()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _follow_log(self, recorder: Recorder, monitor_log: Callable[[], Path | None]) -> None:
        async for line in _new_lines(monitor_log):
            if (event := logged(line)) is not None:
                recorder.append(event)

    async def _watch_host(self, recorder: Recorder) -> None:
        psutil.cpu_percent()
        while True:
            due_s = recorder.clock.now_s() + RECORD_AT_LEAST_S
            await asyncio.sleep(RECORD_AT_LEAST_S)
            recorder.append(
                HostSampled(
                    lag_s=round(max(0.0, recorder.clock.now_s() - due_s), 3),
                    cpu_busy=round(psutil.cpu_percent() / 100.0, 3),
                    cpu_pressure=_cpu_pressure(),
                    memory_free_mb=round(psutil.virtual_memory().available / 2**20),
                    disk_free_mb=round(psutil.disk_usage("/").free / 2**20),
                )
            )


def logged(line: str) -> AutoscalerLogged | None:
    """What a line of the autoscaler's log tells; None where that is nothing of interest."""
    for about, pattern in _LOG_LINES:
        if found := pattern.search(line):
            return AutoscalerLogged(about=cast(LogKind, about), text=found.group(0)[:400])
    return None


def sampler_command(gcs_address: str) -> tuple[str, ...]:
    """What to run to have the GCS asked again and again; see `chaos.clusters.gcs_sampler`."""
    return (sys.executable, "-m", "chaos.clusters.gcs_sampler", gcs_address, str(SAMPLE_INTERVAL_S))


def _is_alive(node: Mapping[str, Any]) -> bool:
    return node["status"] in ("running", "idle", "draining")


def _store_used(total: Mapping[str, float], available: Mapping[str, float]) -> float | None:
    """The share of the object store in use, coarse: every other value is another sample to keep."""
    whole = total.get(_STORE)
    return None if not whole else round((1.0 - available.get(_STORE, 0.0) / whole) * 20) / 20


def _counted(resources: Mapping[str, float]) -> dict[str, float]:
    return {
        name: round(amount, 4)
        for name, amount in resources.items()
        if not name.startswith("node:") and name not in ("memory", _STORE) and not _OF_GROUP.search(name)
    }


def _cpu_pressure() -> float | None:
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    found = re.search(r"avg10=([0-9.]+)", some)
    return float(found.group(1)) / 100.0 if found else None


async def _new_lines(path_of: Callable[[], Path | None]) -> AsyncIterator[str]:
    """Lines appended to a file from now on; waits for the file, and starts over when it is replaced."""
    path, position, rest = path_of(), 0, ""
    if path is not None and path.exists():
        position = path.stat().st_size
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL_S)
        path = path_of()
        if path is None or not path.exists():
            continue
        with path.open("r", encoding="utf-8", errors="replace") as file:
            if path.stat().st_size < position:
                position, rest = 0, ""
            file.seek(position)
            *lines, rest = (rest + file.read()).split("\n")
            position = file.tell()
        for line in lines:
            yield line


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
    errors = [r for r in results if isinstance(r, Exception) and not isinstance(r, asyncio.CancelledError)]
    if errors:
        raise ExceptionGroup("watching the cluster failed", errors)
