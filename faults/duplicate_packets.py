"""`duplicate_packets`: some packets come twice, as over a link that repeats what was not confirmed in time."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import PathSample
from chaos.harm import NetworkShape
from chaos.path_fault import ShareFault


class DuplicatePackets(ShareFault):
    """Of the packets between a victim and its `peers`, `percent` come twice."""

    name: ClassVar[str] = "duplicate_packets"
    summary: ClassVar[str] = "send a share of a node's packets twice"
    shapes: ClassVar[tuple[str, ...]] = ("duplicate_percent",)

    def shape(self) -> NetworkShape:
        """A duplication."""
        return NetworkShape(duplicate_percent=self.percent)

    def changed(self, sample: PathSample) -> int:
        """Those that came again."""
        return sample.duplicates

    def seen_of(self, sample: PathSample) -> int:
        """Those that came at all."""
        return sample.arrived
