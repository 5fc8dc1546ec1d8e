"""What a training takes from data: samples to learn from, kept in memory, their symmetries, and looks at the others."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch

from domains.turbulence.forecaster import Forecaster, flow_of
from domains.turbulence.readers import FlowData
from domains.turbulence.symmetries import Symmetries, all_shifts, no_symmetries, symmetries_of
from separable.distributions import crps

_IN_MEMORY = 2**31  # bytes of training frames that are read once; more are read window by window
_STARTS, _MEMBERS, _LEADS = 16, 4, 5  # of a look at the held-out samples
_STREAM = 2**32  # keeps the noise of looks apart from that of forecasts


def split(data: FlowData, held_out: float) -> tuple[range, range]:
    """Samples to train on and samples to test on.

    Example:
        >>> split([0] * 10, 0.2)
        (range(0, 8), range(8, 10))
    """
    first = len(data) - max(1, round(held_out * len(data)))
    if first < 1:
        raise ValueError(f"data: expected samples to train on beside the held-out ones, got {len(data)}")
    return range(first), range(first, len(data))


def training_part(data: FlowData, samples: range) -> FlowData:
    """The samples to train on and no others, in memory where they are not too large."""
    size = 4 * math.prod(data.fields.shape[1:]) * len(samples)
    return data.of_samples(samples, in_memory=size <= _IN_MEMORY)


def symmetries_for(data: FlowData, wanted: str) -> Symmetries:
    """Those that a configuration asks for: of the ``flow`` where the file says which, all ``shifts``, or ``none``."""
    grid, flow = data.grid, flow_of(data)
    if wanted == "shifts":
        return all_shifts(grid.shape)
    return no_symmetries(grid.shape) if wanted == "none" or flow is None else symmetries_of(flow, grid)


class HeldOutLooks:
    """Scores of small ensembles on starts from the held-out samples, the same at every look.

    A forecaster without noise has one member, which is scored by its absolute error.

    Args:
        data: what was read.
        held_out: samples that are looked at.
        history: frames that a forecast starts from.
        scale: standard deviation of the frames, the unit of the scores.
        noise: whether forecasts differ from one another.
    """

    def __init__(self, data: FlowData, held_out: range, history: int, scale: float, noise: bool = True) -> None:
        self.scale, self.leads = scale, min(_LEADS, data.fields.shape[1] - history)
        self.members = _MEMBERS if noise else 1
        windows = data.windows(history, self.leads, samples=held_out)
        places = np.unique(np.linspace(0, len(windows) - 1, _STARTS).round().astype(int)).tolist()
        past, future = zip(*(windows[place] for place in places), strict=True)
        self.past, self.future = torch.stack(past), torch.stack(future)

    def scores(self, forecaster: Forecaster, seed: int) -> dict[str, float]:
        """Fair CRPS at the first and the last lead."""
        leads = forecaster.rollout(self.past, self.members, seed=_STREAM + seed)
        kind: Literal["fair", "ensemble"] = "fair" if self.members > 1 else "ensemble"
        found = {}
        for lead in range(1, self.leads + 1):
            members = next(leads)
            if lead in (1, self.leads):
                score = crps(members, self.future[:, lead - 1], estimator=kind, member_axis=1).mean()
                found[f"crps_{lead}"] = float(score) / self.scale
        return found
