"""`pause_gcs`: Ray's global control service hangs and goes on."""

from __future__ import annotations

from typing import ClassVar

from chaos.fault import ActsOn
from chaos.harm import Role
from faults.pause_process import StopsProcesses


class PauseGcs(StopsProcesses):
    """The GCS server stops being scheduled until healed; the head's other processes run on."""

    name: ClassVar[str] = "pause_gcs"
    summary: ClassVar[str] = "stop the GCS server, then let it go on"
    acts_on: ClassVar[ActsOn] = "head"

    @property
    def stops(self) -> Role:
        """The GCS server."""
        return "gcs_server"
