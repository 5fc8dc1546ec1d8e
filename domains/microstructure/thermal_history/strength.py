"""Strength from a thermal history by a stated rule: how fast the metal solidified and how long it aged."""

import dataclasses

import numpy as np

from domains.microstructure.thermal_history.histories import Array
from domains.microstructure.thermal_history.material import INCONEL_718, Material
from domains.microstructure.thermal_history.wall import History


@dataclasses.dataclass(frozen=True)
class StrengthRule:
    """Ultimate tensile strength from a thermal history: fine dendrites and some ageing make the metal strong.

        spacing = 80 rate^-0.33                      (um; rate in K/s, while the metal solidifies for the last time)
        aged    = 1 - exp(-(seconds after that between 873 and 1173 K) / ageing_time)
        UTS     = base + hall_petch spacing^-1/2 + ageing aged                                            (MPa)

    Args:
        base: Strength of infinitely coarse metal, MPa.
        hall_petch: MPa um^1/2.
        ageing: Strength gained by full ageing, MPa.
        ageing_time: s.

    The forms are those of the solidification and precipitation literature. Every number is ours, not measured: chosen
    so that strengths are of the measured size, some 600 to 1100 MPa, with an ageing faster than the alloy's. The rule
    makes a problem of the right kind with a known answer, and says nothing about the alloy.
    """

    base: float = 200.0
    hall_petch: float = 2000.0
    ageing: float = 200.0
    ageing_time: float = 40.0

    def __call__(self, history: History, material: Material = INCONEL_718) -> Array:
        """Strengths ``(P,)``, MPa.

        Raises:
            ValueError: If a point never melted or has not solidified: it has no strength of this kind.
        """
        rate, solid = solidification(history, material)
        warm = (history.temperature > 873.0) & (history.temperature < 1173.0)
        after = (history.time[:, None] > solid) & warm
        aged = 1 - np.exp(-after.sum(0) * history.step / self.ageing_time)
        spacing = 80.0 * rate**-0.33
        total: Array = self.base + self.hall_petch * spacing**-0.5 + self.ageing * aged
        return total


def solidification(history: History, material: Material = INCONEL_718) -> tuple[Array, Array]:
    """Mean cooling rate ``(P,)`` (K/s) between liquidus and solidus when each point solidifies for the last time.

    Returns:
        The rates, and the times ``(P,)`` (s) at which each point was solid after it was liquid for the last time; what
        melts again in part later is not counted.

    Raises:
        ValueError: If a point never passed the liquidus, or is not solid at the end.
    """
    rates, times = [], []
    for point, values in enumerate(history.temperature.T):
        liquid = np.flatnonzero(values > material.liquidus)
        if not len(liquid) or values[-1] > material.solidus:
            hottest = np.nanmax(values)
            raise ValueError(
                f"solidification: point {point} must melt and end solid; its temperature reaches {hottest:.0f} K "
                f"(liquidus {material.liquidus:g} K) and ends at {values[-1]:.0f} K"
            )
        # From the last fully liquid moment down; what remelts in part afterwards is not counted as another melting.
        falling = values[liquid[-1] :]
        below = int(np.argmax(falling <= material.solidus))
        start = _crossing(falling, 1, material.liquidus)
        stop = _crossing(falling, below, material.solidus)
        rates.append((material.liquidus - material.solidus) / ((stop - start) * history.step))
        times.append(history.time[liquid[-1]] + stop * history.step)
    return np.array(rates), np.array(times)


def _crossing(values: Array, after: int, level: float) -> float:
    """The index, with its fraction, at which values fall through a level between ``after - 1`` and ``after``."""
    high, low = values[after - 1], values[after]
    return after - 1 + float((high - level) / (high - low))
