"""The lowest Fourier modes of periodic fields, the same numbers on every grid that resolves them.

Fields are ``(..., n_y, n_x)`` or ``(..., n_x)``, modes ``m = (m_y, m_x)`` or ``(m_x,)`` whole periods in the box::

    c(p, q) = 1 / (n_x n_y) sum over points of f(x, y) exp(-2 pi i (p x / l_x + q y / l_y)),   |p| <= m_x, |q| <= m_y

stored ``(..., m_x + 1, 2 m_y + 1)``, p = 0 .. m_x and q = 0 .. m_y, -m_y .. -1, or ``(..., m_x + 1)`` in one
dimension; p < 0 is the complex conjugate. Unlike those of `Grid`, which a solver steps, these hold no zeros, so that
what is done to every mode is done to no more than there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def to_modes(fields: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients of the modes of real fields; what lies above is dropped.

    Raises:
        ValueError: the grid does not resolve the modes: it needs 2 m + 1 points.

    Example:
        >>> wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).expand(12, 16)
        >>> coefficients = to_modes(wave, (4, 5))
        >>> coefficients.shape, round(float(coefficients[3, 0].real), 6)
        (torch.Size([6, 9]), 0.5)
    """
    grid = fields.shape[-len(modes) :]
    if any(n < 2 * m + 1 for n, m in zip(grid, modes, strict=True)):
        raise ValueError(f"fields: expected at least {[2 * m + 1 for m in modes]} points for the modes, got {grid}")
    return _ToModes.apply(fields, tuple(modes))


def to_points(coefficients: Tensor, grid: Sequence[int]) -> Tensor:
    """Real fields ``(..., *grid)`` of coefficients of modes; the grid must have 2 m + 1 points or more.

    Example:
        >>> field = torch.randn(9, 11)  # 2 m + 1 points hold as much as the modes do
        >>> bool(torch.allclose(to_points(to_modes(field, (4, 5)), (9, 11)), field, atol=1e-6))
        True
    """
    return _ToPoints.apply(coefficients, tuple(grid))


def with_modes(coefficients: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients of fewer modes, or of more, which are zero; see `modes` for their order.

    Example:
        >>> c = to_modes(torch.randn(2, 9, 9), (4, 4))
        >>> with_modes(c, (2, 3)).shape, bool((with_modes(with_modes(c, (6, 5)), (4, 4)) == c).all())
        (torch.Size([2, 4, 5]), True)
    """
    fewer = coefficients
    if len(modes) == 2:
        held, wanted = coefficients.shape[-1] // 2, modes[0]
        kept = min(held, wanted)
        zeros = coefficients.new_zeros(()).expand(*coefficients.shape[:-1], 2 * (wanted - kept))
        below = coefficients[..., 2 * held + 1 - kept :]
        fewer = torch.cat([coefficients[..., : kept + 1], zeros, below], -1)
    along = -len(modes)
    missing = modes[-1] + 1 - fewer.shape[along]
    if missing <= 0:
        return fewer.narrow(along, 0, modes[-1] + 1)
    shape = list(fewer.shape)
    shape[along] = missing
    return torch.cat([fewer, fewer.new_zeros(()).expand(shape)], along)


def mean_square(coefficients: Tensor, dimensions: int) -> Tensor:
    """Mean over the box of the square of fields, ``(...)``, from their coefficients (Parseval).

    Example:
        >>> field = torch.randn(9, 11)
        >>> bool(torch.allclose(mean_square(to_modes(field, (4, 5)), 2), field.square().mean()))
        True
    """
    power = torch.view_as_real(coefficients).square().sum(-1)
    by_p = power if dimensions == 1 else power.sum(-1)
    return 2 * by_p.sum(-1) - by_p[..., 0]


def check_gains(gains: Tensor, modes: Sequence[int]) -> None:
    """Refuse what are not positive numbers, one for each mode.

    Raises:
        ValueError: the shape is another one, or a number is not positive and finite.
    """
    wanted = (modes[-1] + 1, *(2 * m + 1 for m in modes[:-1]))
    if tuple(gains.shape) != wanted:
        raise ValueError(f"gains: expected {wanted} for modes {tuple(modes)}, got {tuple(gains.shape)}")
    if not bool((gains.isfinite() & (gains > 0)).all()):
        raise ValueError(
            f"gains: expected positive numbers, got some from {float(gains.min())} to {float(gains.max())}"
        )


def _analysed(fields: Tensor, modes: tuple[int, ...]) -> Tensor:
    if fields.numel() == 0:  # MKL refuses no fields
        shape = [*fields.shape[: -len(modes)], modes[-1] + 1, *(2 * m + 1 for m in modes[:-1])]
        return fields.new_zeros(shape) + 0j
    along_x = torch.fft.rfft(fields, norm="forward")[..., : modes[-1] + 1]
    if len(modes) == 1:
        return along_x.clone()
    both = torch.fft.fft(along_x.transpose(-1, -2), norm="forward")  # along y over contiguous memory is faster
    return torch.cat([both[..., : modes[0] + 1], both[..., fields.shape[-2] - modes[0] :]], -1)


def _synthesised(coefficients: Tensor, grid: tuple[int, ...]) -> Tensor:
    if len(grid) == 1:
        return torch.fft.irfft(coefficients, n=grid[0], norm="forward")
    n_y, n_x = grid
    width = coefficients.shape[-1]
    zeros = coefficients.new_zeros(()).expand(*coefficients.shape[:-1], n_y - width)
    padded = torch.cat([coefficients[..., : width // 2 + 1], zeros, coefficients[..., width // 2 + 1 :]], -1)
    return torch.fft.irfft(torch.fft.ifft(padded, norm="forward").transpose(-1, -2), n=n_x, norm="forward")


def _weighted(coefficients: Tensor, single: float, double: float, dimensions: int) -> Tensor:
    """Coefficients of p = 0, which stand for one mode, and of p > 0, which stand for two, times a number each."""
    weights = coefficients.real.new_full((coefficients.shape[-dimensions], *[1] * (dimensions - 1)), double)
    weights[0] = single
    return coefficients * weights


class _ToModes(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(fields: Tensor, modes: tuple[int, ...]) -> Tensor:
        return _analysed(fields, modes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        fields, modes = inputs
        ctx.grid = tuple(fields.shape[-len(modes) :])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        share = 1 / math.prod(ctx.grid)
        return to_points(_weighted(slope, share, share / 2, len(ctx.grid)), ctx.grid), None


class _ToPoints(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(coefficients: Tensor, grid: tuple[int, ...]) -> Tensor:
        return _synthesised(coefficients, grid)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        coefficients, grid = inputs
        ctx.points = math.prod(grid)
        ctx.modes = (
            (coefficients.shape[-1] // 2, coefficients.shape[-2] - 1)
            if len(grid) == 2
            else (coefficients.shape[-1] - 1,)
        )

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return _weighted(to_modes(slope, ctx.modes), ctx.points, 2.0 * ctx.points, len(ctx.modes)), None
