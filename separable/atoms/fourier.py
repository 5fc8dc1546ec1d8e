"""Fourier atoms: the constant, and cosines and sines of whole periods of the domain.

With ``t = (x - a) / (b - a)`` the K = 2 m + 1 functions are ``1, cos(2 pi t), .., cos(2 pi m t), sin(2 pi t), ..,
sin(2 pi m t)``. A derivative of order q multiplies frequency j by ``(2 pi j / (b - a))^q`` and shifts its phase by
``q pi / 2``.
"""

import dataclasses
import math

import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_domain, check_outside


@dataclasses.dataclass(frozen=True)
class Fourier(Atom):
    """Trigonometric functions with the period of the domain, for angles and periodic coordinates.

    Args:
        modes: Highest frequency m, in periods per domain.
        domain: One period (a, b), in the coordinate's unit.
        outside: Policy beyond the domain.

    Example:
        >>> import torch
        >>> from separable.atoms import Fourier
        >>> angle = Fourier(modes=2, domain=(0.0, 360.0))
        >>> angle(torch.tensor([90.0, 450.0])).round(decimals=4).abs().tolist()[0]
        [1.0, 0.0, 1.0, 1.0, 0.0]
    """

    modes: int = 4
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "periodic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", check_count("Fourier", "modes", self.modes, 0))
        object.__setattr__(self, "domain", check_domain("Fourier", self.domain))
        check_outside("Fourier", self.outside)

    @property
    def size(self) -> int:
        """K = 2 modes + 1."""
        return 2 * self.modes + 1

    @property
    def quadrature_points(self) -> int:
        """Gauss-Legendre points that integrate the highest product frequency, 2 modes, to rounding."""
        return 4 * self.modes + 16

    def ones(self) -> Tensor:
        """The first function is the constant."""
        return torch.eye(self.size, dtype=torch.float64)[0]

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        lower, upper = self.domain
        frequency = torch.arange(1, self.modes + 1, device=x.device, dtype=x.dtype) * (2 * math.pi / (upper - lower))
        phase = (x - lower)[..., None] * frequency
        cosine, sine = phase.cos(), phase.sin()
        # d^q cos = cos(. + q pi / 2): pick the exact rotation instead of shifting the phase.
        pairs = [(cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)]
        cosine, sine = pairs[derivative % 4]
        scale = frequency**derivative
        constant = (torch.ones_like if derivative == 0 else torch.zeros_like)(x)[..., None]
        return torch.cat([constant, cosine * scale, sine * scale], dim=-1)
