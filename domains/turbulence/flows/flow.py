"""What a flow gives the solver: a linear and a nonlinear part, random forcing, a speed, a random start."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from domains.turbulence.grid import Grid

Nonlinear: TypeAlias = Callable[[Tensor], Tensor]
Seed: TypeAlias = int | tuple[int, ...]
Waves: TypeAlias = tuple[tuple[int, int], ...]  # whole waves (p_y, p_x) in a plane box


@dataclass(frozen=True)
class RandomForcing:
    """White noise in time on some modes: each independent one gets ``dc = amplitude dW`` with ``E |dW|^2 = dt``.

    Attributes:
        first: index along x of the M independent modes, int64 ``(M,)``.
        second: index along y, int64 ``(M,)``.
        amplitude: float64 ``(M,)``, coefficient / sqrt(time).
        mirrored: int64, those of the M modes on the axis ``k_x = 0``, whose mirror image is stored as well.
    """

    first: Tensor
    second: Tensor
    amplitude: Tensor
    mirrored: Tensor


class Flow(ABC):
    """A semilinear equation du/dt = L u + N(u) + noise on a periodic grid. Its subclasses are final."""

    dimensions: ClassVar[int]
    variable: ClassVar[str]
    long_name: ClassVar[str]

    @property
    def force_waves(self) -> Waves:
        """Waves of a force that stands still, which begin at the first point; none where every place is alike."""
        return ()

    @abstractmethod
    def linear(self, grid: Grid) -> Tensor:
        """L, float64, of the shape of the grid's coefficients, in 1 / time."""

    @abstractmethod
    def nonlinear(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> Nonlinear:
        """N as a function of coefficients ``(B, ...)``, in coefficients / time."""

    @abstractmethod
    def forcing(self, grid: Grid) -> RandomForcing | None:
        """The random forcing, or None where there is none."""

    @abstractmethod
    def crossing_rate(self, grid: Grid, coefficients: Tensor) -> Tensor:
        """Greatest number of grid points that the flow crosses in a unit of time, ``(B,)``: the CFL number / step."""

    @abstractmethod
    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """Fields ``(B, *grid.shape)``, float64, to start from; each depends on its seed alone."""


def check_dimensions(flow: Flow, grid: Grid) -> None:
    """Raise ValueError where a grid has not the flow's number of dimensions."""
    if grid.dimensions != flow.dimensions:
        raise ValueError(
            f"grid: expected {flow.dimensions} dimension(s) for {type(flow).__name__}, got the shape {grid.shape}"
        )


def check_numbers(
    owner: str,
    not_negative: dict[str, float] | None = None,
    positive: dict[str, float] | None = None,
    finite: dict[str, float] | None = None,
) -> None:
    """Raise ValueError where a parameter is out of range or not a number."""
    for name, value in (not_negative or {}).items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{owner}.{name}: expected a finite number of 0 or more, got {value}")
    for name, value in (positive or {}).items():
        if not 0 < value < math.inf:
            raise ValueError(f"{owner}.{name}: expected a finite number above 0, got {value}")
    for name, value in (finite or {}).items():
        if not math.isfinite(value):
            raise ValueError(f"{owner}.{name}: expected a finite number, got {value}")
