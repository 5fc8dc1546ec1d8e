"""A Runge-Kutta scheme of order 4 for du/dt = L u + N(u) whose linear part is exact, in Fourier space.

``u`` are complex coefficients ``(..., *shape)``, L is real and diagonal, ``(*shape)``, N any function of u. Exponential
time differencing (ETDRK4) of Cox and Matthews (2002), https://doi.org/10.1006/jcph.2002.6995, equations (26)-(29),
with z = h L and ``phi_j(z) = integral over s in [0, 1] of exp((1 - s) z) s^(j-1) / (j-1)!``::

    a  = exp(z/2) u + (h/2) phi_1(z/2) N(u)
    b  = exp(z/2) u + (h/2) phi_1(z/2) N(a)
    c  = exp(z/2) a + (h/2) phi_1(z/2) (2 N(b) - N(u))
    u' = exp(z) u + h [ (phi_1 - 3 phi_2 + 4 phi_3) N(u) + 2 (phi_2 - 2 phi_3) (N(a) + N(b)) + (4 phi_3 - phi_2) N(c) ]

Why not an integrating factor (IFRK4): both cost four evaluations of N, but where N is steady ETDRK4 is exact, so that
fixed points such as the laminar Kolmogorov flow are fixed points of the scheme at any step, and for stiff L its error
constant is smaller by orders of magnitude (Kassam and Trefethen 2005, https://doi.org/10.1137/S1064827502410633,
figure 1). They evaluate the phi by a contour integral; here they are a Taylor series for |z| < 1 and the recursion
``phi_(j+1) = (phi_j - 1/j!) / z`` beyond, which loses less than two digits; both are in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_TERMS = 20  # 1 / 20! is below the rounding of float64


def phi_functions(z: Tensor, order: int) -> list[Tensor]:
    """``phi_0 .. phi_order`` of real z, float64, each of the shape of z.

    Example:
        >>> [float(p) for p in phi_functions(torch.zeros((), dtype=torch.float64), 2)]
        [1.0, 1.0, 0.5]
    """
    z = z.double()
    small = z.abs() < 1
    inside, outside = torch.where(small, z, 0.0), torch.where(small, 1.0, z)
    values = [torch.exp(z)]
    for j in range(1, order + 1):
        series = torch.zeros_like(z)
        for term in reversed(range(_TERMS)):
            series = series * inside + 1 / math.factorial(term + j)
        quotient = (values[-1] - 1 / math.factorial(j - 1)) / outside
        values.append(torch.where(small, series, quotient))
    return values


class ExponentialRungeKutta:
    """One step of ETDRK4, see the head of this file.

    Args:
        linear: L, real, float64, of the shape of one set of coefficients, in 1 / time.
        nonlinear: N, from coefficients ``(..., *shape)`` to the same shape, in coefficients / time.
        step: h, a time.
        dtype: of the fields, float32 or float64.
        device: of the coefficients.

    Example:
        >>> decay = ExponentialRungeKutta(-torch.ones(1, dtype=torch.float64), lambda u: 0 * u, 2.0)
        >>> round(float(decay(torch.ones(1, dtype=torch.complex128)).real), 12) == round(math.exp(-2.0), 12)
        True
    """

    def __init__(
        self,
        linear: Tensor,
        nonlinear: Callable[[Tensor], Tensor],
        step: float,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.nonlinear = nonlinear
        z = step * linear.cpu()
        half = phi_functions(z / 2, 1)
        whole = phi_functions(z, 3)
        factors = (
            half[0],
            step / 2 * half[1],
            whole[0],
            step * (whole[1] - 3 * whole[2] + 4 * whole[3]),
            2 * step * (whole[2] - 2 * whole[3]),
            step * (4 * whole[3] - whole[2]),
        )
        # Real factors for real and imaginary parts: a product of a complex and a real tensor would first make the real
        # one complex, at twice the time.
        self._factors = [f.to(device, dtype)[..., None].expand(*f.shape, 2).contiguous() for f in factors]

    def __call__(self, coefficients: Tensor) -> Tensor:
        """Coefficients one step later."""
        half, inner, whole, first, middle, last = self._factors
        u = torch.view_as_real(coefficients)
        n_u = torch.view_as_real(self.nonlinear(coefficients))
        base = half * u
        a = torch.addcmul(base, inner, n_u)
        n_a = torch.view_as_real(self.nonlinear(torch.view_as_complex(a)))
        b = torch.addcmul(base, inner, n_a)
        n_b = torch.view_as_real(self.nonlinear(torch.view_as_complex(b)))
        c = torch.sub(n_b, n_u, alpha=0.5).mul_(inner).mul_(2).addcmul_(half, a)
        n_c = torch.view_as_real(self.nonlinear(torch.view_as_complex(c)))
        later = (whole * u).addcmul_(first, n_u).addcmul_(middle, n_a.add(n_b)).addcmul_(last, n_c)
        return torch.view_as_complex(later)
