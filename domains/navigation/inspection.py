"""A picture of what a policy learned: its functions of one coordinate above, its actions and its value below.

A function is drawn over the combination of known coordinates that is squashed to its coordinate, where the policy met
it; the hill behind it tells how often.  Under it stand the three known coordinates that move it most, with their
weights; above it the weights with which it enters the outputs (before they are cut or squashed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from domains.navigation.options import WaypointOptions
from domains.navigation.policies import actor_of
from domains.navigation.policy_parts import (
    Part,
    actions_of,
    bounds,
    entry_names,
    flown,
    parts_of,
    resting,
    sampled,
    turned,
    values_of,
)
from domains.navigation.worlds import Worlds

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
except ImportError as error:  # pragma: no cover - the message is all there is
    raise ImportError("inspection needs matplotlib; install it with: pip install 'separable[plot]'") from error

_INK, _GREY = "#222222", "#8a8a8a"
_COLOURS = "#1f5fa8", "#c4622d", "#3a8f5c", "#8a5aa8", "#b8932b", "#2aa0a8"
_COLUMNS, _MOST_PARTS, _MOST_BARS, _MOST_ENTRIES = 4, 11, 12, 16
_SIDE, _LINE = 61, 181  # points of a map along a side, and of a line


def draw_policy(
    model: BaseAlgorithm,
    path: str | Path | None = None,
    *,
    options: WaypointOptions | None = None,
    observations: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw what a policy is made of and what it does.

    In a waypoint world the lower half has maps of the actions and the value over the place of the next waypoint, and
    lines over its bearing, for a vehicle at rest and this waypoint the last. In any other space it has lines along
    each entry through the middle of the space.

    Args:
        model: PPO, A2C, SAC, TD3 or DQN with a SpanPolicy.
        path: Where to save the picture, if anywhere; the ending tells its format.
        options: Of the waypoint world; by default those of the model's environment, if it is one.
        observations: Rows ``(N, F)`` over which ranges and strengths are taken. By default 32 flights in the waypoint
            world, else random ones from the space. A dictionary's entries lie in one row, in the order of its keys.
        names: Of the entries; by default the waypoint world's, else "entry 1" and so on.

    Raises:
        TypeError: If the model's policy is not one of ours.
        ValueError: If the options, observations or names do not fit the model's observations.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from domains.navigation.stable_baselines import WaypointVecEnv
        >>> model = PPO("SpanPolicy", WaypointVecEnv(4), n_steps=8, batch_size=32, device="cpu")
        >>> [axes.get_title(loc="left") for axes in draw_policy(model).axes][0]
        'how much each part moves the actions'
    """
    actor_of(model)
    n = len(bounds(model.observation_space)[0])
    world = _world(model, options, n)
    if names is None:
        names = entry_names(world) if world else _names(model.observation_space)
    if len(names) != n:
        raise ValueError(f"draw_policy: expected {n} names of entries; got {len(names)}")
    if observations is not None:
        rows = np.asarray(observations, np.float32)
    else:
        rows = flown(model, world) if world else sampled(model.observation_space)
    if rows.ndim != 2 or rows.shape[1] != n or len(rows) < 2 or not np.isfinite(rows).all():
        raise ValueError(f"draw_policy: expected two or more rows of {n} finite observations; got {rows.shape}")

    parts, outputs = parts_of(model, names, rows), _outputs(model, world)
    top = len(_panels(parts))
    upper = 2.75 * -(-top // _COLUMNS)
    shown = _varying(model, rows)
    below = 5.6 if world else 2.5 * -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(14, upper + below), layout="constrained", facecolor="white")
    halves: Any = figure.subfigures(2, 1, height_ratios=[upper, below], hspace=0.02)
    above, under = halves
    _made_of(above, parts, outputs)
    if world:
        _over_waypoints(under, model, world)
    else:
        _along_entries(under, model, names, rows, shown)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _world(model: BaseAlgorithm, options: WaypointOptions | None, n: int) -> WaypointOptions | None:
    """Options of the waypoint world whose observations the model sees, if it is one."""
    given = options is not None
    if not given and model.get_env() is not None:
        try:
            options = model.get_env().get_attr("options")[0]  # type: ignore[union-attr]
        except AttributeError:
            return None
    if not isinstance(options, WaypointOptions):
        return None
    fits = isinstance(model.observation_space, spaces.Box) and len(entry_names(options)) == n
    if given and not fits:
        raise ValueError(f"draw_policy: options are of {len(entry_names(options))} entries, observations have {n}")
    return options if fits else None


def _names(space: spaces.Space[Any]) -> list[str]:
    if isinstance(space, spaces.Dict):
        return [f"{key} {i + 1}" for key, part in space.spaces.items() for i in range(math.prod(part.shape or ()))]
    return [f"entry {i + 1}" for i in range(math.prod(space.shape or ()))]


def _outputs(model: BaseAlgorithm, world: WaypointOptions | None) -> list[str]:
    """A short name for each of the readout's outputs."""
    n = actor_of(model)[1].out_features
    first = 0 if isinstance(model.action_space, spaces.Discrete) else 1
    return _commands(world) if world and not world.discrete else [f"action {first + i}" for i in range(n)]


def _commands(world: WaypointOptions) -> list[str]:
    shorter = {" to the left": "", " above hovering": ""}
    found = list(Worlds(world, 1).vehicle.commands)
    for old, new in shorter.items():
        found = [name.replace(old, new) for name in found]
    return found


def _panels(parts: Sequence[Part]) -> list[Part | str]:
    """What the upper half shows: strengths, what the coordinates of modes are, and the strongest functions."""
    curved = sorted((part for part in parts if part.curves), key=lambda part: -float(np.linalg.norm(part.strength)))
    shown: list[Part | str] = ["bars", *(["coordinates"] if len(parts[0].curves) > 2 else []), *curved]
    return shown[: _MOST_PARTS + 1]


def _made_of(figure: SubFigure, parts: Sequence[Part], outputs: Sequence[str]) -> None:
    shown = _panels(parts)
    panels = list(figure.subplots(-(-len(shown) // _COLUMNS), _COLUMNS, squeeze=False).flat)
    what = "functions of one coordinate each, over the combination that is squashed to it"
    what += "" if "coordinates" in shown else "; hills: how often it was met"
    named = "parts of the actor" + (f": {what}" if len(shown) > 1 else "")
    figure.suptitle(named, fontsize=9.5, color=_INK)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel, part in zip(panels, shown, strict=False):
        if part == "bars":
            _bars(panel, parts, outputs)
        elif part == "coordinates":
            _coordinates(panel, parts[0])
        elif isinstance(part, Part):
            _function(panel, part, outputs)


def _coordinates(panel: Axes, part: Part) -> None:
    """Of what the coordinates are made that all modes share."""
    panel.set_axis_off()
    panel.set_title("coordinates", fontsize=8.5, loc="left", color=_INK)
    for i, curve in enumerate(part.curves[:_MOST_BARS]):
        own = ", ".join(f"{_number(weight)} {_short(name, 25)}" for name, weight in curve.combination[:2])
        place, colour = 0.94 - 0.94 * i / min(len(part.curves), _MOST_BARS), _COLOURS[i % len(_COLOURS)]
        panel.text(0, place, f"{curve.name}: {own}", fontsize=6.6, color=colour, va="top")


def _bars(panel: Axes, parts: Sequence[Part], outputs: Sequence[str]) -> None:
    few = len(outputs) <= len(_COLOURS)
    strength = np.array([part.strength if few else [np.linalg.norm(part.strength)] for part in parts])
    most = _MOST_BARS if strength.shape[1] < 3 else 9
    order = np.argsort(-np.linalg.norm(strength, axis=1))[:most]
    height = 0.8 / strength.shape[1]
    for i, column in enumerate(strength[order].T):
        at = np.arange(len(order)) + (i + 0.5) * height - 0.4
        panel.barh(at, column, height, color=_COLOURS[i], label=outputs[i] if few else None)
    panel.set_yticks(range(len(order)), [_short(parts[i].name, 26) for i in order])
    panel.set_ylim(len(order) - 0.4, -0.6)
    _style(panel, "how much each part moves the actions")
    panel.tick_params(axis="y", length=0, labelsize=7)
    panel.set_xlabel("standard deviation of its share", fontsize=7, color=_GREY)
    if few:
        panel.set_xlim(0, 1.5 * max(float(strength.max()), 1e-9))  # room for the legend
        panel.legend(fontsize=7, frameon=False, loc="lower right", handlelength=1.0)


def _function(panel: Axes, part: Part, outputs: Sequence[str]) -> None:
    pair = len(part.curves) <= 2
    low = min(curve.place[0] for curve in part.curves)
    high = max(curve.place[-1] for curve in part.curves)
    values = np.concatenate([curve.values for curve in part.curves])
    bottom, top = min(values.min(), 0.0), max(values.max(), 0.0)
    pad = 0.06 * max(top - bottom, 1e-6)
    for i, curve in enumerate(part.curves):
        colour = _COLOURS[i % len(_COLOURS)]
        if pair:  # of many, the hills would hide each other
            count, edges = np.histogram(curve.seen, 40, (low, high))
            hill = bottom - pad + 0.55 * (top - bottom + 2 * pad) * count / max(count.max(), 1)
            panel.stairs(hill, edges, baseline=bottom - pad, fill=True, color=colour, alpha=0.13)
        panel.plot(curve.place, curve.values, color=colour, lw=1.6, label=curve.name)
        if pair:
            own = [f"{_number(weight)} {_short(name, 23)}" for name, weight in curve.combination[:3]]
            text = "\n".join([f"{curve.name} of", *own])
            panel.text(0.52 * i, -0.13, text, transform=panel.transAxes, va="top", fontsize=6.6, color=colour)
    if pair:
        # Room for the text below, which the layout would not count.
        panel.set_xlabel("\n" * 4, fontsize=6.6)
    panel.locator_params(axis="x", nbins=6)
    panel.axhline(0, color=_GREY, lw=0.5)
    panel.set_xlim(low, high)
    panel.set_ylim(bottom - pad, top + pad)
    times = " \u00d7 ".join(curve.name for curve in part.curves) if pair and len(part.curves) == 2 else ""
    _style(panel, f"{part.name}: {times}" if times else part.name)
    order = np.argsort(-np.abs(part.weights))[: 2 if len(outputs) > 1 else 1]
    text = ", ".join(f"{_number(part.weights[i])} {_brief(outputs[i])}" for i in sorted(order))
    panel.set_title(text, fontsize=7, loc="right", color=_GREY)


def _over_waypoints(figure: SubFigure, model: BaseAlgorithm, world: WaypointOptions) -> None:
    """Maps and lines of actions and value over the place of the last waypoint."""
    names, body = _commands(world), turned(world)
    panels = figure.subplots(2, len(names) + 1)
    figure.suptitle(
        "actions and value of a vehicle at rest, by the place of its last waypoint", fontsize=9.5, color=_INK
    )
    reach = 0.6 * world.arena
    axis = np.linspace(-reach, reach, _SIDE)
    across, along = np.meshgrid(axis, axis)
    flat = np.zeros((across.size, world.dimensions))
    # In the body's axes ahead is up and left is left; in the world's x is right and y up.
    flat[:, 0], flat[:, 1] = (along.ravel(), -across.ravel()) if body else (across.ravel(), along.ravel())
    rows = resting(world, flat)
    acted, valued = actions_of(model, rows, world), values_of(model, rows)
    for i, panel in enumerate(panels[0]):
        shown = (valued if i == len(names) else acted[:, i]).reshape(_SIDE, _SIDE)
        ends = {} if i == len(names) else {"vmin": -1, "vmax": 1}
        colours = "viridis" if i == len(names) else "RdBu_r"
        image = panel.imshow(shown, origin="lower", extent=(-reach, reach, -reach, reach), cmap=colours, **ends)
        panel.plot(0, 0, marker="^" if body else "o", color=_INK, ms=5)
        bar = figure.colorbar(image, ax=panel, shrink=0.85)
        bar.ax.tick_params(labelsize=7)
        _style(panel, "value" if i == len(names) else names[i])
        panel.set_xlabel("right (m)" if body else "x (m)", fontsize=7.5)
        panel.set_ylabel("ahead (m)" if body else "y (m)", fontsize=7.5)
    bearing = np.linspace(-180, 180, _LINE)
    for j, share in enumerate((0.1, 0.3, 0.6)):
        far = share * world.arena
        flat = np.zeros((_LINE, world.dimensions))
        flat[:, 0], flat[:, 1] = far * np.cos(np.radians(bearing)), far * np.sin(np.radians(bearing))
        rows = resting(world, flat)
        acted, valued = actions_of(model, rows, world), values_of(model, rows)
        for i, panel in enumerate(panels[1]):
            shown = valued if i == len(names) else acted[:, i]
            panel.plot(bearing, shown, color=_COLOURS[j], lw=1.5, label=f"{far:g} m away")
    for i, panel in enumerate(panels[1]):
        _style(panel, "value" if i == len(names) else names[i])
        panel.set_xticks([-180, -90, 0, 90, 180])
        panel.set_xlabel(
            "bearing (degrees, left positive)" if body else "direction (degrees from x to y)", fontsize=7.5
        )
        if i < len(names):
            panel.set_ylim(-1.08, 1.08)
            panel.axhline(0, color=_GREY, lw=0.5)
    panels[1][-1].legend(fontsize=7, frameon=False, handlelength=1.0)


def _varying(model: BaseAlgorithm, rows: npt.NDArray[np.float32]) -> list[int]:
    """The entries along which the outputs change most, at most as many as there is room for, in their order."""
    change = [float(np.ptp(actions_of(model, _line(rows, i)[1]), axis=0).sum()) for i in range(rows.shape[1])]
    return sorted(np.argsort(change)[::-1][:_MOST_ENTRIES].tolist())


def _line(rows: npt.NDArray[np.float32], entry: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Places along one entry and the observations there, the others held in the middle of what was seen."""
    low, high = rows[:, entry].min(), rows[:, entry].max()
    place = np.linspace(low, high, _LINE)
    found = np.tile((rows.min(0) + rows.max(0)) / 2, (_LINE, 1))
    found[:, entry] = place
    return place, found.astype(np.float32)


def _along_entries(
    figure: SubFigure, model: BaseAlgorithm, names: Sequence[str], rows: npt.NDArray[np.float32], shown: Sequence[int]
) -> None:
    """Lines of actions and value along entries."""
    n_rows = -(-len(shown) // _COLUMNS)
    panels = list(figure.subplots(n_rows, _COLUMNS, squeeze=False).flat)
    figure.suptitle("actions (lines) and value (dashed, right) along each entry", fontsize=9.5, color=_INK)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    lines = [_line(rows, entry) for entry in shown]
    acted = [actions_of(model, row) for _, row in lines]
    valued = [values_of(model, row) for _, row in lines]
    whole = isinstance(model.action_space, spaces.Discrete)
    for i, (panel, entry) in enumerate(zip(panels, shown, strict=False)):
        place = lines[i][0]
        for k, column in enumerate(acted[i].T):
            style = "steps-mid" if whole else "default"
            label = "action" if acted[i].shape[1] == 1 else f"action {k + 1}"
            panel.plot(place, column, color=_COLOURS[k % len(_COLOURS)], lw=1.5, drawstyle=style, label=label)
        right = panel.twinx()
        right.plot(place, valued[i], color=_GREY, lw=1.2, ls="--", label="value")
        for axes, drawn in ((panel, acted), (right, valued)):
            low, high = min(d.min() for d in drawn), max(d.max() for d in drawn)
            pad = 0.06 * max(high - low, 1e-6)
            axes.set_ylim(low - pad, high + pad)
        _style(panel, _short(names[entry], 30))
        right.spines[["top", "left"]].set_visible(False)
        right.spines["right"].set_color(_GREY)
        right.tick_params(labelsize=7, colors=_GREY, length=2.5)
        panel.spines["right"].set_visible(False)
        panel.locator_params(axis="x", nbins=5)
        if i == 0:
            drawn_lines = [*panel.get_lines(), *right.get_lines()]
            right.legend(handles=drawn_lines, fontsize=7, framealpha=0.8, edgecolor="none", handlelength=1.4)


def _style(panel: Axes, title: str) -> None:
    panel.set_title(title, fontsize=8.5, loc="left", color=_INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_GREY)
    panel.tick_params(labelsize=7, colors=_GREY, labelcolor=_INK, length=2.5)


def _short(name: str, most: int) -> str:
    name = name.replace("direction of", "dir. of")
    return name if len(name) <= most else name[: most - 1].rstrip() + "\u2026"


def _brief(output: str) -> str:
    """The first word, or what the acceleration is along."""
    return output.replace("acceleration along ", "").replace("acceleration ", "").replace("rate of turn", "turn")


def _number(value: float) -> str:
    return f"{value:+.2g}".replace("-", "\u2212")
