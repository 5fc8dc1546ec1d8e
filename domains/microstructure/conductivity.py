"""Effective conductivity of two-phase cells (heat, electricity, diffusion, permittivity: the same equation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.homogenisation import homogenise
from domains.microstructure.phases import checked_cells, phase_shares
from domains.microstructure.voxel_elements import affine_corners, centre_gradient, element_matrix, to_elements


@dataclass(frozen=True)
class ConductionFields:
    """Local fields under a unit mean gradient along each coordinate.

    Attributes:
        gradient: ``(B, d, d, n_1, ..., n_d)``: load, component, voxel; the mean over each voxel.
        flux: same shape, conductivity times gradient (the sign of the gradient, not of the heat flow).
    """

    gradient: Tensor
    flux: Tensor


def effective_conductivity(
    cells: Tensor,
    conductivities: tuple[float, float],
    *,
    penalty: float = 1.0,
    tolerance: float | None = None,
    max_iterations: int = 2000,
) -> Tensor:
    """Effective conductivity tensors of periodic two-phase cells.

    Args:
        cells: ``(B, n_1, ..., n_d)``, d = 2 or 3; see :mod:`domains.microstructure.phases`.
        conductivities: of phase 0 and of phase 1, in any one unit; positive, tested to a ratio of 1000.
        penalty: exponent of grey voxels, see :func:`phases.phase_shares`.
        tolerance: of the solver, see :func:`homogenisation.homogenise`.
        max_iterations: of the solver.

    Returns:
        ``(B, d, d)`` in the unit of the conductivities, symmetric positive definite, differentiable in ``cells``.
        The finite elements never underestimate: the tensor falls towards its limit as voxels are refined.

    Raises:
        ValueError: bad cells, conductivities or tolerance.
        NotConverged: the solver used up its iterations.

    Example:
        Layers across x: harmonic mean along x, arithmetic mean along y.

        >>> effective_conductivity(torch.tensor([[[1, 1], [0, 0]]]), (1.0, 3.0))
        tensor([[[1.5000, 0.0000],
                 [0.0000, 2.0000]]], dtype=torch.float64)
    """
    return conduction(
        cells, conductivities, penalty=penalty, tolerance=tolerance, max_iterations=max_iterations, fields=False
    )[0]


def conduction(
    cells: Tensor,
    conductivities: tuple[float, float],
    *,
    penalty: float = 1.0,
    tolerance: float | None = None,
    max_iterations: int = 2000,
    fields: bool = True,
) -> tuple[Tensor, ConductionFields | None]:
    """Effective conductivity and, if ``fields``, the local fields; arguments as :func:`effective_conductivity`.

    Example:
        >>> effective, local = conduction(torch.tensor([[[1, 1], [0, 0]]]), (1.0, 3.0))
        >>> local.flux[0, 0, 0]
        tensor([[1.5000, 1.5000],
                [1.5000, 1.5000]], dtype=torch.float64)
    """
    cells = checked_cells(cells)
    if len(conductivities) != 2 or not all(np.isfinite(k) and k > 0 for k in conductivities):
        raise ValueError(f"conductivities: expected two positive numbers, got {conductivities}")
    dimensions = cells.ndim - 1
    unit = element_matrix(np.eye(dimensions)[None, :, None, :])
    elements = torch.stack([k * unit for k in conductivities])
    loads = affine_corners(np.eye(dimensions)[:, None, :])
    shares = phase_shares(cells, penalty)
    solved = homogenise(shares, elements, loads, tolerance=tolerance, max_iterations=max_iterations)
    if not fields:
        return solved.effective, None
    total = to_elements(solved.fluctuation, dimensions) + loads.to(cells)[:, :, None]
    gradient = (centre_gradient(1, dimensions).to(cells) @ total).unflatten(-1, cells.shape[1:])
    local = torch.einsum("p,bp...->b...", torch.tensor(conductivities, dtype=torch.float64).to(cells), shares.detach())
    return solved.effective, ConductionFields(gradient, local[:, None, None] * gradient)
