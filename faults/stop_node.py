"""`stop_node`: a node is shut down in good order, as by an engine's stop or a drained Kubernetes node."""

from __future__ import annotations

from typing import ClassVar, Literal

from faults.preempt_node import TellsNodes


class StopNode(TellsNodes):
    """SIGTERM to what started Ray on each victim, which drains and ends it; SIGKILL when `duration_s` is over."""

    name: ClassVar[str] = "stop_node"
    summary: ClassVar[str] = "SIGTERM to a node, and SIGKILL when its time is over"
    told_by: ClassVar[Literal["drain_notice", "sigterm"]] = "sigterm"
