"""Links: one-to-one maps from a target to the scale on which it is a short sum of products.

    y = h(f),    f = g(y) = a sum of products of functions of one coordinate

A quotient is one product after a reciprocal, a Gaussian after a logarithm, a Euclidean distance after a square. A
residual on the scale of f counts for ``|h'(f)|`` times as much on the scale of y, the first-order weight of every row.

h holds in any unit of y. Where a model's f comes near a pole or beyond it, `Link.guarded` first keeps it off by a
distance that goes with the unit.
"""

import abc
from typing import ClassVar

import torch
from torch import Tensor

_LEAST = torch.finfo(torch.float64).tiny


class Link(abc.ABC):
    """The interface that every link fills in; elementwise on tensors, nothing is stored."""

    name: ClassVar[str]
    requires: ClassVar[str]  # of the targets, in words
    least: ClassVar[tuple[float, float]] = (-float("inf"), -float("inf"))  # f that a search looks at: value, slope

    @abc.abstractmethod
    def valid(self, y: Tensor) -> bool:
        """Whether the link is defined for all targets."""

    @abc.abstractmethod
    def forward(self, y: Tensor) -> Tensor:
        """``f = g(y)``."""

    @abc.abstractmethod
    def inverse(self, f: Tensor) -> Tensor:
        """``y = h(f)``, finite for every finite f: where there is no such y, that of the nearest f which has one."""

    @abc.abstractmethod
    def slope(self, f: Tensor) -> Tensor:
        """``h'(f)``."""

    @abc.abstractmethod
    def scaled(self, scale: float) -> tuple[float, float]:
        """``(a, b)`` with ``g(scale y) = a g(y) + b``: how the unit of y acts on f."""

    @abc.abstractmethod
    def reach(self, lowest: float, highest: float) -> tuple[float, float]:
        """Limits of f for prediction, a little wider than the data's: no pole where there were no data."""

    def guarded(self, f: Tensor, unit: float = 1.0, *, slope: bool = False) -> Tensor:
        """Values kept off the pole, for those of a model that may lie near it or beyond.

        Args:
            f: Values on the scale of the link.
            unit: Size of the targets, in their unit.
            slope: Whether for `slope`, which may grow faster than the value.
        """
        least = self.least[slope]
        return f if least == -float("inf") else f.clamp_min(least * self.scaled(unit)[0])

    def weight(self, f: Tensor) -> Tensor:
        """Weight of a residual on the scale of f."""
        return self.slope(f).abs()


class Identity(Link):
    """``f = y``."""

    name = "identity"
    requires = "any"

    def valid(self, y: Tensor) -> bool:
        """Always."""
        return True

    def forward(self, y: Tensor) -> Tensor:
        """The target itself."""
        return y

    def inverse(self, f: Tensor) -> Tensor:
        """The value itself."""
        return f

    def slope(self, f: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(f)

    def scaled(self, scale: float) -> tuple[float, float]:
        """The unit of y."""
        return scale, 0.0

    def reach(self, lowest: float, highest: float) -> tuple[float, float]:
        """No limits: there is no pole."""
        return -float("inf"), float("inf")


class Log(Link):
    """``f = log y``."""

    name = "log"
    requires = "positive"

    def valid(self, y: Tensor) -> bool:
        """For positive targets."""
        return bool((y > 0).all())

    def forward(self, y: Tensor) -> Tensor:
        """The logarithm."""
        return y.log()

    def inverse(self, f: Tensor) -> Tensor:
        """The exponential, without overflow."""
        return f.clamp_max(700.0).exp()

    def slope(self, f: Tensor) -> Tensor:
        """The exponential again."""
        return self.inverse(f)

    def scaled(self, scale: float) -> tuple[float, float]:
        """A unit is an offset."""
        return 1.0, float(torch.tensor(scale, dtype=torch.float64).log())

    def reach(self, lowest: float, highest: float) -> tuple[float, float]:
        """A quarter of the range on either side."""
        margin = 0.25 * (highest - lowest)
        return lowest - margin, highest + margin


class Reciprocal(Link):
    """``f = 1 / y``."""

    name = "reciprocal"
    requires = "positive, of finite reciprocal"
    least = (1e-12, 1e-12)

    def valid(self, y: Tensor) -> bool:
        """For positive targets whose reciprocals are finite."""
        return bool((y > 0).all()) and bool(torch.isfinite(1 / y).all())

    def forward(self, y: Tensor) -> Tensor:
        """The reciprocal."""
        return 1 / y

    def inverse(self, f: Tensor) -> Tensor:
        """The reciprocal, of positive values."""
        return 1 / f.clamp_min(_LEAST)

    def slope(self, f: Tensor) -> Tensor:
        """``-1 / f^2``."""
        return -(f.clamp_min(_LEAST**0.5) ** -2)

    def scaled(self, scale: float) -> tuple[float, float]:
        """The inverse unit of y."""
        return 1 / scale, 0.0

    def reach(self, lowest: float, highest: float) -> tuple[float, float]:
        """A quarter of the range on either side, and never nearer to the pole than half the least value."""
        margin = 0.25 * (highest - lowest)
        return max(lowest - margin, 0.5 * lowest), highest + margin


class Square(Link):
    """``f = y^2``."""

    name = "square"
    requires = "at least 0, of representable square"
    least = (1e-12, 1e-6)

    def valid(self, y: Tensor) -> bool:
        """For targets of at least 0 whose squares neither overflow nor vanish."""
        square = y * y
        return bool((y >= 0).all()) and bool((torch.isfinite(square) & ((square > 0) | (y == 0))).all())

    def forward(self, y: Tensor) -> Tensor:
        """The square."""
        return y * y

    def inverse(self, f: Tensor) -> Tensor:
        """The root, of positive values."""
        return f.clamp_min(_LEAST).sqrt()

    def slope(self, f: Tensor) -> Tensor:
        """``1 / (2 sqrt f)``."""
        return 0.5 * f.clamp_min(_LEAST) ** -0.5

    def scaled(self, scale: float) -> tuple[float, float]:
        """The square of the unit of y."""
        return scale * scale, 0.0

    def reach(self, lowest: float, highest: float) -> tuple[float, float]:
        """From 0 to a quarter of the range above."""
        return 0.0, highest + 0.25 * (highest - lowest)

    def weight(self, f: Tensor) -> Tensor:
        """At most ten times the middle weight: the slope has no limit at 0."""
        slope = self.slope(f)
        return slope.clamp_max(10 * float(slope.median()))


LINKS: dict[str, Link] = {link.name: link for link in (Identity(), Log(), Reciprocal(), Square())}
