"""Thermal histories of the points of several walls, as histograms, and the strengths they left.

Each point of a wall built layer by layer sees its own temperature ``T(t)``; what is kept of it is a histogram: the time
spent in each of B temperature ranges. Measured and simulated data have this form alike.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EDGES: Array = np.linspace(298.8, 2127.2, 37)
"""The 37 ends of the 36 temperature ranges of the measured data set, K."""


@dataclasses.dataclass(frozen=True)
class ThermalHistories:
    """N points of several walls: histograms of their temperature histories, and strengths.

    Args:
        histogram: ``(N, B)``, time (s, or samples of a fixed rate) spent in each of B temperature ranges.
        edges: ``(B + 1,)``, the ends of the ranges, K.
        strength: ``(N,)``, ultimate tensile strength, MPa.
        wall: ``(N,)``, the label of each point's wall.
        process: ``(N, P)``, how each point was made, in the order of `PROCESS`; None for measured data.
    """

    histogram: Array
    edges: Array
    strength: Array
    wall: NDArray[np.str_]
    process: Array | None = None

    def __len__(self) -> int:
        return len(self.strength)
