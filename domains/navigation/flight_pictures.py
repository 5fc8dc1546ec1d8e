"""Pictures of flights: paths with their waypoints side by side, and a moving picture of several worlds at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from domains.navigation.drawing import draw
from domains.navigation.evaluation import UNSEEN, Flights, Pilot, as_trained
from domains.navigation.options import WaypointOptions
from domains.navigation.recording import write
from domains.navigation.worlds import Worlds

_COLUMNS = 4


def draw_flights(flights: Flights, count: int = 8) -> Any:
    """A figure of the first flights, a path each, coloured by time; in space seen from above and from the side.

    Waypoints are circles of the radius at which they count as reached, with their numbers.

    Args:
        flights: From `evaluation.fly`.
        count: How many to draw.

    Raises:
        ValueError: If ``count`` is less than 1.

    Example:
        >>> from domains.navigation.evaluation import fly
        >>> from domains.navigation.saved import load_baseline
        >>> model, config = load_baseline("waypoints2d")
        >>> len(draw_flights(fly(model, config.options, 3)).axes)  # and the colour bar
        4
    """
    from matplotlib.figure import Figure

    if count < 1:
        raise ValueError(f"draw_flights: count is at least 1; got {count!r}")
    count = min(count, len(flights))
    views = ((0, 1), (0, 2)) if flights.options.dimensions == 3 else ((0, 1),)
    columns = min(count, _COLUMNS)
    rows = -(-count // columns) * len(views)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    longest = float(flights.time[:count].max())
    for i in range(count):
        for k, view in enumerate(views):
            image = _draw_path(grid[i // columns * len(views) + k, i % columns], flights, i, view, longest)
    for axes in list(grid.flat):
        if not axes.lines:
            axes.remove()
    figure.colorbar(image, ax=figure.axes, label="time, s", shrink=0.6)
    return figure


def _draw_path(axes: Any, flights: Flights, i: int, view: tuple[int, int], longest: float) -> Any:
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    options, path = flights.options, flights.paths[i][:, view]
    half = options.arena / 2
    axes.plot([-half, half, half, -half, -half], [-half, -half, half, half, -half], color="0.6", lw=0.8)
    for centre in flights.obstacles[i]:
        if np.abs(centre).max() < options.arena:
            axes.add_patch(Circle(centre[list(view)], options.obstacle_radius, color="0.55", lw=0))
    for number, point in enumerate(flights.courses[i][:, view], 1):
        reached = number <= flights.reached[i]
        colour = "tab:green" if reached else "tab:red"
        axes.add_patch(Circle(point, options.reach_radius, fill=False, color=colour, lw=1.2))
        text = axes.annotate(str(number), point, ha="center", va="center", fontsize=8, color=colour, zorder=4)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    times = np.arange(len(path)) * options.time_step
    image = axes.scatter(path[:, 0], path[:, 1], c=times, s=2.5, cmap="viridis", vmin=0, vmax=longest)
    axes.plot(*path[0], marker="s", color="black", ms=4)
    names = [f"{'xyz'[axis]}, m" for axis in view]
    axes.set(xlim=(-1.04 * half, 1.04 * half), ylim=(-1.04 * half, 1.04 * half), aspect="equal")
    axes.set_xlabel(names[0], fontsize=8, labelpad=0)
    axes.set_ylabel(names[1], fontsize=8, labelpad=0)
    axes.tick_params(labelsize=7)
    if view == (0, 1):
        word = (
            "done" if flights.success[i] else "collided" if flights.collided[i] else "left" if flights.left[i] else ""
        )
        axes.set_title(f"{word or 'out of time'}, {flights.time[i]:.1f} s", fontsize=9)
    return image


def film(
    model: Pilot,
    options: WaypointOptions,
    path: str | Path,
    *,
    episodes: int = 4,
    seed: int = UNSEEN,
    every: int = 4,
) -> Flights:
    """Fly episodes at the same time and write a moving picture of all of them, side by side.

    Args:
        model: What flies.
        options: Of the worlds.
        path: A file ending in .gif or .mp4; the latter needs imageio and its ffmpeg.
        episodes: Number of worlds in the picture, 1 to 16.
        seed: Of the first; episodes are those of `evaluation.fly` with this seed.
        every: A frame for so many steps.

    Returns:
        The flights.

    Raises:
        ValueError: If the ending, a number or the model is wrong.
        ModuleNotFoundError: If an MP4 is wanted and imageio is not installed.
    """
    import importlib.util

    from domains.navigation.evaluation import fly

    path = Path(path)
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"film: expected a path ending in .gif or .mp4; got {path.name!r}")
    if not 1 <= episodes <= 16 or every < 1:
        raise ValueError(f"film: episodes are 1 to 16, every at least 1; got {episodes!r}, {every!r}")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio") is None:  # told before the flight
        raise ModuleNotFoundError("film: MP4 needs imageio and its ffmpeg: pip install 'separable[video]'")
    flights = fly(model, options, episodes, seed)
    write(_frames(model, flights, seed, every), path, 1 / (options.time_step * every))
    return flights


def _frames(model: Pilot, flights: Flights, seed: int, every: int) -> list[npt.NDArray[np.uint8]]:
    """Frames of worlds flown once more, for the pictures need attitudes too; a world that ended stands still."""
    options, n = flights.options, len(flights)
    worlds = Worlds(options, n)
    seen = worlds.reset(seeds=[seed + i for i in range(n)])
    lengths = np.array([len(p) - 1 for p in flights.paths])
    columns = min(n, 2 if n <= 4 else _COLUMNS)
    shrink = 1 if columns <= 2 else 2
    pictures: list[npt.NDArray[np.uint8]] = [np.empty(0, np.uint8)] * n
    frames = []
    for step in range(int(lengths.max()) + 1):
        shown = step % every == 0 or step == lengths.max()
        for i in range(n):
            if (shown and step < lengths[i]) or step == lengths[i]:
                trail = list(flights.paths[i][: step + 1])
                pictures[i] = draw(worlds, i, trail)[::shrink, ::shrink]
        if shown:
            blank = np.full_like(pictures[0], 250)
            cells = pictures + [blank] * (-n % columns)
            rows = [np.concatenate(cells[k : k + columns], 1) for k in range(0, len(cells), columns)]
            frames.append(np.concatenate(rows))
        if step < lengths.max():
            seen = worlds.step(model.predict(as_trained(model, seen), deterministic=True)[0]).observation
    return frames
