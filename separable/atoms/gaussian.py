"""Gaussian bumps at uniformly spaced centres, as radial basis functions of one coordinate.

``B_k(x) = exp(-z^2 / 2)``, ``z = (x - c_k) / sigma``, centres from end to end of the domain, ``sigma = width``
spacings. The derivative of order m is ``(-1 / sigma)^m He_m(z) B_k`` with the probabilists' Hermite polynomials
``He_(m+1) = z He_m - m He_(m-1)``.
"""

import dataclasses
import math

import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_domain, check_outside


@dataclasses.dataclass(frozen=True)
class Gaussian(Atom):
    """Gaussian functions, infinitely smooth and local; not a partition of unity.

    Args:
        centres: Number K >= 2 of bumps.
        width: Standard deviation in units of the spacing of the centres. From 1 (local) to 2 (smoother, but the Gram
            matrix becomes nearly singular).
        domain: Ends (a, b) of the coordinate's range; the first and last centre lie on them.
        outside: Policy beyond the domain.

    Example:
        >>> import torch
        >>> from separable.atoms import Gaussian
        >>> Gaussian(centres=3, width=1.0, domain=(0.0, 2.0))(torch.tensor(1.0))
        tensor([0.6065, 1.0000, 0.6065])
    """

    centres: int = 12
    width: float = 1.0
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "centres", check_count("Gaussian", "centres", self.centres, 2))
        if not (isinstance(self.width, float | int) and math.isfinite(self.width) and self.width > 0):
            raise ValueError(f"Gaussian: width is a positive number of spacings, got {self.width!r}")
        object.__setattr__(self, "domain", check_domain("Gaussian", self.domain))
        check_outside("Gaussian", self.outside)

    @property
    def size(self) -> int:
        """K, the number of bumps."""
        return self.centres

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Ends of pieces about one standard deviation long, on which 16 Gauss points reach rounding."""
        lower, upper = self.domain
        pieces = math.ceil((self.centres - 1) / self.width)
        return tuple(lower + (upper - lower) * i / pieces for i in range(pieces + 1))

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        lower, upper = self.domain
        spacing = (upper - lower) / (self.centres - 1)
        sigma = self.width * spacing
        centre = lower + spacing * torch.arange(self.centres, device=x.device, dtype=x.dtype)
        z = (x[..., None] - centre) / sigma
        previous, hermite = torch.zeros_like(z), torch.ones_like(z)
        for m in range(derivative):  # (-1 / sigma)^m He_m
            previous, hermite = hermite, -z / sigma * hermite - m / sigma**2 * previous
        return hermite * torch.exp(-0.5 * z * z)
