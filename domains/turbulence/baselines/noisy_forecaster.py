"""Any network at points as an ensemble by noise: the noisy Fourier neural operator, which head A is compared with.

As `deterministic_forecaster`, with white fields among the inputs or, as in head A, in front of the last layer, and, if
wanted, a vector that scales the channels of every layer, drawn anew for each member and step. It is trained as head A
is: on the almost fair CRPS of two members.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import resample
from domains.turbulence.learned_forecaster import LearnedConfig, wave_fields
from domains.turbulence.members import rounds_of
from domains.turbulence.point_forecaster import AnyNetwork, PointConfig, PointForecaster


@dataclasses.dataclass(frozen=True)
class NoisyConfig(PointConfig):
    """Sizes of a noisy forecaster.

    Attributes:
        network: what gives the increment.
        history: frames that it looks at.
        waves: (p_y, p_x), as in `DeterministicConfig`.
        noise_fields: number of white fields that go in.
        noise_vector: length of the vector that scales channels; 0 for none.
        noise_size: standard deviation of the fields as they go in; small, so that noise does not have to be unlearned.
        noise_late: whether the fields go in before the last layer; without a vector, members share those before it.
    """

    network: AnyNetwork = dataclasses.field(default_factory=FourierNetwork)
    noise_fields: int = 3
    noise_vector: int = 0
    noise_size: float = 0.2
    noise_late: bool = False

    def __post_init__(self) -> None:
        if (
            self.history < 1
            or min(self.noise_fields, self.noise_vector) < 0
            or self.noise_fields + self.noise_vector < 1
        ):
            raise ValueError(
                "history, noise_fields, noise_vector: expected 1 or more frames and numbers of noise above 0, got "
                f"{self.history}, {self.noise_fields}, {self.noise_vector}"
            )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> NoisyConfig:
        """Read what `to_settings` gave; a forecaster saved without a size of its noise was trained with 1."""
        return super().from_settings({"noise_size": 1.0} | settings)

    def made(
        self,
        description: FlowDescription,
        statistics: FrameStatistics,
        generator: torch.Generator | None = None,
    ) -> NoisyForecaster:
        """An untrained forecaster of these sizes."""
        return NoisyForecaster(self, description, statistics, generator)


class NoisyForecaster(PointForecaster):
    """The forecaster of the head of this file.

    Args:
        config: its sizes, completed.
        description: of the flow.
        statistics: of the frames that it is trained on.
        generator: of the start values.

    Example:
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> config, statistics = NoisyConfig(FourierNetwork(4, modes=3)), FrameStatistics(0.0, 1.0, 0.5)
        >>> forecaster = NoisyForecaster(config, described, statistics)
        >>> dict(forecaster.forecast(torch.randn(1, 16, 16), members=3, steps=2).sizes)
        {'realization': 3, 'forecast_period': 2, 'y': 16, 'x': 16}
    """

    config_type: ClassVar[type[LearnedConfig]] = NoisyConfig
    trained_members: ClassVar[int] = 2
    config: NoisyConfig

    def __init__(
        self,
        config: NoisyConfig,
        description: FlowDescription,
        statistics: FrameStatistics,
        generator: torch.Generator | None = None,
    ) -> None:
        early, late = (0, config.noise_fields) if config.noise_late else (config.noise_fields, 0)
        inputs = config.history + 2 * len(config.waves or ()) + early
        network = config.network.made(inputs, 1, config.noise_vector, len(description.shape), generator, late)
        super().__init__(config, description, statistics, network)
        self.noise_numbers = config.noise_vector + config.noise_fields * math.prod(description.shape)

    def step(self, past: Tensor, noise: Tensor) -> Tensor:
        """See `LearnedForecaster`; states are values at points.

        The noise is white on the grid that the forecaster was trained on, and is interpolated to another.
        """
        config, grid = self.config, tuple(past.shape[2:])
        if config.noise_vector or not config.noise_late:
            past = rounds_of(past, len(noise))
        vector, white = noise.split([config.noise_vector, noise.shape[1] - config.noise_vector], 1)
        fields = white.reshape(len(noise), config.noise_fields, *self.description.shape)
        if grid != self.description.shape:
            fields = resample(fields, grid)
        fields = config.noise_size * fields
        waves = wave_fields(config.waves or (), grid).to(past)
        inputs = torch.cat([past, waves.expand(len(past), *waves.shape)], 1)
        given = vector if config.noise_vector else None
        if config.noise_late:
            change: Tensor = self.network(inputs, given, fields)[:, 0]
        else:
            change = self.network(torch.cat([inputs, fields], 1), given)[:, 0]
        return rounds_of(past[:, -1], len(noise)) + self.increment * change
