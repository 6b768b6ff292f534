"""Nodes as process groups of this machine, each with a loopback address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.device_faults import DeviceFaults
from chaos.cloud.driver import Enforcer, NodeLaunch, obey_all
from chaos.cloud.ended import Reviver
from chaos.cloud.gauges import process_gauges
from chaos.cloud.head import STALE_HEAD_FILE
from chaos.cloud.holder import Place
from chaos.cloud.instances import Instance
from chaos.cloud.marks import (
    command_of,
    environment_of,
    marked,
    processes,
    programs,
    session_of,
    signal_all,
    state_of,
)
from chaos.cloud.node_process import AGAIN, NOT_AGAIN, children_of, start_ticks
from chaos.cloud.node_processes import look_at
from chaos.cloud.node_resources import NodeResources
from chaos.cloud.notices import Notices
from chaos.cloud.ray_start import DIRECTORY_VARIABLE, INSTANCE_VARIABLE, MARK_VARIABLE, loopback_address
from chaos.cloud.stopping import Stopper
from chaos.cluster import Gauges, NodeProcess
from chaos.errors import ClusterError, InjectionError
from chaos.harm import (
    ClockSkew,
    CpuThrottle,
    DiskFill,
    DiskThrottle,
    FrozenNode,
    NetworkShape,
    NodeHarm,
    StoppedProcesses,
)
from chaos.value import Value

_POLL_S = 0.05
_WRAPPER = "chaos.cloud.node_process"
_END_LIMIT_S = 10.0
# Workers yield to the head, the Cloud and the nemesis, so that a busy small machine does not make faults late.
_WORKER_NICENESS = 5


class _Stillness:
    """Stops all of a node, or its processes of some roles: one signal does both, so one enforcer knows of both."""

    kinds: tuple[type[Value], ...] = (FrozenNode, StoppedProcesses)

    def __init__(self, pause: Callable[[Instance], Awaitable[None]], stopper: Stopper) -> None:
        self._pause = pause
        self._stopper = stopper

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:
        """A frozen node is stopped whole; when it is thawed, what else is to be stopped stays so."""
        if any(isinstance(harm, FrozenNode) for harm in harms):
            self._stopper.disturbed(instance.handle)
            await self._pause(instance)
        else:
            await self._stopper.obey(instance, harms, addresses=addresses)


class ProcessDriver:
    """Runs each node under a `node_process`; the handle is its PID and start time, so that a reused PID is not hit."""

    def __init__(self, config: CloudConfig, directory: CloudDirectory) -> None:
        self._config = config
        self._directory = directory
        # Where an earlier Cloud has been, it may have started what it did not come to remember.
        self._inherits = (directory.state / "state.json").exists()
        self._device_faults = DeviceFaults(directory, root_on_nodes=str(directory.root))
        self._stopper = Stopper(self.processes)
        self._reviver = Reviver(directory, self.processes, self._revive)
        self._notices = Notices(directory, self.processes)
        place = Place(self._run_program, self._processes, self.gauges, directory.gcs_address)
        self._resources = NodeResources(directory, place)
        self._enforcers: tuple[Enforcer, ...] = (
            self._device_faults,
            *self._resources.enforcers,
            _Stillness(self._pause, self._stopper),
            self._reviver,
            self._notices,
        )

    async def start(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """Starts the node's process group; adopts the one that an earlier Cloud started for the same instance."""
        pid = await asyncio.to_thread(self._wrapper_of, instance) if self._inherits else None
        if pid is None:
            pid = await self._spawn(instance, launch)
        ticks = start_ticks(pid)
        if ticks is None:
            logs = self._directory.nodes / instance.instance
            raise ClusterError(f"the process of node {instance.node} ended as it started; see {logs}")
        handle = f"{pid}:{ticks}"
        self._stopper.started(handle)
        self._resources.started(handle)
        with self._directory.sessions.open("a") as file:
            file.write(f"{instance.instance} {handle}\n")
        return instance.model_copy(
            update={"handle": handle, "address": loopback_address(self._config, instance.instance)}
        )

    async def _spawn(self, instance: Instance, launch: NodeLaunch) -> int:
        logs = self._directory.nodes / instance.instance
        logs.mkdir(parents=True, exist_ok=True)
        for path, content in launch.files.items():
            (self._directory.root / path).write_text(content)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _WRAPPER,
            str(self._directory.address),
            str(self._config.orphan_grace_s),
            str(0 if instance.instance == "head" else _WORKER_NICENESS),
            str(logs / "ray-start.log"),
            *launch.argv,
            env={
                **os.environ,
                **self._device_faults.environment(instance),
                **launch.environment,
                DIRECTORY_VARIABLE: str(self._directory.root),
            },
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return process.pid

    async def adopt_head(self) -> Instance | None:
        """The Cloud starts the head itself here."""
        return None

    async def restart_head(self, head: Instance, launch: NodeLaunch) -> Instance:
        """Starts it once nothing of the old one is left."""
        await self.stop(head, limit_s=0.0)
        (Path(self._config.ray_temp) / head.instance / STALE_HEAD_FILE).unlink(missing_ok=True)
        return await self.start(head, launch)

    async def stop(self, instance: Instance, *, limit_s: float) -> None:
        """SIGTERM to the node's wrapper, then SIGKILL to all of the node, until nothing is left."""
        if not instance.handle and not self._inherits:
            return
        pid = self._pid(instance)
        if pid is not None and limit_s > 0:
            signal_all([pid], signal.SIGTERM)
            deadline = asyncio.get_running_loop().time() + limit_s
            while self._pid(instance) is not None and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_POLL_S)
        deadline = asyncio.get_running_loop().time() + _END_LIMIT_S
        while self._living(instance):
            await self.kill(instance)
            if asyncio.get_running_loop().time() > deadline:
                raise InjectionError(f"processes {self._living(instance)} of node {instance.node} do not die")
            await asyncio.sleep(_POLL_S)
        self._resources.ended(instance.handle)

    async def kill(self, instance: Instance) -> bool:
        """SIGKILL to the process group at once, then to whatever else is the node's."""
        ran = self._pid(instance) is not None
        self._signal_group(instance, signal.SIGKILL)
        signal_all(self._living(instance), signal.SIGKILL)
        return ran

    async def restart(self, instance: Instance, launch: NodeLaunch) -> Instance:
        """SIGKILL to all of the node, then a wrapper as the first time."""
        await self.stop(instance, limit_s=0.0)
        return await self.start(instance, launch)

    async def prepare_notice(self) -> None:
        """A process that has Ray's client loaded."""
        await self._notices.prepare()

    async def keep_up(self, instance: Instance, *, wanted: bool) -> None:
        """A signal to the wrapper."""
        wrapper = self._pid(instance)
        if wrapper is None:
            raise InjectionError(f"node {instance.node} is gone")
        signal_all([wrapper], AGAIN if wanted else NOT_AGAIN)

    async def processes(self, instance: Instance) -> tuple[NodeProcess, ...]:
        """The wrapper's descendants; for the head and where the driver runs, with the programs beside them."""
        wrapper = self._pid(instance)
        if wrapper is None:
            return ()
        return await asyncio.to_thread(lambda: look_at(self._below(instance, wrapper)))

    async def gone(self, instances: Collection[Instance]) -> set[str]:
        """Nodes whose wrapper has ended."""
        return {instance.instance for instance in instances if self._pid(instance) is None}

    def refuses(self, harm: NodeHarm) -> str:
        """Networks, CPU time, disks and clocks: all nodes share this machine's."""
        if isinstance(harm, NetworkShape):
            return "nodes of a local cluster share this machine's network; use --cluster compose"
        if isinstance(harm, CpuThrottle):
            return "nodes of a local cluster have no limit of CPU time; use --cluster compose"
        if isinstance(harm, (DiskFill, DiskThrottle)):
            return "nodes of a local cluster share this machine's disk; use --cluster compose"
        if isinstance(harm, ClockSkew):
            return "nodes of a local cluster share this machine's clock; use --cluster compose"
        return ""

    async def obey(
        self,
        instance: Instance,
        harms: Sequence[NodeHarm],
        *,
        addresses: Mapping[str, str],
        changed: type[Value] | None = None,
    ) -> None:
        """Hands each enforcer what is its."""
        await obey_all(self._enforcers, instance, harms, addresses=addresses, changed=changed)

    async def gauges(self, instance: Instance) -> Gauges | None:
        """Read from the node's processes."""
        pids = await self._processes(instance)
        return await asyncio.to_thread(process_gauges, pids)

    async def harm_seen(self, instances: Callable[[], Collection[Instance]]) -> tuple[str, ...]:
        """Processes that are stopped, or outlived their node, or are of a program that should have ended."""
        there = instances()
        before = {instance.instance for instance in there}
        taken = [thing for instance in there for thing in self._device_faults.seen(instance)]
        seen = await asyncio.to_thread(self._harm_seen)
        # A node that began or ended while the processes were looked at had its right to them.
        known = before | {instance.instance for instance in instances()}
        for instance in there:
            wrapper = self._pid(instance)
            if wrapper is not None:
                taken += self._resources.seen(instance, await self._processes(instance), first=wrapper)
        shown = tuple(text for owner, text in seen if owner is None or owner not in known)
        return (*shown, *taken, *self._reviver.owed(known))

    async def tear_down(self) -> None:
        """SIGKILL to every process of this cluster but the Cloud itself."""
        await self._notices.close()
        deadline = asyncio.get_running_loop().time() + _END_LIMIT_S
        while remaining := processes(self._config.mark, sessions=self._directory.session_instances()):
            signal_all(remaining, signal.SIGKILL)
            if asyncio.get_running_loop().time() > deadline:
                raise ClusterError(f"processes {remaining} of cluster {self._config.cluster} do not die")
            await asyncio.sleep(_POLL_S)

    async def _processes(self, instance: Instance) -> list[int]:
        """All of the node but its wrapper."""
        pids = await asyncio.to_thread(self._living, instance)
        return [pid for pid in pids if pid != self._pid(instance)]

    async def _run_program(self, instance: Instance, arguments: Sequence[str]) -> None:
        """Runs a Python program as part of the node; what it writes is kept beside the node's logs."""
        with (self._directory.nodes / instance.instance / f"{arguments[1]}.log").open("ab") as log:
            await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env={
                    **os.environ,
                    MARK_VARIABLE: self._config.mark,
                    INSTANCE_VARIABLE: instance.instance,
                    DIRECTORY_VARIABLE: str(self._directory.root),
                },
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    async def _pause(self, instance: Instance) -> None:
        """SIGSTOP to the process group at once, then to stragglers until none is new; the wrapper goes on.

        Stragglers are the wrapper's descendants: it is their subreaper. Looking for the cluster's mark instead would
        read the memory of every process of the machine, and waits for those that are busy mapping theirs. Programs
        beside the head, or where the driver runs, are nobody's descendants: there that has to be.
        """
        self._signal_group(instance, signal.SIGSTOP)
        wrapper = self._pid(instance)
        if wrapper is None:
            return
        signal_all([wrapper], signal.SIGCONT)
        stopped: set[int] = {wrapper}
        while fresh := [pid for pid in self._below(instance, wrapper) if pid not in stopped]:
            signal_all(fresh, signal.SIGSTOP)
            stopped.update(fresh)

    def _below(self, instance: Instance, wrapper: int) -> list[int]:
        programs_there = instance.instance == "head" or instance.node_type == self._config.spec.driver_on
        return self._living(instance) if programs_there else children_of(wrapper)

    async def _revive(self, instance: Instance, argv: Sequence[str], environment: Mapping[str, str]) -> None:  # noqa: ARG002 -- all nodes are on this machine
        """The mark in its environment makes it the cluster's, though the node's wrapper is not its parent."""
        await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )

    def _harm_seen(self) -> list[tuple[str | None, str]]:
        """What shows, and for what shows only of a node that ended, whose it is."""
        sessions = self._directory.session_instances()
        owners = {int(session.partition(":")[0]): instance for session, instance in sessions.items()}
        ours = processes(self._config.mark, sessions=sessions)
        seen: list[tuple[str | None, str]] = [
            (None, f"stopped process: {pid}") for pid in ours if state_of(pid) in ("T", "t")
        ]
        for pid in ours:
            owner = owners.get(session_of(pid)) or environment_of(pid).get(INSTANCE_VARIABLE)
            if owner is not None:
                seen.append((owner, f"process {pid} of a node that ended"))
        seen += [(None, f"program still running: process {pid}") for pid in programs(self._config.mark)]
        return seen

    def _wrapper_of(self, instance: Instance) -> int | None:
        """The node process that runs for an instance already."""
        found = (pid for pid in marked(self._config.mark, instance=instance.instance) if _WRAPPER in command_of(pid))
        return next(found, None)

    def _signal_group(self, instance: Instance, number: signal.Signals) -> None:
        pid = self._pid(instance)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def _pid(self, instance: Instance) -> int | None:
        if not instance.handle:
            return None
        pid, _, ticks = instance.handle.partition(":")
        return int(pid) if start_ticks(int(pid)) == int(ticks) else None

    def _living(self, instance: Instance) -> list[int]:
        sessions = [instance.handle] if instance.handle else []
        return processes(self._config.mark, instance=instance.instance, sessions=sessions)
