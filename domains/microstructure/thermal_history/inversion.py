"""From a wanted strength to a thermal history that has it."""

import numpy as np
import torch

import separable
from domains.microstructure.thermal_history.histories import Array, ThermalHistories
from domains.microstructure.thermal_history.model import fit_khronos
from domains.microstructure.thermal_history.windows import Windows


class Inverter:
    """From a wanted strength to the most probable thermal history that a KHRONOS of all points gives it.

    Args:
        data: The points.
        ridge: See `fit_khronos`.
    """

    def __init__(self, data: ThermalHistories, ridge: float = 0.1) -> None:
        self.windows = Windows.of(data.histogram, data.edges)
        z = self.windows(data.histogram)
        self.layer = fit_khronos(z, data.strength, ridge)
        self.mean, spread = z.mean(0), z.std(0)
        # A window in which all histories are the same stays as it is: the points say nothing of another.
        self.fixed = {int(window): float(self.mean[window]) for window in np.flatnonzero(spread == 0)}
        self.spread = np.where(spread > 0, spread, 1.0)
        self._precision = np.linalg.inv(np.cov(z.T) + 1e-6 * np.eye(z.shape[1]))

    def __call__(self, strength: float) -> Array:
        """Histogram ``(B,)``, s: of up to eight solutions, the likeliest under the correlations of the data.

        Raises:
            ValueError: If no history within the windows' ranges has this strength (MPa); the reach is stated.
        """
        found = separable.invert(
            self.layer,
            strength,
            fixed=self.fixed,
            prior=(self.mean, self.spread),
            n_solutions=8,
            starts=16,
            max_steps=4,
        )
        if not found.reachable:
            raise ValueError(f"Inverter: {strength:g} MPa is out of reach; {found}")
        z = found.inputs[found.converged].numpy()
        away = z - self.mean
        likeliest = int(np.einsum("ni,ij,nj->n", away, self._precision, away).argmin())
        return np.asarray(self.windows.histogram(z[[likeliest]])[0])

    def strength(self, histogram: Array) -> float:
        """What the KHRONOS expects of a histogram ``(B,)``, MPa."""
        with torch.no_grad():
            return float(self.layer(torch.from_numpy(self.windows(histogram[None]))))
