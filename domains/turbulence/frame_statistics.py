"""What a forecaster knows of the frames that it was trained on: their mean, deviations and range, which it keeps to.

A trained step is only good near what it was trained on. Where two vortices meet it can leave a spot that no frame of
the flow ever held, and products of such values grow from step to step until the forecast is lost. So a forecast is held
to the range that the training frames had, as vorticity in the plane is held to its range by the force and the drag
(without them no value beyond those of the start can come up). Values inside are not touched; above a greatest value b::

    w -> b + r tanh((w - b) / r),     r a tenth of the range

and below the least likewise, so that no forecast lies more than a tenth of the range beyond it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from domains.turbulence.readers import FlowData

_BEYOND = 0.1  # of the range, that a forecast may leave it


@dataclasses.dataclass(frozen=True)
class FrameStatistics:
    """Statistics of the training frames.

    Attributes:
        centre: mean of the frames, in the flow's units.
        scale: their standard deviation.
        increment: standard deviation of an increment, in units of ``scale``.
        low: least value, in units of ``scale`` from the centre; without one there is no bound.
        high: greatest value, likewise.

    Example:
        >>> import torch
        >>> FrameStatistics(0.0, 1.0, 0.5, -3.0, 2.0).bounded(torch.tensor([-9.0, 1.5, 2.5, 100.0]))
        tensor([-3.5000,  1.5000,  2.3808,  2.5000])
    """

    centre: float
    scale: float
    increment: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: expected a number, got {value!r}")
        if not math.isfinite(self.centre):
            raise ValueError(f"centre: expected a finite number, got {self.centre}")
        if not (self.scale > 0 and self.increment > 0):
            raise ValueError(f"scale, increment: expected numbers above 0, got {self.scale} and {self.increment}")
        if not self.low < self.high:
            raise ValueError(f"low, high: expected a range, got {self.low} to {self.high}")

    @classmethod
    def of(cls, data: FlowData, samples: Sequence[int], mirrored: bool) -> FrameStatistics:
        """Those of some samples.

        Args:
            data: what was read.
            samples: to learn from.
            mirrored: whether a mirror changes the sign of the field: then its mean is zero and its range even, whatever
                the samples say.

        Raises:
            ValueError: the field is the same everywhere or does not change.
        """
        sums, low, high = np.zeros(3), math.inf, -math.inf
        for sample in samples:
            frames = data.fields[sample].astype(np.float32).astype(np.float64)  # as they are learned from
            sums += frames.mean(), (frames**2).mean(), (np.diff(frames, axis=0) ** 2).mean()
            low, high = min(low, float(frames.min())), max(high, float(frames.max()))
        mean, square, change = (sums / len(samples)).tolist()
        centre = 0.0 if mirrored else mean
        variance = square - centre**2
        if not (variance > 0 and change > 0):
            raise ValueError(f"data: expected a field that changes, got variance {variance:g} and changes {change:g}")
        if mirrored:
            high = max(high, -low)
            low = -high
        scale = math.sqrt(variance)
        return cls(centre, scale, math.sqrt(change / variance), (low - centre) / scale, (high - centre) / scale)

    def bounded(self, fields: Tensor) -> Tensor:
        """Fields in units of the standard deviation, held to the range as at the head of this file."""
        if math.isinf(self.high - self.low):
            return fields
        margin = _BEYOND * (self.high - self.low)
        inside = fields.clamp(self.low, self.high)
        return inside + margin * ((fields - inside) / margin).tanh()

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> FrameStatistics:
        """From plain JSON data; a bound that is not there is none."""
        return cls(**{name: value for name, value in settings.items() if value is not None})

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        plain = dataclasses.asdict(self)
        return {name: value if math.isfinite(value) else None for name, value in plain.items()}
