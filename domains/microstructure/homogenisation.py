r"""Effective properties of periodic voxel cells: finite elements, conjugate gradients, a Green operator by FFT.

The cell is a periodic grid of N voxels, each a linear finite element (:mod:`voxel_elements`) with the stiffness
sum_p w_p K_p: w_p is the share of phase p in the voxel.  Under a mean gradient i, whose affine field has the nodal
values l_i in a voxel, the periodic fluctuation u_i minimises the energy

    E_i(u) = 1/2 sum_voxels (l_i + u)^T K (l_i + u),        effective_ij = 1/N sum_voxels (l_i + u_i)^T K (l_j + u_j).

K is symmetric positive semi-definite, so conjugate gradients find u_i.  They are preconditioned with the inverse of
the same finite elements filled with the mean material, which is diagonal in Fourier space; the number of iterations
is then bounded by the contrast and does not grow with the grid (Ladecky et al. 2022, "Optimal FFT-accelerated finite
element solver for homogenization", sec. 3).

Two consequences are used.  The energy is quadratic about its minimum, so an error e in u leaves only e^2 in the
effective tensor; and its derivative with respect to a voxel's share needs no second solve, since u_i is stationary:
d effective_ij / d w_p = 1/N (l_i + u_i)^T K_p (l_j + u_j).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from domains.microstructure.first_derivative import guarded
from domains.microstructure.voxel_elements import stencil_symbol, to_elements, to_nodes

# A batch is solved in pieces whose element vectors take about this many bytes: larger ones leave the cache of a CPU
# and were measured to take twice as long per cell.
_CPU_WORKING_SET = 1 << 21


class NotConverged(RuntimeError):
    """The iterative solver used up its iterations; the message says how far it came."""


@dataclass(frozen=True)
class Homogenised:
    """Outcome of :func:`homogenise` for B cells and L loads.

    Attributes:
        effective: ``(B, L, L)``, symmetric positive definite; differentiable in the shares.
        fluctuation: ``(B, L, c, n_1, ..., n_d)``, periodic nodal values with mean zero, for voxels of edge 1.
        iterations: conjugate-gradient iterations of the slowest cell.
    """

    effective: Tensor
    fluctuation: Tensor
    iterations: int


def homogenise(
    shares: Tensor, elements: Tensor, loads: Tensor, *, tolerance: float | None = None, max_iterations: int = 2000
) -> Homogenised:
    """Effective tensor of periodic cells whose voxels mix the given elements.

    Args:
        shares: ``(B, P, n_1, ..., n_d)``, share of each of P phases in each voxel; float32 or float64, any device.
        elements: ``(P, c 2^d, c 2^d)`` element matrices, each positive semi-definite with the rigid motions as its
            null space.
        loads: ``(L, c 2^d)`` nodal values of the affine fields, see :func:`voxel_elements.affine_corners`.
        tolerance: relative error of the fluctuation, measured by the preconditioned residual; by default 1e-6 in
            float64 and 1e-4 in float32. It leaves its square times at most about the contrast in the effective tensor,
            and rounding leaves about 1e-5 in float32.
        max_iterations: at most so many iterations.

    Raises:
        ValueError: a tolerance that is not from 0 to below 1, with which the loop would end at once.
        NotConverged: with the residual reached.

    Example:
        >>> import numpy as np
        >>> from domains.microstructure.voxel_elements import affine_corners, element_matrix
        >>> unit = element_matrix(np.eye(2)[None, :, None, :])
        >>> layers = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        >>> shares = torch.stack([layers, 1 - layers])[None]
        >>> homogenise(shares, torch.stack([unit, 3 * unit]), affine_corners(np.eye(2)[:, None, :])).effective
        tensor([[[2.0000, 0.0000],
                 [0.0000, 1.5000]]], dtype=torch.float64)
    """
    if tolerance is None:
        tolerance = 1e-6 if shares.dtype == torch.float64 else 1e-4
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance: expected a number from 0 to below 1, got {tolerance}")
    elements, loads = elements.to(shares), loads.to(shares)
    effective, fluctuation, iterations = _Homogenise.apply(shares, elements, loads, tolerance, max_iterations)
    return Homogenised(effective, fluctuation, iterations)


class _Homogenise(torch.autograd.Function):
    """The solve, and its derivative in the shares at the cost of one operator per load."""

    @staticmethod
    def forward(
        ctx: Any, shares: Tensor, elements: Tensor, loads: Tensor, tolerance: float, max_iterations: int
    ) -> tuple[Tensor, Tensor, int]:
        green = _green_operator(elements, tuple(shares.shape[2:]))
        per_load = loads.shape[1] * len(elements) * shares[0, 0].numel() * shares.element_size()
        cells, together = len(shares), len(loads)
        if shares.device.type == "cpu":
            cells = max(1, _CPU_WORKING_SET // (per_load * len(loads)))
            together = min(len(loads), max(1, _CPU_WORKING_SET // per_load))
        effective, fluctuations, iterations = [], [], 0
        for piece in shares.split(cells):
            parts = [_solve(piece, elements, part, green, tolerance, max_iterations) for part in loads.split(together)]
            fluctuation = torch.cat([part[0] for part in parts], 1)
            nodal, mean = torch.cat([part[1] for part in parts], 1), torch.cat([part[2] for part in parts], 1)
            iterations = max(iterations, *(part[3] for part in parts))
            # (l_i + u_i) . K (l_j + u_j), the sum over voxels taken at the nodes for u_i.
            energy = torch.einsum("bix,bjx->bij", fluctuation.flatten(2), nodal.flatten(2)) / nodal[0, 0, 0].numel()
            energy = energy + torch.einsum("im,bjm->bij", loads, mean)
            effective.append((energy + energy.mT) / 2)
            fluctuations.append(fluctuation)
        fluctuation = torch.cat(fluctuations)
        ctx.save_for_backward(shares, elements, loads, fluctuation)
        ctx.mark_non_differentiable(fluctuation)
        return torch.cat(effective), fluctuation, iterations

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None, None]:
        shares, elements, loads, fluctuation = ctx.saved_tensors
        dimensions, voxels = shares.ndim - 2, shares[0, 0].numel()
        sensitivity = torch.zeros_like(shares).flatten(2)
        gradient = gradients[0].detach()
        for cell, weights in enumerate((gradient + gradient.mT) / 2):
            for load, row in enumerate(weights):
                total = _differences(fluctuation[cell, load], dimensions) + loads[load, :, None]
                mixed = _differences(torch.tensordot(row, fluctuation[cell], 1), dimensions) + (row @ loads)[:, None]
                for phase, element in enumerate(elements):
                    sensitivity[cell, phase] += (mixed * (element @ total)).sum(0) / voxels
        return guarded(sensitivity.reshape(shares.shape), shares), None, None, None, None


def _differences(field: Tensor, dimensions: int) -> Tensor:
    """Corner values as :func:`to_elements`, less those of the voxel's first corner.

    Elements do not feel the difference, but rounding does: displacements grow with the grid while their differences do
    not. In float32 and at a contrast of 1000 it is the difference between 1e-5 and 1e-3 in the effective tensor.
    """
    values = to_elements(field, dimensions)
    corners = values.unflatten(-2, (2**dimensions, -1))
    corners -= corners[..., :1, :, :].clone()
    return values


def _green_operator(elements: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Inverse symbol ``(c, c, frequencies)`` of the grid filled with the mean of the phases; zero at frequency zero."""
    components = elements.shape[1] // 2 ** len(shape)
    symbol = stencil_symbol(elements.mean(0).cpu(), shape, components).movedim((0, 1), (-2, -1)).contiguous()
    zero = (0,) * len(shape)
    symbol[zero] = torch.eye(components, dtype=symbol.dtype)
    green = torch.linalg.inv(symbol)
    green[zero] = 0
    return green.movedim((-2, -1), (0, 1)).contiguous().to(elements)


def _solve(
    shares: Tensor, elements: Tensor, loads: Tensor, green: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Conjugate gradients for every cell and load at once.

    Returns the fluctuation ``(B, L, c, ...)``, the nodal forces that are left ``(B, L, c, ...)``, the mean element
    force ``(B, L, m)``, and the number of iterations.
    """
    shape = tuple(shares.shape[2:])
    dimensions, components = len(shape), len(green)
    axes = tuple(range(-dimensions, 0))
    weights = shares.flatten(2)[:, None, :, None, :]  # (B, 1, P, 1, N)
    side_by_side = torch.cat(list(elements), 1)  # (m, P m): one product applies every phase's element

    def stress(strained: Tensor) -> Tensor:
        return side_by_side @ (weights * strained[:, :, None]).flatten(2, 3)

    def preconditioned(residual: Tensor) -> Tensor:
        transformed = torch.fft.rfftn(residual, dim=axes)
        if components == 1:
            return torch.fft.irfftn(green[0, 0] * transformed, s=shape, dim=axes)
        parts = transformed.unbind(-dimensions - 1)
        rows = [sum(g * part for g, part in zip(row, parts, strict=True)) for row in green]
        return torch.fft.irfftn(torch.stack(rows, -dimensions - 1), s=shape, dim=axes)

    def dot(first: Tensor, second: Tensor) -> Tensor:
        product = (first.flatten(2) * second.flatten(2)).sum(-1)
        return product.reshape(*product.shape, *[1] * (dimensions + 1))

    affine = loads[None, :, :, None].expand(len(shares), -1, -1, weights.shape[-1])
    residual = -to_nodes(stress(affine), shape)
    fluctuation = torch.zeros_like(residual)
    direction = preconditioned(residual)
    size = dot(residual, direction)
    # A load that the cell answers without any fluctuation (a uniform cell) leaves only rounding here.
    rounding = torch.finfo(size.dtype).eps ** 2 * dot(affine, stress(affine))
    goal = torch.maximum(tolerance**2 * size, rounding)
    tiny = torch.finfo(size.dtype).tiny
    iterations = 0
    while bool((size > goal).any()):
        if iterations == max_iterations:
            worst = float((size / goal).max().sqrt()) * tolerance
            raise NotConverged(
                f"conjugate gradients: relative residual {worst:.1e} after {max_iterations} iterations, wanted "
                f"{tolerance:.1e}; a lower contrast, a larger tolerance or more iterations helps"
            )
        force = to_nodes(stress(_differences(direction, dimensions)), shape)
        # What is solved to rounding stays as it is while others of the batch go on: there the quotients are 0 / 0.
        going = size > rounding
        step = torch.where(going, size / dot(direction, force).clamp_min(tiny), 0.0)
        fluctuation = fluctuation + step * direction
        residual = residual - step * force
        smoothed = preconditioned(residual)
        following = dot(residual, smoothed)
        direction = torch.where(going, smoothed + following / size.clamp_min(tiny) * direction, direction)
        size = following
        iterations += 1
    force = stress(_differences(fluctuation, dimensions) + affine)
    return fluctuation, to_nodes(force, shape), force.mean(-1), iterations
