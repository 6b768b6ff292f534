"""`kill_dashboard_agent`: a node's agent crashes, whose fate its raylet shares."""

from __future__ import annotations

from typing import ClassVar

from chaos.fault import ActsOn
from faults.kill_raylet import KillsServer


class KillDashboardAgent(KillsServer):
    """SIGKILL to each victim's dashboard agent. Shows when the GCS has seen the node die and the Cloud its end."""

    name: ClassVar[str] = "kill_dashboard_agent"
    summary: ClassVar[str] = "SIGKILL to a node's dashboard agent, whose fate the raylet shares"
    acts_on: ClassVar[ActsOn] = "nodes"
    role: ClassVar[str] = "dashboard_agent"
