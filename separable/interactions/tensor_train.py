"""Tensor-train interactions: a chain of small matrices, one for each coordinate.

    f_o = sum_r [G_1(x_1) G_2(x_2) .. G_D(x_D)]_r A_(r,o)

``G_1`` is ``1 x R``, the inner ``G_j`` are ``R x R`` and ``G_D`` is ``R x min(R, O)``; every entry of ``G_j`` is a
factor function of coordinate j, stored row by row (Q_j = rows x columns). Source: Oseledets, Tensor-train
decomposition, SIAM J. Sci. Comput. 33 (2011), equation 1.2; functional form: Gorodetsky, Karaman and Marzouk (2019).
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from separable.interactions.interaction import Factors, Interaction, Sweep, check_rank, stages


@dataclasses.dataclass(frozen=True)
class TensorTrain(Interaction):
    """A functional tensor train; the order of the coordinates matters, neighbours interact most cheaply.

    Args:
        rank: Size R of the matrices.

    Start values: every inner matrix is the identity plus noise of variance 1 / (D R), so a chain of any length keeps
    its norm.

    Example:
        >>> import torch
        >>> from separable.interactions import TensorTrain
        >>> train = TensorTrain(rank=2)
        >>> train.widths(4, 1)
        (2, 4, 4, 2)
    """

    rank: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", check_rank("TensorTrain", "rank", self.rank))

    def shapes(self, coordinates: int, outputs: int) -> list[tuple[int, int]]:
        """Rows and columns of each coordinate's matrix."""
        last = min(self.rank, outputs)
        rows = [1, *[self.rank] * (coordinates - 1)]
        columns = [*[self.rank] * (coordinates - 1), last]
        return list(zip(rows, columns, strict=True))

    def widths(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """Rows times columns of each coordinate's matrix."""
        return tuple(rows * columns for rows, columns in self.shapes(coordinates, outputs))

    def core_shape(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """(min(R, O), O), the readout A."""
        return (min(self.rank, outputs), outputs)

    def initial_factor(self, j: int, coordinates: int, outputs: int) -> tuple[Tensor, float]:
        """The identity (cut to the matrix's shape), spread 1 / sqrt(D R)."""
        rows, columns = self.shapes(coordinates, outputs)[j]
        mean = torch.eye(rows, columns, dtype=torch.float64)
        return mean.flatten(), (coordinates * self.rank) ** -0.5

    def _matrices(self, factors: Factors) -> list[Tensor]:
        matrices, rows = [], 1
        for p in factors:
            matrices.append(p.reshape(*p.shape[:-1], rows, p.shape[-1] // rows))
            rows = p.shape[-1] // rows
        return matrices

    def features(self, factors: Factors, units: Sequence[float] | None = None) -> Tensor:
        """The row vector at the end of the chain, ``(..., min(R, O))``."""
        first, *rest = self._matrices(factors)
        row = first
        for matrix in rest:
            row = row @ matrix
        return row[..., 0, :]

    def environment(
        self, factors: Factors, core: Tensor, j: int, units: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The row vector before the coordinate, times the columns after it."""
        sweep = _RunningSweep(self, factors, core)
        for i in range(j):
            sweep.replace(i, factors[i])
        return sweep.environment(j)

    def on_grid(self, factors: Factors, core: Tensor) -> Tensor:
        """The chain, with one axis added by each coordinate."""
        grid = core.new_ones(1, 1)
        for p in factors:
            rows = grid.shape[-1]
            matrix = p.reshape(len(p), rows, p.shape[-1] // rows)
            grid = torch.einsum("gi,nij->gnj", grid, matrix).reshape(-1, matrix.shape[-1])
        return (grid @ core).reshape(*(len(p) for p in factors), core.shape[-1])

    def ranks(self) -> list[Interaction]:
        """Matrices of increasing size."""
        return [TensorTrain(rank) for rank in stages(self.rank)]

    def grown(
        self,
        coefficients: Sequence[Tensor],
        core: Tensor,
        to: Interaction,
        fresh: Sequence[Tensor],
        noise: float,
        generator: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """Every matrix keeps its upper left corner; the new entries are noise."""
        assert isinstance(to, TensorTrain)
        coordinates, outputs = len(coefficients), core.shape[-1]
        old, new = self.shapes(coordinates, outputs), to.shapes(coordinates, outputs)
        wider = []
        for c, (rows, columns), (more_rows, more_columns) in zip(coefficients, old, new, strict=True):
            size = noise * c.square().mean().sqrt()
            matrix = torch.randn(len(c), more_rows, more_columns, dtype=torch.float64, generator=generator)
            matrix = size * matrix.to(c)
            matrix[:, :rows, :columns] = c.reshape(len(c), rows, columns)
            wider.append(matrix.flatten(1))
        extra = to.core_shape(coordinates, outputs)[0] - len(core)
        readout = torch.randn(extra, outputs, dtype=torch.float64, generator=generator).to(core)
        return wider, torch.cat([core, noise * core.square().mean().sqrt() * readout])

    def sweep(self, factors: Factors, core: Tensor) -> Sweep:
        """A pass that keeps the row vector before and the columns after the current coordinate."""
        return _RunningSweep(self, factors, core)


class _RunningSweep(Sweep):
    interaction: TensorTrain

    def __init__(self, interaction: TensorTrain, factors: Factors, core: Tensor) -> None:
        super().__init__(interaction, factors, core)
        matrices = interaction._matrices(self.factors)
        batch = self.factors[0].shape[:-1]
        after = [core.expand(*batch, *core.shape)]  # (..., R_j, O)
        for matrix in reversed(matrices[1:]):
            after.append(matrix @ after[-1])
        self._after = after[::-1]
        self._before = core.new_ones(*batch, 1)  # (..., R_(j-1))
        self._shapes = [m.shape[-2:] for m in matrices]

    def _environment(self, j: int) -> tuple[Tensor, Tensor]:
        after = self._after[j]
        weight = self._before[..., :, None, None] * after[..., None, :, :]
        return weight.flatten(-3, -2), after.new_zeros(*after.shape[:-2], after.shape[-1])

    def _replace(self, j: int, factor: Tensor) -> None:
        matrix = factor.reshape(*factor.shape[:-1], *self._shapes[j])
        self._before = (self._before[..., None, :] @ matrix)[..., 0, :]
