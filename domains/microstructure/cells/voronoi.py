r"""Cells of Voronoi grains: phases given to whole grains, or the walls or struts between grains.

The grain of seed s_i is the set of points nearest to s_i, round the period. Its wall towards a neighbour s_j (or an
image of itself) is the bisector plane, at the distance

    b_ij(x) = ((s_i + s_j) / 2 - x) . (s_j - s_i) / |s_j - s_i|

from a point x of the grain. Walls of uniform thickness are where the smallest b_ij is below a threshold (a closed
foam), struts along the edges where the second smallest is (an open foam, its struts three-sided). No seed is missed
once all within ``2 (|x - s_i| + b(x))`` were looked at, since ``b_ij >= |s_j - s_i| / 2 - |x - s_i|``.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.microstructure.cells.grid import (
    Array,
    nearest,
    offsets,
    random_source,
    require_size,
    require_volume_fraction,
)
from domains.microstructure.cells.level_set import level_set


def voronoi_grains(
    size: Sequence[int], volume_fraction: float, seed: int = 0, *, grains: int = 30, relaxations: int = 0
) -> Tensor:
    """Voronoi grains, each of one phase.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1. Grains are whole, so it is met to within half a small grain: grains are
            taken at random until the share is reached, then one is exchanged where that comes closer.
        seed: Same seed, same cell.
        grains: Number of grains, at least 2.
        relaxations: Steps that move seeds to the middle of their grains (Lloyd 1982); 0 leaves them at independent
            random places, some make the grains alike.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> cell = voronoi_grains((32, 32), 0.5, grains=40)
        >>> abs(cell.mean().item() - 0.5) < 0.01
        True
    """
    shape, seeds, generator = _seeds("voronoi_grains", size, volume_fraction, seed, grains, relaxations)
    _, label = nearest(shape, seeds)
    volumes = np.bincount(label.reshape(-1), minlength=grains)
    chosen = _subset(volumes, volume_fraction * label.size, generator)
    return torch.from_numpy(chosen[label].astype(np.float64))


def voronoi_foam(
    size: Sequence[int],
    volume_fraction: float,
    seed: int = 0,
    *,
    grains: int = 20,
    relaxations: int = 2,
    open_cell: bool = False,
) -> Tensor:
    """The walls between Voronoi grains, all of one thickness (a closed foam), or the struts along their edges.

    Args:
        size: Numbers of voxels, 2 or 3.
        volume_fraction: Share of phase 1, the walls; exact to half a voxel. Walls below a voxel of thickness have
            holes: many grains and a small share need a large cell.
        seed: Same seed, same cell.
        grains: Number of grains, at least 2.
        relaxations: Steps that move seeds to the middle of their grains (Lloyd 1982).
        open_cell: Whether only the edges, where three grains meet, are solid; for three axes. Where grains are
            irregular a few voxels may stand alone beside a shallow edge (up to 2 % of the solid without relaxation,
            0.1 % with two steps); `largest_component` takes them away.

    Returns:
        The cell, float64 of 0 and 1.

    Raises:
        ValueError: If an argument is out of its range, or an open foam is asked for in two dimensions.

    Example:
        >>> voronoi_foam((32, 32), 0.25).mean().item()
        0.25
    """
    if open_cell and len(size) == 2:
        raise ValueError("voronoi_foam: an open foam has three axes (in two dimensions its edges are points), got 2")
    shape, seeds, _ = _seeds("voronoi_foam", size, volume_fraction, seed, grains, relaxations)
    return level_set(wall_distance(shape, seeds, order=2 if open_cell else 1), volume_fraction)


def wall_distance(size: tuple[int, ...], seeds: Array, order: int = 1) -> Array:
    """Distance ``(n_1, .., n_d)`` from every voxel centre to the nearest wall of its grain, voxels.

    Args:
        size: Numbers of voxels.
        seeds: ``(m, d)``, voxels.
        order: 1 for the nearest wall, 2 for the second nearest.

    Example:
        >>> wall_distance((8, 8), np.array([[2.0, 4.0], [6.0, 4.0]]))[:, 4]
        array([0.5, 1.5, 1.5, 0.5, 0.5, 1.5, 1.5, 0.5])
    """
    distance, label = nearest(size, seeds)
    flat = label.reshape(-1)
    by_grain = np.split(np.argsort(flat, kind="stable"), np.cumsum(np.bincount(flat, minlength=len(seeds)))[:-1])
    result = np.empty(flat.size)
    for i, voxels in enumerate(by_grain):
        if len(voxels) == 0:
            continue
        index = np.unravel_index(voxels, size)
        points = np.stack([offsets(n, seeds[i, j])[index[j]] for j, n in enumerate(size)], axis=1)
        away = distance.reshape(-1)[voxels]
        reach = 2 * float(away.max())
        while True:
            normals, half = _bisectors(size, seeds - seeds[i], reach, order)
            walls = half - points @ normals.T
            if order == 2:
                np.put_along_axis(walls, walls.argmin(axis=1)[:, None], math.inf, axis=1)
            found = walls.min(axis=1)
            needed = 2 * float((away + found).max())
            if needed <= reach:
                break
            reach = needed * (1 + 1e-12)
        result[voxels] = found
    return result.reshape(size)


def _bisectors(size: tuple[int, ...], apart: Array, reach: float, least: int) -> tuple[Array, Array]:
    """Unit normals ``(w, d)`` and distances ``(w,)`` of the walls of a seed towards seeds and images within reach."""
    periods = np.array(size, dtype=np.float64)
    while True:
        turns = [np.arange(-k, k + 1) * n for n in size for k in [math.floor(reach / n + 0.5)]]
        images = np.array(list(itertools.product(*turns)), dtype=np.float64)
        others = ((apart - periods * np.rint(apart / periods))[:, None] + images).reshape(-1, len(size))
        length = np.sqrt((others**2).sum(1))
        near = (length > 1e-9) & (length <= reach + 1e-9)
        if near.sum() >= least:
            return others[near] / length[near, None], 0.5 * length[near]
        reach += min(size)


def _seeds(
    kind: str, size: Sequence[int], volume_fraction: float, seed: int, grains: int, relaxations: int
) -> tuple[tuple[int, ...], Array, np.random.Generator]:
    shape = require_size(kind, size)
    require_volume_fraction(kind, volume_fraction)
    generator = random_source(kind, seed)
    if not 2 <= grains <= math.prod(shape) // 4:
        raise ValueError(
            f"{kind}: grains lie between 2 and a quarter of the voxels, {math.prod(shape) // 4}, got {grains}"
        )
    if relaxations < 0:
        raise ValueError(f"{kind}: relaxations are not negative, got {relaxations}")
    seeds = generator.random((grains, len(shape))) * shape
    for _ in range(relaxations):
        seeds = _relaxed(shape, seeds)
    return shape, seeds, generator


def _relaxed(size: tuple[int, ...], seeds: Array) -> Array:
    """Every seed in the middle of its grain."""
    _, label = nearest(size, seeds)
    flat = label.reshape(-1)
    volumes = np.maximum(np.bincount(flat, minlength=len(seeds)), 1)
    moved = np.empty_like(seeds)
    for axis, n in enumerate(size):
        position = (np.arange(n) + 0.5).reshape([-1 if j == axis else 1 for j in range(len(size))])
        apart = np.broadcast_to(position, size).reshape(-1) - seeds[flat, axis]
        apart = (apart + 0.5 * n) % n - 0.5 * n
        moved[:, axis] = (seeds[:, axis] + np.bincount(flat, apart, len(seeds)) / volumes) % n
    return moved


def _subset(volumes: NDArray[np.int64], wanted: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """A random set of grains with nearly the wanted volume, neither empty nor all of them."""
    m = len(volumes)
    order = generator.permutation(m)
    total = np.cumsum(volumes[order])
    taken = 1 + int(np.argmin(np.abs(total[:-1] - wanted)))
    chosen = np.zeros(m, dtype=bool)
    chosen[order[:taken]] = True
    inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    missing = wanted - total[taken - 1]
    after = np.abs(missing - (volumes[outside][None, :] - volumes[inside][:, None]))
    if after.min() < abs(missing):
        out, into = np.unravel_index(np.argmin(after), after.shape)
        chosen[inside[out]], chosen[outside[into]] = False, True
    return chosen
