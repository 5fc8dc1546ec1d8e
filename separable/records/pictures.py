"""Pictures of what was measured over the steps: one panel for each number, one line for each run."""

from collections.abc import Mapping, Sequence
from typing import Any

_PANELS = 9
# A run tells these at every step, and nobody looks for them in a picture.
_UNSHOWN = ("seconds", "minutes", "rate")
_SPEED = "_per_second"

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def draw_curves(curves: Mapping[str, Curves]) -> Any:
    """A figure of the curves of runs.

    Args:
        curves: of each run, by its name, as `measurements.curves` gives them.

    Returns:
        A matplotlib figure; None where there is nothing to draw, or no matplotlib.

    Example:
        >>> figure = draw_curves({"a": {"loss": ([1, 2], [2.0, 1.0])}, "b": {"loss": ([1, 2], [2.0, 1.5])}})
        >>> [axis.get_title() for axis in figure.axes], len(figure.axes[0].lines)
        (['loss'], 2)
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    told = dict.fromkeys(name for each in curves.values() for name, pair in each.items() if not _counts(*pair))
    names = [name for name in told if name not in _UNSHOWN and not name.endswith(_SPEED)]
    shared = [name for name in names if all(name in each for each in curves.values())]
    names = [*shared, *(name for name in names if name not in shared)][:_PANELS]
    if not names:
        return None
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axis, name in zip(panels, names, strict=False):
        values: list[float] = []
        for place, (run, each) in enumerate(curves.items()):
            if name in each:
                steps, found = each[name]
                axis.plot(steps, found, color=f"C{place}", label=run, lw=1.4, marker="." if len(steps) < 30 else None)
                values += found
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if min(values) > 0 and max(values) > 50 * min(values):
            axis.set_yscale("log")
        else:
            axis.ticklabel_format(axis="y", useOffset=False)
    for axis in figure.axes[len(names) :]:
        axis.remove()
    if len(curves) > 1:
        lines = {str(line.get_label()): line for axis in figure.axes for line in axis.lines}
        figure.legend(
            list(lines.values()), list(lines), loc="outside upper center", ncols=min(4, len(lines)), frameon=False
        )
    return figure


def _counts(steps: Sequence[float], values: Sequence[float]) -> bool:
    """Whether values are only the steps in another unit, such as the tokens that were seen."""
    return values[-1] != 0 and all(
        value * steps[-1] == values[-1] * step for step, value in zip(steps, values, strict=True)
    )
