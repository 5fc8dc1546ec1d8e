"""Head B: a deterministic core, and what it misses drawn from a prefix-LM over tokens.

With the core's forecast f of the next frame, in units of the standard deviation::

    w_(H+1) = f(w_1 .. w_H) + r_1 + r_2 + ..,     r_j = decode(codes_j)
    codes_j ~ P_j(. | w_1 .. w_H, f, waves, r_1 + .. + r_(j-1))

The core is any forecaster without noise, trained in the L2 norm: it gives the mean of what can come. Its innovations
r = w - f are nearly white in time, so the present state and the forecast are all that they depend on; they are far from
white in space, which `innovation_network` learns, and their spectrum is held by `innovation_codec`. There is one level
by default. More of them are bands of modes, the large scales first, up to m / 4, to m / 2 and to m, each with a code
and a model of its own, so that every token is local in space and in scale; in a short trial they learned no faster.

All happens on coefficients of modes, so the grid may be any that the core accepts with 2 m + 1 points or more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domains.turbulence.flows.flow import Waves
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.innovation_codec import InnovationCodec
from domains.turbulence.innovation_network import InnovationNetwork, InnovationNetworkConfig
from domains.turbulence.learned_forecaster import (
    LearnedForecaster,
    modes_of,
    saved_settings,
    wave_fields,
    waves_of,
    write_forecaster,
)
from domains.turbulence.modes import check_gains, mean_square, to_modes, to_points, with_modes
from domains.turbulence.readers import FlowData
from separable.files import read_tensors


@dataclasses.dataclass(frozen=True)
class InnovationConfig:
    """Sizes of the innovations.

    Attributes:
        network: of the model of tokens.
        levels: bands of modes; each reaches up to twice the modes of the one before. 1 is all at once.
        patch: points of a patch along each axis of each level's grid, of 2 m + 1 points or a few more.
        bins: equally likely bins of a coefficient.
        kept: coefficients of a patch that are coded; the others are drawn from their distribution. 0 for all.
        modes: (m_y, m_x) or (m_x,) of the innovations; by default those of the data, see `modes_of`.
        waves: whole waves in a plane box whose cosine and sine are inputs; by default that of the force of a
            Kolmogorov flow and none otherwise.
    """

    network: InnovationNetworkConfig = dataclasses.field(default_factory=InnovationNetworkConfig)
    levels: int = 1
    patch: int = 4
    bins: int = 32
    kept: int = 0
    modes: tuple[int, ...] = ()
    waves: Waves | None = None

    def completed(self, data: FlowData) -> InnovationConfig:
        """With the modes and waves that fit data, where they are left to them."""
        waves = waves_of(data) if self.waves is None else self.waves
        return dataclasses.replace(self, modes=self.modes or modes_of(data), waves=waves)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> InnovationConfig:
        """From plain JSON data."""
        waves = tuple(tuple(wave) for wave in settings["waves"] or ())
        network = InnovationNetworkConfig(**settings["network"])
        return cls(**settings | {"network": network, "modes": tuple(settings["modes"]), "waves": waves})


class _Both(nn.Module):
    """What a folder holds: the code and the model of tokens."""

    def __init__(self, codec: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.codec, self.model = codec, model


class InnovationForecaster(Forecaster):
    """The forecaster of the head of this file.

    Args:
        core: gives the mean of the next frame; without noise.
        config: of the innovations, completed.
        generator: of the start values.

    Example:
        >>> from domains.turbulence.deterministic_forecaster import DeterministicConfig
        >>> from domains.turbulence.networks import SeparableNetwork
        >>> from domains.turbulence.forecaster import FlowDescription
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> from domains.turbulence.frame_statistics import FrameStatistics
        >>> statistics = FrameStatistics(0.0, 1.0, 0.5)
        >>> core = DeterministicConfig(SeparableNetwork(modes=(5, 5)), waves=()).made(described, statistics)
        >>> forecaster = InnovationForecaster(core, InnovationConfig(modes=(5, 5), waves=()))
        >>> forecaster.fit(to_modes(0.1 * torch.randn(20, 16, 16), (5, 5)))
        >>> dict(forecaster.forecast(torch.randn(1, 16, 16), members=3, steps=2).sizes)
        {'realization': 3, 'forecast_period': 2, 'y': 16, 'x': 16}
    """

    def __init__(
        self, core: LearnedForecaster, config: InnovationConfig, generator: torch.Generator | None = None
    ) -> None:
        if core.noise_numbers:
            raise ValueError(
                f"core: expected a forecaster without noise, got a {type(core).__name__} that draws "
                f"{core.noise_numbers} numbers a step"
            )
        if len(config.modes) != len(core.description.shape):
            raise ValueError(f"modes: expected one for each of {core.description.shape}, got {config.modes}")
        self.core, self.config = core, config
        self.description, self.history = core.description, core.history
        self.centre, self.scale = core.centre, core.scale
        inputs = self.history + 2 + 2 * len(config.waves or ())
        codecs: list[InnovationCodec] = []
        networks: list[InnovationNetwork] = []
        above: tuple[int, ...] = ()
        for level in reversed(range(config.levels)):
            modes = tuple(m >> level for m in config.modes)
            if min(modes) < 1:
                raise ValueError(f"levels: expected fewer for modes {config.modes}, got {config.levels}")
            codecs.append(InnovationCodec(modes, config.patch, config.bins, config.kept, above))
            more = 1 if above else 0  # what the levels before have drawn
            networks.append(InnovationNetwork(config.network, inputs + more, config.modes, codecs[-1], generator))
            above = modes
        self.codecs, self.network = nn.ModuleList(codecs), nn.ModuleList(networks)
        self.device = torch.device("cpu")
        points = tuple(2 * m + 1 for m in config.modes)
        self._waves = to_modes(wave_fields(config.waves or (), points), config.modes)

    @property
    def modes(self) -> tuple[int, ...]:
        """(m_y, m_x) or (m_x,) of the innovations."""
        return self.config.modes

    @property
    def waves(self) -> Waves:
        """See `Forecaster`: those that are inputs, of the core too."""
        return (*self.core.waves, *(self.config.waves or ()))

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers, with those of the core."""
        return self.core.n_parameters + sum(p.numel() for p in self.network.parameters())

    def to(self, device: torch.device | str) -> InnovationForecaster:
        """Move the forecaster; frames are moved to it and back when it advances them."""
        self.device = torch.device(device)
        self.core.to(self.device)
        self.codecs.to(self.device)
        self.network.to(self.device)
        self._waves = self._waves.to(self.device)
        return self

    def standardised(self, frames: Tensor) -> Tensor:
        """Coefficients of frames ``(..., *grid)`` in units of their standard deviation, on the device."""
        return to_modes((frames.to(self.device) - self.centre) / self.scale, self.config.modes)

    def expected(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The core's forecast after frames ``(B, H, *grid)``, and the state that its innovations depend on.

        Returns:
            Coefficients ``(B, ...)`` in units of the standard deviation, and ``(B, H + 2 + 2 W, ...)``: the frames, the
            forecast, the increment that it foresees, and the waves.
        """
        with torch.inference_mode():
            following = self.core.advance(frames, [])
        past, mean = self.standardised(frames), self.standardised(following)
        change = (mean - past[:, -1]) / self.core.increment
        waves = self._waves.expand(len(past), *self._waves.shape)
        return mean, torch.cat([past, mean[:, None], change[:, None], waves], 1)

    def fit(self, innovations: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the codes of all levels from examples ``(N, ...)``, coefficients in units of the standard deviation."""
        for codec in self._codecs():
            codec.fit(with_modes(innovations, codec.modes), generator)

    def resize(self, gains: Tensor) -> None:
        """Multiply the innovations of every mode by a positive number.

        Args:
            gains: of the shape of the coefficients of one field.

        Raises:
            ValueError: the shape is another one, or a gain is not positive and finite.
        """
        check_gains(gains, self.modes)
        for codec in self._codecs():
            codec.deviation *= with_modes(gains, codec.modes).to(codec.deviation)

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; the grid needs 2 m + 1 points or more."""
        shapes = [(codec.length, codec.tokens + codec.size) for codec in self._codecs()]
        drawn = [np.concatenate([g.random(shape, dtype=np.float32).ravel() for shape in shapes]) for g in generators]
        uniform = torch.from_numpy(np.stack(drawn)).to(self.device).split([p * n for p, n in shapes], 1)
        mean, state = self.expected(frames)
        with torch.inference_mode():
            found = torch.zeros_like(mean)
            for codec, network, shape, numbers in zip(self._codecs(), self.network, shapes, uniform, strict=True):
                decided, inside = numbers.unflatten(1, shape).split([codec.tokens, codec.size], 2)
                codes = network.sample(self._known(state, found, codec), decided)  # type: ignore[operator]
                found = found + with_modes(codec.decode(codes, inside), self.config.modes)
            following = self.core.statistics.bounded(to_points(mean + found, tuple(frames.shape[2:])))
            return (following * self.scale + self.centre).to(frames.device)

    def loss(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean over levels and codes of ``- log(P(code) bins)`` of windows ``(B, H + 1, *grid)``: 0 at first.

        Args:
            frames: in the flow's units.
            generator: of what the code is filled with, on the CPU; by default torch's own.
        """
        mean, state = self.expected(frames[:, : self.history])
        innovation, state = self.standardised(frames[:, self.history]) - mean, state.clone()
        losses, above = [], torch.zeros_like(innovation)
        for codec, network in zip(self._codecs(), self.network, strict=True):
            part = with_modes(innovation, codec.modes)
            codes = codec.encode(part, generator)
            losses.append(-network(self._known(state, above, codec), codes).gather(-1, codes[..., None]).mean())
            above = with_modes(part, self.config.modes)
        return torch.stack(losses).mean() + math.log(1 / self.config.bins)

    def _codecs(self) -> list[InnovationCodec]:
        return list(self.codecs)  # type: ignore[arg-type]

    def _known(self, state: Tensor, above: Tensor, codec: InnovationCodec) -> Tensor:
        """What a level is drawn from: the state and, after the first, what the levels before have drawn."""
        if codec is self.codecs[0]:
            return state
        return torch.cat([state, above[:, None] / self._size], 1)

    @property
    def _size(self) -> Tensor:
        """Standard deviation of innovations, all levels together."""
        parts = [mean_square(codec.deviation + 0j, len(codec.modes)) for codec in self._codecs()]
        return torch.stack(parts).sum().sqrt()

    def save(self, folder: str | Path) -> None:
        """Write the forecaster into a folder, its core into ``core`` below; the same bits come back."""
        folder = Path(folder)
        self.core.save(folder / "core")
        settings = {"kind": type(self).__name__, "config": dataclasses.asdict(self.config)}
        write_forecaster(folder, settings, _Both(self.codecs, self.network).state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> InnovationForecaster:
        """Read a forecaster that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no forecaster.
            ValueError: it holds another kind, or one of another version.
        """
        from domains.turbulence.saved import load_forecaster

        folder = Path(folder)
        settings = saved_settings(folder)
        if settings.get("kind") != cls.__name__:
            raise ValueError(f"{folder}: expected a {cls.__name__}, got {settings.get('kind')!r}")
        core = load_forecaster(folder / "core")
        assert isinstance(core, LearnedForecaster)
        forecaster = cls(core, InnovationConfig.from_settings(settings["config"]))
        try:
            held = read_tensors(folder / "forecaster.safetensors", "a forecaster")
            _Both(forecaster.codecs, forecaster.network).load_state_dict(held)
        except RuntimeError as problem:
            raise ValueError(
                f"{folder}: a forecaster of another version, with other layers; train it again"
            ) from problem
        return forecaster
