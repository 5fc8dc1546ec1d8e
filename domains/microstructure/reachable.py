"""What no cell of two given phases can have: the bounds that a design target is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from domains.microstructure.materials import Materials
from domains.microstructure.permeability import permeability
from domains.microstructure.properties import read_properties


def require_reachable(
    targets: Mapping[str, float], materials: Materials, size: Sequence[int], fraction: float | None = None
) -> None:
    """Refuse targets that no cell of these phases can have.

    Args:
        targets: wanted value of each named property.
        materials: the phases.
        size: voxels along each axis.
        fraction: volume fraction of phase 1, where it is fixed.

    Raises:
        ValueError: no target, an unknown property, or a value outside `physical_bounds`, which are named.

    Example:
        >>> require_reachable({"conductivity_xx": 0.4}, Materials(), (8, 8))
    """
    if not targets:
        raise ValueError("targets: expected the wanted value of one property or more, got none")
    where = "" if fraction is None else f" at a volume fraction of {fraction:g}"
    for name, value in targets.items():
        low, high = physical_bounds(name, materials, size, fraction)
        if not (low <= value <= high and value > 0):
            raise ValueError(f"{name}: no cell of these phases{where} has {value:g}; bounds are {low:g} to {high:g}")


def physical_bounds(
    name: str, materials: Materials, size: Sequence[int], fraction: float | None = None
) -> tuple[float, float]:
    """Least and greatest value of a property that any cell of these phases can have (Voigt and Reuss).

    Young's and shear moduli follow from the order of the stiffness matrices: Reuss <= C <= Voigt.  Without a volume
    fraction they are the least and greatest over all; a mixture of phases that differ in Poisson's ratio can be stiffer
    than both.  More solid never lets more through, so the greatest permeability, in voxels^2, is that of a cell with
    one solid voxel, which is solved for once for each size.

    Example:
        >>> physical_bounds("conductivity_xx", Materials(conductivities=(1.0, 3.0)), (8, 8), 0.5)
        (1.5, 2.0)
    """
    return _bounds(name, materials, tuple(size), fraction)


@lru_cache(maxsize=256)
def _bounds(name: str, materials: Materials, size: tuple[int, ...], fraction: float | None) -> tuple[float, float]:
    shares = [(1 - f, f) for f in ([0.0, 1.0] if fraction is None else [fraction])]
    if name == "volume_fraction":
        return 0.0, 1.0
    if name.startswith("conductivity"):
        if materials.conductivities is None:
            raise ValueError(f"{name}: these cells have no conductivity")
        first, second = materials.conductivities
        pairs = [(1 / (a / first + b / second), a * first + b * second) for a, b in shares]
    elif name.startswith("permeability"):
        return 0.0, float(read_properties({"permeability": _one_voxel(tuple(size))}, [name]))
    else:
        dimensions = len(size)
        stiff = [material.stiffness(dimensions) for material in materials.elastic()]
        soft = [np.linalg.inv(c) for c in stiff]
        pairs = []
        for a, b in shares:
            reuss, voigt = np.linalg.inv(a * soft[0] + b * soft[1]), a * stiff[0] + b * stiff[1]
            pairs.append((_modulus(reuss, name), _modulus(voigt, name)))
        if fraction is None:  # the upper bound is concave in the fraction, the inverse of the lower one linear
            best = minimize_scalar(
                lambda b: -_modulus((1 - b) * stiff[0] + b * stiff[1], name), bounds=(0.0, 1.0), method="bounded"
            )
            pairs.append((pairs[0][0], -float(best.fun)))
    return min(low for low, _ in pairs), max(high for _, high in pairs)


def _modulus(stiffness: NDArray[Any], name: str) -> float:
    return float(read_properties({"stiffness": torch.from_numpy(stiffness)[None]}, [name]))


@lru_cache(maxsize=16)
def _one_voxel(size: tuple[int, ...]) -> Tensor:
    """Permeability ``(1, d, d)`` of a cell with one solid voxel, voxels^2."""
    cell = torch.zeros(size, dtype=torch.float64)
    cell[(0,) * len(size)] = 1.0
    return permeability(cell, voxel=1.0, tolerance=1e-4)[None]
