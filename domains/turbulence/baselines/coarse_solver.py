"""The equation itself, solved on fewer points: what is lost is what the small scales do to the large ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.flows.flow import Flow, Waves
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.grid import Grid, resample
from domains.turbulence.simulate import simulate


class CoarseSolver(Forecaster):
    """A solver on a coarse grid, whose fields are interpolated back.

    Args:
        description: of the flow.
        flow: the equation.
        points: (n_y, n_x) or (n_x,) that are solved on.
        step: longest time step; by default the one that suits each frame, which are then solved one by one.

    Raises:
        ValueError: the number of axes differs from that of the flow's grid.

    Example:
        >>> from domains.turbulence.flows import DecayingTurbulence
        >>> from domains.turbulence.initial_conditions import taylor_green
        >>> box = (2 * torch.pi, 2 * torch.pi)
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), box)
        >>> forecaster = CoarseSolver(described, DecayingTurbulence(viscosity=0.5), (8, 8), step=0.1)
        >>> start = taylor_green(Grid((16, 16))).float()
        >>> after = next(forecaster.rollout(start[None, None], 1))
        >>> round(float(start.amax() / after.amax()), 3)  # exp(2 nu k^2)
        2.718
    """

    history = 1

    def __init__(
        self, description: FlowDescription, flow: Flow, points: Sequence[int], step: float | None = None
    ) -> None:
        if len(points) != len(description.shape):
            raise ValueError(f"points: expected {len(description.shape)} numbers, got {tuple(points)}")
        self.description, self.flow, self.step = description, flow, step
        self.grid = Grid(tuple(points), description.lengths)

    @property
    def waves(self) -> Waves:
        """See `Forecaster`: those of the flow's force."""
        return self.flow.force_waves

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; any grid. Random forcing is drawn anew for each member.

        Raises:
            FloatingPointError: the step is too long.
        """
        coarse = resample(frames[:, -1], self.grid.shape)
        seeds = [int(generator.integers(2**62)) for generator in generators]
        # The default step is that of the fastest frame of a batch; a member must not depend on the others.
        together, times = 1 if self.step is None else len(coarse), [self.description.time_step]
        found = [
            simulate(self.flow, self.grid, part, times, step=self.step, seeds=seeds[place * together :][: len(part)])
            for place, part in enumerate(coarse.split(together))
        ]
        return resample(torch.cat([one.fields[:, 0] for one in found]), tuple(frames.shape[2:]))
