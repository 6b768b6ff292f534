"""The processes of a node and what each is there for, read from /proc; and the killing of single ones.

Roles are told by how Ray 2.60 names what it starts: its servers by their program, its agents and workers by the title
they give themselves (`ray::IDLE`, `ray::Class.method`), a driver by the mark of programs the cluster was given to run.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from chaos.cloud.driver import NodeDriver
from chaos.cloud.ledger import Ledger
from chaos.cloud.marks import all_pids, command_of, environment_of, signal_all, state_of
from chaos.cloud.node_process import start_ticks
from chaos.cloud.ray_start import PROGRAM_VARIABLE
from chaos.cluster import NodeProcess
from chaos.errors import ChaosError, InjectionError
from chaos.harm import Role

STOPPED = ("T", "t")
_SERVERS: Mapping[str, Role] = {"raylet": "raylet", "gcs_server": "gcs_server"}
_TITLES: Mapping[str, Role] = {
    "ray::DashboardAgent": "dashboard_agent",
    "ray::RuntimeEnvAgent": "runtime_env_agent",
}
_SCRIPTS: Mapping[str, Role] = {
    "/autoscaler/v2/monitor.py": "monitor",
    "/autoscaler/_private/monitor.py": "monitor",
    "/dashboard/agent.py": "dashboard_agent",
    "/runtime_env/agent/main.py": "runtime_env_agent",
    "/workers/setup_worker.py": "worker",
    "/workers/default_worker.py": "worker",
}
_TITLE_LIMIT = 200
# Carries the command it wraps in its own, and so does the init process of a container that it runs in.
_WRAPPER = "chaos.cloud.node_process"


def role_of(command: Collection[str]) -> Role | Literal[""]:
    """What a process with this command is there for; empty for none of Ray's roles."""
    words = list(command)
    if not words:
        return ""
    if role := _SERVERS.get(Path(words[0]).name):
        return role
    if words[0].startswith("ray::"):
        return _TITLES.get(words[0].split(" ")[0], "worker")
    return next((role for word in words for script, role in _SCRIPTS.items() if word.endswith(script)), "")


def starts_ray(command: Collection[str]) -> bool:
    """Whether this is the `ray start --block` that keeps a node up, and ends it politely on SIGTERM."""
    return "start" in command and "--block" in command and not any(_WRAPPER in word for word in command)


def look_at(pids: Iterable[int]) -> tuple[NodeProcess, ...]:
    """Those of the processes that live, by start."""
    found = []
    for pid in pids:
        ticks, command = start_ticks(pid), command_of(pid)
        if ticks is None:
            continue
        role = role_of(command)
        if not role and PROGRAM_VARIABLE in environment_of(pid):
            role = "driver"
        title = " ".join(command).strip()[:_TITLE_LIMIT]
        stopped = state_of(pid) in STOPPED
        found.append(NodeProcess(pid=pid, started_ticks=ticks, role=role, title=title, stopped=stopped))
    return tuple(sorted(found, key=lambda process: (process.started_ticks, process.pid)))


def in_namespace_of(pid: int) -> list[int]:
    """The processes that share a process's PID namespace, as those of a container do; none when it is gone."""
    wanted = _pid_namespace(pid)
    return [other for other in all_pids() if wanted and _pid_namespace(other) == wanted]


def _pid_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


EndProcesses: TypeAlias = Callable[[list[int]], Awaitable[None]]
"""Ends processes by PID, at once."""


async def end_all(pids: list[int]) -> None:
    """SIGKILL to processes of this machine."""
    await asyncio.to_thread(signal_all, pids, signal.SIGKILL)


class NodeProcesses:
    """What the Cloud shows of its nodes' processes, and the killing of single ones."""

    def __init__(self, ledger: Ledger, driver: NodeDriver, *, end: EndProcesses = end_all) -> None:
        self._ledger = ledger
        self._driver = driver
        self._end = end

    async def look(self, node: str) -> tuple[NodeProcess, ...]:
        """The processes of a node; none where it does not run."""
        running = [instance for instance in self._ledger.running() if instance.node == node]
        return await self._driver.processes(running[0]) if running else ()

    async def kill(self, node: str, wanted: Mapping[int, int]) -> None:
        """SIGKILL to those of the wanted, start times by PID, that are the node's.

        Raises:
            InjectionError: no such live node, or all of them have ended.
        """
        living = await self._driver.processes(self._ledger.live(node))
        hit = [process.pid for process in living if wanted.get(process.pid) == process.started_ticks]
        if not hit:
            told = ", ".join(str(pid) for pid in wanted)
            raise InjectionError(f"of node {node!r} no process {told} is there: each had ended by itself")
        await self._end(hit)

    async def restart_raylet(self, node: str) -> None:
        """SIGKILL to a node's raylet; what keeps the node up then starts Ray again on it.

        Raises:
            InjectionError: no such live node, it is the head, or its raylet has ended.
        """
        instance = self._ledger.live(node)
        if instance.instance == "head":
            raise InjectionError("the head's raylet cannot be restarted so: the head ends with it")
        raylets = {
            process.pid: process.started_ticks
            for process in await self._driver.processes(instance)
            if process.role == "raylet"
        }
        if not raylets:
            raise InjectionError(f"node {node!r} has no raylet: it had ended by itself")
        await self._driver.keep_up(instance, wanted=True)
        try:
            await self.kill(node, raylets)
        except BaseException as first:
            try:
                await self._driver.keep_up(instance, wanted=False)
            except ChaosError as second:
                if isinstance(first, ChaosError):
                    told = f"{first}; and what keeps the node up was not told otherwise: {second}"
                    raise InjectionError(told) from first
                raise first from second
            raise
