"""One forecast without noise: a network at points gives the increment of a frame, trained in the L2 norm.

With frames w_1 .. w_H in units of their standard deviation::

    w_(H+1) = w_H + s  network(w_1 .. w_H, waves)

s is the standard deviation of an increment; waves are as in `noise_forecaster`. Every member of an ensemble is the same
forecast, so that its CRPS is the mean absolute error. The network is our separable operator (the core that head B's
innovations are added to), a Fourier neural operator or a U-Net.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.learned_forecaster import LearnedConfig, wave_fields
from domains.turbulence.point_forecaster import PointConfig, PointForecaster


@dataclasses.dataclass(frozen=True)
class DeterministicConfig(PointConfig):
    """Sizes of a deterministic forecaster.

    Attributes:
        network: what gives the increment.
        history: frames that it looks at.
        waves: (p_y, p_x), whole waves in a plane box whose cosine and sine are inputs; by default that of the force of
            a Kolmogorov flow and none otherwise.
    """

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ValueError(f"history: expected 1 or more, got {self.history}")

    def made(
        self,
        description: FlowDescription,
        statistics: FrameStatistics,
        generator: torch.Generator | None = None,
    ) -> DeterministicForecaster:
        """An untrained forecaster of these sizes."""
        return DeterministicForecaster(self, description, statistics, generator)


class DeterministicForecaster(PointForecaster):
    """The forecaster of the head of this file.

    Args:
        config: its sizes, completed.
        description: of the flow.
        statistics: of the frames that it is trained on.
        generator: of the start values.

    Example:
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> from domains.turbulence.baselines.fourier_operator import FourierNetwork
        >>> config = DeterministicConfig(FourierNetwork(channels=4, modes=3))
        >>> forecaster = DeterministicForecaster(config, described, FrameStatistics(0.0, 1.0, 0.5))
        >>> start = torch.randn(1, 16, 16)
        >>> float(abs(forecaster.forecast(start, members=1, steps=1).w[0, 0] - start[0].numpy()).max()) < 1e-6
        True
    """

    config_type: ClassVar[type[LearnedConfig]] = DeterministicConfig
    trained_members: ClassVar[int] = 1
    config: DeterministicConfig
    noise_numbers = 0

    def __init__(
        self,
        config: DeterministicConfig,
        description: FlowDescription,
        statistics: FrameStatistics,
        generator: torch.Generator | None = None,
    ) -> None:
        inputs = config.history + 2 * len(config.waves or ())
        network = config.network.made(inputs, 1, 0, len(description.shape), generator)
        super().__init__(config, description, statistics, network)

    def step(self, past: Tensor, noise: Tensor | None = None) -> Tensor:
        """Standardised values ``(B, *grid)`` of the next frame from those ``(B, H, *grid)`` of the last ones."""
        waves = wave_fields(self.config.waves or (), tuple(past.shape[2:])).to(past)
        inputs = torch.cat([past, waves.expand(len(past), *waves.shape)], 1)
        following: Tensor = past[:, -1] + self.increment * self.network(inputs)[:, 0]
        return following
