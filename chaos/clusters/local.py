"""The embedded default: nodes are process groups of this machine, each with its own loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import psutil

import chaos
from chaos.cloud.config import CloudConfig
from chaos.cloud.holder import programs_seen
from chaos.cloud.marks import all_pids, environment_of, processes, signal_all, state_of
from chaos.cloud.node_process import start_ticks
from chaos.cloud.ray_start import DIRECTORY_VARIABLE, INSTANCE_VARIABLE, MARK_VARIABLE, PROGRAM_VARIABLE
from chaos.cloud.server import in_use
from chaos.cloud.stacks import dump_all
from chaos.cluster import Process, Vitals
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.cloud_cluster import OWNER_LEASE_S, CloudCluster, Step
from chaos.errors import ClusterError

_LINE_LIMIT = 4 * 1024 * 1024
_SOCKET_PATH_LIMIT = 107
_SESSION_SOCKET = "/i-00000/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_POLL_S = 0.05
_STOP_LIMIT_S = 5.0
# What Ray's servers say of a port that is not free, and in which files.
_TAKEN = re.compile(r"address already in use|already (?:in use|occupied)", re.IGNORECASE)
_WORDY = (".log", ".out", ".err")


class LocalCluster(CloudCluster):
    """A cluster of processes. Nodes are killed and paused as process trees; they share this machine's network."""

    kind = "local"
    cloud_module: ClassVar[str] = "chaos.cloud.server"

    def __init__(self, name: str, spec: ClusterSpec, *, on_step: Step = lambda _: None) -> None:
        super().__init__(name, spec, on_step=on_step)
        self._config: CloudConfig | None = None
        self._cloud_process: asyncio.subprocess.Process | None = None

    async def execute(self, module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str]) -> Process:
        """Starts a program beside the head or another node, as part of that node."""
        config = self._known_config()
        host = await self._driver_instance()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **self._sampler_environment(),
                MARK_VARIABLE: config.mark,
                DIRECTORY_VARIABLE: str(self.directory.root),
                INSTANCE_VARIABLE: host["instance"],
                PROGRAM_VARIABLE: secrets.token_hex(8),
                "RAYCHAOS_RAY_ADDRESS": self.gcs_address(),
                "RAYCHAOS_NODE_IP": host["address"],
                **environment,
            },
            cwd="/",
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        return LocalProcess(process)

    async def vitals(self, node: str) -> Vitals | None:
        """Read from /proc: how many of the node's processes there are, how many are stopped, their CPU time."""
        found = next((item for item in await self._cloud.instances() if item["node"] == node), None)
        if found is None:
            return None
        wrapper = int(found["handle"].partition(":")[0] or 0)
        stopped, cpu_s, count = 0, 0.0, 0
        sessions = [found["handle"]] if found["handle"] else []
        for pid in processes(self._known_config().mark, instance=found["instance"], sessions=sessions):
            state = state_of(pid)
            # What we hold there sleeps, and is not frozen with the node.
            if pid == wrapper or not state or programs_seen([pid]):
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                times = psutil.Process(pid).cpu_times()
                cpu_s += times.user + times.system
                count += 1
                stopped += state in ("T", "t")
        return Vitals(processes=count, stopped=stopped, cpu_s=round(cpu_s, 2))

    async def dump_stacks(self, into: Path) -> int:
        """py-spy's view of every Python process of the cluster."""
        return await asyncio.to_thread(dump_all, self.directory, into)

    def how_to_connect(self) -> str:
        """Driver address, dashboard, and what to type."""
        address = self.gcs_address()
        host = address.rpartition(":")[0]
        return (
            f"cluster {self.name!r} is up\n"
            f"  dashboard:  {self.dashboard() or 'off'}\n"
            f"  from Python: ray.init(address={address!r}, _node_ip_address={host!r})\n"
            f"  status:     ray status --address={address}\n"
            f"  end it:     raychaos down {self.name}"
        )

    def gcs_address(self) -> str:
        """The GCS's loopback address."""
        return str(self.address()["gcs"])

    async def _launch_cloud(self) -> None:
        mark = f"{self.name}#{secrets.token_hex(6)}"
        self._config = CloudConfig(
            cluster=self.name,
            mark=mark,
            driver="process",
            spec=self.spec,
            subnet=_subnet(mark),
            ray_temp=_short_directory(self.directory.root, mark),
            first_lease_s=OWNER_LEASE_S,
            python_path=os.pathsep.join(_python_path()),
        )
        self.directory.create(self._config, token=secrets.token_urlsafe(24), ray_token=None)
        self._on_step(f"starting the head of cluster {self.name!r}")
        with (self.directory.root / "cloud.log").open("ab") as log:
            self._cloud_process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.cloud_module,
                str(self.directory.root),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=self._sampler_environment(),
                cwd="/",
                start_new_session=True,
            )

    def _shared_memory_mb(self) -> int | None:
        shared = Path("/dev/shm")
        return shutil.disk_usage(shared).free // 2**20 if shared.is_dir() else None

    def _cloud_alive(self) -> bool:
        if self._cloud_process is not None:
            return self._cloud_process.returncode is None
        address = self.address()
        return bool(address) and start_ticks(int(address["pid"])) == address["start_ticks"]

    async def _end_cloud(self, *, limit_s: float) -> None:
        if self._cloud_process is not None and self._cloud_process.returncode is None and not self.address():
            self._cloud_process.terminate()
        deadline_s = time.monotonic() + limit_s
        while self._cloud_alive():
            if time.monotonic() > deadline_s:
                address = self.address()
                if self._cloud_process is not None:
                    self._cloud_process.kill()
                elif address and start_ticks(int(address["pid"])) == address["start_ticks"]:
                    signal_all([int(address["pid"])], signal.SIGKILL)
                    await asyncio.sleep(_POLL_S)
                break
            await asyncio.sleep(_POLL_S)
        if self._config is None and not self.directory.config.exists():
            return
        config = self._known_config()
        await sweep(config.mark, sessions=self.directory.session_instances(), ray_temp=config.ray_temp)

    def _port_taken(self) -> bool:
        ports: dict[str, int] = json.loads(self.directory.ports.read_text())
        if any(in_use(port) for port in ports.values()):
            return True
        logs = [path for path in self._ray_logs().get("head", ()) if path.suffix in _WORDY and path.is_file()]
        return any(_TAKEN.search(path.read_text(errors="replace")) for path in logs)

    def _cloud_url(self, address: Mapping[str, Any]) -> str:
        return f"http://127.0.0.1:{address['port']}"

    def _sampler_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(_python_path()),
            "PYTHONUNBUFFERED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def _root_on_nodes(self) -> str:
        return str(self.directory.root)

    def _ray_logs(self) -> dict[str, list[Path]]:
        logs: dict[str, list[Path]] = {}
        for start_log in self.directory.nodes.glob("*/ray-start.log"):
            logs.setdefault(start_log.parent.name, []).append(start_log)
        for directory in Path(self._known_config().ray_temp).glob("*/session_2*/logs"):
            logs.setdefault(directory.parent.parent.name, []).extend(sorted(directory.iterdir()))
        return logs

    def _known_config(self) -> CloudConfig:
        if self._config is None:
            self._config = self.directory.load_config()
        return self._config


async def sweep(mark: str, *, sessions: Iterable[str] = (), ray_temp: str | None = None) -> int:
    """Ends every process of a cluster and removes its temporary files; returns how many it ended.

    Raises:
        ClusterError: some do not die.
    """
    ended: set[int] = set()
    deadline_s = time.monotonic() + _STOP_LIMIT_S
    sessions = tuple(sessions)
    while living := processes(mark, sessions=sessions):
        if time.monotonic() > deadline_s:
            raise ClusterError(f"processes {living} of cluster {mark!r} do not die")
        signal_all(living, signal.SIGKILL)
        ended.update(living)
        await asyncio.sleep(_POLL_S)
    if ray_temp is not None:
        await asyncio.to_thread(shutil.rmtree, ray_temp, ignore_errors=True)
    return len(ended)


def orphans() -> tuple[str, ...]:
    """Marks of clusters that still have processes though their directory is gone."""
    found = set()
    for pid in all_pids():
        environment = environment_of(pid)
        directory, mark = environment.get(DIRECTORY_VARIABLE), environment.get(MARK_VARIABLE)
        if directory and mark and not (Path(directory) / "cluster.json").exists() and state_of(pid) not in "ZX":
            found.add(mark)
    return tuple(sorted(found))


class LocalProcess:
    """A program started beside the head; it ends when its standard input does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        """Its output, line by line."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield line.decode(errors="replace").rstrip("\n")

    async def wait(self) -> int:
        """Its exit status; a signal's number, negated, if one ended it."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Closes its input, and ends its process group after a while."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), timeout=_STOP_LIMIT_S)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


def _python_path() -> list[str]:
    root = str(Path(chaos.__file__).parent.parent)
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != root]
    return [root, *given]


def _subnet(mark: str) -> str:
    drawn = random.Random(mark)
    return f"127.{drawn.randint(64, 250)}.{drawn.randint(1, 250)}"


def _short_directory(root: Path, mark: str) -> str:
    """A directory for Ray's sockets, whose paths may hold 107 bytes at most: under `root` if that is short enough."""
    name = f"rc-{mark.rpartition('#')[2][:8]}"
    for parent in (root, Path(tempfile.gettempdir()), Path("/tmp")):
        candidate = str(parent / name)
        if len(candidate) + len(_SESSION_SOCKET) <= _SOCKET_PATH_LIMIT:
            return candidate
    raise ClusterError("no temporary directory with a short enough path for Ray's sockets; set TMPDIR to one")
