"""Makes a container obey limits of how fast it may use its disk, by its control group, of version 1 or 2.

The engine cannot set these on a container that runs, so they are written here, to the host's groups as they are mounted
into the Cloud's container. The disk is the one the node's directory lies on. Limits of ours are the only ones there
are: none is given to a container when it is made.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from chaos.cloud.config import CONTAINER_ROOT
from chaos.cloud.gauges import PROC, groups_seen_by, is_v2
from chaos.cloud.instances import Instance
from chaos.errors import InjectionError
from chaos.harm import DiskThrottle, NodeHarm
from chaos.value import Value

HOST_GROUPS = Path("/host/cgroup")
_BLOCK_DEVICES = Path("/sys/dev/block")
_V1_FILES = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
_MB = 10**6


class DiskLimiter:
    """The slowest of the limits in force; remembers it, so that nothing to do costs nothing."""

    kinds: tuple[type[Value], ...] = (DiskThrottle,)

    def __init__(
        self,
        first_of: Callable[[Instance], Awaitable[int | None]],
        *,
        host_groups: Path = HOST_GROUPS,
        proc: Path = PROC,
        block_devices: Path = _BLOCK_DEVICES,
    ) -> None:
        self._first_of = first_of
        self._host_groups = host_groups
        self._proc = proc
        self._block_devices = block_devices
        self._applied: dict[str, int | None] = {}

    def started(self, handle: str) -> None:
        """A node that has just been started has no limit."""
        self._applied[handle] = None

    def ended(self, handle: str) -> None:
        """The node is gone, and its control group."""
        self._applied.pop(handle, None)

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a limit has no peers
        """Writes the limit, or removes what there is of limits."""
        rates = [round(harm.mb_per_s * _MB) for harm in harms if isinstance(harm, DiskThrottle)]
        wanted = min(rates, default=None)
        if instance.handle in self._applied and self._applied[instance.handle] == wanted:
            return
        first = await self._first_of(instance)
        if first is None:
            if harms:
                raise InjectionError(f"node {instance.node} is gone")
            return
        self._applied.pop(instance.handle, None)
        await asyncio.to_thread(self._write, instance, first, wanted)
        self._applied[instance.handle] = wanted

    def seen(self, first: int) -> list[str]:
        """The limits the kernel holds a node's disks to, in words."""
        return [f"disk {device} limited" for device in sorted(self._limited(groups_seen_by(first, proc=self._proc)))]

    def _write(self, instance: Instance, first: int, bytes_per_s: int | None) -> None:
        limited = self._limited(groups_seen_by(first, proc=self._proc))
        if bytes_per_s is None and not limited:
            return
        v2 = is_v2(self._host_groups)
        group = self._group_of(instance, self._host_groups if v2 else self._host_groups / "blkio")
        devices = sorted(limited) if bytes_per_s is None else [self._device_of(instance, first)]
        try:
            for device in devices:
                if v2:
                    rate = "max" if bytes_per_s is None else str(bytes_per_s)
                    (group / "io.max").write_text(f"{device} rbps={rate} wbps={rate}\n")
                else:
                    for name in _V1_FILES:
                        (group / name).write_text(f"{device} {bytes_per_s or 0}\n")
        except OSError as error:
            raise InjectionError(f"the disk of node {instance.node} cannot be limited: {error}") from error

    def _group_of(self, instance: Instance, base: Path) -> Path:
        found = next((path for path in base.rglob(f"*{instance.handle}*") if path.is_dir()), None)
        if found is None:
            raise InjectionError(
                f"{base} of the Cloud's container shows no control group of node {instance.node}; compose.yaml mounts "
                "the host's /sys/fs/cgroup there"
            )
        return found

    def _device_of(self, instance: Instance, first: int) -> str:
        """The whole disk below the node's directory, as MAJOR:MINOR; parts of a disk cannot be limited."""
        number = (self._proc / str(first) / "root" / CONTAINER_ROOT.lstrip("/")).stat().st_dev
        device = self._block_devices / f"{os.major(number)}:{os.minor(number)}"
        if not device.exists():
            raise InjectionError(f"the directory of node {instance.node} lies on no disk that could be limited")
        whole = device.resolve().parent if (device / "partition").exists() else device
        return (whole / "dev").read_text().strip()

    @staticmethod
    def _limited(groups: Path) -> set[str]:
        """Devices with a limit, read where the container itself sees it."""
        files = [groups / "io.max"] if is_v2(groups) else [groups / "blkio" / name for name in _V1_FILES]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        limit = re.compile(r"^(\d+:\d+) (?:\d+$|.*\b[rw]bps=\d)")
        return {match[1] for line in lines if (match := limit.match(line))}
