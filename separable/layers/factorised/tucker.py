"""Tucker matrices: a core between one small matrix for each digit of rows and columns."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.layers.factorised.matrix import (
    ELEMENT,
    OPERATION,
    SMALL,
    FactorisedMatrix,
    Rank,
    leading_vectors,
    left_product,
)


class TuckerMatrix(FactorisedMatrix):
    """A dense core between one small matrix for each digit."""

    def __init__(
        self, row_shape: Sequence[int], column_shape: Sequence[int], rank: Rank, like: dict[str, object]
    ) -> None:
        super().__init__(row_shape, column_shape)
        sizes = (*self.row_shape, *self.column_shape)
        ranks = (rank,) * len(sizes) if isinstance(rank, int) else tuple(rank)
        if len(ranks) != len(sizes):
            raise ValueError(f"tucker: {len(ranks)} ranks given, {ranks}, for {len(sizes)} digits of sizes {sizes}")
        self._ranks = tuple(min(r, size) for r, size in zip(ranks, sizes, strict=True))
        factors = [self._parameter(size, r, like=like) for size, r in zip(sizes, self._ranks, strict=True)]
        self.row_factors = nn.ParameterList(factors[: len(self.row_shape)])
        self.column_factors = nn.ParameterList(factors[len(self.row_shape) :])
        self.core = self._parameter(*self._ranks, like=like)

    @property
    def rank(self) -> tuple[int, ...]:
        """One rank for each digit, rows first."""
        return self._ranks

    @property
    def _row_ranks(self) -> tuple[int, ...]:
        return self._ranks[: len(self.row_shape)]

    @property
    def _column_ranks(self) -> tuple[int, ...]:
        return self._ranks[len(self.row_shape) :]

    def reset_parameters(self, std: float, generator: torch.Generator | None = None) -> None:
        """Factors of variance 1 / rank, which keep a variance, round a core of deviation ``std``."""
        for factor in (*self.row_factors, *self.column_factors):
            nn.init.normal_(factor, std=factor.shape[1] ** -0.5, generator=generator)
        nn.init.normal_(self.core, std=std, generator=generator)

    def dense(self) -> Tensor:
        """The core expanded along one digit after the other."""
        core = self.core.reshape(math.prod(self._row_ranks), -1)
        columns = _expand(core, self._column_ranks, self.column_factors)  # (P, I)
        return _expand(columns.T, self._row_ranks, self.row_factors).T

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Columns contracted digit by digit, the core, rows expanded digit by digit."""
        inner = _expand(x, self.column_shape, [factor.T for factor in self.column_factors])
        core = self.core.reshape(math.prod(self._row_ranks), -1)
        y = _expand(nn.functional.linear(inner, core), self._row_ranks, self.row_factors)
        return y if bias is None else y + bias

    def rows(self, digits: Sequence[Tensor]) -> Tensor:
        """The core contracted with the digits' factors, then expanded along the columns."""
        n, core = len(digits[0]), self.core.reshape(self._ranks[0], -1)
        first, *others = self.row_factors
        # Every value of the first digit at once, if there are fewer of them than rows.
        if len(first) <= n:
            part = nn.functional.embedding(digits[0], first @ core)
        else:
            part = nn.functional.embedding(digits[0], first) @ core
        for a, factor in zip(digits[1:], others, strict=True):
            picked = nn.functional.embedding(a, factor)
            rank = factor.shape[1]
            part = torch.bmm(picked[:, None], part.reshape(n, rank, part.shape[1] // rank))[:, 0]
        return _expand(part, self._column_ranks, self.column_factors)

    def rows_cost(self, n: int) -> float:
        """Digit by digit."""
        width = math.prod(self._ranks[1:])
        cost = min(n, self.row_shape[0]) * self._ranks[0] * width + ELEMENT * n * width + OPERATION
        for rank in self._row_ranks[1:]:
            cost += n * width * (SMALL + ELEMENT) + OPERATION
            width //= rank
        return cost + _expand_cost(n, self._column_ranks, self.column_shape)

    def product_cost(self, n: int) -> float:
        """Digit by digit."""
        inner, outer = math.prod(self._column_ranks), math.prod(self._row_ranks)
        into = _expand_cost(n, self.column_shape, self._column_ranks)
        out = _expand_cost(n, self._row_ranks, self.row_shape)
        return into + n * inner * (outer + ELEMENT) + out + OPERATION

    def dense_cost(self) -> float:
        """Digit by digit."""
        columns = _expand_cost(math.prod(self._row_ranks), self._column_ranks, self.column_shape)
        return columns + _expand_cost(self.n_columns, self._row_ranks, self.row_shape)

    def fit(self, matrix: Tensor) -> None:
        """The higher-order SVD, improved by higher-order orthogonal iteration (at most 50 sweeps).

        Source: De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000), parts 1 and 2.
        """
        tensor = matrix.detach().double().reshape(*self.row_shape, *self.column_shape)
        factors = [
            leading_vectors(tensor.movedim(k, 0).reshape(size, -1), r)
            for k, (size, r) in enumerate(zip(tensor.shape, self._ranks, strict=True))
        ]
        total, previous = float(tensor.square().sum()), 0.0
        core = tensor
        for _ in range(50):
            for k in range(len(factors)):
                part = tensor
                for j, factor in enumerate(factors):
                    if j != k:
                        part = torch.tensordot(part, factor, dims=([j], [0])).movedim(-1, j)
                factors[k] = leading_vectors(part.movedim(k, 0).reshape(part.shape[k], -1), self._ranks[k])
            core = torch.tensordot(part, factors[-1], dims=([len(factors) - 1], [0]))
            kept = float(core.square().sum())
            if kept - previous <= 1e-9 * total:
                break
            previous = kept
        with torch.no_grad():
            for old, new in zip([*self.row_factors, *self.column_factors], factors, strict=True):
                old.copy_(new)
            self.core.copy_(core)


def _expand(x: Tensor, sizes: Sequence[int], matrices: Sequence[Tensor] | nn.ParameterList) -> Tensor:
    """Multiply digit k of the last axis of ``x (n, prod sizes)`` by ``matrices[k] (new_k, sizes_k)``, for every k."""
    n, after, new = len(x), 1, [len(matrix) for matrix in matrices]
    if _kronecker_cost(n, sizes, new) < _digitwise_cost(n, sizes, new):
        return nn.functional.linear(x, functools.reduce(torch.kron, matrices))
    for k in reversed(range(len(sizes))):
        before = math.prod(sizes[:k])
        x = left_product(matrices[k], x.reshape(n * before, sizes[k], after))
        after *= new[k]
    return x.reshape(n, after)


def _expand_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    return min(_kronecker_cost(n, sizes, new), _digitwise_cost(n, sizes, new))


def _kronecker_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    """One large product with the Kronecker product of the digits' matrices."""
    entries = math.prod(sizes) * math.prod(new)
    build = entries * ELEMENT * (len(sizes) > 1) + (len(sizes) - 1) * OPERATION
    return build + n * (entries + ELEMENT * (math.prod(sizes) + math.prod(new))) + OPERATION


def _digitwise_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    """Small products, one digit after the other."""
    cost, after = 0.0, 1
    for k in reversed(range(len(sizes))):
        rows = n * math.prod(sizes[:k]) * after
        rate = 1.0 if after == 1 else SMALL
        cost += rows * (rate * sizes[k] * new[k] + ELEMENT * (sizes[k] + new[k])) + OPERATION
        after *= new[k]
    return cost
