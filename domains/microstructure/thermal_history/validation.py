"""Validation wall by wall: every wall predicted from the others, settings chosen among the others alone."""

from collections.abc import Callable, Sequence

import numpy as np

from domains.microstructure.thermal_history.histories import Array, ThermalHistories

Model = Callable[[Array, Array, Array], Array]
"""Training histograms ``(N, B)``, their strengths ``(N,)``, new histograms ``(M, B)`` -> strengths ``(M,)``."""


def leave_wall_out(
    data: ThermalHistories, candidates: Sequence[Model], inner: int = 3, only: Sequence[str] | None = None
) -> tuple[Array, list[int]]:
    """Predict every wall from the others, the settings chosen among the others alone.

    Args:
        data: Points of at least three walls.
        candidates: The same model at different settings.
        inner: Groups into which the training walls fall for choosing: the candidate of least squared error over all
            groups, each predicted from the rest, is fitted to all training walls. With 1, a third of the walls is
            predicted from the rest once.
        only: The walls to predict, where it is not all.

    Returns:
        Predictions ``(N,)``, MPa, NaN for walls not asked for, and the candidate chosen for each wall that was, in the
        order of ``numpy.unique``.

    Raises:
        ValueError: With fewer than three walls, no candidates or ``inner`` below 1, or a wall asked for that is none.
    """
    walls = np.unique(data.wall)
    if len(walls) < 3 or not candidates or inner < 1:
        raise ValueError(
            f"leave_wall_out: at least 3 walls, 1 candidate and 1 inner group are needed, "
            f"got {len(walls)}, {len(candidates)} and {inner}"
        )
    if isinstance(only, str) or (only is not None and not set(only) <= set(walls.tolist())):
        raise ValueError(f"leave_wall_out: only is a list of some of {', '.join(map(str, walls))}; got {only!r}")
    found, chosen = np.full(len(data), np.nan), []
    for number, wall in enumerate(walls):
        if only is not None and wall not in only:
            continue
        training = data.wall != wall
        rest = np.random.default_rng(number).permutation(walls[walls != wall])
        groups = np.array_split(rest, max(2, min(inner if inner > 1 else 3, len(rest))))[:inner]
        errors = np.zeros(len(candidates))
        for group in groups if len(candidates) > 1 else []:
            held = np.isin(data.wall, group)
            seen = training & ~held
            for k, model in enumerate(candidates):
                guess = model(data.histogram[seen], data.strength[seen], data.histogram[held])
                errors[k] += float(np.sum((guess - data.strength[held]) ** 2))
        chosen.append(int(errors.argmin()))
        model = candidates[chosen[-1]]
        found[~training] = model(data.histogram[training], data.strength[training], data.histogram[~training])
    return found, chosen


def scores(data: ThermalHistories, predicted: Array) -> tuple[float, float, float]:
    """R2 and root mean square error over all points, and the standard deviation of the walls' own errors, MPa."""
    squares = (predicted - data.strength) ** 2
    walls = [float(np.sqrt(squares[data.wall == wall].mean())) for wall in np.unique(data.wall)]
    return float(1 - squares.mean() / data.strength.var()), float(np.sqrt(squares.mean())), float(np.std(walls))
