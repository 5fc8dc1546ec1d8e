"""An interaction: how the factor functions of D coordinates combine into O outputs.

Words and shapes. Coordinate j has ``Q_j`` *factor functions* ``p_j = B(x_j) C_j``, linear in the coefficients
``C_j (K_j, Q_j)`` of its atoms. The interaction is a map

    f(x) = M(p_1(x_1), .., p_D(x_D); core)                       p_j (..., Q_j), core (.., O), f (..., O)

that is affine in every ``p_j`` while the others are held, and linear in the core. Everything the library does rests on
that: the *environment* of coordinate j is the pair (weight, offset) with

    f_o = offset_o + sum_q p_(j,q) weight_(q,o)                  weight (..., Q_j, O), offset (..., O)

so least squares, Galerkin projections and Newton steps in one coordinate are linear problems.

A sum over subsets of coordinates leaves some coordinates out, which multiplies by one. When a coordinate is
differentiated that one becomes 0, and when it is integrated it becomes the length of the domain: these numbers are the
*units* ``u_j``. Interactions in which every coordinate takes part (product, Tucker, tensor train) do not use them.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Factors = Sequence[Tensor]


class Interaction(abc.ABC):
    """The interface that every interaction fills in; a frozen dataclass without parameters of its own."""

    @abc.abstractmethod
    def widths(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """Numbers Q_j of factor functions of each coordinate.

        Raises:
            ValueError: If the interaction does not fit that many coordinates.
        """

    @abc.abstractmethod
    def core_shape(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """Shape of the core; the last axis is O."""

    @abc.abstractmethod
    def initial_factor(self, j: int, coordinates: int, outputs: int) -> tuple[Tensor, float]:
        """Start of coordinate j's factor functions: their mean value ``(Q_j,)`` and the spread about it."""

    @abc.abstractmethod
    def features(self, factors: Factors, units: Sequence[float] | None = None) -> Tensor:
        """The numbers ``(..., F)`` of which the outputs are a linear image, ``f = features @ core.reshape(F, O)``."""

    @abc.abstractmethod
    def environment(
        self, factors: Factors, core: Tensor, j: int, units: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight ``(..., Q_j, O)`` and offset ``(..., O)`` of coordinate j; ``factors[j]`` is not read."""

    @abc.abstractmethod
    def on_grid(self, factors: Factors, core: Tensor) -> Tensor:
        """Values ``(n_1, .., n_D, O)`` on the grid of axes whose factor values are ``factors[j] (n_j, Q_j)``."""

    def initial_core(self, coordinates: int, outputs: int, generator: torch.Generator | None = None) -> Tensor:
        """Start values of the core, float64, such that the outputs have variance of order one."""
        shape = self.core_shape(coordinates, outputs)
        inputs = max(1, torch.Size(shape[:-1]).numel())
        return torch.randn(shape, dtype=torch.float64, generator=generator).div(inputs**0.5)

    def contract(self, factors: Factors, core: Tensor, units: Sequence[float] | None = None) -> Tensor:
        """Outputs ``(..., O)`` from the factor values ``(..., Q_j)`` of every coordinate."""
        outputs: Tensor = self.features(factors, units) @ core.reshape(-1, core.shape[-1])
        return outputs

    @abc.abstractmethod
    def ranks(self) -> "list[Interaction]":
        """The same interaction at increasing ranks, from one to its own: the stages of a fit that grows the rank."""

    @abc.abstractmethod
    def grown(
        self,
        coefficients: Sequence[Tensor],
        core: Tensor,
        to: "Interaction",
        fresh: Sequence[Tensor],
        noise: float,
        generator: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """Coefficients ``(K_j, Q_j)`` and core of the same function at the higher rank of ``to``.

        Args:
            coefficients: Coefficients of every coordinate.
            core: The core.
            to: The same interaction with a higher rank.
            fresh: Start values of the coefficients at that rank.
            noise: Size, relative to what is there, of the new entries through which the new terms can be found; at
                zero the function is exactly the same.
            generator: Source of random numbers.
        """

    def rescale(self, norms: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
        """Divide one coordinate's factor functions by numbers that the core takes up; the function stays the same.

        Args:
            norms: Sizes ``(Q_j,)`` of the factor functions.
            core: The core.

        Returns:
            Divisors ``(Q_j,)`` that bring the sizes near one, and the new core.
        """
        size = norms.square().mean().sqrt()
        size = torch.where(size > 0, size, torch.ones_like(size))
        return size.expand_as(norms), core * size

    def sweep(self, factors: Factors, core: Tensor) -> "Sweep":
        """Environments of the coordinates one after the other, while their factors are being replaced."""
        return Sweep(self, factors, core)

    def config(self) -> dict[str, Any]:
        """The interaction as plain data; `separable.interactions.from_config` reads it back."""
        return {"family": type(self).__name__, **dataclasses.asdict(self)}  # type: ignore[call-overload]


def stages(rank: int) -> list[int]:
    """Ranks 1, 2, 3, .. up to ``rank``, in steps of about a third once they are large."""
    ranks = [1]
    while ranks[-1] < rank:
        ranks.append(min(rank, ranks[-1] + max(1, ranks[-1] // 3)))
    return ranks


class Sweep:
    """One pass over the coordinates 0 .. D - 1: ask for each environment in turn, then replace that factor.

    This is the obvious version, which computes every environment afresh at the cost of D factors; interactions whose
    algebra allows it keep running products in `_environment` and `_replace`.
    """

    def __init__(self, interaction: Interaction, factors: Factors, core: Tensor) -> None:
        self.interaction, self.factors, self.core = interaction, list(factors), core
        self.place = 0

    def environment(self, j: int) -> tuple[Tensor, Tensor]:
        """Weight and offset of coordinate j, given the factors as they stand now.

        Raises:
            ValueError: If the pass is at another coordinate.
        """
        self._check_place(j)
        return self._environment(j)

    def replace(self, j: int, factor: Tensor) -> None:
        """Put factor values ``(..., Q_j)``, new or the same, in place; the pass moves on to coordinate j + 1.

        Raises:
            ValueError: If the pass is at another coordinate.
        """
        self._check_place(j)
        self.factors[j] = factor
        self._replace(j, factor)
        self.place += 1

    def _check_place(self, j: int) -> None:
        # Running products of any other coordinate are not those of the factors as they stand.
        if j != self.place:
            raise ValueError(
                f"{type(self.interaction).__name__}.sweep: coordinates come in order, each replaced before the next; "
                f"the pass is at {self.place} of {len(self.factors)}, got {j}"
            )

    def _environment(self, j: int) -> tuple[Tensor, Tensor]:
        return self.interaction.environment(self.factors, self.core, j)

    def _replace(self, j: int, factor: Tensor) -> None:
        """What keeps the running products up to date; here there are none."""


def check_rank(family: str, field: str, value: int) -> int:
    """The rank as a plain integer, refused unless it is a positive one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{family}: {field} is a positive integer, got {value!r}")
    return int(value)
