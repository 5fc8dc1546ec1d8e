"""Products over coordinates of sums of quadratic splines, without storing the factors.

For H heads, n points with d coordinates ``t`` in [0, 1], E kernels a coordinate at ``g / (E - 1)`` and R products:

    phi_g(t)    = phi(|t (E - 1) - g|),   phi(u) = 3/4 - u^2 for u < 1/2, (3/2 - u)^2 / 2 for u < 3/2, else 0
    p_(h,j,n,r) = sum_g phi_g(t_(h,j,n)) / S(t_(h,j,n)) (1 + Delta_(h,j,g,r)),     S(t) = sum_g phi_g(t)
    M_(h,n,r)   = prod_j p_(h,j,n,r)                                               t (H, d, n), Delta (H, d, E, R)

The factors p are d times as many as the products, and what is done to them passes through memory, not through the
arithmetic units. So a head takes some points at a time, which stay in the cache: three kernels a coordinate are placed
among E + 2 (one beyond each end, with no weight, so that none has to be asked for), one matrix product makes the
factors, and they are multiplied by halves. The backward pass makes them anew and goes down the halves again: no
logarithm, no division, exact where a factor is zero.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from separable.layers.derivatives import of_plain, plain_gradient, transformed
from separable.layers.khronos import quadratic_kernel

_NUMBERS = 2**19  # factors at a time on a CPU: 2 MiB in float32 (half and twice as many differ by a tenth)


def spline_products(position: Tensor, deltas: Tensor, rows: int | None = None) -> Tensor:
    """The products M.

    Second derivatives, torch.func and torch.compile (in checkpoints) take the formula as it stands, `plain_products`.

    Args:
        position: t ``(H, d, n)``.
        deltas: Delta ``(H, d, E, R)``; half precision, and autocast, are computed in float32.
        rows: Points at a time, by default as many as suit the device; each takes about 16 d R bytes in float32.

    Returns:
        ``(H, n, R)``, in the type of the position.

    Example:
        >>> position, deltas = torch.full((1, 2, 1), 0.5), torch.tensor([0.0, 1.0, 3.0]).expand(1, 2, 3)[..., None]
        >>> spline_products(position, deltas)  # (1/8 * 1 + 3/4 * 2 + 1/8 * 4)^2
        tensor([[[4.5156]]])
    """
    if rows is None:
        numbers = _NUMBERS if position.device.type == "cpu" else 64 * _NUMBERS
        rows = max(1, numbers // max(1, deltas.shape[1] * deltas.shape[3]))
    if transformed(position, deltas):
        return plain_products(position, deltas)  # checkpoints and torch.func do not go together
    if torch.compiler.is_compiling():
        parts = torch.split(position, rows, -1)
        return torch.cat([checkpoint(plain_products, part, deltas, use_reentrant=False) for part in parts], 1)
    return _Products.apply(position, deltas, rows)  # type: ignore[no-any-return, no-untyped-call]


def plain_products(position: Tensor, deltas: Tensor) -> Tensor:
    """The formula of `spline_products`, all factors at once."""
    with _no_autocast(position.device):
        wide = torch.promote_types(position.dtype, torch.float32)
        kernels = deltas.shape[-2]
        grid = torch.arange(kernels, device=position.device, dtype=wide)
        basis = quadratic_kernel((position.to(wide)[..., None] * (kernels - 1) - grid).abs())
        factors = basis / basis.sum(-1, keepdim=True) @ (1 + deltas.to(wide))
        return factors.prod(1).to(position.dtype)


class _Products(torch.autograd.Function):
    """`plain_products`, a head and some points at a time."""

    @staticmethod
    def forward(ctx: Any, position: Tensor, deltas: Tensor, rows: int) -> Tensor:
        """Products ``(H, n, R)``."""
        ctx.save_for_backward(position, deltas)
        ctx.rows = rows
        heads, _, count = position.shape
        products = position.new_empty(heads, count, deltas.shape[-1])
        with _no_autocast(position.device):
            for head in range(heads):
                weights = _weights(deltas[head], position.dtype)
                for some in _slices(count, rows):
                    splines = _Splines(position[head, :, some].to(weights.dtype), len(weights[0]))
                    products[head, some] = _levels(torch.bmm(splines.basis, weights))[-1][0]
        return products

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for positions and deltas."""
        position, deltas = ctx.saved_tensors
        if of_plain(slope):
            return (*plain_gradient(plain_products, (position, deltas), ctx.needs_input_grad[:2], slope), None)
        by_position, by_deltas = torch.empty_like(position), torch.empty_like(deltas)
        with _no_autocast(position.device):
            for head in range(len(position)):
                weights = _weights(deltas[head], position.dtype)
                by_weights = torch.zeros_like(weights)
                for some in _slices(position.shape[-1], ctx.rows):
                    splines = _Splines(position[head, :, some].to(weights.dtype), len(weights[0]))
                    levels = _levels(torch.bmm(splines.basis, weights))
                    by_factors = _down(levels, slope[head, some].to(weights.dtype))
                    by_weights.baddbmm_(splines.basis.transpose(1, 2), by_factors)
                    by_basis = torch.bmm(by_factors, weights.transpose(1, 2))
                    by_position[head, :, some] = splines.slope_for_position(by_basis)
                by_deltas[head] = by_weights[:, 1:-1]
        return by_position, by_deltas, None


class _Splines:
    """The three normalised kernels at each point ``(d, n)``, among E + 2 of which the outer two have no weight."""

    def __init__(self, position: Tensor, kernels: int) -> None:
        self.spacings = kernels - 3  # E - 1
        scaled = position * self.spacings
        nearest = scaled.round()
        offset = scaled - nearest
        left, right = 0.5 - offset, 0.5 + offset
        # All kernels of the line sum to one; those that lie beyond the ends are missing.
        below, above = (0.5 - scaled).clamp_(min=0), (scaled - (self.spacings - 0.5)).clamp_(min=0)
        self.sum, self.slope_of_sum = 1 - 0.5 * (below.square() + above.square()), below - above
        self.alive = torch.stack([0.5 * left.square(), 0.75 - offset.square(), 0.5 * right.square()], -1)
        self.alive /= self.sum[..., None]
        self.slopes = -left, -2 * offset, right
        self.place = nearest.long()[..., None] + torch.arange(3, device=position.device)
        self.basis = scaled.new_zeros(*scaled.shape, kernels).scatter_(-1, self.place, self.alive)

    def slope_for_position(self, by_basis: Tensor) -> Tensor:
        """The gradient ``(d, n)`` for positions, from that for the basis ``(d, n, E + 2)``."""
        by_alive = by_basis.gather(-1, self.place)
        by_kernel = sum(by * own for by, own in zip(by_alive.unbind(-1), self.slopes, strict=True))
        by_sum = (by_alive * self.alive).sum(-1)
        found: Tensor = (by_kernel - by_sum * self.slope_of_sum).div_(self.sum).mul_(self.spacings)
        return found


def _no_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _weights(deltas: Tensor, dtype: torch.dtype) -> Tensor:
    """``1 + Delta (d, E + 2, R)`` of a head, no weight at the ends, in at least float32."""
    return pad(1 + deltas.to(torch.promote_types(dtype, torch.float32)), (0, 0, 1, 1))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _levels(factors: Tensor) -> list[Tensor]:
    """Factors ``(d, n, R)``, the products of their halves, and so on down to one; an odd one out is carried along."""
    levels = [factors]
    while len(levels[-1]) > 1:
        level, half = levels[-1], len(levels[-1]) // 2
        product = level[:half] * level[half : 2 * half]
        levels.append(torch.cat([product, level[2 * half :]]) if len(level) % 2 else product)
    return levels


def _down(levels: list[Tensor], slope: Tensor) -> Tensor:
    """The gradient ``(d, n, R)`` for the factors, from that for their product ``(n, R)``."""
    found = slope[None]
    for level in reversed(levels[:-1]):
        half, above = len(level) // 2, found
        found = torch.empty_like(level)
        torch.mul(above[:half], level[half : 2 * half], out=found[:half])
        torch.mul(above[:half], level[:half], out=found[half : 2 * half])
        found[2 * half :] = above[half:]
    return found
