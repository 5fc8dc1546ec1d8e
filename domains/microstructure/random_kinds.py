"""The generators that data sets of random cells draw from, each with what it draws its options by."""

from collections.abc import Callable
from typing import Any

import numpy as np


def _spinodal(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"wavelength": spacing, "bandwidth": 0.2}


def _spinodoid(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    angles = np.zeros(3)
    angles[rng.permutation(dimensions)[: rng.integers(1, dimensions + 1)]] = rng.uniform(25, 50)
    return {"wavelength": spacing, "bandwidth": 0.2, "angles": tuple(angles.tolist())}


def _gaussian(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    stretch = np.exp(rng.normal(0, 0.3, dimensions))
    return {"length": tuple((spacing / 4 * stretch).tolist()), "angle": float(rng.uniform(0, 180))}


def _spheres(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"radius": spacing / 2, "phase": int(rng.integers(2))}


def _foam(rng: np.random.Generator, spacing: float, dimensions: int) -> dict[str, Any]:
    return {"phase": int(rng.integers(2))}


# Options of a generator, from a source of random numbers, a spacing in voxels and a number of dimensions.
RANDOM_KINDS: dict[str, Callable[[np.random.Generator, float, int], dict[str, Any]]] = {
    "spinodal": _spinodal,
    "spinodoid": _spinodoid,
    "gaussian": _gaussian,
    "overlapping_spheres": _spheres,
    "voronoi_foam": _foam,
}
