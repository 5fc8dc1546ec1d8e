"""Neighbours: every coordinate acts by itself and together with the next one, as in a chain.

    f_o = sum_r A_(r,o) [ sum_j p_(j,r)  +  sum_(j<D) p_(j,r) p_(j+1,r) ]

An interaction of order 2 with D - 1 pairs instead of D (D - 1) / 2. A term leaves the other coordinates out, which
multiplies it by their units (see `separable.interactions.interaction`).
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from separable.interactions import Factors, Interaction, register
from separable.interactions.interaction import check_rank, stages


@register
@dataclasses.dataclass(frozen=True)
class Neighbours(Interaction):
    """R sums over single coordinates and neighbouring pairs.

    Args:
        rank: Number R of sums.
    """

    rank: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", check_rank("Neighbours", "rank", self.rank))

    def widths(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """R for every coordinate."""
        return (self.rank,) * coordinates

    def core_shape(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """(R, O), the readout A."""
        return (self.rank, outputs)

    def initial_factor(self, j: int, coordinates: int, outputs: int) -> tuple[Tensor, float]:
        """Mean zero, spread 1 / sqrt(D)."""
        return torch.zeros(self.rank, dtype=torch.float64), coordinates**-0.5

    def features(self, factors: Factors, units: Sequence[float] | None = None) -> Tensor:
        """The R sums ``(..., R)``."""
        return self._sum(list(factors), units, terms(len(factors)))

    def environment(
        self, factors: Factors, core: Tensor, j: int, units: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Terms with coordinate j, without its factor, are the weight; the others are the offset."""
        all_terms = terms(len(factors))
        one = torch.ones_like(factors[j])
        with_one = [one if i == j else p for i, p in enumerate(factors)]
        weight = self._sum(with_one, units, [term for term in all_terms if j in term])
        offset = self._sum(with_one, units, [term for term in all_terms if j not in term])
        return weight[..., None] * core, offset @ core

    def on_grid(self, factors: Factors, core: Tensor) -> Tensor:
        """The sum at every point, each factor along its own axis."""
        count = len(factors)
        axes = [p.reshape([-1 if i == j else 1 for i in range(count)] + [self.rank]) for j, p in enumerate(factors)]
        return self._sum(axes, None, terms(count)) @ core

    def _sum(self, factors: list[Tensor], units: Sequence[float] | None, wanted: list[tuple[int, ...]]) -> Tensor:
        total = torch.zeros_like(factors[0])
        for term in wanted:
            left_out = [] if units is None else [u for i, u in enumerate(units) if i not in term]
            product = factors[term[0]] * math.prod(left_out)
            for i in term[1:]:
                product = product * factors[i]
            total = total + product
        return total

    def rescale(self, norms: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
        """Not possible: terms differ in degree."""
        return torch.ones_like(norms), core

    def ranks(self) -> list[Interaction]:
        """One sum, two sums, .."""
        return [dataclasses.replace(self, rank=rank) for rank in stages(self.rank)]

    def grown(
        self,
        coefficients: Sequence[Tensor],
        core: Tensor,
        to: Interaction,
        fresh: Sequence[Tensor],
        noise: float,
        generator: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """Sums are appended: fresh functions, with a small readout."""
        wider = [torch.cat([c, new[:, self.rank :]], dim=1) for c, new in zip(coefficients, fresh, strict=True)]
        shape = (to.core_shape(len(wider), core.shape[-1])[0] - self.rank, core.shape[-1])
        readout = torch.randn(shape, dtype=torch.float64, generator=generator).to(core)
        return wider, torch.cat([core, noise * core.square().mean().sqrt() * readout])


def terms(coordinates: int) -> list[tuple[int, ...]]:
    """Coordinates of every term: each alone, and each with the next."""
    return [(j,) for j in range(coordinates)] + [(j, j + 1) for j in range(coordinates - 1)]
