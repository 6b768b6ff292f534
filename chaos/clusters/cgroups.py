"""A container's signs of life as the kernel's control groups show them, versions 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docker.errors import NotFound

from chaos.cluster import Vitals

_ROOT = Path("/sys/fs/cgroup")


def vitals_of(client: Any, container: str, *, root: Path = _ROOT, proc: Path = Path("/proc")) -> Vitals | None:
    """Vitals of a container; None when it does not run.

    Where the engine is not on this machine, or its groups cannot be read, the engine's own word is taken.
    """
    try:
        found: dict[str, Any] = client.api.inspect_container(container)
    except NotFound:
        return None
    if not found["State"]["Running"]:
        return None
    groups = groups_of(proc / str(found["State"]["Pid"]) / "cgroup")
    read = read_v2(root, groups[""]) if "" in groups and "freezer" not in groups else read_v1(root, groups)
    return read if read is not None else _ask_engine(client, container, paused=bool(found["State"]["Paused"]))


def groups_of(path: Path) -> dict[str, str]:
    """The control groups of a process by controller; version 2's has an empty name (cgroups(7))."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = group.lstrip("/")
    return found


def read_v1(root: Path, groups: dict[str, str]) -> Vitals | None:
    """From the freezer and cpuacct controllers."""
    try:
        freezer = root / "freezer" / groups["freezer"]
        frozen = (freezer / "freezer.state").read_text().strip() == "FROZEN"
        processes = len((freezer / "cgroup.procs").read_text().split())
        cpu_s = int((root / "cpuacct" / groups["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
    except (OSError, KeyError, ValueError):
        return None
    return _vitals(processes, frozen=frozen, cpu_s=cpu_s)


def read_v2(root: Path, group: str) -> Vitals | None:
    """From the one hierarchy of version 2."""
    try:
        directory = root / group
        frozen = "frozen 1" in (directory / "cgroup.events").read_text()
        processes = len((directory / "cgroup.procs").read_text().split())
        usage = dict(line.split() for line in (directory / "cpu.stat").read_text().splitlines())
        cpu_s = int(usage["usage_usec"]) / 1e6
    except (OSError, KeyError, ValueError):
        return None
    return _vitals(processes, frozen=frozen, cpu_s=cpu_s)


def _ask_engine(client: Any, container: str, *, paused: bool) -> Vitals | None:
    try:
        stats = client.api.stats(container, stream=False, one_shot=True)
    except NotFound:
        return None
    cpu_s = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0) / 1e9
    return _vitals(stats.get("pids_stats", {}).get("current", 1), frozen=paused, cpu_s=cpu_s)


def _vitals(processes: int, *, frozen: bool, cpu_s: float) -> Vitals:
    return Vitals(processes=processes, stopped=processes if frozen else 0, cpu_s=round(cpu_s, 2))
