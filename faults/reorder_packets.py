"""`reorder_packets`: some packets are overtaken by others, as where a route changes or a link is made of several."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from chaos.path_fault import ShareFault


class ReorderPackets(ShareFault):
    """Of the packets between a victim and its `peers`, `percent` come `late_ms` later than they would have."""

    name: ClassVar[str] = "reorder_packets"
    summary: ClassVar[str] = "let a share of a node's packets be overtaken"
    shapes: ClassVar[tuple[str, ...]] = ("reorder_percent",)

    percent: float = Field(gt=0.0, le=50.0)
    # More than the distance between two packets of the probe, on a machine that is busy.
    late_ms: float = Field(default=20.0, ge=5.0, le=1000.0)

    def shape(self) -> NetworkShape:
        """A reordering."""
        return NetworkShape(reorder_percent=self.percent, reorder_ms=self.late_ms)

    def changed(self, sample: PathSample) -> int:
        """Those that came after a later one."""
        return sample.overtaken

    def seen_of(self, sample: PathSample) -> int:
        """Those that came at all."""
        return sample.arrived

    def patience_ms(self) -> float:
        """So much longer."""
        return super().patience_ms() + self.late_ms
