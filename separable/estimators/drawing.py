"""The picture of a fitted estimator: strengths as bars, functions of single features over their data, pairs as maps.

All functions share one vertical scale, and all maps one colour scale, so that sizes compare at a glance. A band is two
standard errors wide on either side; the grey hills are the density of the training rows, with a tick at every
percentile; a diamond is the effect where the feature is missing.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from separable.estimators.effects import ShapeFunction

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover - the message is all there is
    raise ImportError("drawing needs matplotlib; install it with: pip install 'separable[plot]'") from error

Array = NDArray[np.float64]

_INK, _GREY, _HILL, _LINE, _PAIR = "#222222", "#8a8a8a", "#dcdcdc", "#1f5fa8", "#c4622d"
_COLOURS = _LINE, _PAIR, "#3a8f5c", "#8a5aa8", "#b8932b", "#2aa0a8", "#c0507a", "#6b6b6b", "#7a9a2e", "#4a4aa0"
_TIMES = " \u00d7 "
_COLUMNS = 4
_MOST_CATEGORIES = 12
_SEEN = 5e-4  # of the variance; what has less is only named


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn.

    Args:
        strengths: Shares of the variance, largest first.
        shapes: The functions of single features.
        pair: Coordinates and effect ``(n, m, O)`` of a pair, by names.
        labels: Names of the outputs; one empty name if there is one output.
        unit: Of the effects, in words.
    """

    strengths: Mapping[tuple[str, ...], float]
    shapes: Mapping[str, ShapeFunction]
    pair: Callable[[str, str], tuple[Array, Array, Array]]
    labels: Sequence[str]
    unit: str


def draw(picture: Picture, max_features: int, max_pairs: int) -> Figure:
    """Draw strengths, then features and pairs from the strongest down."""
    alone = {key[0]: share for key, share in picture.strengths.items() if len(key) == 1}
    features = [name for name, share in alone.items() if share >= _SEEN][: max(1, max_features)] or list(alone)[:1]
    pairs = [key for key, share in picture.strengths.items() if len(key) == 2 and share > 1e-3][:max_pairs]
    panels = 1 + len(features) + len(pairs)
    columns = min(panels, min((_COLUMNS, _COLUMNS - 1), key=lambda count: -panels % count))  # the fuller page
    rows = -(-panels // columns)
    figure = Figure(figsize=(3.3 * columns, 2.7 * rows), layout="constrained", facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.set_visible(False)
    _bars(axes[0], picture.strengths)
    limits = _limits([picture.shapes[name] for name in features])
    for number, (panel, name) in enumerate(zip(axes[1:], features, strict=False)):
        _function(panel, picture.shapes[name], picture.labels, limits)
        _title(panel, name, picture.strengths[(name,)])
        if number == 0 or (number + 1) % columns == 0:
            panel.set_ylabel(picture.unit, fontsize=8, color=_GREY)
    if len(picture.labels) > 1:
        axes[1].legend(fontsize=6.5, frameon=False, ncols=2, loc="best", handlelength=1.2)
    _maps(figure, axes[1 + len(features) : panels], pairs, picture)
    return figure


def _title(panel: Axes, name: str, share: float) -> None:
    panel.set_title(name if len(name) <= 30 else name[:29] + "…", fontsize=9.5, loc="left", color=_INK)
    panel.set_title(_percent(share), fontsize=8.5, loc="right", color=_GREY)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_GREY)
    panel.tick_params(labelsize=7.5, colors=_GREY, labelcolor=_INK, length=2.5)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.1f}%"


def _bars(panel: Axes, strengths: Mapping[tuple[str, ...], float], most: int = 12) -> None:
    shown = [(key, share) for key, share in strengths.items() if share >= _SEEN][:most]
    for place, (key, share) in enumerate(shown):
        panel.barh(place, 100 * share, height=0.68, color={1: _LINE, 2: _PAIR}.get(len(key), _GREY))
        panel.text(100 * share, place, f" {_percent(share)}", va="center", fontsize=7, color=_GREY)
    names = [_TIMES.join(_short(name) for name in key) if key else "three and more" for key, _ in shown]
    panel.set_yticks(range(len(shown)), names)
    panel.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    panel.set_xlim(0, 118 * max((share for _, share in shown), default=1.0))
    panel.set_xticks([])
    # Right-aligned: there is room to the left, under the names.
    if flat := [key[0] for key, share in strengths.items() if len(key) == 1 and share < _SEEN]:
        listed = ", ".join(_short(name) for name in flat[:4]) + (f" and {len(flat) - 4} more" if len(flat) > 4 else "")
        panel.set_xlabel(f"no effect: {listed}", fontsize=7, color=_GREY, loc="right")
    panel.set_title("share of the variance", fontsize=9.5, loc="left", color=_INK)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(_GREY)
    panel.tick_params(labelsize=7.5, length=0, labelcolor=_INK)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"


def _outputs(shape: ShapeFunction) -> tuple[Array, Array | None]:
    """Values and errors ``(n, O)``."""
    error = shape.standard_error
    if shape.values.ndim == 2:
        return shape.values, error
    return shape.values[:, None], None if error is None else error[:, None]


def _limits(shapes: Sequence[ShapeFunction]) -> tuple[float, float]:
    """The vertical scale that all functions share: bands count, unless they would flatten the functions."""
    low, high = 0.0, 0.0
    for shape in shapes:
        values, error = _outputs(shape)
        spread = 0.0 if error is None else 2 * error
        low, high = min(low, float(np.min(values - spread))), max(high, float(np.max(values + spread)))
    least = min((float(np.min(shape.values)) for shape in shapes), default=0.0)
    most = max((float(np.max(shape.values)) for shape in shapes), default=0.0)
    reach = most - least if most > least else 1.0
    low, high = min(low, -0.01 * reach), max(high, 0.01 * reach)
    low, high = max(low, least - 0.25 * reach), min(high, most + 0.25 * reach)
    return low - 0.24 * (high - low), high + 0.06 * (high - low)  # room for the density below


def _function(panel: Axes, shape: ShapeFunction, labels: Sequence[str], limits: tuple[float, float]) -> None:
    values, error = _outputs(shape)
    colours = [_COLOURS[o % len(_COLOURS)] for o in range(values.shape[1])]
    panel.axhline(0, color=_HILL, linewidth=0.8, zorder=0)
    if shape.categorical:
        _categories(panel, shape, values, error, list(zip(colours, labels, strict=True)))
        panel.set_ylim(*limits)
        return
    assert shape.support.numbers is not None
    grid: Any = shape.grid
    if grid[-1] > grid[0]:
        heights, ends = np.histogram(shape.support.numbers, bins=25)
        transform = panel.get_xaxis_transform()
        panel.stairs(0.13 * heights / heights.max(), ends, fill=True, color=_HILL, transform=transform, zorder=0)
        panel.plot(
            shape.support.numbers, np.full(101, 0.012), "|", color=_GREY, markersize=3.5, markeredgewidth=0.4,
            transform=transform, zorder=1,
        )  # fmt: skip
        panel.set_xlim(grid[0], grid[-1])
        panel.locator_params(axis="x", nbins=5)
    for o, colour in enumerate(colours):
        if error is not None:
            low, high = values[:, o] - 2 * error[:, o], values[:, o] + 2 * error[:, o]
            panel.fill_between(grid, low, high, color=colour, alpha=0.18 if len(colours) == 1 else 0.08, linewidth=0)
        panel.plot(grid, values[:, o], color=colour, linewidth=1.7 if len(colours) == 1 else 1.2, label=labels[o])
    if shape.missing is not None:
        for colour, value in zip(colours, np.atleast_1d(shape.missing), strict=True):
            panel.plot([grid[-1]], [value], "D", color=colour, markersize=5, markeredgecolor="white", clip_on=False)
        place = (grid[-1], float(np.max(shape.missing)))
        panel.annotate(
            "missing", place, xytext=(-6, 5), textcoords="offset points", ha="right", fontsize=7, color=_GREY
        )
    panel.set_ylim(*limits)


def _categories(
    panel: Axes, shape: ShapeFunction, values: Array, error: Array | None, looks: Sequence[tuple[str, str]]
) -> None:
    """The commonest categories as points, as large as they are common; looks are the colour and name of each output."""
    assert shape.support.shares is not None
    shares = shape.support.shares[:-1]
    shown = np.sort(np.argsort(-shares, kind="stable")[:_MOST_CATEGORIES])
    places, names = np.arange(len(shown), dtype=float), [_short(str(shape.grid[k])) for k in shown]
    for o, (colour, label) in enumerate(looks):
        if error is not None:
            panel.errorbar(places, values[shown, o], 2 * error[shown, o], fmt="none", color=colour, alpha=0.35)
        panel.scatter(places, values[shown, o], s=14 + 90 * shares[shown], color=colour, label=label, zorder=3)
    panel.bar(places, 0.13 * shares[shown] / max(shares.max(), 1e-300), width=0.6, color=_HILL, zorder=0,
              transform=panel.get_xaxis_transform())  # fmt: skip
    if shape.missing is not None:
        for (colour, _), value in zip(looks, np.atleast_1d(shape.missing), strict=True):
            panel.plot([len(shown)], [value], "D", color=colour, markersize=5, markeredgecolor="white")
        names.append("missing")
    steep = sum(len(name) for name in names) > 26
    panel.set_xticks(range(len(names)), names, rotation=40 if steep else 0, ha="right" if steep else "center")
    panel.set_xlim(-0.6, len(names) - 0.4)


def _maps(figure: Figure, panels: Sequence[Axes], pairs: Sequence[tuple[str, ...]], picture: Picture) -> None:
    drawn = []
    for panel, (first, second) in zip(panels, pairs, strict=True):
        x, y, effect = picture.pair(first, second)
        output = int(np.argmax(np.square(effect).sum((0, 1))))
        drawn.append((panel, first, second, x, y, effect[..., output], output))
    largest = max((float(np.abs(item[5]).max()) for item in drawn), default=0.0) or 1.0
    mesh = None
    for panel, first, second, x, y, effect, output in drawn:
        mesh = panel.pcolormesh(
            x, y, effect.T, cmap="RdBu_r", vmin=-largest, vmax=largest, shading="nearest", rasterized=True
        )
        names = f"{_short(first, 11)}{_TIMES}{_short(second, 11)}"
        title = f"pair, on {picture.labels[output]}" if len(picture.labels) > 1 else names
        _title(panel, title, picture.strengths[first, second])
        for name, axis in ((first, panel.xaxis), (second, panel.yaxis)):
            axis.set_label_text(_short(name), fontsize=8, color=_GREY)
            if (shape := picture.shapes[name]).categorical:
                axis.set_ticks(range(len(shape.grid)), [_short(str(k)) for k in shape.grid])
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=list(panels), shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, length=2, colors=_GREY)
