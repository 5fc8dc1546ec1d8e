"""Head A: an ensemble by noise. The separable quadratic operator gives the increment of a frame, and noise goes in.

With frames w_1 .. w_H in units of their standard deviation, the next one of a member is::

    w_(H+1) = w_H + s  operator(w_1 .. w_H, waves, noise fields; noise vector)

s is the standard deviation of an increment; waves are the cosine and sine of a force that depends on the place, so that
the operator can know it: with those of Kolmogorov flow it still commutes exactly with shifts along x and with shifts by
a period of the force along y. The noise fields are white on the grid of the operator's modes, and the vector scales the
channels of every block (FiLM, Perez et al. 2018, arXiv:1709.07871); both are drawn anew for each member and step. An
ensemble that is trained on the almost fair CRPS learns from it how sure to be (Lang et al. 2024, arXiv:2412.15832; Alet
et al. 2025, arXiv:2506.10772, who scale by a noise vector too).

Everything happens on coefficients of modes, so a model runs on any grid with 2 m + 1 points or more, and the same seed
gives the same forecast there; what a frame holds above the modes is dropped at the first step.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from domains.turbulence.flows import KolmogorovFlow
from domains.turbulence.forecaster import FlowDescription, Forecaster, flow_of
from domains.turbulence.grid import Grid
from domains.turbulence.model import OperatorConfig, SeparableOperator
from domains.turbulence.modes import mean_square, to_modes, to_points
from domains.turbulence.readers import FlowData

_BEYOND = 1e-6  # share of the variance above a third of the points that float32 fields of a solver do not reach


@dataclasses.dataclass(frozen=True)
class NoiseForecasterConfig:
    """Sizes of a forecaster by noise.

    Attributes:
        history: frames that it looks at.
        channels: C of the operator.
        products: M, pointwise products in a block.
        blocks: L.
        modes: (m_y, m_x) or (m_x,) that are forecast; by default a third of the points (the 2/3 rule of solvers),
            or all below half of them where the data hold more than that.
        waves: (p_y, p_x), whole waves in a plane box whose cosine and sine are inputs; by default that of the force of
            a Kolmogorov flow and none otherwise. (1, 0) and (0, 1) tell every place, and no shift is kept.
        noise_fields: number of white fields that go in.
        noise_vector: length of the vector that scales channels.
        reach: of the filters' start values, in taps.
    """

    history: int = 1
    channels: int = 16
    products: int = 12
    blocks: int = 8
    modes: tuple[int, ...] = ()
    waves: tuple[tuple[int, int], ...] | None = None
    noise_fields: int = 2
    noise_vector: int = 16
    reach: float = 2.0

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ValueError(f"history: expected 1 or more, got {self.history}")
        if self.noise_fields < 0 or self.noise_vector < 0:
            raise ValueError(
                f"noise_fields, noise_vector: expected 0 or more, got {self.noise_fields}, {self.noise_vector}"
            )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> NoiseForecasterConfig:
        """From plain JSON data."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls(**plain | {"waves": tuple(tuple(wave) for wave in plain["waves"] or ())})

    def completed(self, data: FlowData) -> NoiseForecasterConfig:
        """With the modes and waves that fit data, where they are left to them.

        Example:
            >>> from domains.turbulence.readers import read_flow
            >>> config = NoiseForecasterConfig().completed(read_flow(np.random.randn(1, 2, 32, 24)))
            >>> config.modes, config.waves  # white noise fills all modes
            ((15, 11), ())
        """
        grid, flow = data.grid, flow_of(data)
        modes = self.modes
        if not modes:
            frame = torch.from_numpy(data.fields[0][-1].astype(np.float64))
            frame = frame - frame.mean()
            kept = float(mean_square(to_modes(frame, grid.modes), grid.dimensions) / frame.square().mean())
            modes = grid.modes if kept > 1 - _BEYOND else tuple((n - 1) // 2 for n in grid.shape)
        waves = self.waves
        if waves is None:
            waves = ((flow.forcing_mode, 0),) if isinstance(flow, KolmogorovFlow) else ()
        return dataclasses.replace(self, modes=modes, waves=waves)

    def operator(self) -> OperatorConfig:
        """Sizes of the operator."""
        return OperatorConfig(
            inputs=self.history + 2 * len(self.waves or ()) + self.noise_fields,
            outputs=1,
            modes=self.modes,
            channels=self.channels,
            products=self.products,
            blocks=self.blocks,
            condition=self.noise_vector,
            reach=self.reach,
        )


class NoiseForecaster(Forecaster):
    """The forecaster of the head of this file.

    Args:
        config: its sizes, with modes.
        description: of the flow.
        centre: mean of the frames, in the flow's units.
        scale: their standard deviation.
        increment: standard deviation of an increment, in units of ``scale``.
        generator: of the start values.

    Example:
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (16, 16), (1.0, 1.0))
        >>> forecaster = NoiseForecaster(NoiseForecasterConfig(modes=(5, 5)), described, 0.0, 1.0, 0.5)
        >>> dict(forecaster.forecast(torch.randn(1, 16, 16), members=3, steps=2).sizes)
        {'realization': 3, 'forecast_period': 2, 'y': 16, 'x': 16}
    """

    def __init__(
        self,
        config: NoiseForecasterConfig,
        description: FlowDescription,
        centre: float,
        scale: float,
        increment: float,
        generator: torch.Generator | None = None,
    ) -> None:
        dimensions = len(description.shape)
        if len(config.modes) != dimensions:
            raise ValueError(f"modes: expected {dimensions} for points {description.shape}, got {config.modes}")
        for wave in config.waves or ():
            if len(wave) != dimensions or any(abs(p) > m for p, m in zip(wave, config.modes, strict=True)):
                raise ValueError(f"waves: expected {dimensions} numbers up to {config.modes} each, got {wave}")
        if not (scale > 0 and increment > 0):
            raise ValueError(f"scale, increment: expected numbers above 0, got {scale} and {increment}")
        self.config, self.description, self.history = config, description, config.history
        self.centre, self.scale, self.increment = float(centre), float(scale), float(increment)
        self.network = SeparableOperator(config.operator(), generator)
        self.device = torch.device("cpu")
        self.points = tuple(2 * m + 1 for m in config.modes)  # the smallest grid of the modes
        self._waves = to_modes(_wave_fields(config.waves or (), self.points), config.modes)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return self.network.n_parameters

    def to(self, device: torch.device | str) -> NoiseForecaster:
        """Move the forecaster; frames are moved to it and back when it advances them."""
        self.device = torch.device(device)
        self.network.to(self.device)
        self._waves = self._waves.to(self.device)
        return self

    def standardised(self, frames: Tensor) -> Tensor:
        """Coefficients of frames ``(..., *grid)`` in units of their standard deviation, on the device."""
        return to_modes((frames.to(self.device) - self.centre) / self.scale, self.config.modes)

    def on_points(self, coefficients: Tensor, grid: Sequence[int]) -> Tensor:
        """Fields on a grid, still in units of the standard deviation."""
        return to_points(coefficients, grid)

    def step(self, past: Tensor, noise: Tensor) -> Tensor:
        """Standardised coefficients ``(B, ...)`` of the next frame from those ``(B, H, ...)`` of the last ones.

        Args:
            past: complex, see `standardised`.
            noise: ``(B, noise_numbers)``, independent and normal.
        """
        config = self.config
        vector, white = noise.split([config.noise_vector, noise.shape[1] - config.noise_vector], 1)
        fields = to_modes(white.reshape(len(past), config.noise_fields, *self.points), config.modes)
        inputs = torch.cat([past, self._waves.expand(len(past), *self._waves.shape), fields], 1)
        return past[:, -1] + self.increment * self.network(inputs, vector if config.noise_vector else None)[:, 0]

    @property
    def noise_numbers(self) -> int:
        """Normal numbers that one step of one member takes."""
        return self.config.noise_vector + self.config.noise_fields * int(np.prod(self.points))

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; the grid needs 2 m + 1 points or more."""
        drawn = np.stack([g.standard_normal(self.noise_numbers, dtype=np.float32) for g in generators])
        grid = tuple(frames.shape[2:])
        with torch.inference_mode():
            following = self.step(self.standardised(frames), torch.from_numpy(drawn).to(self.device))
            return (self.on_points(following, grid) * self.scale + self.centre).to(frames.device)

    def save(self, folder: str | Path) -> None:
        """Write ``forecaster.safetensors`` and ``forecaster.json`` into a folder; the same bits come back."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "kind": type(self).__name__,
            "config": dataclasses.asdict(self.config),
            "description": dataclasses.asdict(self.description),
            "centre": self.centre,
            "scale": self.scale,
            "increment": self.increment,
        }
        temporary = folder / ".forecaster.safetensors"
        tensors = {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}
        safetensors.torch.save_file(tensors, temporary)
        temporary.replace(folder / "forecaster.safetensors")
        written = folder / ".forecaster.json"
        written.write_text(json.dumps(settings, indent=2), encoding="utf-8")
        written.replace(folder / "forecaster.json")

    @classmethod
    def load(cls, folder: str | Path) -> NoiseForecaster:
        """Read a forecaster that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no forecaster.
            ValueError: it holds another kind, or one of another version.
        """
        folder = Path(folder)
        if not (folder / "forecaster.json").exists():
            raise FileNotFoundError(f"{folder}: no forecaster.json; `separable turbulence train` makes a forecaster")
        settings = json.loads((folder / "forecaster.json").read_text(encoding="utf-8"))
        if settings.get("kind") != cls.__name__:
            raise ValueError(f"{folder}: expected a {cls.__name__}, got {settings.get('kind')!r}")
        forecaster = cls(
            NoiseForecasterConfig.from_settings(settings["config"]),
            FlowDescription.from_settings(settings["description"]),
            settings["centre"],
            settings["scale"],
            settings["increment"],
        )
        try:
            forecaster.network.load_state_dict(safetensors.torch.load_file(folder / "forecaster.safetensors"))
        except RuntimeError as problem:
            raise ValueError(
                f"{folder}: a forecaster of another version, with other layers; train it again"
            ) from problem
        return forecaster


def _wave_fields(waves: Sequence[Sequence[int]], points: tuple[int, ...]) -> Tensor:
    """Cosine and sine of each wave, ``(2 W, *points)`` float32, of mean square 1."""
    axes = torch.meshgrid(*Grid(points).axes().values(), indexing="ij")
    found = torch.empty(2 * len(waves), *points)
    for place, wave in enumerate(waves):
        phase = sum((p * axis for p, axis in zip(wave, axes, strict=True)), torch.zeros(points, dtype=torch.float64))
        found[2 * place], found[2 * place + 1] = 2**0.5 * torch.cos(phase), 2**0.5 * torch.sin(phase)
    return found
