"""The interface of a factorised matrix, and what the kinds share: cost estimates and small products."""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Rank = int | tuple[int, ...]

# Costs in multiply-adds. One element read and written between two products costs about as much as ELEMENT of them in
# a large matrix product, and starting one operation (forward and backward) as much as OPERATION: measured on one core
# with AVX-512, see benchmarks/library_layers.py. Only the ratio of two estimates is used.
ELEMENT = 30.0
OPERATION = 3e5
# Batches of small products run slower than one large product.
SMALL = 2.0


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
        """Whether n rows of input are multiplied faster by forming the dense matrix first; an export is for any n."""
        if torch.compiler.is_exporting():
            return False
        return self.dense_cost() + n * self.n_rows * self.n_columns < self.product_cost(n)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x W^T + bias (n, O)`` of ``x (n, I)``, the faster way."""
        return nn.functional.linear(x, self.dense(), bias) if self.prefers_dense(x.shape[0]) else self.product(x, bias)

    def prefers_dense_rows(self, n: int) -> bool:
        """Whether n rows are looked up faster in the dense matrix, formed first; an export is for any n."""
        if torch.compiler.is_exporting():
            return False
        lookup = ELEMENT * self.n_columns * (n + self.n_rows)
        return self.dense_cost() + lookup < self.rows_cost(n)

    def relative_error(self, matrix: Tensor) -> float:
        """Frobenius norm of ``W - matrix``, relative to that of ``matrix (<= O, I)``."""
        with torch.no_grad():
            return relative_distance(self.dense()[: len(matrix)], matrix)

    def extra_repr(self) -> str:
        """Shapes and rank, for printing."""
        return f"rows={self.row_shape}, columns={self.column_shape}, rank={self.rank}"

    def _parameter(self, *shape: int, like: dict[str, object]) -> nn.Parameter:
        return nn.Parameter(torch.zeros(*shape, **like))  # type: ignore[call-overload]

    def _start_at_zero(self, zero: Tensor) -> None:
        """A matrix of zeros that can learn: with two factors of zeros none would have a gradient, so it is only one."""
        device = zero.device
        self.to("cpu")  # the fit is a function of the matrix alone, not of what another device draws
        self.reset_parameters(self.n_columns**-0.5, torch.Generator().manual_seed(0))
        nn.init.zeros_(zero)
        self.to(device)


def relative_distance(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference, relative to that of ``wanted``, in float64."""
    size = wanted.double().norm().clamp(min=torch.finfo(torch.float64).tiny)
    return float((found.double() - wanted.double()).norm() / size)


def left_product(matrix: Tensor, stack: Tensor) -> Tensor:
    """``matrix (p, q) @ stack (m, q, a)``, as one matrix product where a is one."""
    if stack.shape[-1] == 1:
        return nn.functional.linear(stack[..., 0], matrix)[..., None]
    product: Tensor = matrix @ stack
    return product


def leading_vectors(unfolding: Tensor, count: int) -> Tensor:
    """The first left singular vectors ``(rows, count)``, orthonormal."""
    if unfolding.shape[0] > unfolding.shape[1]:
        left: Tensor = torch.linalg.svd(unfolding, full_matrices=False)[0]
        if left.shape[1] < count:  # a rank above what the data has: complete the basis
            left = torch.linalg.qr(left, mode="complete")[0]
        return left[:, :count]
    vectors: Tensor = torch.linalg.eigh(unfolding @ unfolding.T)[1].flip(1)
    return vectors[:, :count]
