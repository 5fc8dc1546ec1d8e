"""The U-Net: convolutions over ever coarser grids and back, with bridges between grids of the same size.

After Ronneberger et al. (2015, arXiv:1505.04597) in the form that forecasts of flows use (Gupta and Brandstetter 2022,
arXiv:2209.15616): residual blocks of two 3-point convolutions with group normalisation and GELU, periodic padding, C
channels on the grid and twice as many on each coarser one (of half the points).
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor, nn

from domains.turbulence.model import MOST
from domains.turbulence.networks import NetworkConfig

_GROUPS = 4


@dataclasses.dataclass(frozen=True)
class UNetNetwork(NetworkConfig):
    """Sizes of a U-Net.

    Attributes:
        channels: C on the finest grid, a multiple of 4.
        levels: grids; the points must be multiples of 2^(levels - 1).
        blocks: residual blocks on every grid, on the way down and on the way up.
    """

    channels: int = 16
    levels: int = 3
    blocks: int = 1

    def __post_init__(self) -> None:
        for name in ("channels", "levels", "blocks"):
            if not isinstance(getattr(self, name), int) or not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}: expected a whole number from 1 to {MOST}, got {getattr(self, name)}")
        if self.channels % _GROUPS:
            raise ValueError(f"channels: expected a multiple of {_GROUPS}, got {self.channels}")

    def made(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        dimensions: int,
        generator: torch.Generator | None = None,
        late: int = 0,
    ) -> nn.Module:
        """See `NetworkConfig`.

        Raises:
            ValueError: a vector is to condition it or fields are to come late, neither of which it takes.
        """
        if condition or late:
            raise ValueError(f"condition, late: a U-Net takes no vector and no late fields, got {condition} and {late}")
        with torch.random.fork_rng(devices=[]):  # torch's convolutions draw from the global stream
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return UNet(self, inputs, outputs, dimensions)


class UNet(nn.Module):
    """The network of the head of this file.

    Example:
        >>> network = UNetNetwork(channels=4, levels=3).made(2, 1, 0, 2)
        >>> network(torch.randn(5, 2, 16, 12)).shape
        torch.Size([5, 1, 16, 12])
    """

    def __init__(self, config: UNetNetwork, inputs: int, outputs: int, dimensions: int) -> None:
        super().__init__()
        widths = [config.channels * 2**level for level in range(config.levels)]
        self.multiple = 2 ** (config.levels - 1)
        self.lift = _convolution(dimensions, inputs, widths[0])
        self.down = nn.ModuleList(_blocks(dimensions, width, width, config.blocks) for width in widths)
        self.coarser = nn.ModuleList(
            _convolution(dimensions, fine, coarse, stride=2) for fine, coarse in itertools.pairwise(widths)
        )
        self.finer = nn.ModuleList(
            _convolution(dimensions, coarse, fine) for fine, coarse in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(_blocks(dimensions, 2 * width, width, config.blocks) for width in widths[:-1])
        self.norm = nn.GroupNorm(_GROUPS, widths[0])
        self.read = _convolution(dimensions, widths[0], outputs)
        with torch.no_grad():
            for parameter in self.read.parameters():
                parameter.zero_()

    def forward(self, fields: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `NetworkConfig`."""
        if any(n % self.multiple for n in fields.shape[2:]):
            raise ValueError(f"fields: expected multiples of {self.multiple} points, got {tuple(fields.shape[2:])}")
        v = self.lift(fields)
        kept = []
        for level, blocks in enumerate(self.down):
            v = blocks(v if level == 0 else self.coarser[level - 1](v))
            kept.append(v)
        for level in reversed(range(len(self.up))):
            raised = nn.functional.interpolate(v, size=kept[level].shape[2:], mode="nearest")
            v = self.up[level](torch.cat([self.finer[level](raised), kept[level]], 1))
        found: Tensor = self.read(nn.functional.gelu(self.norm(v)))
        return found


class _Residual(nn.Module):
    """v + convolution(gelu(norm(convolution(gelu(norm v)))))."""

    def __init__(self, dimensions: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.GroupNorm(_GROUPS, inputs), nn.GroupNorm(_GROUPS, outputs)
        self.first, self.second = (_convolution(dimensions, n, outputs) for n in (inputs, outputs))
        self.across = _convolution(dimensions, inputs, outputs, points=1) if inputs != outputs else nn.Identity()

    def forward(self, v: Tensor) -> Tensor:
        inner = self.first(nn.functional.gelu(self.first_norm(v)))
        added: Tensor = self.across(v) + self.second(nn.functional.gelu(self.second_norm(inner)))
        return added


def _blocks(dimensions: int, inputs: int, outputs: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(dimensions, outputs if place else inputs, outputs) for place in range(count)))


def _convolution(dimensions: int, inputs: int, outputs: int, *, points: int = 3, stride: int = 1) -> nn.Module:
    kind = nn.Conv2d if dimensions == 2 else nn.Conv1d
    return kind(inputs, outputs, points, stride=stride, padding=points // 2, padding_mode="circular")
