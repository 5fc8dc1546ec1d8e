"""What a sweep showed: quality of a student over the size of its teacher, the best teachers, the law through them.

For every arm a picture with a curve a student (mean over seeds, bars from the least to the greatest), and the line
through the best teachers with its interval beside the published one. The curse of the capacity gap is there for a
student if a teacher inside the range is the best, and larger ones are worse by more than the seeds differ.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domains.language.distillation.law import PUBLISHED, LinearLaw, Trial, fit_law, optimal_teachers
from separable.training import Report, RunFolder

_MILLION = 1e6


@dataclasses.dataclass(frozen=True)
class Point:
    """One student size with one teacher size in one arm.

    Attributes:
        student: parameters, as asked for.
        teacher: parameters, mean over seeds.
        nats: of each seed, in the order of the seeds.
    """

    student: int
    teacher: float
    nats: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.nats))

    @property
    def deviation(self) -> float:
        """Of the mean: the seeds' standard deviation by the root of their number; 0 where there is one."""
        return float(np.std(self.nats, ddof=1) / math.sqrt(len(self.nats))) if len(self.nats) > 1 else 0.0


def points(rows: Sequence[dict[str, Any]], arm: str) -> list[Point]:
    """The rows of one arm, by student and teacher.

    Example:
        >>> rows = [{"arm": "pruned", "student": 1, "teacher": 4, "seed": seed, "teacher_parameters": 4,
        ...          "nats": 2.0 + seed} for seed in range(2)]
        >>> points(rows, "pruned")
        [Point(student=1, teacher=4.0, nats=(2.0, 3.0))]
    """
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seed"]):
        found.setdefault((row["student"], row["teacher"]), []).append(row)
    return [
        Point(student, float(np.mean([row["teacher_parameters"] for row in of])), tuple(row["nats"] for row in of))
        for (student, _), of in sorted(found.items())
    ]


def trials(found: Sequence[Point]) -> list[Trial]:
    """What `fit_law` takes; one a seed."""
    return [Trial(point.student, point.teacher, nats) for point in found for nats in point.nats]


def law(found: Sequence[Point]) -> LinearLaw | None:
    """The line through the best teachers; None where there are fewer than three students with two teachers each."""
    tried = {student: sum(point.student == student for point in found) for student in {p.student for p in found}}
    enough = [student for student, count in tried.items() if count > 1]
    return fit_law(trials([p for p in found if p.student in enough])) if len(enough) > 2 else None


def curses(found: Sequence[Point]) -> list[dict[str, Any]]:
    """For each student: its best teacher, those tried beside it, and by how much the largest one is worse."""
    rows = []
    for best in optimal_teachers(trials(found)):
        of = [point for point in found if point.student == best.student]
        at_best = min(of, key=lambda point: abs(point.teacher - best.teacher))
        largest = max(of, key=lambda point: point.teacher)
        below = max((p.teacher for p in of if p.teacher < at_best.teacher), default=best.student)
        above = min((p.teacher for p in of if p.teacher > at_best.teacher), default=math.inf)
        rise = largest.mean - at_best.mean
        noise = math.hypot(largest.deviation, at_best.deviation)
        rows.append(
            {
                "student": int(best.student),
                "best teacher": round(best.teacher),
                "teacher / student": best.teacher / best.student,
                "between": f"{below / best.student:.2f} and {above / best.student:.2f}",
                "nats": best.loss,
                "largest teacher": round(largest.teacher),
                "nats above the best": rise,
                "deviation of that": noise,
                "curse": bool(best.inside and rise > 2 * noise),
            }
        )
    return rows


def statement(found: Sequence[Point]) -> str:
    """In words, whether curse and law appear.

    Example:
        >>> tried = [Point(s, t * 1.0, ((t - 3 * s) ** 2 * 1.0,)) for s in (1, 2, 4) for t in range(5, 20)]
        >>> statement(tried).split(";")[0]
        'the curse appears for 2 of 3 students'
    """
    seen = curses(found)
    said = f"the curse appears for {sum(row['curse'] for row in seen)} of {len(seen)} students"
    fitted = law(found)
    if fitted is None:
        return f"{said}; no law is fitted, which takes three students with two teachers each"
    low, high = fitted.slope_interval() or (math.nan, math.nan)
    told = (
        f"{said}; best teachers T = {fitted.slope:.3f} S {fitted.intercept / _MILLION:+.3f} million, "
        f"R^2 {fitted.r_squared:.4f}, slope {low:.3f} to {high:.3f}; published {PUBLISHED.slope} S "
        f"{PUBLISHED.intercept / _MILLION} million, R^2 {PUBLISHED.r_squared}"
    )
    inside = low <= PUBLISHED.slope <= high
    sizes = sorted({point.teacher for point in found})
    apart = max(larger / smaller for smaller, larger in itertools.pairwise(sizes))
    return (
        f"{told}; the published slope lies {'inside' if inside else 'outside'} the interval; the best are those of the "
        f"sizes that were tried, up to a factor of {apart:.2f} apart"
    )


def write_sweep_report(folder: str | Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write ``report.html``, pictures, ``rows.json`` and ``trials-<arm>.jsonl`` for `recommend-teacher`.

    Raises:
        ValueError: there is no student among the rows.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["student"]))
    if not arms:
        raise ValueError("sweep: expected students that are finished, got none")
    run = RunFolder(folder, {"kind": "capacity gap"}, 0)
    run.write("rows.json", json.dumps(list(rows), indent=1))
    page = Report(
        "Capacity gap", "Students of several sizes by teachers of several sizes; nats a token, the less the better."
    )
    picture = _curves(run, rows, arms)
    if picture is not None:
        page.section("Quality over the size of the teacher")
        page.picture(picture, "Nats a token of each student over the parameters of its teacher")
    for arm in arms:
        found = points(rows, arm)
        told = [json.dumps({"student": t.student, "teacher": t.teacher, "loss": t.loss}) for t in trials(found)]
        run.write(f"trials-{arm}.jsonl", "\n".join(told) + "\n")
        page.section(f"Best teachers: {arm}")
        page.text(statement(found))
        page.table(curses(found))
        line = _line(run, found, arm)
        if line is not None:
            page.picture(line, "Best teachers over students, the line through them and the published one")
    page.section("Cells")
    for kind in ("teacher", *arms):
        of = [row for row in rows if row["arm"] == kind]
        if of:
            page.table(of)
    return run.write("report.html", page.html())


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _curves(run: RunFolder, rows: Sequence[dict[str, Any]], arms: Sequence[str]) -> Path | None:
    figure = _figure(4.2 * len(arms), 3.8)
    if figure is None:
        return None
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
    for axis, arm in zip(axes, arms, strict=True):
        found = points(rows, arm)
        for number, student in enumerate(dict.fromkeys(point.student for point in found)):
            of = [point for point in found if point.student == student]
            means = np.array([point.mean for point in of])
            ends = np.array([[min(p.nats), max(p.nats)] for p in of]).T
            sizes, colour = [point.teacher for point in of], f"C{number}"
            off = np.abs(ends - means)
            axis.errorbar(sizes, means, yerr=off, marker="o", ms=3, capsize=2, color=colour, label=f"S = {student:,}")
            best = int(np.argmin(means))
            axis.plot(sizes[best], means[best], "*", ms=11, color=colour)
        axis.set(xscale="log", title=arm, xlabel="parameters of the teacher")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("nats a token")
    axes[0].legend(fontsize=8)
    return run.figure("curves", figure)


def _line(run: RunFolder, found: Sequence[Point], arm: str) -> Path | None:
    fitted, figure = law(found), _figure(5.2, 3.8)
    if fitted is None or figure is None:
        return None
    axis = figure.subplots()
    best = optimal_teachers(trials(found))
    students = np.linspace(0.9 * fitted.smallest, 1.1 * fitted.greatest, 50)
    ends = np.array([fitted.interval(student) for student in students]) / _MILLION
    axis.fill_between(students / _MILLION, ends[:, 0], ends[:, 1], alpha=0.2, label="95 % of the bootstrap")
    axis.plot(students / _MILLION, [fitted.teacher(student) / _MILLION for student in students], label="fitted")
    axis.plot(students / _MILLION, PUBLISHED.slope * students / _MILLION, "--", label="2.498 S, published slope")
    for inside, marker in ((True, "o"), (False, "x")):
        of = [each for each in best if each.inside == inside]
        name = "best of those tried" if inside else "best at the end of the range"
        axis.plot([e.student / _MILLION for e in of], [e.teacher / _MILLION for e in of], f"k{marker}", label=name)
    axis.set(xlabel="student, million parameters", ylabel="best teacher, million parameters", title=arm)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return run.figure(f"law-{arm}", figure)
