"""Nothing changes: the forecast that is hard to beat in the shortest time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from domains.turbulence.forecaster import FlowDescription, Forecaster


class Persistence(Forecaster):
    """Every frame is the last one.

    Args:
        description: of the flow.

    Example:
        >>> import torch
        >>> described = FlowDescription("w", "w", {"field": "1", "length": "1", "time": "1"}, 1.0, (8, 8), (1.0, 1.0))
        >>> start = torch.randn(2, 1, 8, 8)
        >>> bool((next(Persistence(described).rollout(start, 3)) == start).all())
        True
    """

    history = 1

    def __init__(self, description: FlowDescription) -> None:
        self.description = description

    def advance(self, frames: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """See `Forecaster`; any grid."""
        return frames[:, -1].clone()
