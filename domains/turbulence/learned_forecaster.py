"""What forecasters that are trained share: their numbers, files and devices, and one step of their network.

They step in a state of their own, coefficients of modes or values at points, in units of the standard deviation::

    state of the next frame = step(states of the last H frames, noise)

so that one loop (`train.py`) trains all of them on the same data in the same way.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from domains.turbulence.flows.flow import Waves
from domains.turbulence.forecaster import FlowDescription, Forecaster, flow_of
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.grid import Grid
from domains.turbulence.modes import mean_square, to_modes
from domains.turbulence.readers import FlowData
from separable.atomic_files import write_together
from separable.files import checked_text, read_json, read_tensors, stored_tensors

_BEYOND = 1e-6  # share of the variance above a third of the points that float32 fields of a solver do not reach
_CACHED = 2**16  # points advanced together on a CPU: what a block touches then stays in its cache
_CARRIED = 0.012  # share of the variance that inner blocks leave to the others


class LearnedConfig(ABC):
    """Sizes of a learned forecaster: a frozen dataclass.

    Attributes:
        history: frames that it looks at.
        waves: whole waves in the box whose cosine and sine are inputs.
    """

    history: int
    waves: Waves | None

    @abstractmethod
    def completed(self, data: FlowData) -> Any:
        """The same, with what is left to the data filled in."""

    @abstractmethod
    def made(
        self,
        description: FlowDescription,
        statistics: FrameStatistics,
        generator: torch.Generator | None = None,
    ) -> LearnedForecaster:
        """An untrained forecaster of these sizes; see `LearnedForecaster` for the arguments."""

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: dict[str, Any]) -> Any:
        """Read what `to_settings` gave."""


Self = TypeVar("Self", bound="LearnedForecaster")


class LearnedForecaster(Forecaster):
    """A forecaster with a network. Its subclasses are final.

    Args:
        config: its sizes, completed.
        description: of the flow.
        statistics: of the frames that it is trained on.
        network: what is trained.

    Attributes:
        config_type: class of its sizes.
        trained_members: members of the ensemble that the loss looks at: 2 for the almost fair CRPS; 1 for the L2 norm,
            which is for forecasters without noise.
        noise_numbers: normal numbers that one step of one member takes.
    """

    config_type: ClassVar[type[LearnedConfig]]
    trained_members: ClassVar[int]
    config: LearnedConfig
    noise_numbers: int

    def __init__(
        self,
        config: LearnedConfig,
        description: FlowDescription,
        statistics: FrameStatistics,
        network: nn.Module,
    ) -> None:
        self.config, self.description, self.history = config, description, config.history
        self.statistics = statistics
        self.centre, self.scale, self.increment = statistics.centre, statistics.scale, statistics.increment
        self.network = network
        self.device = torch.device("cpu")

    @property
    def waves(self) -> Waves:
        """See `Forecaster`: those that are inputs."""
        return self.config.waves or ()

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers; a complex one counts as two."""
        return sum(p.numel() * (2 if p.is_complex() else 1) for p in self.network.parameters())

    def to(self: Self, device: torch.device | str) -> Self:
        """Move the forecaster; frames are moved to it and back when it advances them."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    @abstractmethod
    def standardised(self, frames: Tensor) -> Tensor:
        """States of frames ``(..., *grid)`` in the flow's units, on the device."""

    @abstractmethod
    def on_points(self, states: Tensor, grid: Sequence[int]) -> Tensor:
        """Fields on a grid of states, still in units of the standard deviation."""

    @abstractmethod
    def step(self, past: Tensor, noise: Tensor) -> Tensor:
        """States ``(m B, ...)`` of the next frame from those ``(B, H, ...)`` of the last ones.

        Args:
            past: see `standardised`.
            noise: ``(m B, noise_numbers)``, independent and normal, for m members of each past: one round of all pasts
                after another.
        """

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; held to the range of the training frames, see `FrameStatistics`."""
        if self.noise_numbers:
            drawn = np.stack([g.standard_normal(self.noise_numbers, dtype=np.float32) for g in generators])
        else:
            drawn = np.zeros((len(frames), 0), np.float32)
        noise, grid = torch.from_numpy(drawn).to(self.device), tuple(frames.shape[2:])
        together = len(frames) if self.device.type != "cpu" else max(1, _CACHED // math.prod(grid))
        parts = zip(frames.split(together), noise.split(together), strict=True)
        with torch.inference_mode():
            following = torch.cat([self.on_points(self.step(self.standardised(f), n), grid) for f, n in parts])
            return (self.statistics.bounded(following) * self.scale + self.centre).to(frames.device)

    def save(self, folder: str | Path) -> None:
        """Write ``forecaster.safetensors`` and ``forecaster.json`` into a folder; the same bits come back."""
        settings = {
            "kind": type(self).__name__,
            "config": self.config.to_settings(),
            "description": dataclasses.asdict(self.description),
            "statistics": self.statistics.to_settings(),
        }
        write_forecaster(folder, settings, self.network.state_dict())

    @classmethod
    def load(cls: type[Self], folder: str | Path) -> Self:
        """Read a forecaster that `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no forecaster.
            ValueError: it holds another kind, or one of another version.
        """
        folder = Path(folder)
        settings = saved_settings(folder)
        if settings.get("kind") != cls.__name__:
            raise ValueError(f"{folder}: expected a {cls.__name__}, got {settings.get('kind')!r}")
        forecaster = cls.config_type.from_settings(settings["config"]).made(
            FlowDescription.from_settings(settings["description"]),
            FrameStatistics.from_settings(settings["statistics"]),
        )
        try:
            forecaster.network.load_state_dict(read_tensors(folder / "forecaster.safetensors", "a forecaster"))
        except RuntimeError as problem:
            raise ValueError(
                f"{folder}: a forecaster of another version, with other layers; train it again"
            ) from problem
        return forecaster


def saved_settings(folder: Path) -> dict[str, Any]:
    """What ``forecaster.json`` says.

    Raises:
        FileNotFoundError: there is none.
    """
    if not (folder / "forecaster.json").exists():
        raise FileNotFoundError(f"{folder}: no forecaster.json; `separable turbulence train` makes a forecaster")
    return read_json(folder / "forecaster.json", "the settings of a forecaster", finite=False)


def write_forecaster(folder: str | Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write ``forecaster.safetensors`` and ``forecaster.json``, in place of older ones when both are whole."""
    contents = {
        "forecaster.safetensors": stored_tensors(tensors),
        "forecaster.json": checked_text(settings).encode(),
    }
    write_together(folder, contents)


def modes_of(data: FlowData) -> tuple[int, ...]:
    """Modes to forecast: a third of the points (the 2/3 rule of solvers), or all below half where data hold more."""
    grid, frames = data.grid, _some_frames(data)
    kept = mean_square(to_modes(frames, grid.modes), grid.dimensions).mean()
    beyond = frames.square().mean() - kept
    return grid.modes if beyond <= _BEYOND * frames.square().mean() else tuple((n - 1) // 2 for n in grid.shape)


def inner_modes_of(data: FlowData, modes: tuple[int, ...]) -> tuple[int, ...]:
    """The lowest modes, in the proportion of all, above which hardly anything varies: 1.2 % of the variance at most."""
    frames = _some_frames(data)
    whole = mean_square(to_modes(frames, modes), len(modes)).mean()
    for reach in range(1, max(modes)):
        inner = tuple(max(1, round(m * reach / max(modes))) for m in modes)
        if mean_square(to_modes(frames, inner), len(modes)).mean() >= (1 - _CARRIED) * whole:
            return inner
    return modes


def _some_frames(data: FlowData) -> Tensor:
    """The last frames of some samples ``(S, *grid)``, less their mean."""
    samples = np.linspace(0, len(data) - 1, min(8, len(data))).astype(int)
    frames = torch.stack([torch.from_numpy(data.fields[sample, -1].astype(np.float64)) for sample in samples])
    return frames - frames.mean()


def waves_of(data: FlowData) -> Waves:
    """Waves that tell where a place is: that of the force of a Kolmogorov flow, none otherwise."""
    flow = flow_of(data)
    return () if flow is None else flow.force_waves


@functools.lru_cache(maxsize=16)
def wave_fields(waves: Waves, points: tuple[int, ...]) -> Tensor:
    """Cosine and sine of each wave ``(p_y, p_x)``, ``(2 W, *points)`` float32, of mean square 1.

    Example:
        >>> bool(torch.allclose(wave_fields(((1, 0),), (8, 4)).square().mean((1, 2)), torch.ones(2)))
        True
    """
    axes = torch.meshgrid(*Grid(points).axes().values(), indexing="ij")
    found = torch.empty(2 * len(waves), *points)
    for place, wave in enumerate(waves):
        phase = sum((p * axis for p, axis in zip(wave, axes, strict=True)), torch.zeros(*points, dtype=torch.float64))
        found[2 * place], found[2 * place + 1] = 2**0.5 * torch.cos(phase), 2**0.5 * torch.sin(phase)
    return found
