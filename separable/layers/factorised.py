"""Matrices held as small tensors: canonical polyadic, Tucker and tensor-train factorisations of a dense weight.

A matrix ``W (O, I)`` is read as a tensor by splitting its row index into digits ``(a_1 .. a_d)`` of sizes
``o_1 .. o_d`` and its column index into ``(b_1 .. b_d)`` of sizes ``i_1 .. i_d``, the last digit running fastest:

    canonical_polyadic   W_(a,b) = sum_(r=1..R) prod_k A_k[a_k, r] prod_k B_k[b_k, r]
    tucker               W_(a,b) = sum_(p,q) G[p_1 .. p_d, q_1 .. q_d] prod_k A_k[a_k, p_k] prod_k B_k[b_k, q_k]
    tensor_train         W_(a,b) = G_1[:, a_1, b_1, :] G_2[:, a_2, b_2, :] .. G_d[:, a_d, b_d, :]

For Tucker and CP rows and columns may have different numbers of digits. With one digit each, CP is a plain low-rank
matrix ``A B^T``. The tensor train is that of a matrix (Novikov et al., Tensorizing Neural Networks, 2015): each core
carries a row and a column digit, with ranks ``r_0 = r_d = 1`` at the ends.

Two ways lead to ``y = x W^T``: through the factors, or through the dense matrix first; which is faster depends on
the batch, and `FactorisedMatrix.forward` chooses by estimated cost.
"""

import abc
import functools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Factorisation = Literal["canonical_polyadic", "tucker", "tensor_train"]
Rank = int | tuple[int, ...]

# Costs in multiply-adds. One element read and written between two products costs about as much as ELEMENT of them in
# a large matrix product, and starting one operation (forward and backward) as much as OPERATION: measured on one core
# with AVX-512, see benchmarks/layers_vs_dense.py. Only the ratio of two estimates is used.
_ELEMENT = 30.0
_OPERATION = 3e5
# Batches of small products run slower than one large product.
_SMALL = 2.0


class FactorisedMatrix(nn.Module, abc.ABC):
    """A matrix ``W (O, I)`` of which only a factorisation is held; each kind fills this in.

    Args:
        row_shape: Digits of the row index, with product O.
        column_shape: Digits of the column index, with product I.
    """

    def __init__(self, row_shape: Sequence[int], column_shape: Sequence[int]) -> None:
        super().__init__()
        self.row_shape, self.column_shape = tuple(row_shape), tuple(column_shape)
        self.n_rows, self.n_columns = math.prod(self.row_shape), math.prod(self.column_shape)

    @property
    @abc.abstractmethod
    def rank(self) -> Rank:
        """The rank in use: what was asked for, or the largest that the shapes allow if that is less."""

    @abc.abstractmethod
    def reset_parameters(self, std: float, generator: torch.Generator | None = None) -> None:
        """Draw normal factors such that every entry of the dense matrix has mean zero and deviation ``std``."""

    @abc.abstractmethod
    def fit(self, matrix: Tensor) -> None:
        """Set the factors to a least-squares approximation of ``matrix (O, I)``, computed in float64."""

    @abc.abstractmethod
    def dense(self) -> Tensor:
        """The matrix ``(O, I)``."""

    @abc.abstractmethod
    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x W^T + bias (n, O)`` of ``x (n, I)`` through the factors."""

    @abc.abstractmethod
    def rows(self, digits: Sequence[Tensor]) -> Tensor:
        """Rows ``(n, I)`` of the matrix whose row digits are given, each ``(n,)``."""

    @abc.abstractmethod
    def rows_cost(self, n: int) -> float:
        """Estimated cost of `rows` for n rows."""

    @abc.abstractmethod
    def product_cost(self, n: int) -> float:
        """Estimated cost of `product` for n rows of input."""

    @abc.abstractmethod
    def dense_cost(self) -> float:
        """Estimated cost of `dense`."""

    def prefers_dense(self, n: int) -> bool:
        """Whether n rows of input are multiplied faster by forming the dense matrix first."""
        return self.dense_cost() + n * self.n_rows * self.n_columns < self.product_cost(n)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x W^T + bias (n, O)`` of ``x (n, I)``, the faster way."""
        return nn.functional.linear(x, self.dense(), bias) if self.prefers_dense(len(x)) else self.product(x, bias)

    def prefers_dense_rows(self, n: int) -> bool:
        """Whether n rows are looked up faster in the dense matrix, formed first."""
        lookup = _ELEMENT * self.n_columns * (n + self.n_rows)
        return self.dense_cost() + lookup < self.rows_cost(n)

    def relative_error(self, matrix: Tensor) -> float:
        """Frobenius norm of ``W - matrix``, relative to that of ``matrix (<= O, I)``."""
        with torch.no_grad():
            difference = self.dense().double()[: len(matrix)] - matrix.double()
            return float(difference.norm() / matrix.double().norm().clamp(min=torch.finfo(torch.float64).tiny))

    def extra_repr(self) -> str:
        """Shapes and rank, for printing."""
        return f"rows={self.row_shape}, columns={self.column_shape}, rank={self.rank}"

    def _parameter(self, *shape: int, like: dict[str, object]) -> nn.Parameter:
        return nn.Parameter(torch.zeros(*shape, **like))  # type: ignore[call-overload]


def factorised_matrix(
    row_shape: Sequence[int],
    column_shape: Sequence[int],
    factorisation: Factorisation,
    rank: Rank,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> FactorisedMatrix:
    """A factorised matrix of zeros.

    Raises:
        ValueError: If the factorisation is unknown, or shapes and ranks do not fit it.
    """
    if factorisation not in _KINDS:
        raise ValueError(f"factorisation is one of {', '.join(get_args(Factorisation))}; got {factorisation!r}")
    for name, shape in (("row", row_shape), ("column", column_shape)):
        if not shape or min(shape) < 1:
            raise ValueError(f"{factorisation}: the {name} shape is a sequence of positive sizes, got {tuple(shape)}")
    ranks = (rank,) if isinstance(rank, int) else tuple(rank)
    if not ranks or any(isinstance(r, bool) or not isinstance(r, int) or r < 1 for r in ranks):
        raise ValueError(f"{factorisation}: rank is a positive integer or a tuple of them, got {rank!r}")
    return _KINDS[factorisation](row_shape, column_shape, rank, {"device": device, "dtype": dtype})


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
        return split * self._rank * _ELEMENT + operations * _OPERATION

    def product_cost(self, n: int) -> float:
        """Both products, and the Khatri-Rao matrices."""
        flow = n * self._rank
        return self._khatri_rao_cost() + flow * (self.n_rows + self.n_columns + _ELEMENT) + _OPERATION

    def rows_cost(self, n: int) -> float:
        """The product with the columns' Khatri-Rao matrix, and the digits' factors."""
        digits = len(self.row_shape) * (n * self._rank * _ELEMENT + _OPERATION)
        return self._khatri_rao_cost() + digits + n * self.n_columns * (self._rank + _ELEMENT)

    def dense_cost(self) -> float:
        """One product, and the Khatri-Rao matrices."""
        return self._khatri_rao_cost() + self.n_rows * self.n_columns * (self._rank + _ELEMENT) + _OPERATION

    def fit(self, matrix: Tensor) -> None:
        """The singular value decomposition for one digit each, else alternating least squares (at most 200 sweeps).

        A sweep costs two products of the matrix with R columns: the row factors see only ``W B`` and the column
        factors only ``W^T A``, with A and B the Khatri-Rao matrices of the factors.
        """
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
            leading = _leading_vectors(tensor.movedim(mode, 0).reshape(size, -1), min(size, self._rank))
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
            ridge = 1e-12 * gram.diagonal().mean()
            gram = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            own[k] = torch.linalg.solve(gram, part.T, left=True).T


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
            part = torch.bmm(picked[:, None], part.reshape(n, factor.shape[1], -1))
        return _expand(part.reshape(n, -1), self._column_ranks, self.column_factors)

    def rows_cost(self, n: int) -> float:
        """Digit by digit."""
        width = math.prod(self._ranks[1:])
        cost = min(n, self.row_shape[0]) * self._ranks[0] * width + _ELEMENT * n * width + _OPERATION
        for rank in self._row_ranks[1:]:
            cost += n * width * (_SMALL + _ELEMENT) + _OPERATION
            width //= rank
        return cost + _expand_cost(n, self._column_ranks, self.column_shape)

    def product_cost(self, n: int) -> float:
        """Digit by digit."""
        inner, outer = math.prod(self._column_ranks), math.prod(self._row_ranks)
        into = _expand_cost(n, self.column_shape, self._column_ranks)
        out = _expand_cost(n, self._row_ranks, self.row_shape)
        return into + n * inner * (outer + _ELEMENT) + out + _OPERATION

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
            _leading_vectors(tensor.movedim(k, 0).reshape(size, -1), r)
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
                factors[k] = _leading_vectors(part.movedim(k, 0).reshape(part.shape[k], -1), self._ranks[k])
            core = torch.tensordot(part, factors[-1], dims=([len(factors) - 1], [0]))
            kept = float(core.square().sum())
            if kept - previous <= 1e-9 * total:
                break
            previous = kept
        with torch.no_grad():
            for old, new in zip([*self.row_factors, *self.column_factors], factors, strict=True):
                old.copy_(new)
            self.core.copy_(core)


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
            state = _left_product(core.permute(1, 3, 0, 2).reshape(o * s, r * i), state)
        y = state.reshape(len(x), self.n_rows)
        return y if bias is None else y + bias

    def rows(self, digits: Sequence[Tensor]) -> Tensor:
        """The chain of the digits' slices."""
        n = len(digits[0])
        chain: Tensor | None = None
        for a, core in zip(digits, self.cores, strict=True):
            r, o, i, s = core.shape
            slices = nn.functional.embedding(a, core.transpose(0, 1).reshape(o, -1))
            chain = slices if chain is None else torch.bmm(chain.reshape(n, -1, r), slices.reshape(n, r, i * s))
        assert chain is not None
        return chain.reshape(n, self.n_columns)

    def rows_cost(self, n: int) -> float:
        """The slices, and one small batched product a core."""
        cost, columns = 0.0, 1
        for core in self.cores:
            r, _, i, s = core.shape
            cost += n * (r * i * s * _ELEMENT + columns * i * s * (_SMALL * r + _ELEMENT)) + core.numel() * _ELEMENT
            cost += 2 * _OPERATION
            columns *= i
        return cost

    def product_cost(self, n: int) -> float:
        """One small batched product a core."""
        cost, remaining, done = 0.0, self.n_columns, n
        for core in self.cores:
            r, o, i, s = core.shape
            remaining //= i
            cost += done * remaining * (_SMALL * r * i * o * s + _ELEMENT * (r * i + o * s)) + _OPERATION
            done *= o
        return cost

    def dense_cost(self) -> float:
        """The chain and the transposition."""
        cost, size = 0.0, self.row_shape[0] * self.column_shape[0]
        for core in list(self.cores)[1:]:
            r, o, i, s = core.shape
            cost += size * (r * o * i * s + _ELEMENT * o * i * s) + _OPERATION
            size *= o * i
        return cost + 2 * _ELEMENT * self.n_rows * self.n_columns + _OPERATION

    def fit(self, matrix: Tensor) -> None:
        """The tensor-train SVD from left to right (Oseledets, SIAM J. Sci. Comput. 33, 2011, algorithm 1)."""
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


_KINDS: dict[str, type[CanonicalPolyadicMatrix] | type[TuckerMatrix] | type[TensorTrainMatrix]] = {
    "canonical_polyadic": CanonicalPolyadicMatrix,
    "tucker": TuckerMatrix,
    "tensor_train": TensorTrainMatrix,
}


def balanced_shape(size: int, parts: int) -> tuple[int, ...]:
    """``size`` as a product of ``parts`` factors, increasing, as nearly equal as its divisors allow.

    Example:
        >>> balanced_shape(768, 2), balanced_shape(4096, 3), balanced_shape(7, 2)
        ((24, 32), (16, 16, 16), (1, 7))
    """
    if parts == 1:
        return (size,)
    best: tuple[int, ...] | None = None
    for first in range(1, round(size ** (1 / parts)) + 1):
        if size % first == 0:
            shape = tuple(sorted((first, *balanced_shape(size // first, parts - 1))))
            if best is None or max(shape) / min(shape) <= max(best) / min(best):
                best = shape
    assert best is not None
    return best


def covering_shape(size: int, parts: int) -> tuple[int, ...]:
    """``parts`` nearly equal factors whose product is at least ``size``, for an index that need not fill it."""
    shape: list[int] = []
    for left in range(parts, 0, -1):
        factor = 1
        while factor**left < size:
            factor += 1
        shape.append(factor)
        size = -(-size // factor)
    return tuple(shape)


def _khatri_rao(factors: Sequence[Tensor] | nn.ParameterList) -> Tensor:
    """Column-wise Kronecker product ``(n_1 .. n_d, R)`` of factors ``(n_k, R)``."""
    first, *rest = factors
    product: Tensor = first
    for factor in rest:
        product = (product[:, None] * factor[None]).flatten(0, 1)
    return product


def _expand(x: Tensor, sizes: Sequence[int], matrices: Sequence[Tensor] | nn.ParameterList) -> Tensor:
    """Multiply digit k of the last axis of ``x (n, prod sizes)`` by ``matrices[k] (new_k, sizes_k)``, for every k."""
    n, after, new = len(x), 1, [len(matrix) for matrix in matrices]
    if _kronecker_cost(n, sizes, new) < _digitwise_cost(n, sizes, new):
        return nn.functional.linear(x, functools.reduce(torch.kron, matrices))
    for k in reversed(range(len(sizes))):
        before = math.prod(sizes[:k])
        x = _left_product(matrices[k], x.reshape(n * before, sizes[k], after))
        after *= new[k]
    return x.reshape(n, after)


def _left_product(matrix: Tensor, stack: Tensor) -> Tensor:
    """``matrix (p, q) @ stack (m, q, a)``, as one matrix product where a is one."""
    if stack.shape[-1] == 1:
        return nn.functional.linear(stack[..., 0], matrix)[..., None]
    product: Tensor = matrix @ stack
    return product


def _expand_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    return min(_kronecker_cost(n, sizes, new), _digitwise_cost(n, sizes, new))


def _kronecker_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    """One large product with the Kronecker product of the digits' matrices."""
    entries = math.prod(sizes) * math.prod(new)
    build = entries * _ELEMENT * (len(sizes) > 1) + (len(sizes) - 1) * _OPERATION
    return build + n * (entries + _ELEMENT * (math.prod(sizes) + math.prod(new))) + _OPERATION


def _digitwise_cost(n: int, sizes: Sequence[int], new: Sequence[int]) -> float:
    """Small products, one digit after the other."""
    cost, after = 0.0, 1
    for k in reversed(range(len(sizes))):
        rows = n * math.prod(sizes[:k]) * after
        rate = 1.0 if after == 1 else _SMALL
        cost += rows * (rate * sizes[k] * new[k] + _ELEMENT * (sizes[k] + new[k])) + _OPERATION
        after *= new[k]
    return cost


def _leading_vectors(unfolding: Tensor, count: int) -> Tensor:
    """The first left singular vectors ``(rows, count)``, orthonormal."""
    if unfolding.shape[0] > unfolding.shape[1]:
        left: Tensor = torch.linalg.svd(unfolding, full_matrices=False)[0]
        if left.shape[1] < count:  # a rank above what the data has: complete the basis
            left = torch.linalg.qr(left, mode="complete")[0]
        return left[:, :count]
    vectors: Tensor = torch.linalg.eigh(unfolding @ unfolding.T)[1].flip(1)
    return vectors[:, :count]


def _balance(factors: list[Tensor]) -> None:
    """Share the size of every product equally among its factors, in place."""
    norms = torch.stack([f.norm(dim=0) for f in factors]).clamp(min=1e-300)
    size = norms.log().mean(0).exp()
    for factor, norm in zip(factors, norms, strict=True):
        factor.mul_(size / norm)
