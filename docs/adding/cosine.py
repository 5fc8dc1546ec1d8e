"""Cosines on an interval: smooth functions whose slope vanishes at both ends.

With ``s = (x - a) / (b - a)`` and k = 0 .. K - 1: ``B_k = cos(pi k s)``, so that the m-th derivative is
``(pi k / (b - a))^m cos(pi k s + m pi / 2)``.
"""

import dataclasses
import math

import torch
from torch import Tensor

from separable.atoms import Atom, Outside, register
from separable.atoms.atom import check_count, check_domain, check_outside


@register
@dataclasses.dataclass(frozen=True)
class Cosine(Atom):
    """Cosines of the first K - 1 half waves, and the constant.

    Args:
        terms: Number K of functions.
        domain: Ends (a, b) of the coordinate's range.
        outside: Policy beyond the domain.
    """

    terms: int = 8
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "constant"

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", check_count("Cosine", "terms", self.terms, 1))
        object.__setattr__(self, "domain", check_domain("Cosine", self.domain))
        check_outside("Cosine", self.outside)

    @property
    def size(self) -> int:
        """K."""
        return self.terms

    @property
    def quadrature_points(self) -> int:
        """Points that integrate a product of two cosines to rounding."""
        return 16 + 2 * self.terms

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        lower, upper = self.domain
        wave = math.pi * torch.arange(self.terms, dtype=x.dtype, device=x.device) / (upper - lower)
        return wave**derivative * torch.cos(wave * (x - lower)[..., None] + derivative * math.pi / 2)
