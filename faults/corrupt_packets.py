"""`corrupt_packets`: some packets come damaged, as from a failing network card; checksums make most of them losses."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from chaos.path_fault import ShareFault


class CorruptPackets(ShareFault):
    """Of the packets between a victim and its `peers`, `percent` have one bit changed."""

    name: ClassVar[str] = "corrupt_packets"
    summary: ClassVar[str] = "damage a share of a node's packets"
    shapes: ClassVar[tuple[str, ...]] = ("corrupt_percent",)

    def shape(self) -> NetworkShape:
        """A corruption."""
        return NetworkShape(corrupt_percent=self.percent)

    def changed(self, sample: PathSample) -> int:
        """Those that came with another content, and those that damage to their header kept from coming."""
        return sample.damaged + sample.lost
