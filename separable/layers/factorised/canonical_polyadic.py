"""Canonical polyadic matrices: R products of one vector for each digit."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.layers.factorised.matrix import (
    ELEMENT,
    OPERATION,
    FactorisedMatrix,
    Rank,
    leading_vectors,
)


class CanonicalPolyadicMatrix(FactorisedMatrix):
    """R products of one vector for each digit."""

    def __init__(
        self, row_shape: Sequence[int], column_shape: Sequence[int], rank: Rank, like: dict[str, object]
    ) -> None:
        super().__init__(row_shape, column_shape)
        if not isinstance(rank, int):
            raise ValueError(f"canonical_polyadic: rank is one positive integer, got {rank!r}")
        matrix = len(self.row_shape) == len(self.column_shape) == 1
        self._rank = min(rank, self.n_rows, self.n_columns) if matrix else rank
        self.row_factors = nn.ParameterList(self._parameter(o, self._rank, like=like) for o in self.row_shape)
        self.column_factors = nn.ParameterList(self._parameter(i, self._rank, like=like) for i in self.column_shape)

    @property
    def rank(self) -> int:
        """R."""
        return self._rank

    def reset_parameters(self, std: float, generator: torch.Generator | None = None) -> None:
        """All factors alike: R products of m factors of deviation s have variance ``R s^(2 m)``."""
        factors = [*self.row_factors, *self.column_factors]
        for factor in factors:
            nn.init.normal_(factor, std=(std * self._rank**-0.5) ** (1 / len(factors)), generator=generator)

    def dense(self) -> Tensor:
        """One product of the two Khatri-Rao matrices."""
        return _khatri_rao(self.row_factors) @ _khatri_rao(self.column_factors).T

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Two products with the Khatri-Rao matrices."""
        return nn.functional.linear(x @ _khatri_rao(self.column_factors), _khatri_rao(self.row_factors), bias)

    def rows(self, digits: Sequence[Tensor]) -> Tensor:
        """Product of the digits' factors, then of the columns' Khatri-Rao matrix."""
        picked = [nn.functional.embedding(a, factor) for a, factor in zip(digits, self.row_factors, strict=True)]
        product = picked[0]
        for factor in picked[1:]:
            product = product * factor
        return product @ _khatri_rao(self.column_factors).T

    def _khatri_rao_cost(self) -> float:
        split = (len(self.row_shape) > 1) * self.n_rows + (len(self.column_shape) > 1) * self.n_columns
        operations = len(self.row_shape) + len(self.column_shape) - 2
        return split * self._rank * ELEMENT + operations * OPERATION

    def product_cost(self, n: int) -> float:
        """Both products, and the Khatri-Rao matrices."""
        flow = n * self._rank
        return self._khatri_rao_cost() + flow * (self.n_rows + self.n_columns + ELEMENT) + OPERATION

    def rows_cost(self, n: int) -> float:
        """The product with the columns' Khatri-Rao matrix, and the digits' factors."""
        digits = len(self.row_shape) * (n * self._rank * ELEMENT + OPERATION)
        return self._khatri_rao_cost() + digits + n * self.n_columns * (self._rank + ELEMENT)

    def dense_cost(self) -> float:
        """One product, and the Khatri-Rao matrices."""
        return self._khatri_rao_cost() + self.n_rows * self.n_columns * (self._rank + ELEMENT) + OPERATION

    def fit(self, matrix: Tensor) -> None:
        """The singular value decomposition for one digit each, else alternating least squares (at most 200 sweeps).

        A sweep costs two products of the matrix with R columns: the row factors see only ``W B`` and the column
        factors only ``W^T A``, with A and B the Khatri-Rao matrices of the factors. Of zeros only one factor is zero.
        """
        if not bool(matrix.any()):
            self._start_at_zero(self.row_factors[0])
            return
        target = matrix.detach().double()
        if len(self.row_shape) == len(self.column_shape) == 1:
            u, s, vh = torch.linalg.svd(target, full_matrices=False)
            root = s[: self._rank].sqrt()
            rows, columns = [u[:, : self._rank] * root], [vh[: self._rank].T * root]
        else:
            rows, columns = self._alternating_least_squares(target)
        with torch.no_grad():
            for old, new in zip([*self.row_factors, *self.column_factors], [*rows, *columns], strict=True):
                old.copy_(new)

    def _alternating_least_squares(
        self, target: Tensor, sweeps: int = 200, tolerance: float = 1e-7
    ) -> tuple[list[Tensor], list[Tensor]]:
        generator = torch.Generator().manual_seed(0)  # the fit is a function of the matrix alone
        tensor = target.reshape(*self.row_shape, *self.column_shape)
        factors = []
        for mode, size in enumerate(tensor.shape):
            start = torch.randn(size, self._rank, dtype=torch.float64, generator=generator).to(target.device)
            leading = leading_vectors(tensor.movedim(mode, 0).reshape(size, -1), min(size, self._rank))
            start[:, : leading.shape[1]] = leading
            factors.append(start / start.norm(dim=0))
        n = len(self.row_shape)
        rows, columns = factors[:n], factors[n:]
        total, previous = float(target.square().sum()), math.inf
        for _ in range(sweeps):
            self._update(rows, columns, target @ _khatri_rao(columns))
            image = target.T @ _khatri_rao(rows)
            self._update(columns, rows, image)
            model = _khatri_rao(columns)
            overlap = float((image * model).sum())
            gram = torch.stack([f.T @ f for f in (*rows, *columns)]).prod(0)
            residual = max(total - 2 * overlap + float(gram.sum()), 0.0)
            if previous - residual <= tolerance * total:
                break
            previous = residual
        _balance([*rows, *columns])
        return rows, columns

    @staticmethod
    def _update(own: list[Tensor], other: list[Tensor], image: Tensor) -> None:
        """Solve for each factor of one side in turn; ``image`` is the matrix times the other side's products."""
        image = image.reshape(*(len(f) for f in own), -1)
        across = torch.stack([f.T @ f for f in other]).prod(0)
        for k in range(len(own)):
            part = image
            for j in reversed(range(len(own))):
                if j != k:
                    part = (part * own[j].reshape(-1, *[1] * (part.ndim - j - 2), part.shape[-1])).sum(j)
            gram = across
            for j, f in enumerate(own):
                if j != k:
                    gram = gram * (f.T @ f)
            # Two nearly equal columns make the Gram matrix singular: a ridge at rounding level keeps the step finite.
            ridge = 1e-12 * gram.diagonal().mean() + 1e-300  # a matrix of zeros has no level
            gram = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            own[k] = torch.linalg.solve(gram, part.T, left=True).T


def _khatri_rao(factors: Sequence[Tensor] | nn.ParameterList) -> Tensor:
    """Column-wise Kronecker product ``(n_1 .. n_d, R)`` of factors ``(n_k, R)``."""
    first, *rest = factors
    product: Tensor = first
    for factor in rest:
        product = (product[:, None] * factor[None]).flatten(0, 1)
    return product


def _balance(factors: list[Tensor]) -> None:
    """Share the size of every product equally among its factors, in place."""
    norms = torch.stack([f.norm(dim=0) for f in factors]).clamp(min=1e-300)
    size = norms.log().mean(0).exp()
    for factor, norm in zip(factors, norms, strict=True):
        factor.mul_(size / norm)
