"""`lose_packets`: some packets never come, as over a bad cable or a full buffer."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from chaos.path_fault import ShareFault


class LosePackets(ShareFault):
    """Of the packets between a victim and its `peers`, `percent` are lost; the sender is not told."""

    name: ClassVar[str] = "lose_packets"
    summary: ClassVar[str] = "lose a share of a node's packets"
    shapes: ClassVar[tuple[str, ...]] = ("loss_percent",)

    def shape(self) -> NetworkShape:
        """A loss."""
        return NetworkShape(loss_percent=self.percent)

    def changed(self, sample: PathSample) -> int:
        """Those that never came."""
        return sample.lost
