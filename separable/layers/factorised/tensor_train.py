"""Tensor-train matrices: a chain of cores, each with a row and a column digit."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.layers.factorised.matrix import ELEMENT, OPERATION, SMALL, FactorisedMatrix, Rank, left_product


class TensorTrainMatrix(FactorisedMatrix):
    """A chain of cores, each with one row digit and one column digit."""

    def __init__(
        self, row_shape: Sequence[int], column_shape: Sequence[int], rank: Rank, like: dict[str, object]
    ) -> None:
        super().__init__(row_shape, column_shape)
        n = len(self.row_shape)
        if len(self.column_shape) != n:
            raise ValueError(
                f"tensor_train: rows and columns have equally many digits, got {self.row_shape} and {self.column_shape}"
            )
        given = (rank,) * (n - 1) if isinstance(rank, int) else tuple(rank)
        if len(given) != n - 1:
            raise ValueError(f"tensor_train: {len(given)} ranks given, {given}, for {n} cores, which have {n - 1}")
        sizes = [o * i for o, i in zip(self.row_shape, self.column_shape, strict=True)]
        largest = [min(math.prod(sizes[:k]), math.prod(sizes[k:])) for k in range(1, n)]
        self._ranks = (1, *(min(r, most) for r, most in zip(given, largest, strict=True)), 1)
        self.cores = nn.ParameterList(
            self._parameter(self._ranks[k], self.row_shape[k], self.column_shape[k], self._ranks[k + 1], like=like)
            for k in range(n)
        )

    @property
    def rank(self) -> tuple[int, ...]:
        """The ranks between neighbouring cores."""
        return self._ranks[1:-1]

    def reset_parameters(self, std: float, generator: torch.Generator | None = None) -> None:
        """Cores of variance ``c / r_k`` with r_k the rank to the right, so that d of them multiply to ``c^d``."""
        scale = std ** (1 / len(self.cores))
        for core, rank in zip(self.cores, self._ranks[1:], strict=True):
            nn.init.normal_(core, std=scale * rank**-0.5, generator=generator)

    def dense(self) -> Tensor:
        """The chain of products, and one transposition that separates row digits from column digits."""
        chain = self.cores[0].reshape(-1, self._ranks[1])
        for core in list(self.cores)[1:]:
            chain = (chain @ core.reshape(len(core), -1)).reshape(-1, core.shape[-1])
        n = len(self.cores)
        pairs = [size for pair in zip(self.row_shape, self.column_shape, strict=True) for size in pair]
        order = [*range(0, 2 * n, 2), *range(1, 2 * n, 2)]
        matrix: Tensor = chain.reshape(pairs).permute(order).reshape(self.n_rows, self.n_columns)
        return matrix

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """One core after the other: a column digit goes in, a row digit comes out."""
        state, remaining = x, self.n_columns
        for core in self.cores:
            r, o, i, s = core.shape
            remaining //= i
            # (n, rows so far; rank, column digit; columns left) times (row digit, rank; rank, column digit)
            state = state.reshape(-1, r * i, remaining)
            state = left_product(core.permute(1, 3, 0, 2).reshape(o * s, r * i), state)
        y = state.reshape(x.shape[0], self.n_rows)
        return y if bias is None else y + bias

    def rows(self, digits: Sequence[Tensor]) -> Tensor:
        """The chain of the digits' slices."""
        n = len(digits[0])
        chain: Tensor | None = None
        for a, core in zip(digits, self.cores, strict=True):
            r, o, i, s = core.shape
            slices = nn.functional.embedding(a, core.transpose(0, 1).reshape(o, -1))
            if chain is None:
                chain = slices
            else:  # sizes in full: of no rows torch can infer none
                done = chain.shape[1] // r
                chain = torch.bmm(chain.reshape(n, done, r), slices.reshape(n, r, i * s)).reshape(n, done * i * s)
        assert chain is not None
        return chain.reshape(n, self.n_columns)

    def rows_cost(self, n: int) -> float:
        """The slices, and one small batched product a core."""
        cost, columns = 0.0, 1
        for core in self.cores:
            r, _, i, s = core.shape
            cost += n * (r * i * s * ELEMENT + columns * i * s * (SMALL * r + ELEMENT)) + core.numel() * ELEMENT
            cost += 2 * OPERATION
            columns *= i
        return cost

    def product_cost(self, n: int) -> float:
        """One small batched product a core."""
        cost, remaining, done = 0.0, self.n_columns, n
        for core in self.cores:
            r, o, i, s = core.shape
            remaining //= i
            cost += done * remaining * (SMALL * r * i * o * s + ELEMENT * (r * i + o * s)) + OPERATION
            done *= o
        return cost

    def dense_cost(self) -> float:
        """The chain and the transposition."""
        cost, size = 0.0, self.row_shape[0] * self.column_shape[0]
        for core in list(self.cores)[1:]:
            r, o, i, s = core.shape
            cost += size * (r * o * i * s + ELEMENT * o * i * s) + OPERATION
            size *= o * i
        return cost + 2 * ELEMENT * self.n_rows * self.n_columns + OPERATION

    def fit(self, matrix: Tensor) -> None:
        """The tensor-train SVD from left to right (Oseledets, SIAM J. Sci. Comput. 33, 2011, algorithm 1).

        Of zeros only the last core is zero.
        """
        if not bool(matrix.any()):
            self._start_at_zero(self.cores[-1])
            return
        n = len(self.cores)
        tensor = matrix.detach().double().reshape(*self.row_shape, *self.column_shape)
        rest = tensor.permute([j for k in range(n) for j in (k, n + k)]).reshape(1, -1)
        fitted: list[Tensor] = []
        for k, core in enumerate(self.cores):
            r, o, i, s = core.shape
            if k == n - 1:
                new = rest.reshape(r, o, i, s)
            else:
                u, values, vh = torch.linalg.svd(rest.reshape(r * o * i, -1), full_matrices=False)
                new, rest = u[:, :s].reshape(r, o, i, s), values[:s, None] * vh[:s]
            fitted.append(new)
        # All cores alike in size, which leaves the product as it is.
        norms = torch.stack([core.norm() for core in fitted]).clamp(min=1e-300)
        size = norms.log().mean().exp()
        with torch.no_grad():
            for core, new, norm in zip(self.cores, fitted, norms, strict=True):
                core.copy_(new * (size / norm))
