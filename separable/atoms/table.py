"""A table: the atom of a discrete coordinate, one function per category."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_outside


@dataclasses.dataclass(frozen=True)
class Table(Atom):
    """Indicator functions of the categories 0 .. K - 1; an integral is a sum over categories.

    Args:
        categories: Number K of categories. The coordinate holds their index, as a whole number.
        outside: ``error`` refuses an index outside 0 .. K - 1, ``constant`` takes the nearest, ``periodic`` wraps.

    A discrete coordinate has no derivative: asking for one is an error.

    Example:
        >>> import torch
        >>> from separable.atoms import Table
        >>> Table(categories=3)(torch.tensor([2.0, 0.0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """

    categories: int
    outside: Outside = "error"

    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", check_count("Table", "categories", self.categories, 1))
        check_outside("Table", self.outside, ("error", "constant", "periodic"))

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """From the first index to the last; one period is K long."""
        return (0.0, float(self.categories - 1))

    @property
    def size(self) -> int:
        """K, the number of categories."""
        return self.categories

    def ones(self) -> Tensor:
        """All ones."""
        return torch.ones(self.size, dtype=torch.float64)

    def __call__(self, x: Tensor, derivative: int = 0, parameters: tuple[Tensor, ...] = ()) -> Tensor:
        """Indicators ``(..., K)`` of the category whose index is nearest to ``x (...)``.

        An index that is not a number, or infinite where it is wrapped, gives values that are not numbers.

        Raises:
            ValueError: If a derivative is asked for, or an index lies outside 0 .. K - 1 and the policy is ``error``.
            TypeError: If the coordinates are not floating point.
        """
        self._check_call(x, derivative)
        if derivative:
            raise ValueError("Table: a discrete coordinate has no derivative; hold it fixed instead")
        if self.outside == "error":
            self._refuse_outside(x)
        index = torch.round(x.detach())
        if self.outside == "periodic":
            index = torch.remainder(index, self.categories)
        one = torch.where(index.isnan(), index, torch.ones_like(index))  # wrapping leaves no number of infinity
        index = index.clamp(0, self.categories - 1).long().clamp(0, self.categories - 1)  # NaN would index anywhere
        return x.new_zeros(*x.shape, self.size).scatter(-1, index[..., None], one[..., None])

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        return self(x, derivative, parameters)

    def _quadrature_between(self, lower: float, upper: float, points: int) -> tuple[Tensor, Tensor]:
        nodes = torch.arange(self.categories, dtype=torch.float64)
        nodes = nodes[(nodes >= lower) & (nodes <= upper)]
        return nodes, torch.ones_like(nodes)

    def rescaled(self, domain: tuple[float, float]) -> "Table":
        """Itself: categories have no scale."""
        del domain
        return self
