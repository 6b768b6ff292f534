"""What this machine can do: gathers facts within seconds, judges them, and says which faults each cluster can have.

Nothing heavy is imported and nothing is changed: versions come from package metadata, GPUs from `nvidia-smi`, what is
said of the engine from the `docker` client.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from chaos import __version__
from chaos.cluster_spec import ClusterSpec
from chaos.errors import ChaosError
from chaos.examination import (
    ClusterOutlook,
    Engine,
    Examination,
    Facts,
    FaultOutlook,
    Finding,
    Gpu,
    Kernel,
    Room,
    State,
)
from chaos.fault import Fault
from chaos.forms import provision
from chaos.kernel import examine_kernel

_PACKAGES = ("ray", "torch", "pyarrow", "hypothesis", "pydantic", "docker", "psutil", "aiohttp", "py-spy", "matplotlib")
_NEEDED = ("ray", "torch", "pydantic", "psutil", "aiohttp")
_RAY = "2.60"
_OLDEST_PYTHON = (3, 10)
_ASK_LIMIT_S = 8.0
_MB = 1_000_000

_NODES = ClusterSpec().max_workers + 1
SHM_PER_NODE_MB = 64
MEMORY_PER_NODE_MB = 600
DISK_MB = 2000
CORES = 2.0
CORES_FREE = 0.5


def examine(
    *,
    faults: Mapping[str, type[Fault]],
    clusters: Mapping[str, type],
    leftovers: Callable[[], Sequence[str]] = tuple,
    store: Path | None = None,
) -> Examination:
    """Looks at this machine; takes a second or two, and is bounded.

    `faults` are the known faults by name, `clusters` the classes of cluster by kind; `leftovers` tells traces of
    earlier runs; `store` is where run directories will go (default: the working directory).
    """
    try:
        traces = tuple(leftovers())
    except ChaosError as error:
        traces = (f"cannot look for them: {error}",)
    facts = Facts(
        raychaos=__version__,
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        torch_cuda=_torch_cuda(),
        gpus=_gpus(),
        engine=_engine(),
        kernel=examine_kernel(),
        room=_room(Path.cwd() if store is None else store),
        leftovers=traces,
    )
    return conclude(facts, faults=faults, clusters=clusters)


def conclude(facts: Facts, *, faults: Mapping[str, type[Fault]], clusters: Mapping[str, type]) -> Examination:
    """What the facts mean; pure."""
    outlooks = tuple(_cluster_outlook(kind, cluster, faults, facts) for kind, cluster in clusters.items())
    return Examination(facts=facts, findings=_findings(facts), clusters=outlooks)


# -- judging --------------------------------------------------------------------------------------------------


def _findings(facts: Facts) -> tuple[Finding, ...]:
    return (
        *_about_software(facts),
        _about_gpus(facts),
        *_about_engine(facts.engine, facts.kernel),
        _about_kernel(facts.kernel),
        *_about_room(facts.room),
        _about_leftovers(facts.leftovers),
    )


def _about_software(facts: Facts) -> list[Finding]:
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.python)[:2])
    old = numbers < _OLDEST_PYTHON
    oldest = ".".join(str(part) for part in _OLDEST_PYTHON)
    found = [
        Finding(
            about="python",
            state="problem" if old else "ok",
            detail=facts.python,
            remedy=f"use Python {oldest} or newer" if old else "",
        )
    ]
    missing = [name for name in _NEEDED if facts.packages.get(name) is None]
    ray = facts.packages.get("ray")
    if ray is None:
        found.append(Finding(about="ray", state="problem", detail="not installed", remedy="pip install raychaos"))
    elif not ray.startswith(f"{_RAY}."):
        remedy = f"pip install 'ray[default,data]=={_RAY}.*'"
        found.append(Finding(about="ray", state="problem", detail=f"{ray}; this raychaos is for {_RAY}", remedy=remedy))
    else:
        found.append(Finding(about="ray", state="ok", detail=ray))
    torch = facts.packages.get("torch")
    if torch is not None:
        build = f"CUDA {facts.torch_cuda}" if facts.torch_cuda else "CPU build"
        found.append(Finding(about="torch", state="ok", detail=f"{torch}, {build}"))
    others = [name for name in missing if name != "ray"]
    if others:
        listed = ", ".join(others)
        found.append(
            Finding(about="packages", state="problem", detail=f"missing: {listed}", remedy="pip install raychaos")
        )
    return found


def _about_gpus(facts: Facts) -> Finding:
    if not facts.gpus:
        detail = "none; logical GPUs are used, and device time is modelled"
        return Finding(about="gpus", state="ok", detail=detail)
    names = ", ".join(f"{gpu.name} ({gpu.memory_free_mb} of {gpu.memory_total_mb} MiB free)" for gpu in facts.gpus)
    if facts.torch_cuda is None and facts.packages.get("torch") is not None:
        remedy = "install a CUDA build of torch, or ignore the GPUs"
        return Finding(about="gpus", state="warning", detail=f"{names}, but torch is a CPU build", remedy=remedy)
    return Finding(about="gpus", state="ok", detail=names)


def _about_engine(engine: Engine, kernel: Kernel) -> list[Finding]:
    remedy = _engine_remedy(engine)
    if remedy:
        # Docker is optional: without it there is still the `local` cluster.
        return [Finding(about="docker", state="warning", detail=engine.error or "not found", remedy=remedy)]
    detail = f"engine {engine.server_version}, client {engine.client_version}, cgroup v{engine.cgroup_version or '?'}"
    found = [Finding(about="docker", state="ok", detail=detail)]
    if engine.compose_version:
        found.append(Finding(about="compose", state="ok", detail=engine.compose_version))
    else:
        found.append(
            Finding(about="compose", state="warning", detail="no Compose v2 plugin", remedy=_compose_remedy(engine))
        )
    if engine.kernel and engine.kernel != kernel.release:
        detail = f"containers run on kernel {engine.kernel}, not on this machine's {kernel.release}"
        remedy = "trust what is said about network faults only if the engine's machine has the same features"
        found.append(Finding(about="engine kernel", state="warning", detail=detail, remedy=remedy))
    return found


def _engine_remedy(engine: Engine) -> str:
    if engine.reachable:
        return ""
    if not engine.client_version:
        return "for compose clusters install Docker (Debian: apt-get install docker.io)"
    if engine.denied:
        return "join the group docker (usermod -aG docker $USER, then log in again), or run as root"
    return "start the engine (systemctl start docker), or set DOCKER_HOST to one that runs"


def _compose_remedy(engine: Engine) -> str:
    return (
        ""
        if engine.compose_version
        else "install Docker Compose 2 (package docker-compose-plugin or docker-compose-v2)"
    )


def _about_kernel(kernel: Kernel) -> Finding:
    detail = f"{kernel.release}, cgroup {kernel.cgroup}"
    lacking = kernel.lacks("tbf", "drop")
    if lacking:
        remedy = "load or build the modules (modprobe sch_tbf ip_tables); until then compose lacks network faults"
        return Finding(about="kernel", state="warning", detail=f"{detail}; lacks {', '.join(lacking)}", remedy=remedy)
    if not kernel.has("tbf", "drop"):
        detail = f"{detail}; cannot tell whether it has tbf and drop"
        remedy = "run `raychaos doctor` as root, who may try them"
        return Finding(about="kernel", state="warning", detail=detail, remedy=remedy)
    if not kernel.has("netem"):
        other = "NFQUEUE can hold packets instead" if kernel.has("nfqueue") else "nor NFQUEUE to hold packets with"
        return Finding(about="kernel", state="ok", detail=f"{detail}; no netem, {other}")
    return Finding(about="kernel", state="ok", detail=detail)


def _about_room(room: Room) -> list[Finding]:
    found = []

    def judge(about: str, detail: str, *, bad: bool, remedy: str) -> None:
        state: State = "warning" if bad else "ok"
        found.append(Finding(about=about, state=state, detail=detail, remedy=remedy if bad else ""))

    cores = f"{room.cores:g} usable, {room.cores_free:.1f} free now"
    few = room.cores < CORES
    judge(
        "cores",
        cores,
        bad=few or room.cores_free < CORES_FREE,
        remedy=f"use a machine with at least {CORES:g} cores"
        if few
        else "wait until the machine is less busy: a starved host makes verdicts inconclusive",
    )
    needed_mb = MEMORY_PER_NODE_MB * _NODES
    judge(
        "memory",
        f"{room.memory_free_mb} of {room.memory_total_mb} MB free",
        bad=room.memory_free_mb < needed_mb,
        remedy=f"the default cluster ({_NODES} nodes) wants {needed_mb} MB: end other programs, or lower max_workers",
    )
    judge(
        "disk",
        f"{room.disk_free_mb} MB free at {room.disk_path}",
        bad=room.disk_free_mb < DISK_MB,
        remedy=f"free {DISK_MB} MB there, or pass --store with a directory on another disk",
    )
    if room.shm_free_mb is None:
        remedy = "mount a tmpfs at /dev/shm; Ray falls back to slow files on disk without it"
        judge("shm", "there is no /dev/shm", bad=True, remedy=remedy)
    else:
        wanted_mb = SHM_PER_NODE_MB * _NODES
        judge(
            "shm",
            f"{room.shm_free_mb} MB free in /dev/shm",
            bad=room.shm_free_mb < wanted_mb,
            remedy=f"{SHM_PER_NODE_MB} MB for each of {_NODES} nodes make {wanted_mb} MB: "
            "mount -o remount,size=1G /dev/shm, or docker run --shm-size=1g",
        )
    return found


def _about_leftovers(leftovers: Sequence[str]) -> Finding:
    if not leftovers:
        return Finding(about="leftovers", state="ok", detail="none of earlier runs")
    return Finding(about="leftovers", state="warning", detail="; ".join(leftovers), remedy="raychaos heal")


def _cluster_outlook(kind: str, cluster: type, faults: Mapping[str, type[Fault]], facts: Facts) -> ClusterOutlook:
    why_not = _prevents(kind, facts)
    outlooks = tuple(
        _fault_outlook(kind, cluster, name, fault, facts.kernel, why_not) for name, fault in faults.items()
    )
    return ClusterOutlook(kind=kind, available=not why_not, why_not=why_not, faults=outlooks)


def _prevents(kind: str, facts: Facts) -> str:
    """What keeps a kind of cluster from running here; empty when nothing does."""
    problem = next((f for f in _about_software(facts) if f.state == "problem"), None)
    if problem is not None:
        return f"{problem.about}: {problem.detail}"
    if kind == "compose":
        if not facts.engine.reachable:
            return f"docker: {facts.engine.error or 'not found'}"
        if not facts.engine.compose_version:
            return "compose: no Compose v2 plugin"
    return ""


def _fault_outlook(
    kind: str, cluster: type, name: str, fault: type[Fault], kernel: Kernel, why_not: str
) -> FaultOutlook:
    missing = fault.missing_capabilities(cluster)
    if missing:
        why_not = f"{kind} clusters lack the capability {', '.join(missing)}"
    found = provision(kind, fault, kernel)
    if not why_not and found.lacking:
        why_not = f"the kernel lacks {', '.join(found.lacking)}"
    doubt = f" (whether the kernel has {', '.join(found.unsure)} is not known)" if found.unsure else ""
    return FaultOutlook(
        fault=name,
        summary=fault.summary,
        available=not why_not,
        form=f"{found.words}{doubt}" if not why_not else "",
        why_not=why_not,
    )


# -- gathering ------------------------------------------------------------------------------------------------


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """The CUDA version torch was built for, read from its version file: importing torch takes seconds."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        text = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"""^cuda\b[^=\n]*=\s*['"]([^'"]+)['"]""", text, re.MULTILINE)
    return match[1] if match else None


def _ask(*command: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a program; status 127 when there is none, 124 when it did not answer."""
    if shutil.which(command[0]) is None:
        return 127, "", f"no {command[0]} on the PATH"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]} did not answer within {_ASK_LIMIT_S:g} s"
    except OSError as error:
        return 126, "", f"{command[0]}: {error.strerror}"
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def _gpus() -> tuple[Gpu, ...]:
    query = "--query-gpu=name,memory.total,memory.free,driver_version"
    status, output, _ = _ask("nvidia-smi", query, "--format=csv,noheader,nounits")
    return parse_gpus(output) if status == 0 else ()


def parse_gpus(output: str) -> tuple[Gpu, ...]:
    """The GPUs in `nvidia-smi`'s CSV of name, total and free memory, driver; unreadable lines are left out."""
    found = []
    for line in output.splitlines():
        match = re.fullmatch(r"(.+), (\d+), (\d+), (.+)", line.strip())
        if match:
            name, total, free, driver = match.groups()
            found.append(Gpu(name=name, memory_total_mb=int(total), memory_free_mb=int(free), driver=driver))
    return tuple(found)


def _engine() -> Engine:
    status, output, said = _ask("docker", "info", "--format", "{{json .}}")
    if status in (124, 126, 127):
        known = "" if status == 127 else "?"
        return Engine(client_version=known, error=said)
    _, compose, _ = _ask("docker", "compose", "version", "--short")
    _, client, _ = _ask("docker", "version", "--format", "{{.Client.Version}}")
    return parse_engine(output, said, client_version=client.partition("\n")[0] or "?", compose_version=compose)


def parse_engine(information: str, said: str, *, client_version: str, compose_version: str) -> Engine:
    """The engine as `docker info` tells it in JSON, with what the client said to standard error."""
    try:
        info = json.loads(information)
    except ValueError:
        info = {}
    if not isinstance(info, dict):
        info = {}
    server = str(info.get("ServerVersion") or "")
    errors = [str(error) for error in info.get("ServerErrors") or ()]
    error = "" if server else (said or "; ".join(errors) or "the engine did not answer").splitlines()[-1]
    if not re.fullmatch(r"v?2\S*|v?[3-9]\S*|v?\d\d\S*", compose_version):
        compose_version = ""
    return Engine(
        client_version=client_version,
        server_version=server,
        compose_version=compose_version,
        error=error,
        denied="permission denied" in error.lower(),
        kernel=str(info.get("KernelVersion") or ""),
        cgroup_version=str(info.get("CgroupVersion") or ""),
        gpu_runtime="nvidia" in (info.get("Runtimes") or {}),
    )


def _room(store: Path) -> Room:
    memory = psutil.virtual_memory()
    cores = _usable_cores()
    busy = psutil.cpu_percent(interval=0.3) / 100.0 * (psutil.cpu_count() or 1)
    limit, used = _memory_limit()
    total, free = memory.total, memory.available
    if limit is not None and limit < total:
        total, free = limit, max(0, min(free, limit - used))
    place = next((path for path in (store.absolute(), *store.absolute().parents) if path.exists()), Path("/"))
    shm = Path("/dev/shm")
    return Room(
        cores=cores,
        cores_free=round(max(0.0, cores - busy), 2),
        memory_total_mb=total // _MB,
        memory_free_mb=free // _MB,
        disk_free_mb=shutil.disk_usage(place).free // _MB,
        disk_path=str(place),
        shm_free_mb=shutil.disk_usage(shm).free // _MB if shm.is_dir() else None,
    )


def _usable_cores() -> float:
    """Cores this process may run on, by affinity and by the quota of its control group."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) != 2:
        quota = [_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")]
    if all(part.isdecimal() for part in quota) and int(quota[1]) > 0:
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return round(cores, 2)


def _memory_limit() -> tuple[int | None, int]:
    """The control group's memory limit and use in bytes, as seen from inside a container."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        text, use = _read(limit), _read(used)
        if text.isdecimal():
            return int(text), int(use) if use.isdecimal() else 0
    return None, 0


def _read(path: str) -> str:
    """A file's text; empty where there is none, which is no error: kernels differ in which of them they have."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
