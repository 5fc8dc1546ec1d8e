"""Chebyshev polynomials on the domain: spectral accuracy for smooth functions.

With ``s = (2 x - a - b) / (b - a)`` in [-1, 1]: ``T_0 = 1, T_1 = s, T_(k+1) = 2 s T_k - T_(k-1)``. Differentiating the
recursion m times gives ``T^(m)_(k+1) = 2 s T^(m)_k + 2 m T^(m-1)_k - T^(m)_(k-1)``, so every order is exact.
"""

import dataclasses

import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_domain, check_outside


@dataclasses.dataclass(frozen=True)
class Chebyshev(Atom):
    """Chebyshev polynomials of the first kind up to a degree.

    Args:
        degree: Highest degree n; K = n + 1.
        domain: Ends (a, b) of the coordinate's range.
        outside: Policy beyond the domain.

    Example:
        >>> import torch
        >>> from separable.atoms import Chebyshev
        >>> Chebyshev(degree=2, domain=(-1.0, 1.0))(torch.tensor(0.5))
        tensor([ 1.0000,  0.5000, -0.5000])
    """

    degree: int = 8
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_count("Chebyshev", "degree", self.degree, 0))
        object.__setattr__(self, "domain", check_domain("Chebyshev", self.domain))
        check_outside("Chebyshev", self.outside)

    @property
    def size(self) -> int:
        """K = degree + 1."""
        return self.degree + 1

    @property
    def quadrature_points(self) -> int:
        """Points that integrate products of two polynomials of this degree exactly."""
        return self.degree + 1

    def ones(self) -> Tensor:
        """The first function is the constant."""
        return torch.eye(self.size, dtype=torch.float64)[0]

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        lower, upper = self.domain
        s = (2 * x - (lower + upper)) / (upper - lower)
        lower_order: list[Tensor] = []  # T^(m-1)_k for every k
        for m in range(derivative + 1):
            zero = torch.zeros_like(s)
            start = torch.ones_like(s) if m == 0 else zero
            second = s if m == 0 else (torch.ones_like(s) if m == 1 else zero)
            order = [start, second][: self.size]
            for k in range(1, self.degree):
                extra = 2 * m * lower_order[k] if m else zero
                order.append(2 * s * order[k] + extra - order[k - 1])
            lower_order = order
        return torch.stack(lower_order, dim=-1) * (2 / (upper - lower)) ** derivative
