"""Two phases from grey values: what counts as binary, which values are solid, and Otsu's threshold."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["bright", "dark"] | float


class NotBinaryError(ValueError):
    """An image has more than two values and nobody said how to threshold it."""


def two_phases(
    values: NDArray[Any], threshold: Literal["otsu"] | float | None = None, phase: Phase = "bright"
) -> NDArray[np.float64]:
    """Phase 1 and phase 0 from the values of an image.

    Args:
        values: Numbers of any shape, finite.
        threshold: Values above it are bright, all others dark. None takes an image of exactly two values as it is.
        phase: What is phase 1: the ``"bright"`` or the ``"dark"`` voxels, or one value, the label of a segmented
            image with several; a label takes no threshold.

    Returns:
        0 and 1 of the same shape.

    Raises:
        NotBinaryError: If there are more than two values and neither threshold nor label.
        ValueError: If values are not finite, only one phase comes out, or a label comes with a threshold.

    Example:
        >>> two_phases(np.array([[0, 255], [255, 0]]))
        array([[0., 1.],
               [1., 0.]])
        >>> two_phases(np.array([[10, 80], [90, 20]]), threshold="otsu", phase="dark")
        array([[1., 0.],
               [0., 1.]])
    """
    values = np.asarray(values)
    if values.dtype.kind not in "buif" or values.size == 0:
        raise ValueError(f"image: expected real numbers, got {values.dtype} of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"image: {int((~np.isfinite(values)).sum())} of {values.size} values are not finite")
    if not isinstance(phase, str):
        if threshold is not None:
            raise ValueError(f"image: phase={phase} picks one value and takes no threshold, got threshold={threshold}")
        solid: NDArray[np.bool_] = np.asarray(values == phase)
        if not solid.any() or solid.all():
            raise ValueError(
                f"image: phase={phase} is the value of {int(solid.sum())} of {values.size} voxels; got {_told(values)}"
            )
        return solid.astype(np.float64)
    if phase not in ("bright", "dark"):
        raise ValueError(f"image: phase is 'bright', 'dark' or a value, got {phase!r}")
    if isinstance(threshold, str) and threshold != "otsu":
        raise ValueError(f"image: threshold is a number, 'otsu' or None, got {threshold!r}")
    if threshold is None:
        low, high = values.min(), values.max()
        if not ((values == low) | (values == high)).all():
            raise NotBinaryError(
                f"image: expected two values, got {_told(values)}; give threshold='otsu', a number, or phase=<value> "
                "for a segmented image"
            )
        limit = (float(low) + float(high)) / 2
    elif threshold == "otsu":
        limit = otsu(values)
    else:
        limit = float(threshold)
    bright = values > limit
    if not bright.any() or bright.all():
        raise ValueError(
            f"image: all values lie on one side of the threshold {limit:g}: {values.min():g} to {values.max():g}"
        )
    solid = bright if phase == "bright" else ~bright
    return solid.astype(np.float64)


def _told(values: NDArray[Any]) -> str:
    """How many values there are, and some."""
    found = np.unique(values)
    some = ", ".join(f"{value:g}" for value in found[:4]) + (", .." if len(found) > 4 else "")
    return f"{len(found)} ({some}, at most {found[-1]:g})"


def otsu(values: NDArray[Any]) -> float:
    """The threshold that separates two classes best, after Otsu 1979 (IEEE Trans. SMC 9, 62).

    With the share w and the mean m of the values up to a threshold and those above, it has the largest variance
    between classes ``w0 w1 (m0 - m1)^2``. All distinct values are tried, with no histogram bins between.

    Args:
        values: Numbers of any shape, at least two distinct.

    Returns:
        The middle between the largest dark and the smallest bright value.

    Raises:
        ValueError: If all values are equal.

    Example:
        >>> otsu(np.array([0, 1, 1, 9, 10]))
        5.0
    """
    levels, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    if len(levels) < 2:
        raise ValueError(f"otsu: all values are {levels[0]:g}" if len(levels) else "otsu: no values")
    centred = levels - levels.mean()
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sums = np.cumsum(counts * centred)
    mass, moment = below / total, sums[:-1] / total
    between = (moment - mass * sums[-1] / total) ** 2 / (mass * (1 - mass))
    best = int(np.argmax(between))
    middle = 0.5 * levels[best] + 0.5 * levels[best + 1]
    return float(middle if math.isfinite(middle) and middle < levels[best + 1] else levels[best])
