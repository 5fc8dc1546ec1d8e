"""Effective stiffness of two-phase cells in small strain, and the engineering constants in it.

Voigt order: xx, yy, xy in two dimensions and xx, yy, zz, yz, xz, xy in three, with engineering shear strains
(gamma = 2 epsilon), so that stress = stiffness strain and energy = strain . stress / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.homogenisation import homogenise
from domains.microstructure.phases import checked_cells, phase_shares
from domains.microstructure.voxel_elements import affine_corners, centre_gradient, element_matrix, to_elements

VOIGT = {2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}


@dataclass(frozen=True)
class Material:
    """An isotropic linear elastic phase.

    Attributes:
        young: Young's modulus, in any one unit; positive.
        poisson: Poisson's ratio, between -1 and 0.5, both excluded.
        plane: what a two-dimensional cell stands for: ``"strain"`` (long in z) or ``"stress"`` (a thin sheet).
    """

    young: float
    poisson: float
    plane: str = "strain"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.young) and self.young > 0):
            raise ValueError(f"young: expected a positive number, got {self.young}")
        if not -1 < self.poisson < 0.5:
            raise ValueError(f"poisson: expected a number between -1 and 0.5, got {self.poisson}")
        if self.plane not in ("strain", "stress"):
            raise ValueError(f"plane: expected 'strain' or 'stress', got {self.plane!r}")

    def modulus(self, dimensions: int) -> np.ndarray:
        """Stiffness as a tensor ``(d, d, d, d)``, stress_ia = sum_jb modulus[i, a, j, b] du_j/dx_b.

        Example:
            >>> float(Material(1.0, 0.0).modulus(3)[0, 1, 0, 1])
            0.5
        """
        shear = self.young / (2 * (1 + self.poisson))
        lame = self.young * self.poisson / ((1 + self.poisson) * (1 - 2 * self.poisson))
        if dimensions == 2 and self.plane == "stress":
            lame = 2 * lame * shear / (lame + 2 * shear)
        one = np.eye(dimensions)
        symmetric = np.einsum("ij,ab->iajb", one, one) + np.einsum("ib,aj->iajb", one, one)
        return lame * np.einsum("ia,jb->iajb", one, one) + shear * symmetric

    def stiffness(self, dimensions: int) -> np.ndarray:
        """Stiffness in Voigt form, ``(3, 3)`` or ``(6, 6)``.

        Example:
            >>> Material(1.0, 0.0).stiffness(2).diagonal().tolist()
            [1.0, 1.0, 0.5]
        """
        tensor = self.modulus(dimensions)
        return np.array([[tensor[i, a, j, b] for j, b in VOIGT[dimensions]] for i, a in VOIGT[dimensions]])


@dataclass(frozen=True)
class ElasticFields:
    """Local fields under a unit mean strain in each Voigt component (unit engineering shear for the shear loads).

    Attributes:
        strain: ``(B, V, V, n_1, ..., n_d)``: load, Voigt component, voxel; the mean over each voxel.
        stress: same shape.
    """

    strain: Tensor
    stress: Tensor


def effective_stiffness(
    cells: Tensor,
    materials: tuple[Material, Material],
    *,
    penalty: float = 1.0,
    tolerance: float | None = None,
    max_iterations: int = 2000,
) -> Tensor:
    """Effective stiffness tensors of periodic two-phase cells, in small strain.

    Args:
        cells: ``(B, n_1, ..., n_d)``, d = 2 or 3; see :mod:`domains.microstructure.phases`.
        materials: of phase 0 and of phase 1; tested to a ratio of 1000 between their moduli.
        penalty: exponent of grey voxels, see :func:`phases.phase_shares`.
        tolerance: of the solver, see :func:`homogenisation.homogenise`.
        max_iterations: of the solver.

    Returns:
        ``(B, V, V)`` with V = 3 or 6 in the unit of the moduli, symmetric positive definite, differentiable in
        ``cells``.  The finite elements never underestimate it.

    Raises:
        ValueError: bad cells, materials or tolerance.
        NotConverged: the solver used up its iterations.

    Example:
        >>> layers = torch.tensor([[[1, 1], [0, 0]]])
        >>> effective_stiffness(layers, (Material(1.0, 0.0), Material(3.0, 0.0)))[0].diagonal()
        tensor([1.5000, 2.0000, 0.7500], dtype=torch.float64)
    """
    return elastic_response(
        cells, materials, penalty=penalty, tolerance=tolerance, max_iterations=max_iterations, fields=False
    )[0]


def elastic_response(
    cells: Tensor,
    materials: tuple[Material, Material],
    *,
    penalty: float = 1.0,
    tolerance: float | None = None,
    max_iterations: int = 2000,
    fields: bool = True,
) -> tuple[Tensor, ElasticFields | None]:
    """Effective stiffness and, if ``fields``, the local fields; arguments as :func:`effective_stiffness`.

    The local field under another mean strain is the sum of these, weighted with its Voigt components.

    Example:
        >>> layers = torch.tensor([[[1, 1], [0, 0]]])
        >>> _, local = elastic_response(layers, (Material(1.0, 0.0), Material(3.0, 0.0)))
        >>> local.stress[0, 0, 0]
        tensor([[1.5000, 1.5000],
                [1.5000, 1.5000]], dtype=torch.float64)
    """
    cells = checked_cells(cells)
    if len(materials) != 2 or not all(isinstance(material, Material) for material in materials):
        raise TypeError(f"materials: expected two of Material, got {materials}")
    dimensions = cells.ndim - 1
    if dimensions == 2 and materials[0].plane != materials[1].plane:
        raise ValueError(f"materials: expected both in plane strain or both in plane stress, got {materials}")
    elements = torch.stack([element_matrix(material.modulus(dimensions)) for material in materials])
    loads = affine_corners(_unit_strains(dimensions))
    shares = phase_shares(cells, penalty)
    solved = homogenise(shares, elements, loads, tolerance=tolerance, max_iterations=max_iterations)
    if not fields:
        return solved.effective, None
    total = to_elements(solved.fluctuation, dimensions) + loads.to(cells)[:, :, None]
    to_strain = torch.from_numpy(_voigt_of_gradient(dimensions)) @ centre_gradient(dimensions, dimensions)
    strain = (to_strain.to(cells) @ total).unflatten(-1, cells.shape[1:])
    stiffness = torch.from_numpy(np.stack([material.stiffness(dimensions) for material in materials])).to(cells)
    stress = torch.einsum("bp...,pvw,blw...->blv...", shares.detach(), stiffness, strain)
    return solved.effective, ElasticFields(strain, stress)


def young_moduli(stiffness: Tensor) -> Tensor:
    """Young's moduli along the coordinates, ``(..., d)``: the stress over the strain when pulled along one of them.

    In two dimensions it is the modulus in the plane that the stiffness describes (plane strain or plane stress).

    Example:
        >>> young_moduli(torch.from_numpy(Material(2.0, 0.3).stiffness(3)))
        tensor([2.0000, 2.0000, 2.0000], dtype=torch.float64)
    """
    dimensions = {3: 2, 6: 3}[stiffness.shape[-1]]
    return 1 / torch.linalg.inv(stiffness).diagonal(dim1=-2, dim2=-1)[..., :dimensions]


def _unit_strains(dimensions: int) -> np.ndarray:
    """Displacement gradients ``(V, d, d)`` of a unit strain in each Voigt component."""
    gradients = np.zeros((len(VOIGT[dimensions]), dimensions, dimensions))
    for load, (i, j) in enumerate(VOIGT[dimensions]):
        gradients[load, i, j] += 0.5
        gradients[load, j, i] += 0.5
    return gradients


def _voigt_of_gradient(dimensions: int) -> np.ndarray:
    """Map ``(V, d d)`` from a displacement gradient to Voigt strains."""
    rows = np.zeros((len(VOIGT[dimensions]), dimensions, dimensions))
    for row, (i, j) in zip(rows, VOIGT[dimensions], strict=True):
        row[i, j] = row[j, i] = 1.0
    return rows.reshape(len(rows), -1)
