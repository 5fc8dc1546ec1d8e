"""A forecast without noise and errors that it made before: the simplest ensemble, and the null of head B.

    w_(H+1) = deterministic forecast + g r      r drawn from its errors on training windows, g a symmetry of the flow

It has the right size and spectrum of uncertainty on average, and knows nothing of how these depend on the state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.baselines.climatology import draws
from domains.turbulence.flows.flow import Waves
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.grid import Grid
from domains.turbulence.modes import check_gains, to_modes, to_points
from domains.turbulence.readers import FlowData
from domains.turbulence.symmetries import Symmetries


class ResidualDraws(Forecaster):
    """Any deterministic forecaster with its own residuals.

    Args:
        forecaster: which gives the same next frame whatever is drawn.
        residuals: errors of single steps, truth less forecast, ``(K, *grid)`` in the flow's units.
        symmetries: of the flow, on that grid.

    Raises:
        ValueError: the residuals are not on the grid of the symmetries.
    """

    def __init__(self, forecaster: Forecaster, residuals: Tensor, symmetries: Symmetries) -> None:
        if tuple(residuals.shape[1:]) != symmetries.shape or not len(residuals):
            raise ValueError(f"residuals: expected (K, {symmetries.shape}), got {tuple(residuals.shape)}")
        self.forecaster, self.residuals, self.symmetries = forecaster, residuals, symmetries
        self.description, self.history = forecaster.description, forecaster.history
        self.modes = Grid(self.description.shape, self.description.lengths).modes

    @property
    def waves(self) -> Waves:
        """See `Forecaster`: those of the forecaster inside."""
        return self.forecaster.waves

    @classmethod
    def of(
        cls,
        forecaster: Forecaster,
        data: FlowData,
        samples: Sequence[int],
        symmetries: Symmetries,
        *,
        count: int = 1000,
        seed: int = 0,
    ) -> ResidualDraws:
        """With the residuals of windows of some samples.

        Args:
            forecaster: trained.
            data: of the flow.
            samples: those that it was trained on.
            symmetries: of the flow, on the grid of the data.
            count: windows, drawn at random, at most all.
            seed: of the draw.
        """
        windows = data.windows(forecaster.history, 1, samples=samples)
        chosen = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))[:count].tolist()
        found = []
        for begin in range(0, len(chosen), 64):
            past, future = zip(*(windows[place] for place in chosen[begin : begin + 64]), strict=True)
            nothing = [np.random.default_rng(0) for _ in past]  # nothing of it is used
            found.append(torch.stack(future)[:, 0] - forecaster.advance(torch.stack(past), nothing))
        return cls(forecaster, torch.cat(found), symmetries)

    def resize(self, gains: Tensor) -> None:
        """Multiply the residuals of every mode by a positive number, see `held_spectrum`.

        Raises:
            ValueError: there is not one for each mode that a solver resolves, or one is not positive.
        """
        check_gains(gains, self.modes)
        shape, change = self.residuals.shape[1:], gains.to(self.residuals) - 1
        self.residuals = self.residuals + to_points(to_modes(self.residuals, self.modes) * change, shape)

    def to(self, device: torch.device | str) -> ResidualDraws:
        """Move the forecaster inside; the residuals stay, as frames do."""
        self.forecaster.to(device)
        return self

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; on the grid of the residuals."""
        if tuple(frames.shape[2:]) != self.symmetries.shape:
            raise ValueError(f"frames: expected {self.symmetries.shape} points, got {tuple(frames.shape[2:])}")
        drawn = draws(self.residuals, self.symmetries, generators).to(frames.device)
        return self.forecaster.advance(frames, generators) + drawn
