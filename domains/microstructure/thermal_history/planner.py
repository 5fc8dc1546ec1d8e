"""From a wanted thermal history to settings of the process that build one near it, checked by the heat solver."""

import dataclasses

import numpy as np
import torch

import separable
from domains.microstructure.thermal_history.histories import Array, ThermalHistories
from domains.microstructure.thermal_history.simulated import PROCESS
from domains.microstructure.thermal_history.strength import StrengthRule
from domains.microstructure.thermal_history.wall import Wall, build
from domains.microstructure.thermal_history.windows import Windows
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer


@dataclasses.dataclass(frozen=True)
class Built:
    """A point that the heat solver built.

    Args:
        setting: ``(6,)``, in the order of `PROCESS`.
        histogram: ``(B,)``, s.
        strength: By the rule, without scatter, MPa.
        gap: Root mean square distance of the histogram from the wanted one, in coordinates of `Windows`.
    """

    setting: Array
    histogram: Array
    strength: float
    gap: float


class Planner:
    """From a wanted history to a way of building one near it: settings of the process and a place in the wall.

    A separable layer of order two learns the coordinates of a history as functions of the process; its inversion is
    a first plan. The heat solver builds it, and what it misses by is added to what is asked of the layer next time.

    Args:
        data: Simulated points.
        windows: Coordinates of histories.

    Raises:
        ValueError: If it is not known how the points were made, or a setting is the same for all.
    """

    def __init__(self, data: ThermalHistories, windows: Windows) -> None:
        if data.process is None:
            raise ValueError("Planner: these histories do not say how they were made (process is None)")
        self.windows, self.low, self.high = windows, data.process.min(0), data.process.max(0)
        if not (self.high > self.low).all():
            raise ValueError(f"Planner: every setting of {PROCESS} varies, got {self.low} to {self.high}")
        x, z = (data.process - self.low) / (self.high - self.low), windows(data.histogram)
        atoms, mixing = BSpline(intervals=1, degree=2), CanonicalPolyadic(rank=6, order=2)
        self.layer = SeparableLayer(x.shape[1], z.shape[1], atoms=atoms, interaction=mixing, dtype=torch.float64)
        separable.fit(self.layer, x, z, ridge=1e-3, max_steps=20)

    def __call__(self, histogram: Array, builds: int = 3, rule: StrengthRule | None = None) -> Built:
        """The best of ``builds`` walls, by distance from the wanted histogram ``(B,)``."""
        wanted = self.windows(histogram[None])[0]
        asked, best = wanted.copy(), None
        for _ in range(builds):
            found = separable.invert(self.layer, asked, n_solutions=1, starts=16, max_steps=20)
            setting = self.low + found.inputs[0].numpy() * (self.high - self.low)
            history = build(Wall(*setting[:4].tolist()), setting[None, 4:])
            reached = history.histogram(self.windows.edges)[0]
            missed = self.windows(reached[None])[0] - found.outputs[0].numpy()
            gap = float(np.sqrt(np.mean((self.windows(reached[None])[0] - wanted) ** 2)))
            if best is None or gap < best.gap:
                best = Built(setting, reached, float((rule or StrengthRule())(history)[0]), gap)
            asked = wanted - missed
        if best is None:
            raise ValueError(f"Planner: builds is at least 1, got {builds}")
        return best
