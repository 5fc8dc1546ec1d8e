"""Tucker interactions: a full core tensor over a few factor functions of each coordinate.

    f_o = sum_(a_1 .. a_D) G_(a_1, .., a_D, o) prod_j p_(j,a_j)(x_j)              G (R_1, .., R_D, O)

The core grows as the product of the ranks, so this is for few coordinates (up to about five), where it is the easiest
to fit. Source: Tucker, Psychometrika 31 (1966); Kolda and Bader, SIAM Review 51 (2009), equation 4.1.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from separable.interactions.interaction import Factors, Interaction, check_rank, stages


@dataclasses.dataclass(frozen=True)
class Tucker(Interaction):
    """Every combination of the coordinates' factor functions, weighted by a dense core.

    Args:
        rank: Factor functions of each coordinate: one number, or one for each coordinate.

    Start values: the first factor function is one plus noise, the others are noise of variance one.

    Example:
        >>> from separable.interactions import Tucker
        >>> Tucker(rank=(2, 3)).core_shape(2, 1)
        (2, 3, 1)
    """

    rank: int | tuple[int, ...] = 3

    def __post_init__(self) -> None:
        if isinstance(self.rank, int | np.integer):
            object.__setattr__(self, "rank", check_rank("Tucker", "rank", self.rank))
        else:
            try:
                ranks = tuple(self.rank)
            except TypeError:
                raise ValueError(f"Tucker: rank is an integer or one for each coordinate, got {self.rank!r}") from None
            object.__setattr__(self, "rank", tuple(check_rank("Tucker", "every rank", rank) for rank in ranks))

    def widths(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """The ranks."""
        ranks = (self.rank,) * coordinates if isinstance(self.rank, int) else self.rank
        if len(ranks) != coordinates:
            raise ValueError(f"Tucker: {len(ranks)} ranks given, {ranks}, for {coordinates} coordinates")
        size = torch.Size(ranks).numel() * outputs
        if size > 10_000_000:
            raise ValueError(
                f"Tucker: a core of ranks {ranks} and {outputs} outputs has {size} entries, more than 10 million; "
                "use CanonicalPolyadic or TensorTrain for that many coordinates"
            )
        return ranks

    def core_shape(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """(R_1, .., R_D, O)."""
        return (*self.widths(coordinates, outputs), outputs)

    def initial_factor(self, j: int, coordinates: int, outputs: int) -> tuple[Tensor, float]:
        """Mean one for the first function and zero for the others, spread one."""
        rank = self.widths(coordinates, outputs)[j]
        return torch.eye(rank, dtype=torch.float64)[0], 1.0

    def features(self, factors: Factors, units: Sequence[float] | None = None) -> Tensor:
        """All products of one function from each coordinate, ``(..., R_1 .. R_D)`` flattened."""
        first, *rest = factors
        product = first
        for p in rest:
            product = (product[..., :, None] * p[..., None, :]).flatten(-2)
        return product

    def contract(self, factors: Factors, core: Tensor, units: Sequence[float] | None = None) -> Tensor:
        """The core contracted with one coordinate after the other, from the last to the first."""
        # The last coordinate is summed by one matrix product; the rest are batched.
        *before, last = factors
        *ranks, final, outputs = core.shape
        part = (last @ core.movedim(-2, 0).reshape(final, -1)).reshape(*last.shape[:-1], *ranks, outputs)
        for p in reversed(before):
            lead = part.shape[len(p.shape) - 1 : -2]
            part = part.reshape(*p.shape[:-1], lead.numel(), p.shape[-1], outputs)
            part = (part * p[..., None, :, None]).sum(-2).reshape(*p.shape[:-1], *lead, outputs)
        return part

    def environment(
        self, factors: Factors, core: Tensor, j: int, units: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The core contracted with every other coordinate."""
        others = [p for i, p in enumerate(factors) if i != j]
        moved = core.movedim(j, -2)  # (R_i.., R_j, O)
        rank, outputs = moved.shape[-2:]
        if not others:
            batch = factors[j].shape[:-1]
            weight = core.expand(*batch, rank, outputs)
        else:
            weight = self.features(others) @ moved.reshape(-1, rank * outputs)
            weight = weight.reshape(*others[0].shape[:-1], rank, outputs)
        return weight, weight.new_zeros(*weight.shape[:-2], outputs)

    def ranks(self) -> list[Interaction]:
        """Every coordinate's rank from one to its own."""
        own = [self.rank] if isinstance(self.rank, int) else self.rank
        steps = stages(max(own))
        if isinstance(self.rank, int):
            return [Tucker(rank) for rank in steps]
        return [Tucker(tuple(min(rank, step) for rank in self.rank)) for step in steps]

    def grown(
        self,
        coefficients: Sequence[Tensor],
        core: Tensor,
        to: Interaction,
        fresh: Sequence[Tensor],
        noise: float,
        generator: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """Fresh functions are appended to each coordinate; the core's new entries are noise."""
        assert isinstance(to, Tucker)
        shape = to.core_shape(len(coefficients), core.shape[-1])
        wider = [torch.cat([c, new[:, c.shape[1] :]], dim=1) for c, new in zip(coefficients, fresh, strict=True)]
        larger = torch.randn(shape, dtype=torch.float64, generator=generator).to(core)
        larger *= noise * core.square().mean().sqrt()
        larger[tuple(slice(size) for size in core.shape)] = core
        return wider, larger

    def on_grid(self, factors: Factors, core: Tensor) -> Tensor:
        """One mode product per axis."""
        grid = core
        for j, p in enumerate(factors):
            grid = torch.tensordot(p, grid, dims=([1], [j])).movedim(0, j)
        return grid
