r"""Cells bounded by triply periodic surfaces, as level sets of trigonometric sums.

With X = 2 pi r_1 x_1 / n_1 (Y, Z alike; r repeats along an axis, x at voxel centres):

    gyroid      sin X cos Y + sin Y cos Z + sin Z cos X
    schwarz_p   cos X + cos Y + cos Z
    diamond     sin X sin Y sin Z + sin X cos Y cos Z + cos X sin Y cos Z + cos X cos Y sin Z
    i_wp        2 (cos X cos Y + cos Y cos Z + cos Z cos X) - (cos 2X + cos 2Y + cos 2Z)
    neovius     3 (cos X + cos Y + cos Z) + 4 cos X cos Y cos Z

These are the leading terms of the minimal surfaces' Fourier series (von Schnering and Nesper 1991, Z. Phys. B 83, 407;
Neovius as in Al-Ketan and Abu Al-Rub 2019, Adv. Eng. Mater. 21, 1900524), not the minimal surfaces themselves. A
network is the side f < t, a sheet the wall |f| < t, with t such that the volume fraction is as wanted; the thickness
of a sheet is uniform only as far as |grad f| is.

The sides of gyroid, schwarz_p, diamond and neovius are congruent (f changes sign under a half-period shift or a
reflection). Those of i_wp are not: f < t lies about the middles of edges and faces of the unit cell (the wrapped
package), f > t about its corners and middle (the struts of a body-centred lattice); `generate` with ``phase=0`` gives
that one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from domains.microstructure.cells.grid import Array, per_axis, require_size, require_volume_fraction
from domains.microstructure.cells.level_set import level_set

Surface = Callable[[Array, Array, Array], Array]


def _gyroid(x: Array, y: Array, z: Array) -> Array:
    return np.asarray(np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x))


def _schwarz_p(x: Array, y: Array, z: Array) -> Array:
    return np.asarray(np.cos(x) + np.cos(y) + np.cos(z))


def _diamond(x: Array, y: Array, z: Array) -> Array:
    (sx, sy, sz), (cx, cy, cz) = (np.sin(x), np.sin(y), np.sin(z)), (np.cos(x), np.cos(y), np.cos(z))
    return np.asarray(sx * sy * sz + sx * cy * cz + cx * sy * cz + cx * cy * sz)


def _i_wp(x: Array, y: Array, z: Array) -> Array:
    cx, cy, cz = np.cos(x), np.cos(y), np.cos(z)
    return np.asarray(2 * (cx * cy + cy * cz + cz * cx) - (np.cos(2 * x) + np.cos(2 * y) + np.cos(2 * z)))


def _neovius(x: Array, y: Array, z: Array) -> Array:
    cx, cy, cz = np.cos(x), np.cos(y), np.cos(z)
    return np.asarray(3 * (cx + cy + cz) + 4 * cx * cy * cz)


SURFACES: dict[str, Surface] = {
    "gyroid": _gyroid,
    "schwarz_p": _schwarz_p,
    "diamond": _diamond,
    "i_wp": _i_wp,
    "neovius": _neovius,
}


def triply_periodic(
    size: Sequence[int],
    volume_fraction: float,
    *,
    surface: str,
    repeats: int | Sequence[int] = 1,
    sheet: bool = False,
) -> Tensor:
    """A network or a sheet of a triply periodic surface.

    Args:
        size: Numbers of voxels, 3.
        volume_fraction: Share of phase 1. Voxels that the symmetry makes equal stay together, so it is met to half
            such a group: of 32^3 voxels within 0.55 % (networks) or 1.1 % (sheets), mostly far less.
        surface: ``gyroid``, ``schwarz_p``, ``diamond``, ``i_wp`` or ``neovius``.
        repeats: Unit cells along every axis or each; unit cells are stretched where ``n_j / repeats_j`` differ.
        sheet: The wall along the surface instead of one side of it.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If the surface is not known, a unit cell has fewer than 8 voxels along an axis, or another
            argument is out of its range.

    Example:
        >>> triply_periodic((16, 16, 16), 0.5, surface="gyroid").mean().item()
        0.5
    """
    if surface not in SURFACES:
        raise ValueError(f"triply_periodic: surface is one of {', '.join(SURFACES)}, got {surface!r}")
    shape = require_size(surface, size, (3,))
    require_volume_fraction(surface, volume_fraction)
    counts = require_repeats(surface, repeats, shape, least=8)
    angles = [2 * math.pi * ((np.arange(n) + 0.5) * r % n) / n for n, r in zip(shape, counts, strict=True)]
    field = np.broadcast_to(
        SURFACES[surface](angles[0][:, None, None], angles[1][None, :, None], angles[2][None, None, :]), shape
    )
    return level_set(np.abs(field) if sheet else field, volume_fraction)


def require_repeats(kind: str, repeats: int | Sequence[int], size: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Unit cells along each axis.

    Raises:
        ValueError: If there are not one or d positive numbers, or a unit cell is smaller than ``least`` voxels.

    Example:
        >>> require_repeats("gyroid", 2, (32, 32, 32), least=8)
        (2, 2, 2)
    """
    given = per_axis(kind, "repeats", repeats, len(size))
    if not all(r.is_integer() and r >= 1 for r in given):
        raise ValueError(f"{kind}: repeats is one positive integer or {len(size)}, got {repeats}")
    counts = tuple(int(r) for r in given)
    if any(n < least * r for n, r in zip(size, counts, strict=True)):
        raise ValueError(
            f"{kind}: a unit cell has at least {least} voxels along every axis, got {counts} repeats in {size} voxels"
        )
    return counts
