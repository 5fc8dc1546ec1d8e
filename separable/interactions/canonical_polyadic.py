"""Canonical polyadic (CP) interactions of any order: sums of R products of functions of one coordinate each.

    order None:   f_o = sum_r A_(r,o) prod_j p_(j,r)(x_j)                              every coordinate takes part
    order k:      f_o = sum_r A_(r,o) sum_(s=1..k) e_s(p_(1,r), .., p_(D,r))           subsets of at most k of them

with the elementary symmetric polynomials ``e_s``, sums over all subsets of s coordinates. For D = 3:
``e_1 = p_1 + p_2 + p_3``, ``e_2 = p_1 p_2 + p_1 p_3 + p_2 p_3``, ``e_3 = p_1 p_2 p_3``. Order 1 is an additive model,
order 2 a quadratic one, and order D equals the full product of ``1 + p_j`` less one.

The e_s are coefficients of ``prod_j (u_j + p_j t)``, a product of polynomials in t, which is taken pairwise in a tree
and cut off above degree k: O(D k R) work in log2(D) steps, no divisions, no cancellation.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from separable.interactions.interaction import Factors, Interaction, Sweep, check_rank, stages

# A polynomial in t: coefficients of t^0, t^1, ..; the first may be a plain number (a product of units).
Polynomial = list["Tensor | float"]


@dataclasses.dataclass(frozen=True)
class CanonicalPolyadic(Interaction):
    """R products over all coordinates, or over all subsets of at most ``order`` of them.

    Args:
        rank: Number R of terms.
        order: Interaction order k; None is the product over all D coordinates (KHRONOS).

    Start values: for the full product every factor is ``1 + N(0, 1/D)``, so that the logarithm of a product of D of
    them has variance of order one and neither the product nor its gradient overflows or vanishes, whatever D; for
    order k every factor is ``N(0, 1/D)``.

    Example:
        >>> import torch
        >>> from separable.interactions import CanonicalPolyadic
        >>> factors = [torch.tensor([[2.0]]), torch.tensor([[3.0]]), torch.tensor([[5.0]])]
        >>> CanonicalPolyadic(rank=1, order=2).contract(factors, torch.ones(1, 1))  # 10 + 31
        tensor([[41.]])
    """

    rank: int = 8
    order: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", check_rank("CanonicalPolyadic", "rank", self.rank))
        if self.order is not None:
            object.__setattr__(self, "order", check_rank("CanonicalPolyadic", "order", self.order))

    def widths(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """R for every coordinate."""
        if self.order is not None and self.order > coordinates:
            raise ValueError(f"CanonicalPolyadic: order {self.order} exceeds the number of coordinates, {coordinates}")
        return (self.rank,) * coordinates

    def core_shape(self, coordinates: int, outputs: int) -> tuple[int, ...]:
        """(R, O), the readout A."""
        return (self.rank, outputs)

    def initial_factor(self, j: int, coordinates: int, outputs: int) -> tuple[Tensor, float]:
        """Mean one (full product) or zero (order k), spread 1 / sqrt(D)."""
        mean = 1.0 if self.order is None else 0.0
        return torch.full((self.rank,), mean, dtype=torch.float64), coordinates**-0.5

    def features(self, factors: Factors, units: Sequence[float] | None = None) -> Tensor:
        """The R sums of products ``(..., R)``; ``factors`` may be one tensor ``(..., D, R)``."""
        if units is not None and self.order is not None:
            return self._total(_multiply_all(factors, units, self.order), self.order)
        stacked = factors if isinstance(factors, Tensor) else torch.stack(list(factors), dim=-2)
        if self.order is None:
            return _tree_product(stacked)
        return self._total([1.0, *_tree_symmetric(stacked, self.order)], self.order)

    def environment(
        self, factors: Factors, core: Tensor, j: int, units: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight ``(..., R, O)`` and offset ``(..., O)``: products over the other coordinates, times the readout."""
        others = [p for i, p in enumerate(factors) if i != j]
        shape = factors[1 if j == 0 else 0] if len(factors) > 1 else factors[0]
        if self.order is None:
            product = _tree_product(torch.stack(others, dim=-2)) if others else torch.ones_like(shape)
            return _outer(product, core), product.new_zeros(*product.shape[:-1], core.shape[-1])
        given = [1.0] * len(factors) if units is None else list(units)
        rest = _multiply_all(others, [u for i, u in enumerate(given) if i != j], self.order)
        return self._meet(rest, given[j], core, torch.ones_like(shape))

    def _meet(self, rest: Polynomial, unit: float, core: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
        assert self.order is not None
        weight = self._total(rest, self.order - 1, start=0)
        offset = self._total(rest, self.order) if len(rest) > 1 else 0.0
        offset = one * offset * unit
        return _outer(one * weight, core), offset @ core

    @staticmethod
    def _total(polynomial: Polynomial, order: int, start: int = 1) -> Tensor:
        """Sum of the coefficients of t^start .. t^order."""
        terms = polynomial[start : order + 1]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total  # type: ignore[return-value]

    def on_grid(self, factors: Factors, core: Tensor) -> Tensor:
        """One matrix product over the last axis; everything before it is an outer product of the axes."""
        *before, last = factors
        outputs = core.shape[-1]
        shape = [len(p) for p in factors]
        if self.order is None:
            grid = core.new_ones(1, self.rank)
            for p in before:
                grid = (grid[:, None, :] * p[None, :, :]).reshape(-1, self.rank)
            readout = (last[:, None, :] * core.T[None, :, :]).reshape(-1, self.rank)  # (n_D O, R)
            return (grid @ readout.T).reshape(*shape, outputs)
        polynomial: Polynomial = [1.0]
        for p in before:
            leaf: Polynomial = [1.0, p[None, :, :]]
            grown: Polynomial = [c[:, None, :] if isinstance(c, Tensor) else c for c in polynomial]
            polynomial = [
                c.expand(-1, len(p), -1).reshape(-1, self.rank) if isinstance(c, Tensor) else c
                for c in _multiply(grown, leaf, self.order)
            ]
            polynomial = [
                c.expand(max(len(d) for d in polynomial if isinstance(d, Tensor)), -1) if isinstance(c, Tensor) else c
                for c in polynomial
            ]
        rows = [len(c) for c in polynomial if isinstance(c, Tensor)]
        one = core.new_ones(max(rows, default=1), self.rank)
        offset = one * self._total(polynomial, self.order) if len(polynomial) > 1 else one * 0.0
        weight = one * self._total(polynomial, self.order - 1, start=0)
        readout = (last[:, None, :] * core.T[None, :, :]).reshape(-1, self.rank)
        values = (weight @ readout.T).reshape(len(one), len(last), outputs) + (offset @ core)[:, None, :]
        return values.reshape(*shape, outputs)

    def ranks(self) -> list[Interaction]:
        """One term, two terms, .."""
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
        """Terms are appended: fresh functions, with a small readout."""
        assert isinstance(to, CanonicalPolyadic)
        wider = [torch.cat([c, new[:, self.rank :]], dim=1) for c, new in zip(coefficients, fresh, strict=True)]
        readout = torch.randn(to.rank - self.rank, core.shape[-1], dtype=torch.float64, generator=generator).to(core)
        return wider, torch.cat([core, noise * core.square().mean().sqrt() * readout])

    def rescale(self, norms: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
        """Term by term for the full product; not possible for sums over subsets, whose terms differ in degree."""
        if self.order is not None:
            return torch.ones_like(norms), core
        norms = torch.where(norms > 0, norms, torch.ones_like(norms))
        return norms, core * norms[:, None]

    def sweep(self, factors: Factors, core: Tensor) -> Sweep:
        """A pass that keeps the product of what lies before and after the current coordinate."""
        return _RunningSweep(self, list(factors), core)


class _RunningSweep(Sweep):
    """Environments in O(k) multiplications each: polynomials before the coordinate (as replaced) and after it."""

    interaction: CanonicalPolyadic

    def __init__(self, interaction: CanonicalPolyadic, factors: Factors, core: Tensor) -> None:
        super().__init__(interaction, factors, core)
        self._cut = len(self.factors) if interaction.order is None else interaction.order
        self._one = torch.ones_like(self.factors[0])
        after: list[Polynomial] = [[self._one if interaction.order is None else 1.0]]
        for p in reversed(self.factors[1:]):
            after.append(self._extended(after[-1], p))
        self._after, self._before = after, after[0]

    def _extended(self, polynomial: Polynomial, factor: Tensor) -> Polynomial:
        if self.interaction.order is None:
            return [polynomial[0] * factor]
        return _multiply(polynomial, [1.0, factor], self._cut)

    def _environment(self, j: int) -> tuple[Tensor, Tensor]:
        after = self._after[len(self.factors) - 1 - j]
        if self.interaction.order is None:
            weight = self._before[0] * after[0]
            assert isinstance(weight, Tensor)
            return _outer(weight, self.core), weight.new_zeros(*weight.shape[:-1], self.core.shape[-1])
        return self.interaction._meet(_multiply(self._before, after, self._cut), 1.0, self.core, self._one)

    def _replace(self, j: int, factor: Tensor) -> None:
        self._before = self._extended(self._before, factor)


def _outer(features: Tensor, core: Tensor) -> Tensor:
    return features[..., :, None] * core


def _multiply(first: Polynomial, second: Polynomial, order: int) -> Polynomial:
    """Product of two polynomials in t, cut off above t^order."""
    product: Polynomial = []
    for s in range(min(order, len(first) + len(second) - 2) + 1):
        terms = [first[i] * second[s - i] for i in range(max(0, s - len(second) + 1), min(s, len(first) - 1) + 1)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        product.append(total)
    return product


def _multiply_all(factors: Factors, units: Sequence[float], order: int) -> Polynomial:
    product: Polynomial = [1.0]
    for p, u in zip(factors, units, strict=True):
        product = _multiply(product, [u, p], order)
    return product


def _tree_product(stacked: Tensor) -> Tensor:
    """Product over the second last axis, pairwise: exact with zeros, and cheap to differentiate twice."""
    while (count := stacked.shape[-2]) > 1:
        half = count // 2
        product = stacked[..., :half, :] * stacked[..., half : 2 * half, :]
        stacked = torch.cat([product, stacked[..., 2 * half :, :]], dim=-2) if count % 2 else product
    return stacked[..., 0, :]


def _tree_symmetric(stacked: Tensor, order: int) -> list[Tensor]:
    """Elementary symmetric polynomials e_1 .. e_order over the second last axis, by pairwise products."""
    if order == 1:
        return [stacked.sum(dim=-2)]
    terms = [stacked]  # coefficients of t^1, t^2, ..; that of t^0 is one
    while (count := terms[0].shape[-2]) > 1:
        half = count // 2
        first: Polynomial = [1.0, *(c[..., :half, :] for c in terms)]
        second: Polynomial = [1.0, *(c[..., half : 2 * half, :] for c in terms)]
        product = _multiply(first, second, order)[1:]
        if count % 2:
            rest = [c[..., 2 * half :, :] for c in terms]
            rest += [torch.zeros_like(rest[0])] * (len(product) - len(rest))
            product = [torch.cat([c, r], dim=-2) for c, r in zip(product, rest, strict=True)]  # type: ignore[list-item]
        terms = product  # type: ignore[assignment]
    return [c[..., 0, :] for c in terms]
