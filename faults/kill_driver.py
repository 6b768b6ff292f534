"""`kill_driver`: the job's driver crashes."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import NodeProcess
from chaos.fault import ActsOn, Mainstay
from faults.kill_worker_process import KillsProcesses


class KillDriver(KillsProcesses):
    """SIGKILL to the job's driver and what it started on the head; its job fails, unless somebody starts it again."""

    name: ClassVar[str] = "kill_driver"
    summary: ClassVar[str] = "SIGKILL to the job's driver"
    acts_on: ClassVar[ActsOn] = "driver"
    effect_within_s: ClassVar[float] = 10.0
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("driver",)

    def means(self, process: NodeProcess) -> bool:
        """Whether it is a program that runs beside the head."""
        return process.role == "driver"
