r"""Cells of beam lattices: round struts between the nodes of a unit cell.

A voxel is phase 1 where the distance from its centre to the nearest strut's axis is at most the radius r; ends are
hemispheres, so struts that meet at a node fill it. Every unit cell here is symmetric under reflection in its faces and
in its middle planes. The struts outside the cell are then mirror images of those inside and never nearer, and it is
enough to compute one half along every axis, 2^d times less.

Struts by name, with corners of the unit cell at integer points (two dimensions first):

    square        edges of the cell
    cross         corner to middle                                   (the bcc of the plane)
    braced_square both                                               (the octet of the plane)
    triangular    base and corner to middle; regular where the unit cell is 1 : sqrt(3), such as 56 by 97 voxels
    honeycomb     hexagons; regular where the unit cell is 1 : sqrt(3)
    simple_cubic  edges of the cell
    bcc           corner to middle
    fcc           corner to middle of each face
    octet         fcc and the octahedron of the face middles         (Deshpande, Fleck and Ashby 2001)
    kelvin        edges of the truncated octahedra that fill space, a foam of 14-hedra
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.cells.grid import Array, require_positive, require_size, require_volume_fraction
from domains.microstructure.cells.level_set import level_set
from domains.microstructure.cells.triply_periodic import require_repeats

Point = tuple[float, ...]
Strut = tuple[Point, Point]


def _pairs(points: Iterable[Point], length: float) -> list[Strut]:
    """Struts between all points of a given distance."""
    return [(a, b) for a, b in itertools.combinations(points, 2) if abs(math.dist(a, b) - length) < 1e-9]


def _corners(d: int) -> list[Point]:
    return list(itertools.product((0.0, 1.0), repeat=d))


def _to_middle(d: int) -> list[Strut]:
    return [(corner, (0.5,) * d) for corner in _corners(d)]


_FACES: list[Point] = [tuple(side if j == axis else 0.5 for j in range(3)) for axis in range(3) for side in (0.0, 1.0)]
_FCC: list[Strut] = _pairs(_corners(3) + _FACES, math.sqrt(0.5))
_FCC = [(a, b) for a, b in _FCC if not (a in _FACES and b in _FACES)]
_KELVIN_NODES: list[Point] = [
    point
    for point in itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=3)
    if sorted(round(4 * abs(p - 0.5)) for p in point) == [0, 1, 2]
]

LATTICES: dict[str, list[Strut]] = {
    "square": _pairs(_corners(2), 1.0),
    "cross": _to_middle(2),
    "braced_square": _pairs(_corners(2), 1.0) + _to_middle(2),
    "triangular": [
        ((0.0, 0.0), (1.0, 0.0)),
        ((0.0, 1.0), (1.0, 1.0)),
        ((0.0, 0.5), (1.0, 0.5)),
        *_to_middle(2),
    ],
    "honeycomb": [
        ((0.5, 0.0), (0.5, 1 / 6)),
        ((0.5, 1 / 6), (0.0, 1 / 3)),
        ((0.5, 1 / 6), (1.0, 1 / 3)),
        ((0.0, 1 / 3), (0.0, 2 / 3)),
        ((1.0, 1 / 3), (1.0, 2 / 3)),
        ((0.0, 2 / 3), (0.5, 5 / 6)),
        ((1.0, 2 / 3), (0.5, 5 / 6)),
        ((0.5, 5 / 6), (0.5, 1.0)),
    ],
    "simple_cubic": _pairs(_corners(3), 1.0),
    "bcc": _to_middle(3),
    "fcc": _FCC,
    "octet": _FCC + _pairs(_FACES, math.sqrt(0.5)),
    "kelvin": _pairs(_KELVIN_NODES, math.sqrt(0.125)),
}


def lattice(
    size: Sequence[int],
    volume_fraction: float | None = None,
    *,
    struts: str,
    radius: float | None = None,
    repeats: int | Sequence[int] = 1,
) -> Tensor:
    """A periodic lattice of round struts.

    Args:
        size: Numbers of voxels: 2 for the plane lattices, 3 for the others.
        volume_fraction: Share of phase 1. Struts along the grid grow by whole layers of voxels, so it is met to half
            such a step: below one half, with one unit cell in 64^2 or 32^3 voxels, within 3 %, with 2 repeats 6 % and
            for the octet 9 % (percentage points). Or None, with a radius.
        struts: One of the names at the top of the file.
        radius: Radius of the struts, voxels (in the plane half their width), instead of a volume fraction.
        repeats: Unit cells along every axis or each; where ``n_j / repeats_j`` differ the axes of the struts are
            stretched, their sections stay round.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If the name is not known, both or neither of volume fraction and radius are given, a unit cell has
            fewer than 8 voxels along an axis, or the radius fills the cell or reaches no voxel.

    Example:
        >>> lattice((16, 16), radius=2.0, struts="square").mean().item()
        0.4375
    """
    if struts not in LATTICES:
        raise ValueError(f"lattice: struts is one of {', '.join(LATTICES)}, got {struts!r}")
    shape = require_size(struts, size, (len(LATTICES[struts][0][0]),))
    if (volume_fraction is None) == (radius is None):
        raise ValueError(
            f"{struts}: give volume_fraction or radius, one of the two; got volume_fraction={volume_fraction}, "
            f"radius={radius}"
        )
    counts = require_repeats(struts, repeats, shape, least=8)
    if volume_fraction is not None:
        require_volume_fraction(struts, volume_fraction)
    if radius is not None:
        require_positive(struts, radius=radius)
    distance = strut_distance(shape, LATTICES[struts], counts)
    if radius is None:
        assert volume_fraction is not None
        return level_set(distance, volume_fraction)
    solid = distance <= radius * (1 + 1e-12)
    if solid.all() or not solid.any():
        raise ValueError(
            f"{struts}: a radius of {radius:g} voxels {'fills the cell' if solid.all() else 'reaches no voxel'}; it "
            f"lies between {distance.min():.3g} and {distance.max():.3g}"
        )
    return torch.from_numpy(solid.astype(np.float64))


def strut_distance(size: tuple[int, ...], struts: Sequence[Strut], repeats: tuple[int, ...]) -> Array:
    """Distance ``(n_1, .., n_d)`` from voxel centres to the nearest strut axis, voxels.

    Args:
        size: Numbers of voxels.
        struts: Ends in the unit cell ``[0, 1]^d``, symmetric under reflection in faces and middle planes.
        repeats: Unit cells along each axis.

    Example:
        >>> strut_distance((8, 8), LATTICES["square"], (1, 1))[0]
        array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    """
    d = len(size)
    edges, axes, back = [], [], []
    for axis, (n, r) in enumerate(zip(size, repeats, strict=True)):
        position = (2 * np.arange(n) + 1) * r % (2 * n)  # in units of n / (2 r) voxels of the unit cell, exact
        folded, inverse = np.unique(np.minimum(position, 2 * n - position), return_inverse=True)
        edges.append(n / r)
        axes.append((folded / (2 * r)).reshape([-1 if j == axis else 1 for j in range(d)]))
        back.append(inverse.reshape(-1))
    best: Array = np.full([axis.size for axis in axes], math.inf)
    for start, end in struts:
        if all(min(a, b) >= 0.5 and max(a, b) > 0.5 for a, b in zip(start, end, strict=True)):
            continue  # the mirror image of one in the half that is computed
        p = [a * edge for a, edge in zip(start, edges, strict=True)]
        along = [(b - a) * edge for a, b, edge in zip(start, end, edges, strict=True)]
        rest = [x - q for x, q in zip(axes, p, strict=True)]
        share = sum(u * v for u, v in zip(rest, along, strict=True)) / sum(v * v for v in along)
        share = np.clip(share, 0.0, 1.0)
        square = sum((u - share * v) ** 2 for u, v in zip(rest, along, strict=True))
        best = np.minimum(best, square)
    return np.asarray(np.sqrt(best)[np.ix_(*back)])
