"""How a policy learned: the evaluations of its run by step, and a figure of them."""

from __future__ import annotations

from typing import Any

from separable.training import RunFolder


def learning_curve(run: RunFolder) -> list[dict[str, Any]]:
    """The evaluations of a run by step; an evaluation that was repeated after an interruption counts once."""
    rows = {row["step"]: row for row in run.metrics() if "success" in row and "step" in row}
    return [rows[step] for step in sorted(rows)]


def draw_learning_curves(curves: dict[str, list[dict[str, Any]]]) -> Any:
    """A figure of success over steps, with 95 % intervals, and of the time of the successful.

    Args:
        curves: Rows with ``step``, ``success``, ``low``, ``high`` and ``flight_time``, by name.

    Example:
        >>> rows = [{"step": 0, "success": 0.0, "low": 0.0, "high": 0.1, "flight_time": None}]
        >>> len(draw_learning_curves({"span": rows}).axes)
        2
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in curves.items():
        steps = [row["step"] for row in rows]
        (line,) = left.plot(steps, [row["success"] for row in rows], marker=".", label=name)
        left.fill_between(
            steps, [row["low"] for row in rows], [row["high"] for row in rows], color=line.get_color(), alpha=0.15, lw=0
        )
        # The mean time of a few lucky episodes says nothing.
        told = [row for row in rows if row["flight_time"] is not None and row["success"] >= 0.1]
        right.plot(
            [row["step"] for row in told], [row["flight_time"] for row in told], marker=".", color=line.get_color()
        )
    left.set(ylim=(-0.02, 1.02), xlabel="steps of a world", ylabel="share that reaches every waypoint")
    right.set(xlabel="steps of a world", ylabel="mean time of those, s")
    right.set_xlim(left.get_xlim())
    figure.legend(loc="outside upper center", ncols=len(curves), frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
