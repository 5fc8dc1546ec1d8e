"""What forecasters share whose network works at points: sizes with their settings, and states that are the values.

Sizes and forecaster of a kind are the subclasses: `deterministic_forecaster`, `baselines.noisy_forecaster`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import Self

from domains.turbulence.baselines.fourier_operator import FourierNetwork
from domains.turbulence.baselines.u_net import UNetNetwork
from domains.turbulence.flows.flow import Waves
from domains.turbulence.learned_forecaster import LearnedConfig, LearnedForecaster, waves_of
from domains.turbulence.networks import NetworkConfig, SeparableNetwork
from domains.turbulence.readers import FlowData

AnyNetwork = SeparableNetwork | FourierNetwork | UNetNetwork
_NETWORKS: dict[str, type[NetworkConfig]] = {
    kind.__name__: kind for kind in (SeparableNetwork, FourierNetwork, UNetNetwork)
}


@dataclasses.dataclass(frozen=True)
class PointConfig(LearnedConfig):
    """Sizes of a forecaster whose network works at points; its subclasses are final.

    Attributes:
        network: what gives the increment.
        history: frames that it looks at.
        waves: (p_y, p_x), whole waves in a plane box whose cosine and sine are inputs; by default that of the force of
            a Kolmogorov flow and none otherwise.
    """

    network: AnyNetwork = dataclasses.field(default_factory=SeparableNetwork)
    history: int = 1
    waves: Waves | None = None

    def completed(self, data: FlowData) -> Self:
        """With the modes and waves that fit data, where they are left to them."""
        waves = waves_of(data) if self.waves is None else self.waves
        return dataclasses.replace(self, network=self.network.completed(data), waves=waves)

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return dataclasses.asdict(self) | {"network": network_to_settings(self.network)}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """Read what `to_settings` gave."""
        waves = tuple(tuple(wave) for wave in settings["waves"] or ())
        return cls(**settings | {"network": network_from_settings(settings["network"]), "waves": waves})


class PointForecaster(LearnedForecaster):
    """A forecaster whose states are the values at the points of the frames; its subclasses give `step`."""

    def standardised(self, frames: Tensor) -> Tensor:
        """Values of frames ``(..., *grid)`` in units of their standard deviation, on the device."""
        return (frames.to(self.device) - self.centre) / self.scale

    def on_points(self, states: Tensor, grid: Sequence[int]) -> Tensor:
        """The values themselves: the grid is theirs."""
        return states


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
