"""One forecast without noise: a network at points gives the increment of a frame, trained in the L2 norm.

With frames w_1 .. w_H in units of their standard deviation::

    w_(H+1) = w_H + s  network(w_1 .. w_H, waves)

s is the standard deviation of an increment; waves are as in `noise_forecaster`. Every member of an ensemble is the same
forecast, so that its CRPS is the mean absolute error. The network is our separable operator (the core that head B's
innovations are added to), a Fourier neural operator or a U-Net.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.baselines.u_net import UNetNetwork
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.learned_forecaster import LearnedConfig, LearnedForecaster, Waves, wave_fields, waves_of
from domains.turbulence.networks import NetworkConfig, SeparableNetwork
from domains.turbulence.readers import FlowData

AnyNetwork = SeparableNetwork | FourierNetwork | UNetNetwork
_NETWORKS: dict[str, type[NetworkConfig]] = {
    kind.__name__: kind for kind in (SeparableNetwork, FourierNetwork, UNetNetwork)
}


@dataclasses.dataclass(frozen=True)
class DeterministicConfig(LearnedConfig):
    """Sizes of a deterministic forecaster.

    Attributes:
        network: what gives the increment.
        history: frames that it looks at.
        waves: (p_y, p_x), whole waves in a plane box whose cosine and sine are inputs; by default that of the force of
            a Kolmogorov flow and none otherwise.
    """

    network: AnyNetwork = dataclasses.field(default_factory=SeparableNetwork)
    history: int = 1
    waves: Waves | None = None

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ValueError(f"history: expected 1 or more, got {self.history}")

    def completed(self, data: FlowData) -> DeterministicConfig:
        """With the modes and waves that fit data, where they are left to them."""
        waves = waves_of(data) if self.waves is None else self.waves
        return dataclasses.replace(self, network=self.network.completed(data), waves=waves)

    def made(
        self,
        description: FlowDescription,
        centre: float,
        scale: float,
        increment: float,
        generator: torch.Generator | None = None,
    ) -> DeterministicForecaster:
        """An untrained forecaster of these sizes."""
        return DeterministicForecaster(self, description, centre, scale, increment, generator)

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return dataclasses.asdict(self) | {"network": network_to_settings(self.network)}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> DeterministicConfig:
        """Read what `to_settings` gave."""
        waves = tuple(tuple(wave) for wave in settings["waves"] or ())
        return cls(**settings | {"network": network_from_settings(settings["network"]), "waves": waves})


class DeterministicForecaster(LearnedForecaster):
    """The forecaster of the head of this file.

    Args:
        config: its sizes, completed.
        description: of the flow.
        centre: mean of the frames, in the flow's units.
        scale: their standard deviation.
        increment: standard deviation of an increment, in units of ``scale``.
        generator: of the start values.

    Example:
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> config = DeterministicConfig(FourierNetwork(channels=4, modes=3))
        >>> forecaster = DeterministicForecaster(config, described, 0.0, 1.0, 0.5)
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
        centre: float,
        scale: float,
        increment: float,
        generator: torch.Generator | None = None,
    ) -> None:
        inputs = config.history + 2 * len(config.waves or ())
        network = config.network.made(inputs, 1, 0, len(description.shape), generator)
        super().__init__(config, description, centre, scale, increment, network)

    def standardised(self, frames: Tensor) -> Tensor:
        """Values of frames ``(..., *grid)`` in units of their standard deviation, on the device."""
        return (frames.to(self.device) - self.centre) / self.scale

    def on_points(self, states: Tensor, grid: Sequence[int]) -> Tensor:
        """The values themselves: the grid is theirs."""
        return states

    def step(self, past: Tensor, noise: Tensor | None = None) -> Tensor:
        """Standardised values ``(B, *grid)`` of the next frame from those ``(B, H, *grid)`` of the last ones."""
        waves = wave_fields(self.config.waves or (), tuple(past.shape[2:])).to(past)
        inputs = torch.cat([past, waves.expand(len(past), *waves.shape)], 1)
        following: Tensor = past[:, -1] + self.increment * self.network(inputs)[:, 0]
        return following


def network_to_settings(network: NetworkConfig) -> dict[str, Any]:
    """Sizes of a network as plain JSON data, with its kind."""
    return {"kind": type(network).__name__, **dataclasses.asdict(network)}  # type: ignore[call-overload]


def network_from_settings(settings: dict[str, Any]) -> Any:
    """Read what `network_to_settings` gave.

    Example:
        >>> network_from_settings(network_to_settings(UNetNetwork(channels=8)))
        UNetNetwork(channels=8, levels=3, blocks=1)
    """
    plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in settings.items()}
    return _NETWORKS[plain.pop("kind")](**plain)
