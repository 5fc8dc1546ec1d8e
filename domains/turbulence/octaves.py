"""Octaves of a field: parts of it whose wave numbers lie within a factor of two each.

A score at points tells whether the values there are spread as the truth is, not whether the spread lies at the scales
at which the errors are. In octaves it does.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SHARES = (1 / 24, 1 / 12, 1 / 6)  # upper edges, in wave numbers over the number of points


def octaves(fields: Tensor, dimensions: int) -> Tensor:
    """Parts ``(..., 4, *grid)`` of fields ``(..., *grid)`` on a periodic grid, the largest scales first.

    The edges lie at 1/24, 1/12 and 1/6 of the points: the last part goes on beyond the 1/3 that solvers keep.

    Args:
        fields: real.
        dimensions: of the grid, the last ones.

    Returns:
        Fields that add up to the given ones.

    Example:
        >>> x = 2 * torch.pi * torch.arange(48) / 48
        >>> parts = octaves(torch.cos(3 * x) + torch.cos(20 * x), 1)
        >>> torch.allclose(parts[1], torch.cos(3 * x), atol=1e-5)
        True
        >>> torch.allclose(parts[3], torch.cos(20 * x), atol=1e-5)
        True
    """
    grid = tuple(fields.shape[-dimensions:])
    axes = tuple(range(-dimensions, 0))
    masks = _masks(grid).to(fields)
    coefficients = torch.fft.rfftn(fields, dim=axes).unsqueeze(-dimensions - 1)
    return torch.fft.irfftn(coefficients * masks, s=grid, dim=axes)


@lru_cache(8)
def _masks(grid: tuple[int, ...]) -> Tensor:
    """Which coefficients each part has, ``(4, *grid)`` with half of the last axis."""
    square = torch.fft.rfftfreq(grid[-1], dtype=torch.float64) ** 2
    for n in reversed(grid[:-1]):
        square = torch.fft.fftfreq(n, dtype=torch.float64).square().reshape(-1, *[1] * square.dim()) + square
    edges = torch.tensor(_SHARES, dtype=torch.float64) * (1 + 1e-9)  # what lies on an edge belongs below it
    place = torch.bucketize(square.sqrt(), edges)
    return torch.stack([place == part for part in range(len(_SHARES) + 1)])
