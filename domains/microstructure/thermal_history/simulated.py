"""Simulated walls in the shape of the measured data set, and how each point was made."""

import numpy as np

from domains.microstructure.thermal_history.histories import EDGES, Array, ThermalHistories
from domains.microstructure.thermal_history.strength import StrengthRule
from domains.microstructure.thermal_history.wall import Wall, build

PROCESS = ("power", "speed", "dwell", "pool", "along", "up")
"""What `ThermalHistories.process` holds: W, m/s, s, K, and the point's place as shares of length and height."""

RANGES = ((1300.0, 1900.0), (0.005, 0.012), (0.0, 12.0), (1850.0, 2150.0))
"""Least and greatest value of the first four of `PROCESS` over the simulated walls."""


def simulate(walls: int = 12, seed: int = 0, noise: float = 15.0, rule: StrengthRule | None = None) -> ThermalHistories:
    """Simulated walls in the shape of the measured ones: every fourth has 9 points, the others have 12.

    Args:
        walls: Number of walls; 12 give 135 points. Power, speed, dwell and pool fill `RANGES` like a Latin hypercube.
        seed: Of the walls and the noise.
        noise: Standard deviation of the scatter of measured strengths, MPa.
        rule: Strength from history.

    Example:
        >>> data = simulate(walls=1)
        >>> data.histogram.shape, str(data.wall[0]), data.process.shape
        ((9, 36), '1', (9, 6))
    """
    if walls < 1 or not noise >= 0:
        raise ValueError(f"simulate: at least one wall and noise of at least 0, got {walls} and {noise}")
    generator = np.random.default_rng(seed)
    low, high = np.array(RANGES).T
    strata = np.stack([generator.permutation(walls) for _ in low], axis=1)
    settings = low + (high - low) * (strata + generator.random(strata.shape)) / walls
    rule = rule or StrengthRule()
    histograms, strengths, labels, process = [], [], [], []
    for number, row in enumerate(settings):
        points = places(3 if number % 4 == 0 else 4)
        history = build(Wall(*row.tolist()), points)
        histograms.append(history.histogram())
        strengths.append(rule(history))
        labels += [str(number + 1)] * len(points)
        process.append(np.hstack([np.tile(row, (len(points), 1)), points]))
    strength = np.concatenate(strengths)
    strength = strength + noise * generator.standard_normal(len(strength))
    return ThermalHistories(np.vstack(histograms), EDGES, strength, np.array(labels), np.vstack(process))


def places(columns: int) -> Array:
    """Points ``(3 columns, 2)`` on a grid of three heights, away from the ends of the wall."""
    along, up = np.meshgrid((np.arange(columns) + 0.5) / columns, (0.2, 0.5, 0.8))
    return np.stack([along.ravel(), up.ravel()], axis=1)
