"""Five coordinates of a histogram, one for each range of temperatures that matters to the alloy, and the way back."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from domains.microstructure.thermal_history.histories import EDGES, Array

_FLOOR = 0.1  # s, added before logarithms: less is not told apart


@dataclasses.dataclass(frozen=True)
class Windows:
    """Five coordinates of a histogram: logarithms of the seconds spent in windows that matter to the alloy, in [0, 1].

    Cold; precipitation of the strengthening phases (873 to 1173 K); of the brittle ones (to 1400 K); homogenisation (to
    the solidus, 1533 K); molten in part or whole. A range belongs to the window in which its middle lies. The way back
    spreads a window's seconds over its ranges as the mean history does, so ``windows(windows.histogram(z))`` is z.

    Args:
        limits: Between the windows, K, increasing.
        edges: ``(B + 1,)``, the ends of the ranges, K.
        lowest: ``(W,)``, logarithm at 0.
        highest: ``(W,)``, logarithm at 1.
        shape: ``(B,)``, each range's share of its window.
    """

    limits: tuple[float, ...]
    edges: Array
    lowest: Array
    highest: Array
    shape: Array

    @classmethod
    def of(
        cls, histogram: Array, edges: Array = EDGES, limits: tuple[float, ...] = (873.0, 1173.0, 1400.0, 1533.0)
    ) -> "Windows":
        """The windows whose coordinates fill [0, 1] over histograms ``(N, B)``.

        Raises:
            ValueError: If the histograms do not have B columns, or a window holds no range.

        Example:
            >>> histograms = np.random.default_rng(0).gamma(1.0, 5.0, (20, 36))
            >>> windows = Windows.of(histograms)
            >>> z = windows(histograms)
            >>> z.shape, bool(np.allclose(windows(windows.histogram(z)), z))
            ((20, 5), True)
        """
        if histogram.ndim != 2 or histogram.shape[1] != len(edges) - 1:
            raise ValueError(f"Windows: histograms are (N, {len(edges) - 1}) for these edges, got {histogram.shape}")
        member = _member(edges, limits)
        if not member.any(1).all():
            raise ValueError(f"Windows: no range has its middle in window {int(member.any(1).argmin())} of {limits}")
        logs = np.log(histogram @ member.T + _FLOOR)
        mean = histogram.mean(0) + 1e-9
        shape = mean / (member.T @ (member @ mean))
        lowest, highest = logs.min(0), logs.max(0)
        return cls(limits, edges, lowest, np.where(highest > lowest, highest, lowest + 1), shape)

    def __call__(self, histogram: Array) -> Array:
        """Coordinates ``(N, W)`` of histograms ``(N, B)``; beyond [0, 1] where a history is unlike all of `of`."""
        logs = np.log(histogram @ _member(self.edges, self.limits).T + _FLOOR)
        z: Array = (logs - self.lowest) / (self.highest - self.lowest)
        return z

    def histogram(self, z: Array) -> Array:
        """Histograms ``(N, B)``, s, of coordinates ``(N, W)``."""
        seconds = np.exp(self.lowest + z * (self.highest - self.lowest)) - _FLOOR
        spread: Array = np.maximum(seconds, 0.0) @ _member(self.edges, self.limits) * self.shape
        return spread


def _member(edges: Array, limits: Sequence[float]) -> Array:
    window = np.digitize((edges[1:] + edges[:-1]) / 2, limits)
    return (window == np.arange(len(limits) + 1)[:, None]).astype(np.float64)
