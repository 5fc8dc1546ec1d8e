"""The Fourier neural operator: a network whose layers multiply the lowest modes by free complex matrices.

On C channels v, after Li et al. (2021, arXiv:2010.08895)::

    v_0     = P f                                       P at every point
    v_(l+1) = gelu(W v_l + inverse transform (R(k) transform(v_l)(k)))     |k_y| <= m_y, |k_x| <= m_x; the last without
    output  = Q_2 gelu(Q_1 v_L)                         Q_1 to 2 C channels, at every point

R(k) is a C x C complex matrix of its own for every mode: 2 C^2 (m_x + 1) (2 m_y + 1) numbers a layer.

Deviations: the coordinates are not among the inputs, as the box repeats (the forecaster gives waves instead); start
values of R keep the variance of the modes (the published code starts it near 1 / C^2); Q_2 starts at zero. For
forecasts by noise a vector can scale the channels in front of every layer (FiLM), and more fields can go in before the
last one.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from domains.turbulence.members import rounds_of
from domains.turbulence.model import MOST
from domains.turbulence.modes import to_modes, to_points
from domains.turbulence.networks import NetworkConfig


@dataclasses.dataclass(frozen=True)
class FourierNetwork(NetworkConfig):
    """Sizes of a Fourier neural operator.

    Attributes:
        channels: C.
        modes: m, the same along all axes.
        layers: L.
        rounds: times that they are applied, one round after another with the same numbers (the implicit FNO of You et
            al. 2022, arXiv:2203.08205, without its scaled increments).
    """

    channels: int = 32
    modes: int = 12
    layers: int = 4
    rounds: int = 1

    def __post_init__(self) -> None:
        for name in ("channels", "modes", "layers", "rounds"):
            if not isinstance(getattr(self, name), int) or not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}: expected a whole number from 1 to {MOST}, got {getattr(self, name)}")

    def made(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        dimensions: int,
        generator: torch.Generator | None = None,
        late: int = 0,
    ) -> nn.Module:
        """See `NetworkConfig`."""
        return FourierOperator(self, inputs, outputs, condition, dimensions, generator, late)


class FourierOperator(nn.Module):
    """The network of the head of this file.

    Example:
        >>> network = FourierNetwork(channels=4, modes=3).made(2, 1, 0, 2)
        >>> network(torch.randn(5, 2, 16, 12)).shape
        torch.Size([5, 1, 16, 12])
    """

    def __init__(
        self,
        config: FourierNetwork,
        inputs: int,
        outputs: int,
        condition: int,
        dimensions: int,
        generator: torch.Generator | None = None,
        late: int = 0,
    ) -> None:
        super().__init__()
        c = config.channels
        self.lift = Pointwise(inputs, c, generator)
        self.rounds = config.rounds
        self.layers = nn.ModuleList(
            _FourierLayer(c, (config.modes,) * dimensions, condition, generator) for _ in range(config.layers)
        )
        self.widen = Pointwise(c, 2 * c, generator)
        self.read = Pointwise(2 * c, outputs, generator)
        nn.init.zeros_(self.read.weight)
        self.late_lift = Pointwise(late, c, generator) if late else None

    def forward(self, fields: Tensor, condition: Tensor | None = None, late: Tensor | None = None) -> Tensor:
        """See `NetworkConfig`."""
        v = self.lift(fields)
        layers = [layer for _ in range(self.rounds) for layer in self.layers]
        for layer in layers[:-1]:
            v = nn.functional.gelu(layer(v, condition))
        if self.late_lift is not None and late is not None:
            v = rounds_of(v, len(late)) + self.late_lift(late)
        v = layers[-1](v, condition)
        found: Tensor = self.read(nn.functional.gelu(self.widen(v)))
        return found


class _FourierLayer(nn.Module):
    """W and R of one layer."""

    def __init__(
        self, channels: int, modes: tuple[int, ...], condition: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.modes = modes
        count = modes[-1] + 1
        for m in modes[:-1]:
            count *= 2 * m + 1
        # Real and imaginary part are kept apart, as safetensors and optimisers take them.
        self.weight = nn.Parameter(
            (2 * channels) ** -0.5 * torch.randn(count, channels, channels, 2, generator=generator)
        )
        self.bypass = Pointwise(channels, channels, generator)
        self.film = nn.Parameter(0.02 * torch.randn(channels, condition, generator=generator)) if condition else None

    def forward(self, v: Tensor, condition: Tensor | None) -> Tensor:
        if self.film is not None and condition is not None:
            scales = 1 + condition @ self.film.T
            v = v * scales.reshape(*scales.shape, *[1] * len(self.modes))
        coefficients = to_modes(v, self.modes)
        by_mode = coefficients.flatten(2).permute(2, 0, 1)  # (modes, B, C): one matrix product a mode
        mixed = (by_mode @ torch.view_as_complex(self.weight)).permute(1, 2, 0).reshape(coefficients.shape)
        return self.bypass(v) + to_points(mixed, v.shape[2:])


class Pointwise(nn.Module):
    """A linear map of the channels ``(B, p, *grid)`` at every point, with a bias; weights keep the variance."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(inputs**-0.5 * torch.randn(outputs, inputs, generator=generator))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, fields: Tensor) -> Tensor:
        """Fields ``(B, q, *grid)``."""
        mixed = torch.baddbmm(
            self.bias[None, :, None], self.weight.expand(len(fields), *self.weight.shape), fields.flatten(2)
        )
        return mixed.reshape(len(fields), -1, *fields.shape[2:])
