"""`pause_autoscaler`: Ray's autoscaler hangs and goes on."""

from __future__ import annotations

from typing import ClassVar

from chaos.fault import ActsOn
from chaos.harm import Role
from faults.pause_process import StopsProcesses


class PauseAutoscaler(StopsProcesses):
    """The autoscaler's process, Ray's monitor, stops being scheduled until healed: nothing scales meanwhile."""

    name: ClassVar[str] = "pause_autoscaler"
    summary: ClassVar[str] = "stop Ray's autoscaler, then let it go on"
    acts_on: ClassVar[ActsOn] = "head"

    @property
    def stops(self) -> Role:
        """The monitor."""
        return "monitor"
