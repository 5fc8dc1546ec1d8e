"""What the flow looks like at any time: frames drawn at random. No forecast that is honest is worse at long leads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.symmetries import Symmetries


class Climatology(Forecaster):
    """Every member of every frame is a training frame, changed by a random symmetry of the flow.

    Args:
        description: of the flow.
        frames: to draw from, ``(K, *grid)``.
        symmetries: of the flow, on that grid.

    Raises:
        ValueError: the frames are not on the grid of the symmetries.

    Example:
        >>> from domains.turbulence.symmetries import all_shifts
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (8, 8), (1.0, 1.0))
        >>> forecaster = Climatology(described, torch.arange(5.0)[:, None, None].expand(5, 8, 8), all_shifts((8, 8)))
        >>> members = next(forecaster.rollout(torch.zeros(1, 1, 8, 8), 50))
        >>> sorted(set(members[0, :, 0, 0].tolist()))
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    history = 1

    def __init__(self, description: FlowDescription, frames: Tensor, symmetries: Symmetries) -> None:
        if tuple(frames.shape[1:]) != symmetries.shape or not len(frames):
            raise ValueError(f"frames: expected (K, {symmetries.shape}), got {tuple(frames.shape)}")
        self.description, self.frames, self.symmetries = description, frames, symmetries

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; on the grid of the frames that are drawn."""
        if tuple(frames.shape[2:]) != self.symmetries.shape:
            raise ValueError(f"frames: expected {self.symmetries.shape} points, got {tuple(frames.shape[2:])}")
        return draws(self.frames, self.symmetries, generators).to(frames.device)


def draws(fields: Tensor, symmetries: Symmetries, generators: Sequence[np.random.Generator]) -> Tensor:
    """One of the fields ``(K, *grid)`` for each generator, changed by a random symmetry, ``(B, *grid)``."""
    found = []
    for generator in generators:
        chosen = fields[int(generator.integers(len(fields)))][None]
        found.append(symmetries(chosen, torch.Generator().manual_seed(int(generator.integers(2**62)))))
    return torch.cat(found)
