"""KHRONOS as published: products over coordinates of quadratic-spline expansions on a fixed grid with a learned width.

For an input ``x (.., d)`` with every coordinate in [0, 1], E grid points ``c_g = g / (E - 1)`` and R modes:

    phi(u)  = 3/4 - u^2            for u < 1/2
              (3/2 - u)^2 / 2      for 1/2 <= u < 3/2,        else 0
    p_(j,r) = sum_g phi(|x_j - c_g| s_j) W_(j,g,r)                      W (d, E, R), s (d,)
    m_r     = (-1)^(number of j with p_(j,r) < 0) exp(sum_j log(|p_(j,r)| + 1e-9))
    y_o     = sum_r A_(o,r) m_r + b_o                                   A (O, R), b (O,)

Source: Batley and Saha, KHRONOS (2025, arXiv:2505.13315), as their code has it (github RTBatley/ConvKHRONOS).
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

KhronosOutside = Literal["constant", "error", "published"]

# Standard deviation of a standard normal cut at +-2; dividing by it restores the variance (Flax's lecun_normal).
_CUT_NORMAL_DEVIATION = 0.87962566103423978


class Khronos(nn.Module):
    """The KHRONOS layer with its dense readout: R modes, each a product over all coordinates, then a linear map.

    Args:
        in_features: Number d of coordinates.
        out_features: Number O of outputs.
        grid_points: Number E >= 2 of kernels per coordinate, centred from end to end of [0, 1].
        rank: Number R of modes.
        squash: ``none`` takes inputs in [0, 1] as they are; ``sigmoid`` maps them there first, which is the published
            head on a latent vector.
        outside: What happens to a coordinate beyond [0, 1]. ``constant`` takes the nearer end (its gradient is zero
            there), ``error`` raises, ``published`` keeps the formula, which answers zero from 1.5 spacings on. Inside
            [0, 1] the three are the same.
        generator: Source of random numbers for the start values.
        device: Where the parameters live.
        dtype: Type of the parameters; inputs have the same.

    Start values: ``W ~ 1 + 0.1 N(0, 1)``, ``s = E - 1`` (one grid spacing), A normal with variance 1 / R cut at two
    deviations, b zero; the last two are the defaults of Flax's Dense, in which the source is written.

    Cautions, all of them part of the published formula:

    - The kernels are not normalised and none is centred outside [0, 1], so they cannot hold a value and a slope at an
      end: with ``s`` at its start value the best L2 error falls like E^-1/2, or E^-3/2 for functions that vanish at
      both ends, where quadratic splines that reach the ends give E^-3 (measured, E from 8 to 128).
    - The logarithm gives a factor ``1 / (|p| + 1e-9)`` in the gradient, large where a mode changes sign.
    - A width ``s`` that training drives above 3 (E - 1) leaves gaps between kernels, and a negative one is unbounded.

    `SeparableLayer` with `BSpline` atoms and a `CanonicalPolyadic` interaction is the same kind of function with
    splines that reach the ends at full order, touches only the splines that are not zero, multiplies directly, has a
    stated continuation outside the domain, and can be differentiated, integrated, refined and fitted in closed form.
    Use that for new work, and this layer to reproduce published results.

    Example:
        >>> import torch
        >>> from separable.layers import Khronos
        >>> layer = Khronos(10, 3, grid_points=8, rank=16)
        >>> layer(torch.rand(5, 10)).shape
        torch.Size([5, 3])
        >>> layer.modes(torch.rand(5, 10)).shape
        torch.Size([5, 16])
    """

    centres: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        grid_points: int,
        rank: int,
        *,
        squash: Literal["none", "sigmoid"] = "none",
        outside: KhronosOutside = "constant",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(in_features, out_features, rank) < 1:
            raise ValueError(
                f"Khronos: sizes and rank are positive, got {in_features} -> {out_features} with rank {rank}"
            )
        if grid_points < 2:
            raise ValueError(f"Khronos: grid_points is at least 2, got {grid_points}")
        if squash not in ("none", "sigmoid"):
            raise ValueError(f"Khronos: squash is 'none' or 'sigmoid', got {squash!r}")
        if outside not in get_args(KhronosOutside):
            raise ValueError(f"Khronos: outside is one of {', '.join(get_args(KhronosOutside))}; got {outside!r}")
        self.in_features, self.out_features = in_features, out_features
        self.grid_points, self.rank, self.squash, self.outside = grid_points, rank, squash, outside
        self.weights = nn.Parameter(torch.empty(in_features, grid_points, rank, device=device, dtype=dtype))
        self.scale = nn.Parameter(torch.empty(in_features, device=device, dtype=dtype))
        if generator is None:
            self.readout = nn.Linear(rank, out_features, device=device, dtype=dtype)
        else:  # torch's layer draws start values of its own from the global stream, but none on the meta device
            planned = nn.Linear(rank, out_features, device="meta", dtype=dtype)
            self.readout = planned.to_empty(device=self.weights.device)
        self.register_buffer("centres", torch.empty(grid_points, device=device, dtype=dtype), persistent=False)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the published start values."""
        self.centres.copy_(torch.linspace(0.0, 1.0, self.grid_points, dtype=self.centres.dtype))
        nn.init.normal_(self.weights, 1.0, 0.1, generator=generator)
        nn.init.constant_(self.scale, float(self.grid_points - 1))
        deviation = self.rank**-0.5 / _CUT_NORMAL_DEVIATION
        nn.init.trunc_normal_(
            self.readout.weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
        )
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(..., O)`` for inputs ``(..., d)``.

        Raises:
            ValueError: If the last axis is not d, or the policy is ``error`` and a coordinate lies outside [0, 1].
            TypeError: If the dtype is not the parameters' dtype.
        """
        outputs: Tensor = self.readout(self.modes(x))
        return outputs

    def modes(self, x: Tensor) -> Tensor:
        """The products ``m (..., R)`` before the readout."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"Khronos: expected inputs (..., {self.in_features}), got {tuple(x.shape)}")
        if x.dtype != self.weights.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"Khronos: inputs are {x.dtype}, parameters {self.weights.dtype}; convert one of them")
        if self.squash == "sigmoid":
            x = torch.sigmoid(x)
        elif self.outside == "constant":
            x = x.clamp(0.0, 1.0)
        elif self.outside == "error":
            _refuse_outside(x)
        u = (x[..., None] - self.centres).abs() * self.scale[:, None]
        factors = torch.einsum("...dg,dgr->...dr", quadratic_kernel(u), self.weights)
        return logarithmic_product(factors)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.in_features} -> {self.out_features}, grid_points={self.grid_points}, rank={self.rank}"


def quadratic_kernel(u: Tensor) -> Tensor:
    """The published kernel ``phi(u)``, the quadratic B-spline of unit spacing, of distances ``u >= 0`` in spacings."""
    return torch.where(u < 0.5, 0.75 - u * u, 0.5 * (1.5 - u).clamp(min=0.0).square())


def logarithmic_product(factors: Tensor) -> Tensor:
    """The product of ``factors (..., d, R)`` over the second last axis, with the published guard against zeros.

    The formula's ``parity * exp(sum log(|p| + 1e-9))`` is the product of ``p + 1e-9 sign(p)``. It is taken directly in
    groups of up to four, which float32 holds even if all four factors vanish, and by logarithms over the groups: the
    same number with a quarter of the logarithms. Half precision is computed in float32, where 1e-9 is a number.
    """
    if factors.dtype in (torch.float16, torch.bfloat16):
        return logarithmic_product(factors.float()).to(factors.dtype)
    product = factors + torch.where(factors.detach() < 0, -1e-9, 1e-9)
    for _ in range(2):
        half = product.shape[-2] // 2
        if product.shape[-2] == 2 * half:
            product = product[..., :half, :] * product[..., half:, :]
    odd = (product.detach() < 0).sum(-2).remainder(2)
    return (1 - 2 * odd) * product.abs().log().sum(-2).exp()


def _refuse_outside(x: Tensor) -> None:
    wrong = ~((x >= 0) & (x <= 1))
    if bool(wrong.any()):
        offender = float(x[wrong].flatten()[0])
        raise ValueError(
            f"Khronos: coordinate {offender:g} lies outside [0, 1] and outside='error'; "
            f"{int(wrong.sum())} of {x.numel()} values do"
        )
