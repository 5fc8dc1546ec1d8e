"""Patches of a field as tokens by finite scalar quantisation: an autoencoder whose code is a few rounded numbers.

A periodic field is cut into patches; an encoder gives each K numbers, and every number is rounded to one of L levels::

    z -> round( tanh(z + s) h - o ),     h = (L - 1)(1 + 1e-3) / 2,  o = 1/2 where L is even,  s = atanh(o / h)

with the gradient of what stands under the rounding (straight through). Nothing else is needed: no code book, no second
loss (Mentzer et al. 2023, arXiv:2309.15505, section 3). The L levels of the K numbers are the digits of a token of
L^K; Mentzer takes other numbers of levels for each, here they are the same as `LeviathanEmbedding` has one base.

The encoder and the decoder are a linear map of patches and two convolutions between patches each; the decoder smooths
the seams by one more at points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class FiniteScalarAutoencoder(nn.Module):
    """Fields to digits of patches and back.

    Args:
        shape: points (n_y, n_x), multiples of the patch.
        patch: points of a patch along each axis.
        digits: K, numbers that a patch becomes.
        levels: L of each.
        width: channels between.
        generator: of the start values.

    Raises:
        ValueError: the patch does not divide the points, or a size is too small.

    Example:
        >>> coder = FiniteScalarAutoencoder((16, 24), patch=8)
        >>> codes = coder.encode(torch.randn(2, 16, 24))
        >>> codes.shape, coder.decode(codes).shape
        (torch.Size([2, 6, 6]), torch.Size([2, 16, 24]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        patch: int = 8,
        digits: int = 6,
        levels: int = 8,
        width: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 2 or patch < 1 or any(n % patch for n in shape):
            raise ValueError(f"patch: expected a divisor of points (n_y, n_x), got {patch} for {shape}")
        if min(digits, width) < 1 or levels < 2:
            raise ValueError(f"digits, levels, width: expected 1, 2 and 1 or more, got {digits}, {levels}, {width}")
        self.positions = (shape[0] // patch, shape[1] // patch)
        self.digits, self.levels = digits, levels
        self.reach = (levels - 1) * (1 + 1e-3) / 2
        self.offset = 0.5 if levels % 2 == 0 else 0.0
        self.cut = nn.Conv2d(1, width, patch, stride=patch)
        self.inward = _Between(width, width)
        self.to_digits = nn.Conv2d(width, digits, 1)
        self.from_digits = nn.Conv2d(digits, width, 1)
        self.outward = _Between(width, width)
        self.join = nn.ConvTranspose2d(width, 1, patch, stride=patch)
        self.smooth = nn.Conv2d(1, 8, 5, padding=2, padding_mode="circular")
        self.smoothed = nn.Conv2d(8, 1, 5, padding=2, padding_mode="circular")
        _start(self, generator)
        with torch.no_grad():
            self.smoothed.weight.mul_(0.1)

    @property
    def length(self) -> int:
        """Number P of patches."""
        return math.prod(self.positions)

    def rounded(self, fields: Tensor) -> Tensor:
        """Numbers between -1 and 1, ``(B, K, *positions)``, on the L levels, with gradients."""
        latent = self.to_digits(self.inward(gelu(self.cut(fields[:, None]))))
        bounded = torch.tanh(latent + math.atanh(self.offset / self.reach)) * self.reach - self.offset
        return (bounded + (bounded.round() - bounded).detach()) / (self.levels // 2)

    def fields(self, rounded: Tensor) -> Tensor:
        """Fields ``(B, *shape)`` of rounded numbers."""
        joined = self.join(gelu(self.outward(gelu(self.from_digits(rounded)))))
        found: Tensor = joined + self.smoothed(gelu(self.smooth(joined)))
        return found[:, 0]

    def forward(self, fields: Tensor) -> Tensor:
        """Fields as they come back, with gradients."""
        return self.fields(self.rounded(fields))

    def encode(self, fields: Tensor) -> Tensor:
        """Digits ``(B, P, K)`` in 0 .. L - 1, int64, of fields ``(B, *shape)``."""
        digits = (self.rounded(fields) * (self.levels // 2)).round().long() + self.levels // 2
        return digits.flatten(2).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Fields of digits ``(B, P, K)``."""
        rounded = (codes - self.levels // 2).to(self.cut.weight.dtype) / (self.levels // 2)
        return self.fields(rounded.transpose(1, 2).unflatten(2, self.positions))


class _Between(nn.Module):
    """A convolution between patches beside what goes in."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="circular")
        self.read = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.read(gelu(self.mix(x)))


def _start(network: nn.Module, generator: torch.Generator | None) -> None:
    """Start values that keep the variance of what goes through."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            inputs = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_channels
            nn.init.normal_(layer.weight, std=inputs**-0.5, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
