"""The law of capacity gap, ``T* = a S + b``: the best teacher's parameters T* for a student's S, fitted to trials.

For every student size the teacher size of the least mean loss is one point; a and b are those of least squares over
the points, and their interval comes from a bootstrap: runs are drawn again within each pair of sizes where there are
several seeds of all, and points are drawn again otherwise. Published is

    T* = 2.498 S - 11.498 million,        R^2 = 0.9957

for students pruned from their teachers, GPT-2 and Pythia of 70 million to 2.8 billion, by the perplexity of WikiText-2
(Zhang et al. 2023, arXiv:2311.07052); the unit of the intercept is our reading, as no other makes sense.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from separable.files import refusing

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One student distilled from one teacher.

    Attributes:
        student: its parameters.
        teacher: those of its teacher.
        loss: what was measured of the student, the less the better.
    """

    student: float
    teacher: float
    loss: float

    def __post_init__(self) -> None:
        if not (0 < self.student < math.inf and 0 < self.teacher < math.inf and math.isfinite(self.loss)):
            raise ValueError(f"Trial: expected positive sizes and a finite loss, got {self}")


@dataclasses.dataclass(frozen=True)
class OptimalTeacher:
    """The best teacher size tried for one student size.

    Attributes:
        student: parameters S.
        teacher: parameters T* of the least mean loss.
        loss: that mean.
        inside: whether both a smaller and a greater teacher were worse; if not, no rise and fall was seen.
    """

    student: float
    teacher: float
    loss: float
    inside: bool


@dataclasses.dataclass(frozen=True)
class LinearLaw:
    """``T* = slope S + intercept``, in parameters.

    Attributes:
        slope: a.
        intercept: b.
        r_squared: share of the variance of T* that it explains.
        draws: slopes and intercepts of the bootstrap, ``(draws, 2)``; none for a law that was read.
        smallest: student size from which it was fitted.
        greatest: student size to which it was fitted.
    """

    slope: float
    intercept: float
    r_squared: float
    draws: Array = dataclasses.field(default_factory=lambda: np.zeros((0, 2)), repr=False, compare=False)
    smallest: float = 0.0
    greatest: float = math.inf

    def teacher(self, student: float) -> float:
        """T* of a student."""
        return self.slope * student + self.intercept

    def interval(self, student: float, level: float = 0.95) -> tuple[float, float] | None:
        """The bootstrap's interval of T*; None for a law without draws."""
        return _interval(self.draws @ np.array([student, 1.0]), level)

    def slope_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """The bootstrap's interval of the slope; None for a law without draws."""
        return _interval(self.draws[:, 0], level)


# Students of the pilot: 40 % of its smallest teacher to 40 % of its greatest.
PUBLISHED = LinearLaw(2.498, -11.498e6, 0.9957, smallest=28e6, greatest=1.1e9)


def optimal_teachers(trials: Sequence[Trial]) -> list[OptimalTeacher]:
    """The best teacher of every student size, sizes ascending; of equal ones the smaller.

    Example:
        >>> trials = [Trial(1e6, 2e6, 2.1), Trial(1e6, 3e6, 2.0), Trial(1e6, 4e6, 2.2)]
        >>> optimal_teachers(trials)
        [OptimalTeacher(student=1000000.0, teacher=3000000.0, loss=2.0, inside=True)]
    """
    return _optimal({pair: float(np.mean(losses)) for pair, losses in _by_pair(trials).items()})


def fit_law(trials: Sequence[Trial], *, draws: int = 2000, seed: int = 0) -> LinearLaw:
    """The law from trials, with its bootstrap.

    Args:
        trials: Several teacher sizes for each of at least three student sizes, one or more seeds each.
        draws: Of the bootstrap.
        seed: Of the draws.

    Raises:
        ValueError: If there are fewer than three student sizes, or one has a single teacher size.

    Example:
        >>> trials = [Trial(s, t, (t - 3 * s) ** 2) for s in (1, 2, 4) for t in range(1, 20)]
        >>> law = fit_law(trials)
        >>> round(law.slope, 6), abs(round(law.intercept, 6)), round(law.r_squared, 6)
        (3.0, 0.0, 1.0)
    """
    pairs = _by_pair(trials)
    students = sorted({student for student, _ in pairs})
    if len(students) < 3:
        raise ValueError(f"fit_law: expected at least 3 student sizes, got {len(students)}")
    for student in students:
        tried = sum(each == student for each, _ in pairs)
        if tried < 2:
            raise ValueError(f"fit_law: expected at least 2 teacher sizes for the student of {student:g}, got {tried}")
    best = optimal_teachers(trials)
    points = np.array([(each.student, each.teacher) for each in best])
    slope, intercept = _line(points)
    residual = points[:, 1] - slope * points[:, 0] - intercept
    total = points[:, 1] - points[:, 1].mean()
    r_squared = 1 - float(residual @ residual) / float(total @ total) if total.any() else math.nan
    generator = np.random.default_rng(seed)
    if all(len(losses) > 1 for losses in pairs.values()):
        found = _seeds_drawn_again(pairs, students, draws, generator)
    else:
        found = _points_drawn_again(points, draws, generator)
    return LinearLaw(slope, intercept, r_squared, found, students[0], students[-1])


def _seeds_drawn_again(
    pairs: dict[tuple[float, float], list[float]], students: list[float], draws: int, generator: np.random.Generator
) -> Array:
    """Slopes and intercepts ``(draws, 2)`` of lines through the best teachers by the means of runs drawn again."""
    best = []
    for student in students:
        tried = sorted(teacher for each, teacher in pairs if each == student)
        means = [
            losses[generator.integers(len(losses), size=(draws, len(losses)))].mean(1)
            for losses in (np.array(pairs[student, teacher]) for teacher in tried)
        ]
        best.append(np.array(tried)[np.argmin(means, 0)])
    x, y = np.array(students), np.array(best).T
    centred = x - x.mean()
    slopes = y @ centred / (centred @ centred)
    return np.stack([slopes, y.mean(1) - slopes * x.mean()], 1)


def _points_drawn_again(points: Array, draws: int, generator: np.random.Generator) -> Array:
    """The same where a pair was tried once, whose loss does not vary: lines through points drawn again."""
    found: list[tuple[float, float]] = []
    while len(found) < draws:
        sample = points[generator.integers(len(points), size=len(points))]
        if np.ptp(sample[:, 0]):  # else one student size drawn throughout: no line
            found.append(_line(sample))
    return np.array(found).reshape(-1, 2)


def read_trials(file: str | Path) -> list[Trial]:
    """Trials from JSON lines with ``student``, ``teacher`` and ``loss``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is none of these, with its number.
    """
    found = []
    with refusing(file, "trials as lines of JSON"):
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                told = json.loads(line)
                trial = Trial(*(float(told[name]) for name in ("student", "teacher", "loss")))
                if not np.isfinite(dataclasses.astuple(trial)).all():
                    raise ValueError(f"got {trial}")
                found.append(trial)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{file}, line {number}: expected student, teacher and loss ({error})") from None
    return found


def _by_pair(trials: Sequence[Trial]) -> dict[tuple[float, float], list[float]]:
    pairs: dict[tuple[float, float], list[float]] = {}
    for trial in trials:
        pairs.setdefault((trial.student, trial.teacher), []).append(trial.loss)
    return pairs


def _optimal(means: dict[tuple[float, float], float]) -> list[OptimalTeacher]:
    by_student: dict[float, list[tuple[float, float]]] = {}
    for (student, teacher), loss in sorted(means.items()):
        by_student.setdefault(student, []).append((loss, teacher))
    found = []
    for student, tried in by_student.items():
        loss, teacher = min(tried)
        sizes = [size for _, size in tried]
        found.append(OptimalTeacher(student, teacher, loss, min(sizes) < teacher < max(sizes)))
    return found


def _line(points: Array) -> tuple[float, float]:
    centred = points - points.mean(0)
    slope = float(centred[:, 0] @ centred[:, 1] / (centred[:, 0] @ centred[:, 0]))
    return slope, float(points[:, 1].mean() - slope * points[:, 0].mean())


def _interval(values: Array, level: float) -> tuple[float, float] | None:
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
