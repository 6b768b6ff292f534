"""What a node uses of its resources, read from the kernel: /proc, and control groups of both versions.

A container's groups are read where the container itself sees them, at /sys/fs/cgroup behind its first process's root:
so nothing of the host is mounted for it, and it does not matter how the engine names its groups.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from chaos.cloud.config import SPILL_DIRECTORY
from chaos.cloud.marks import command_of
from chaos.cluster import Gauges

PROC = Path("/proc")
BALLAST = "chaos.cloud.ballast"
STORE_FILLER = "chaos.cloud.store_filler"
DISK_FILLER = "chaos.cloud.disk_filler"
RAYLET = "raylet"
_MB = 2**20
# A limit from here on is none: version 1 writes the largest number of pages there can be.
_NO_LIMIT_BYTES = 2**60
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def groups_seen_by(pid: int, *, proc: Path = PROC) -> Path:
    """Where a container's own control groups are, by its first process."""
    return proc / str(pid) / "root/sys/fs/cgroup"


def is_v2(groups: Path) -> bool:
    """Whether these are control groups of version 2."""
    return (groups / "cgroup.controllers").exists()


def members(groups: Path) -> tuple[int, ...]:
    """The processes of a container; none when it is gone."""
    file = groups / "cgroup.procs" if is_v2(groups) else groups / "memory/cgroup.procs"
    try:
        return tuple(int(word) for word in file.read_text().split())
    except OSError:
        return ()


def container_gauges(pid: int, *, proc: Path = PROC) -> Gauges | None:
    """Of the container whose first process this is; None when it is gone."""
    groups = groups_seen_by(pid, proc=proc)
    read = _groups_v2 if is_v2(groups) else _groups_v1
    try:
        of_groups = read(groups)
    except (OSError, KeyError, ValueError):
        return None
    disk = _disk(proc / str(pid) / "root" / SPILL_DIRECTORY.lstrip("/"))
    return of_groups.model_copy(update={**disk, **_of_processes(members(groups), proc)})


def process_gauges(pids: Iterable[int], *, proc: Path = PROC) -> Gauges | None:
    """Of a node that is these processes; None where there are none."""
    pids = tuple(pids)
    if not pids:
        return None
    cpu_s, private_bytes = 0.0, 0
    for pid in pids:
        fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
        pages = _text(proc / str(pid) / "statm").split()
        if fields and pages:
            cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS
            private_bytes += (int(pages[1]) - int(pages[2])) * _PAGE
    gauges = Gauges(at_s=time.monotonic(), cpu_s=round(cpu_s, 3), memory_mb=round(private_bytes / _MB, 1))
    return gauges.model_copy(update=_of_processes(pids, proc))


def name_of(pid: int, *, proc: Path = PROC) -> str:
    """A process's short name; empty when it is gone."""
    return _text(proc / str(pid) / "comm").strip()


def open_files(pid: int, *, proc: Path = PROC) -> int:
    """How many files a process has open.

    Raises:
        OSError: it is gone, or not ours to look at.
    """
    return sum(1 for _ in (proc / str(pid) / "fd").iterdir())


def file_limit(pid: int, *, proc: Path = PROC) -> int:
    """How many files a process may open, as /proc/PID/limits says.

    Raises:
        OSError, ValueError: it is gone, or has no limit.
    """
    return int(_file_limits(pid, proc)[0])


def hard_file_limit(pid: int, *, proc: Path = PROC) -> int | None:
    """How far a process's limit of open files may be raised; None when it is gone, or has no such bound."""
    try:
        return int(_file_limits(pid, proc)[1])
    except (OSError, ValueError):
        return None


def _file_limits(pid: int, proc: Path) -> tuple[str, str]:
    for line in (proc / str(pid) / "limits").read_text().splitlines():
        if line.startswith("Max open files"):
            _, _, _, soft, hard, *_ = line.split()
            return soft, hard
    raise ValueError(f"process {pid} has no limit of open files")


def _of_processes(pids: Iterable[int], proc: Path) -> dict[str, object]:
    """What only the processes themselves tell."""
    found: dict[str, object] = {}
    ballast_pages = store_fillers = disk_fillers = 0
    for pid in pids:
        command = command_of(pid, proc=proc)
        store_fillers += STORE_FILLER in command
        disk_fillers += DISK_FILLER in command
        if BALLAST in command:
            ballast_pages += int((_text(proc / str(pid) / "statm").split() or ["0", "0"])[1])
        elif name_of(pid, proc=proc) == RAYLET:
            try:
                found |= {"raylet_files": open_files(pid, proc=proc), "raylet_file_limit": file_limit(pid, proc=proc)}
            except (OSError, ValueError):
                continue
    return {
        **found,
        "ballast_mb": round(ballast_pages * _PAGE / _MB, 1),
        "store_fillers": store_fillers,
        "disk_fillers": disk_fillers,
    }


def _disk(directory: Path) -> dict[str, float]:
    """Of the file system mounted there; nothing where there is none."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return {}
    megabytes = found.f_frsize / _MB
    return {"disk_mb": round(found.f_blocks * megabytes, 1), "disk_free_mb": round(found.f_bavail * megabytes, 1)}


def _groups_v1(groups: Path) -> Gauges:
    quota_us = int((groups / "cpu/cpu.cfs_quota_us").read_text())
    period_us = int((groups / "cpu/cpu.cfs_period_us").read_text())
    memory = groups / "memory"
    return Gauges(
        at_s=time.monotonic(),
        cpu_s=int((groups / "cpuacct/cpuacct.usage").read_text()) / 1e9,
        cpu_limit_cores=quota_us / period_us if quota_us > 0 else None,
        throttled=_pairs(groups / "cpu/cpu.stat")["nr_throttled"],
        memory_mb=_used_mb(memory / "memory.usage_in_bytes", _pairs(memory / "memory.stat")["total_inactive_file"]),
        memory_limit_mb=_limit_mb((memory / "memory.limit_in_bytes").read_text()),
        oom_kills=_pairs(memory / "memory.oom_control").get("oom_kill", 0),
    )


def _groups_v2(groups: Path) -> Gauges:
    cpu = _pairs(groups / "cpu.stat")
    quota, period_us = (groups / "cpu.max").read_text().split()
    return Gauges(
        at_s=time.monotonic(),
        cpu_s=cpu["usage_usec"] / 1e6,
        cpu_limit_cores=None if quota == "max" else int(quota) / int(period_us),
        throttled=cpu.get("nr_throttled", 0),
        memory_mb=_used_mb(groups / "memory.current", _pairs(groups / "memory.stat")["inactive_file"]),
        memory_limit_mb=_limit_mb((groups / "memory.max").read_text()),
        oom_kills=_pairs(groups / "memory.events")["oom_kill"],
    )


def _pairs(path: Path) -> dict[str, int]:
    words = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2}


def _used_mb(usage: Path, idle_cache_bytes: int) -> float:
    return round(max(0, int(usage.read_text()) - idle_cache_bytes) / _MB, 1)


def _limit_mb(text: str) -> float | None:
    return None if text.strip() == "max" or int(text) >= _NO_LIMIT_BYTES else round(int(text) / _MB, 1)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
