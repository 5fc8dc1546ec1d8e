"""Pictures of a waypoint world: seen from above and, in space, from the side as well."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from domains.navigation.worlds import Worlds

SIDE = 320  # pixels of a view
_FINE = 3  # drawn so many times larger, then averaged
_PAPER, _EDGE, _TRAIL, _OBSTACLE = (250, 250, 247), (150, 150, 150), (70, 120, 190), (120, 116, 110)
_TO_COME, _NEXT, _DONE, _VEHICLE = (214, 170, 90), (210, 90, 40), (130, 180, 130), (25, 45, 80)


def draw(worlds: Worlds, world: int, trail: list[npt.NDArray[np.float64]] | None = None) -> npt.NDArray[np.uint8]:
    """A picture of one world.

    Args:
        worlds: The worlds.
        world: Number of the one to draw.
        trail: Positions ``(d,)`` in m that the vehicle came through.

    Returns:
        ``(320, 320, 3)``, in space ``(320, 640, 3)``: x right and y up, then x right and z up.

    Example:
        >>> from domains.navigation.options import WaypointOptions
        >>> draw(Worlds(WaypointOptions(), 1), 0).shape
        (320, 320, 3)
    """
    views = ((0, 1), (0, 2)) if worlds.options.dimensions == 3 else ((0, 1),)
    return np.concatenate([_view(worlds, world, trail or [], view) for view in views], 1)


def _view(
    worlds: Worlds, world: int, trail: list[npt.NDArray[np.float64]], view: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    options, size, shown = worlds.options, SIDE * _FINE, list(view)
    image = Image.new("RGB", (size, size), _PAPER)
    pen = ImageDraw.Draw(image)
    per_metre = 0.92 * size / options.arena

    def place(point: npt.NDArray[np.float64]) -> tuple[float, float]:
        x, y = point[shown] * per_metre
        return size / 2 + float(x), size / 2 - float(y)

    def disc(point: npt.NDArray[np.float64], radius: float, colour: tuple[int, int, int], filled: bool = True) -> None:
        x, y = place(point)
        r = radius * per_metre
        pen.ellipse((x - r, y - r, x + r, y + r), colour if filled else None, colour, 0 if filled else 2 * _FINE)

    pen.rectangle((0.04 * size, 0.04 * size, 0.96 * size, 0.96 * size), None, _EDGE, 2)
    for obstacle in worlds.obstacles[:, :, world]:
        if np.abs(obstacle).max() < options.arena:
            disc(obstacle, options.obstacle_radius, _OBSTACLE)
    course, reached = worlds.course[:, :, world], int(worlds.reached[world])
    rest = [place(point) for point in course[max(reached - 1, 0) :]]
    if len(rest) > 1:
        pen.line(rest, (225, 222, 214), _FINE)
    for i, point in enumerate(course):
        colour = _DONE if i < reached else _NEXT if i == reached else _TO_COME
        disc(point, options.reach_radius, colour, filled=False)
        pen.text(place(point), str(i + 1), colour, anchor="mm", font_size=13 * _FINE)
    if len(trail) > 1:
        pen.line([place(point) for point in trail], _TRAIL, 2 * _FINE)
    state = worlds.state[:, world : world + 1]
    here = worlds.position[:, world]
    length = options.arena * (0.055 if options.dimensions == 3 else 0.035)
    if options.dimensions == 3:
        ahead, left, up = worlds.vehicle.axes(state)[:, :, 0].T
        for arm in (ahead + left, ahead - left):
            pen.line([place(here - length * arm / 2), place(here + length * arm / 2)], _VEHICLE, 2 * _FINE)
        pen.line([place(here), place(here + length * up)], _NEXT, 2 * _FINE)
    elif options.dynamics == "unicycle":
        ahead, left = worlds.vehicle.axes(state)[:, :, 0].T
        corners = (here + length * ahead, here - length * (ahead - left) / 2, here - length * (ahead + left) / 2)
        pen.polygon([place(corner) for corner in corners], _VEHICLE)
    else:
        disc(here, length / 2, _VEHICLE)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
