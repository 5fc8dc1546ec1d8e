"""A wall built layer by layer by a laser that moves to and fro along its top (directed energy deposition)."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from domains.microstructure.thermal_history.heat import Plate, Surroundings
from domains.microstructure.thermal_history.histories import EDGES, Array
from domains.microstructure.thermal_history.material import INCONEL_718, Material

_CONTROL = 100.0  # K over which the controller lowers the laser's power


@dataclasses.dataclass(frozen=True)
class Wall:
    """How one wall is built.

    Args:
        power: Most of the laser, W.
        speed: Of the laser along the wall, m/s.
        dwell: Pause after every layer, s.
        pool: Temperature of the hottest metal that the laser's controller allows, K: led by a pyrometer, it lowers the
            power in proportion over the last 100 K before, to nothing. Without it walls grow hotter layer by layer.
        length: Of the wall, m.
        height: Of the wall, m.
        thickness: Of the wall, m.
        layer: Height of one layer and side of a cell, m.
        beam: Radius of the laser beam at which its intensity is exp(-2) of the middle, m; also its depth.
        absorbed: Share of the power that heats the wall.
        cooling: Time recorded after the last layer, s.
        surroundings: Losses.
    """

    power: float = 1500.0
    speed: float = 0.008
    dwell: float = 4.0
    pool: float = 2000.0
    length: float = 0.030
    height: float = 0.018
    thickness: float = 0.003
    layer: float = 0.00075
    beam: float = 0.0015
    absorbed: float = 0.4
    cooling: float = 60.0
    surroundings: Surroundings = dataclasses.field(default_factory=Surroundings)

    def __post_init__(self) -> None:
        for field in ("power", "speed", "length", "height", "thickness", "layer", "beam", "absorbed", "pool"):
            if not 0 < getattr(self, field) < np.inf:
                raise ValueError(f"Wall: {field} is a positive number, got {getattr(self, field)!r}")
        for field in ("dwell", "cooling"):
            if not 0 <= getattr(self, field) < np.inf:
                raise ValueError(f"Wall: {field} is not negative, got {getattr(self, field)!r}")
        if self.absorbed > 1:
            raise ValueError(f"Wall: absorbed is at most 1, got {self.absorbed!r}")
        if min(self.shape) < 3:
            raise ValueError(f"Wall: length and height hold at least 3 layers of {self.layer:g} m, got {self.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells up and along."""
        return round(self.height / self.layer), round(self.length / self.layer)


@dataclasses.dataclass(frozen=True)
class History:
    """What P points of one wall went through.

    Args:
        time: ``(M,)``, end of each step, s.
        step: Length of every step, s.
        temperature: ``(M, P)``, K; NaN before a point's metal was laid down.
        supplied: Heat from the laser, J.
        lost: Heat given to the surroundings, J.
        kept: Heat above ambient at the end, J.
    """

    time: Array
    step: float
    temperature: Array
    supplied: float
    lost: float
    kept: float

    def histogram(self, edges: Array = EDGES) -> Array:
        """Seconds ``(P, B)`` spent in each range; temperatures beyond the ends count in the nearest range."""
        counts = np.zeros((self.temperature.shape[1], len(edges) - 1))
        for point, values in enumerate(self.temperature.T):
            inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
            counts[point] = np.histogram(inside, edges)[0] * self.step
        return counts


def build(wall: Wall, points: Array, material: Material = INCONEL_718) -> History:
    """Build a wall and follow some of its points.

    Args:
        wall: How it is built.
        points: ``(P, 2)``, places along and up as shares of length and height, each in [0, 1].
        material: What it is built of.

    Raises:
        ValueError: If a point lies outside the wall, or the metal passes 4000 K.

    Example:
        >>> history = build(Wall(length=0.006, height=0.003, cooling=1.0), np.array([[0.5, 0.5]]))
        >>> bool(np.nanmax(history.temperature) > 1609)  # it melted
        True
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
        raise ValueError(f"build: points are (P, 2) shares of length and height in [0, 1], got {points.tolist()}")
    rows, columns = wall.shape
    dx = wall.layer
    plate = Plate(wall.shape, dx, wall.thickness, material, wall.surroundings)
    probes = tuple(np.minimum((points[:, ::-1] * (rows, columns)).astype(int), (rows - 1, columns - 1)).T)
    places = (np.arange(columns) + 0.5) * dx
    pass_time, cell = columns * dx / wall.speed, dx**2 * wall.thickness
    end = rows * (pass_time + wall.dwell) + wall.cooling
    count = int(np.ceil(end / min(plate.stable_step, 0.5 * dx / wall.speed)))  # the laser passes no cell in a step
    step = end / count
    reach = int(np.ceil(1.5 * wall.beam / dx)) + 1  # rows that the beam heats: below, its intensity is under exp(-4.5)
    kept = np.zeros((count, len(points)))
    supplied, reached = 0.0, -1
    for number in range(count):
        layer, since = divmod(number * step, pass_time + wall.dwell)
        layer = int(layer)
        source = None
        if layer < rows and since < pass_time:
            laser = wall.speed * since
            head = layer * columns + min(columns - 1, int(laser / dx))
            along = places if layer % 2 == 0 else places[::-1]
            if head > reached:
                plate.activate(_laid(head, rows, columns))
                reached = head
            lowest = max(0, layer + 1 - reach)
            depth = (layer - np.arange(lowest, layer + 1)) * dx
            exponent = -2 * (((along - laser) / wall.beam) ** 2 + (depth / wall.beam)[:, None] ** 2)
            exponent = np.where(plate.active[lowest : layer + 1], exponent, -np.inf)
            weight = np.exp(exponent - exponent.max())  # of a narrow beam, the nearest cell's would be 0, too
            source = np.zeros((layer + 1, columns))
            source[lowest:] = weight * (wall.absorbed * wall.power / (weight.sum() * cell))
            heated = plate.enthalpy[lowest : layer + 1]
            hottest = float(plate.temperature_of(heated).max())
            rise = float(plate.temperature_of(heated + step * source[lowest:]).max()) - hottest
            # What is left of the power at the temperature that this step ends with: the controller is much faster.
            share = float(np.clip((wall.pool - hottest) / (_CONTROL + rise), 0.0, 1.0))
            source *= share
            supplied += share * wall.absorbed * wall.power * step
        plate.advance(step, source)
        kept[number] = np.where(plate.active[probes], plate.enthalpy[probes], np.nan)
    temperature = plate.temperature_of(kept)
    return History(step * np.arange(1.0, count + 1), step, temperature, supplied, plate.lost, plate.energy())


def _laid(head: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """The cells laid down when ``head`` + 1 of them are, layers running to and fro."""
    laid = (np.arange(rows * columns) <= head).reshape(rows, columns)
    laid[1::2] = laid[1::2, ::-1]
    return laid
