"""The periodic voxel grid under every generator: sizes, voxel centres, offsets round the period, nearest centres.

Lengths are in voxels and voxel ``(i_1, .., i_d)`` has its centre at ``(i_1 + 1/2, .., i_d + 1/2)``; the period along
axis j is n_j. What a generator asks of its arguments is checked here, so that all say it alike.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def require_size(kind: str, size: Sequence[int], dimensions: Sequence[int] = (2, 3)) -> tuple[int, ...]:
    """The size as a tuple of Python integers.

    Args:
        kind: Who asks, for the message.
        size: Numbers of voxels ``(n_1, .., n_d)``.
        dimensions: The d that are possible.

    Raises:
        ValueError: If d is not one of ``dimensions`` or an axis has fewer than 4 voxels.
        TypeError: If a number is not an integer.

    Example:
        >>> require_size("spinodal", [64, 32])
        (64, 32)
    """
    allowed = " or ".join(str(d) for d in dimensions)
    if not isinstance(size, Sequence) or isinstance(size, str):
        raise TypeError(f"{kind}: size is a sequence of {allowed} integers such as (64, 64), got {size!r}")
    if any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in size):
        raise TypeError(f"{kind}: size is a sequence of integers, got {tuple(size)!r}")
    if len(size) not in dimensions:
        raise ValueError(f"{kind}: size has {allowed} axes, got {len(size)}: {tuple(size)}")
    if min(size) < 4:
        raise ValueError(f"{kind}: every axis has at least 4 voxels, got size {tuple(size)}")
    return tuple(int(n) for n in size)


def require_positive(kind: str, **values: float) -> None:
    """Refuse numbers that are not finite and positive.

    Raises:
        ValueError: If one of them is not.

    Example:
        >>> require_positive("spinodal", wavelength=8.0)
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{kind}: {name} is finite and positive, got {value}")


def require_volume_fraction(kind: str, volume_fraction: float) -> float:
    """The volume fraction of phase 1, strictly between 0 and 1.

    Raises:
        ValueError: If it is not.

    Example:
        >>> require_volume_fraction("spinodal", 0.5)
        0.5
    """
    if not 0.0 < volume_fraction < 1.0:
        raise ValueError(f"{kind}: volume_fraction lies strictly between 0 and 1, got {volume_fraction}")
    return float(volume_fraction)


def random_source(kind: str, seed: int) -> np.random.Generator:
    """The random numbers of a seed, the same on every platform.

    Raises:
        TypeError: If the seed is not an integer.
        ValueError: If it is negative.

    Example:
        >>> int(random_source("spinodal", 0).integers(100))
        85
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"{kind}: seed is an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"{kind}: seed is not negative, got {seed}")
    return np.random.default_rng(int(seed))


def per_axis(kind: str, name: str, value: float | Sequence[float] | Array, dimensions: int) -> tuple[float, ...]:
    """One number for every axis, from one for all or one for each.

    Raises:
        ValueError: If there are neither one nor d numbers.

    Example:
        >>> per_axis("gaussian", "length", 4.0, 2)
        (4.0, 4.0)
    """
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (dimensions,)):
        raise ValueError(f"{kind}: {name} is one number or {dimensions}, one for each axis, got {values.tolist()}")
    return tuple(np.broadcast_to(values, dimensions).tolist())


def offsets(n: int, position: float) -> Array:
    """Distances ``(n,)`` from a position to the voxel centres of one axis, round the period, in [-n/2, n/2).

    Example:
        >>> offsets(4, 0.5)
        array([ 0.,  1., -2., -1.])
    """
    return np.asarray((np.arange(n) + 0.5 - position + 0.5 * n) % n - 0.5 * n)


def around(size: tuple[int, ...], centre: Array, reach: float) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """The voxels in a box round a point, as blocks of the array, each voxel once.

    Args:
        size: Numbers of voxels ``(n_1, .., n_d)``.
        centre: ``(d,)``, voxels.
        reach: Half the edge of the box, voxels; the box ends at the period.

    Yields:
        A block, and the squared distances of its voxels from the point round the period.

    Example:
        >>> [(block, square.tolist()) for block, square in around((5,), np.array([0.5]), 1.0)]
        [((slice(4, 5, None),), [1.0]), ((slice(0, 2, None),), [0.0, 1.0])]
    """
    runs: list[list[slice]] = []
    squares: list[Array] = []
    for axis, n in enumerate(size):
        squares.append(offsets(n, centre[axis]) ** 2)
        if 2 * reach + 1 >= n:
            runs.append([slice(0, n)])
            continue
        first, last = math.ceil(centre[axis] - 0.5 - reach), math.floor(centre[axis] - 0.5 + reach)
        start, end = first % n, first % n + last - first + 1
        runs.append([slice(start, end)] if end <= n else [slice(start, n), slice(0, end - n)])
    for block in itertools.product(*runs):
        total = squares[0][block[0]]
        for run, square in zip(block[1:], squares[1:], strict=True):
            total = total[..., None] + square[run]
        yield block, total


def nearest(
    size: tuple[int, ...], centres: Array, radii: Array | None = None, reach: float = math.inf
) -> tuple[Array, NDArray[np.int64]]:
    """For every voxel the nearest of m balls, round the period.

    Args:
        size: Numbers of voxels ``(n_1, .., n_d)``.
        centres: ``(m, d)``, voxels.
        radii: ``(m,)``; the distance is that to the ball's surface, negative inside. By default points.
        reach: Distances beyond it are not looked for and come out as infinity with label -1; a small reach is fast.

    Returns:
        Distance ``(n_1, .., n_d)`` in voxels, and the index of the nearest, of the same shape.

    Example:
        >>> distance, label = nearest((4, 4), np.array([[0.5, 0.5], [2.5, 2.5]]))
        >>> float(distance[0, 3]), int(label[2, 2])
        (1.0, 1)
    """
    best = np.full(size, math.inf)
    label = np.full(size, -1, dtype=np.int64)
    for i, centre in enumerate(centres):
        radius = 0.0 if radii is None else float(radii[i])
        for block, square in around(size, centre, radius + reach):
            distance = np.sqrt(square, out=square)
            distance -= radius
            closer = (distance < best[block]) & (distance <= reach)
            np.copyto(best[block], distance, where=closer)
            np.copyto(label[block], i, where=closer)
    return best, label
