"""The model's sizes, as plain numbers: readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from chaos.value import Value

ModelSize: TypeAlias = Literal["tiny", "small", "large"]

CLASSES = 16


class Shape(Value):
    """A transformer's dimensions: input side, patch side, token width, layers, attention heads."""

    side_px: int
    patch_px: int
    width: int
    depth: int
    heads: int

    @property
    def source_side_px(self) -> int:
        """The side of the images before preprocessing halves them."""
        return 2 * self.side_px


SHAPES: Mapping[ModelSize, Shape] = {
    "tiny": Shape(side_px=32, patch_px=8, width=32, depth=2, heads=2),
    "small": Shape(side_px=64, patch_px=8, width=192, depth=6, heads=3),
    "large": Shape(side_px=224, patch_px=16, width=768, depth=12, heads=12),
}
