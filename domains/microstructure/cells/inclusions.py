r"""Cells of discs or spheres: placed independently (they overlap), or one after the other without touching.

Overlapping: m centres are uniform and independent. Balls of volume V then cover, in the mean over seeds,

    phi = 1 - (1 - V / |cell|)^m  ->  1 - exp(-n V),     n = m / |cell|                 (Boolean model, Matheron 1975)

so m is the nearest integer for the wanted radius. Hard: random sequential addition (Widom 1966). A new centre is
uniform over the places where it keeps the distance 2 r + gap from all others; placing stops being possible at the
coverage 0.547 (discs) or 0.384 (spheres) of balls of radius r + gap / 2, far below close packing.

In both the radii of all balls are moved by one small length in the end, so that the volume fraction is exact.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from domains.microstructure.cells.grid import (
    Array,
    around,
    nearest,
    random_source,
    require_positive,
    require_size,
    require_volume_fraction,
)
from domains.microstructure.cells.level_set import level_set

SATURATION = {2: 0.547, 3: 0.384}  # Zhang and Torquato 2013, Phys. Rev. E 88, 053312
_RESTARTS = 20
_REJECTIONS = 4096  # candidates refused in a row before a packing counts as full


def overlapping_spheres(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    radius: float | None = None,
    spread: float = 0.0,
) -> Tensor:
    """Discs (two axes) or spheres (three) of phase 1 at independent random places.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1; exact to half a voxel.
        seed: Same seed, same cell.
        radius: Mean radius wanted, voxels; by default a tenth of the smallest axis. The radius that comes out differs
            by the scatter of the overlaps, a few per cent in a cell of many balls.
        spread: Standard deviation of the radii over their mean (log-normal).

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If the radius is below one voxel or above a quarter of the smallest axis, or another argument is
            out of its range.

    Example:
        >>> overlapping_spheres((32, 32), 0.5).mean().item()
        0.5
    """
    kind = "overlapping_spheres"
    shape = require_size(kind, size)
    require_volume_fraction(kind, volume_fraction)
    generator = random_source(kind, seed)
    radius = _radius(kind, shape, radius, largest=min(shape) / 4)
    if not 0.0 <= spread <= 1.0:
        raise ValueError(f"{kind}: spread lies between 0 and 1, got {spread}")
    d = len(shape)
    log_width = math.sqrt(math.log1p(spread**2))
    mean_volume = _ball(d) * radius**d * math.exp(0.5 * d * (d - 1) * log_width**2)  # mean of r^d for the mean radius
    count = max(1, round(-math.log1p(-volume_fraction) * math.prod(shape) / mean_volume))
    centres = generator.random((count, d)) * shape
    radii = radius * np.exp(log_width * generator.standard_normal(count) - 0.5 * log_width**2)
    return _grown(shape, centres, radii, volume_fraction)


def hard_spheres(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    radius: float | None = None,
    gap: float = 1.0,
) -> Tensor:
    """Equal discs (two axes) or spheres (three) of phase 1 that do not touch, also across the period.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1; exact to half a voxel (all voxels at one distance from a centre stay
            together where a cell has one ball).
        seed: Same seed, same cell.
        radius: Radius wanted, voxels; by default a tenth of the smallest axis. A whole number of equal balls has the
            wanted volume, so the radius that comes out differs by the rounding.
        gap: Least distance between surfaces, voxels. From about 1.5 on, no two balls share a voxel's face, edge or
            corner.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If random sequential addition cannot reach the volume fraction with this radius and gap, the
            radius is below one voxel, or another argument is out of its range.

    Example:
        >>> hard_spheres((32, 32), 0.25, radius=4.0).mean().item()
        0.25
    """
    kind = "hard_spheres"
    shape = require_size(kind, size)
    require_volume_fraction(kind, volume_fraction)
    generator = random_source(kind, seed)
    d, voxels = len(shape), math.prod(shape)
    radius = _radius(kind, shape, radius, largest=min(shape) / 2)
    if not (math.isfinite(gap) and gap >= 0):
        raise ValueError(f"{kind}: gap is finite and not negative, got {gap}")
    count = max(1, round(volume_fraction * voxels / (_ball(d) * radius**d)))
    radius = (volume_fraction * voxels / (count * _ball(d))) ** (1 / d)
    if count == 1:
        if 2 * radius + gap > min(shape):
            raise ValueError(
                f"{kind}: one ball of volume fraction {volume_fraction:g} has the diameter {2 * radius:.3g}, which "
                f"with the gap {gap:g} does not fit the period {min(shape)}"
            )
        centres = generator.random((1, d)) * shape
    else:
        covered = volume_fraction * (1 + gap / (2 * radius)) ** d
        if covered > SATURATION[d]:
            raise ValueError(
                f"{kind}: random sequential addition covers at most {SATURATION[d]} of a {d}-dimensional cell; volume "
                f"fraction {volume_fraction:g} with radius {radius:.3g} and gap {gap:g} needs {covered:.3f}. Take a "
                "smaller volume fraction or gap, or a larger radius"
            )
        centres = sequential_centres(shape, count, 2 * radius + gap, generator)
    return _grown(shape, centres, np.full(count, radius), volume_fraction)


def sequential_centres(size: tuple[int, ...], count: int, distance: float, generator: np.random.Generator) -> Array:
    """Random sequential addition: points ``(count, d)`` that keep a distance, each uniform over the room left.

    Candidates come from the voxels that the points before do not exclude as a whole, which leaves the distribution
    as it is and refuses far fewer of them.

    Args:
        size: Numbers of voxels, 2 or 3: the periods.
        count: Number of points.
        distance: Least distance between points and between a point and its own images, voxels.
        generator: Source of random numbers.

    Raises:
        ValueError: If the distance exceeds a period, or the room ran out in every one of 20 starts.

    Example:
        >>> sequential_centres((16, 16), 5, 4.0, np.random.default_rng(0)).shape
        (5, 2)
    """
    if distance > min(size):
        raise ValueError(f"hard_spheres: the distance {distance:.3g} exceeds the period {min(size)}")
    most = 0
    for _ in range(_RESTARTS):
        centres = _add_in_sequence(size, count, distance, generator)
        most = max(most, len(centres))
        if most == count:
            return centres
    raise ValueError(
        f"hard_spheres: room for {most} of {count} points at the distance {distance:.3g} in a cell of {size} after "
        f"{_RESTARTS} starts; take a smaller volume fraction or gap"
    )


def _add_in_sequence(size: tuple[int, ...], count: int, distance: float, generator: np.random.Generator) -> Array:
    d = len(size)
    periods = np.array(size, dtype=np.float64)
    room = np.ones(size, dtype=bool)
    excluded = distance - 0.5 * math.sqrt(d) - 1e-9  # every point of such a voxel is too close
    centres = np.empty((0, d))
    while len(centres) < count:
        left = np.flatnonzero(room)
        found = None
        for _ in range(0 if len(left) == 0 else _REJECTIONS // 64):
            voxels = np.stack(np.unravel_index(generator.choice(left, 64), size), axis=1)
            candidates = voxels + generator.random((64, d))
            apart = candidates[:, None] - centres
            apart -= periods * np.rint(apart / periods)
            good = np.flatnonzero(((apart**2).sum(-1) >= distance**2).all(1))
            if len(good):
                found = candidates[good[0]]
                break
        if found is None:
            return centres
        centres = np.vstack([centres, found])
        if excluded > 0:
            for block, square in around(size, found, excluded):
                room[block] &= square >= excluded**2
    return centres


def _grown(size: tuple[int, ...], centres: Array, radii: Array, volume_fraction: float) -> Tensor:
    """Balls whose radii all change by one length so that the volume fraction is exact."""
    wanted = round(volume_fraction * math.prod(size))
    for power in itertools.count():
        reach = 2.0 * 2**power
        field, _ = nearest(size, centres, radii, reach)
        if np.isfinite(field).sum() > wanted or reach > sum(size):
            return level_set(field, volume_fraction)
    raise AssertionError


def _radius(kind: str, size: tuple[int, ...], radius: float | None, largest: float) -> float:
    radius = max(1.0, min(size) / 10) if radius is None else float(radius)
    require_positive(kind, radius=radius)
    if not 1.0 <= radius <= largest:
        raise ValueError(f"{kind}: radius lies between 1 and {largest:g} voxels in a cell of {size}, got {radius:g}")
    return radius


def _ball(dimensions: int) -> float:
    """Volume of the unit ball."""
    return math.pi if dimensions == 2 else 4 * math.pi / 3
