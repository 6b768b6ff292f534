"""Limits of a disk: written to control groups of both versions, and removed where the kernel says there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaos.cloud.disk_limit import DiskLimiter
from chaos.cloud.instances import Instance
from chaos.errors import InjectionError
from chaos.harm import DiskThrottle

ONE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="abc")
SLOW, SLOWER = DiskThrottle(mb_per_s=5.0), DiskThrottle(mb_per_s=2.0)
FIRST = 7


class Host:
    """A fake host with one container, whose group it and the Cloud see in the same place."""

    def __init__(self, root: Path, *, version: int) -> None:
        self.root = root
        self.version = version
        self.first: int | None = FIRST
        groups = root / "cgroup"
        self.group = groups / ("system.slice/docker-abc.scope" if version == 2 else "blkio/docker/abc")
        self.group.mkdir(parents=True)
        seen = root / "proc/7/root/sys/fs/cgroup"
        seen.parent.mkdir(parents=True)
        if version == 2:
            (groups / "cgroup.controllers").write_text("io\n")
            (self.group / "cgroup.controllers").write_text("io\n")
            seen.symlink_to(self.group)
        else:
            seen.mkdir()
            (seen / "blkio").symlink_to(self.group)
        (root / "proc/7/root/raychaos").mkdir()
        number = root.stat().st_dev
        part = root / f"block/{os.major(number)}:{os.minor(number)}"
        part.parent.mkdir()
        (root / "sda/sda1").mkdir(parents=True)
        (root / "sda/dev").write_text("8:0\n")
        (root / "sda/sda1/partition").write_text("1\n")
        part.symlink_to(root / "sda/sda1")
        self.limiter = self.again()

    def again(self) -> DiskLimiter:
        """That of a new Cloud."""

        async def first_of(instance: Instance) -> int | None:
            return self.first

        root = self.root
        return DiskLimiter(first_of, host_groups=root / "cgroup", proc=root / "proc", block_devices=root / "block")

    def written(self) -> list[str]:
        """What the kernel was told last."""
        return [path.read_text() for path in sorted(self.group.iterdir()) if path.name != "cgroup.controllers"]

    def kernel_shows(self, bytes_per_s: int) -> None:
        """What the kernel makes of what it is told: only limits there are."""
        if self.version == 2:
            (self.group / "io.max").write_text(f"8:0 rbps={bytes_per_s} wbps={bytes_per_s} riops=max wiops=max\n")
        else:
            for path in self.group.iterdir():
                path.write_text(f"8:0 {bytes_per_s}\n")


@pytest.mark.parametrize(
    ("version", "limited", "free"),
    [
        (1, ["8:0 2000000\n"] * 2, ["8:0 0\n"] * 2),
        (2, ["8:0 rbps=2000000 wbps=2000000\n"], ["8:0 rbps=max wbps=max\n"]),
    ],
)
async def test_the_slowest_holds_on_the_whole_disk_and_is_removed(
    tmp_path: Path, version: int, limited: list[str], free: list[str]
) -> None:
    host = Host(tmp_path, version=version)
    host.limiter.started("abc")
    await host.limiter.obey(ONE, [], addresses={})
    assert host.written() == []
    await host.limiter.obey(ONE, [SLOW, SLOWER], addresses={})
    assert host.written() == limited
    host.kernel_shows(2_000_000)
    assert host.limiter.seen(FIRST) == ["disk 8:0 limited"]
    again = host.again()  # a Cloud that was started again does not know, and looks
    await again.obey(ONE, [], addresses={})
    assert host.written() == free


async def test_a_container_without_limits_is_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path, version=1)
    await host.limiter.obey(ONE, [], addresses={})
    assert host.written() == []
    assert host.limiter.seen(FIRST) == []


async def test_a_node_that_is_gone_can_be_left_alone_but_not_limited(tmp_path: Path) -> None:
    host = Host(tmp_path, version=1)
    host.first = None
    await host.limiter.obey(ONE, [], addresses={})
    with pytest.raises(InjectionError, match="node w1 is gone"):
        await host.limiter.obey(ONE, [SLOW], addresses={})


async def test_what_cannot_be_limited_says_why(tmp_path: Path) -> None:
    host = Host(tmp_path, version=1)
    with pytest.raises(InjectionError, match=r"shows no control group of node w1; compose\.yaml mounts"):
        await host.limiter.obey(ONE.model_copy(update={"handle": "other"}), [SLOW], addresses={})
    next((tmp_path / "block").iterdir()).unlink()
    with pytest.raises(InjectionError, match="lies on no disk that could be limited"):
        await host.limiter.obey(ONE, [SLOW], addresses={})
