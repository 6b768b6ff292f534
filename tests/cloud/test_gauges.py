"""What a node uses, as control groups of both versions and /proc tell it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from chaos.cloud.gauges import container_gauges, process_gauges

MB = 2**20
V1 = {
    "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpu/cpu.stat": "nr_periods 40\nnr_throttled 7\nthrottled_time 9\n",
    "cpuacct/cpuacct.usage": "2500000000\n",
    "memory/memory.usage_in_bytes": f"{300 * MB}\n",
    "memory/memory.stat": f"cache 1\ntotal_inactive_file {50 * MB}\n",
    "memory/memory.limit_in_bytes": f"{1024 * MB}\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory/cgroup.procs": "7\n8\n9\n10\n",
}
V2 = {
    "cgroup.controllers": "cpu io memory pids\n",
    "cpu.max": "50000 100000\n",
    "cpu.stat": "usage_usec 2500000\nnr_throttled 7\n",
    "memory.current": f"{300 * MB}\n",
    "memory.stat": f"anon 1\ninactive_file {50 * MB}\n",
    "memory.max": f"{1024 * MB}\n",
    "memory.events": "low 0\noom 3\noom_kill 2\n",
    "cgroup.procs": "7\n8\n9\n10\n",
}
PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(root: Path, groups: dict[str, str]) -> Path:
    """A /proc with a container of four processes, whose first is 7: itself, a raylet, a ballast and a filler."""
    for name, content in groups.items():
        file = root / "7/root/sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    commands = {
        7: ("init", ["ray", "start"]),
        8: ("raylet", ["raylet"]),
        9: ("python", ["python", "-m", "chaos.cloud.ballast", "mb=200", "200"]),
        10: ("python", ["python", "-m", "chaos.cloud.store_filler", "percent=90"]),
    }
    for pid, (name, words) in commands.items():
        directory = root / str(pid)
        (directory / "fd").mkdir(parents=True)
        (directory / "comm").write_text(f"{name}\n")
        (directory / "cmdline").write_text("\0".join(words) + "\0")
        (directory / "statm").write_text(f"0 {210 * MB // PAGE} 0 0 0 0 0\n")
        (directory / "limits").write_text("Limit  Soft  Hard  Units\nMax open files            60   1024   files\n")
        for number in range(pid):
            (directory / "fd" / str(number)).write_text("")
    return root


@pytest.mark.parametrize("groups", [V1, V2], ids=["v1", "v2"])
def test_both_versions_tell_the_same(tmp_path: Path, groups: dict[str, str]) -> None:
    gauges = container_gauges(7, proc=tree(tmp_path, groups))
    assert gauges is not None
    assert (gauges.cpu_s, gauges.cpu_limit_cores, gauges.throttled) == (2.5, 0.5, 7)
    assert (gauges.memory_mb, gauges.memory_limit_mb, gauges.oom_kills) == (250.0, 1024.0, 2)
    assert (gauges.ballast_mb, gauges.store_fillers) == (210.0, 1)
    assert (gauges.raylet_files, gauges.raylet_file_limit) == (8, 60)


@pytest.mark.parametrize(
    "groups",
    [
        {**V1, "cpu/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
        {**V2, "cpu.max": "max 100000\n", "memory.max": "max\n"},
    ],
    ids=["v1", "v2"],
)
def test_no_limit_is_none(tmp_path: Path, groups: dict[str, str]) -> None:
    gauges = container_gauges(7, proc=tree(tmp_path, groups))
    assert gauges is not None
    assert (gauges.cpu_limit_cores, gauges.memory_limit_mb) == (None, None)


def test_of_a_container_that_is_gone_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert container_gauges(7, proc=tmp_path) is None
    assert process_gauges([]) is None


def test_processes_tell_their_own() -> None:
    before = process_gauges([os.getpid()])
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    after = process_gauges([os.getpid()])
    assert before is not None
    assert after is not None
    assert after.cpu_s - before.cpu_s >= 0.05
    assert after.memory_mb > 1.0
    assert after.memory_limit_mb is None
