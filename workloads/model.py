"""A vision transformer whose weights are a pure function of its size and a seed.

The shape is that of ViT (Dosovitskiy et al., 2021) with mean pooling; `large` is ViT-B/16 at 224 pixels. The weights
are random: the job needs the arithmetic and a right answer, not the labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workloads.images import CHANNELS
from workloads.sizes import CLASSES, SHAPES, ModelSize


class VisionTransformer(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Maps bytes `(rows, 3, side, side)` to logits `(rows, CLASSES)`; each row's answer depends on that row alone."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        shape = SHAPES[size]
        tokens = (shape.side_px // shape.patch_px) ** 2
        self.patches = nn.Conv2d(CHANNELS, shape.width, kernel_size=shape.patch_px, stride=shape.patch_px)
        self.positions = nn.Parameter(torch.randn(1, tokens, shape.width) * 0.2)
        layer = nn.TransformerEncoderLayer(
            shape.width,
            shape.heads,
            dim_feedforward=4 * shape.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, shape.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """The logits; bytes are scaled to [-1, 1) on the model's own device."""
        pixels = images.to(self.head.weight.dtype) / 128.0 - 1.0
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.encoder(tokens + self.positions)).mean(dim=1))


def build_model(size: ModelSize, *, seed: int) -> VisionTransformer:
    """The model on the CPU, ready for inference; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VisionTransformer(size)
        # TransformerEncoder copies one layer's weights into all; give each layer its own.
        for parameter in model.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
    model.eval().requires_grad_(False)
    return model
