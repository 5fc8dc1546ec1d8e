"""Facts of a training, drawn step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from separable.training import ShuffledRows


class StepOfFacts(ShuffledRows):
    """Facts in a random order; a batch is some of those of a step, and all of them.

    A tail is sought among the names of its step, so that a part of it has the loss of the whole only if it knows those.

    Args:
        rows: ``(n, 3)``.
        seed: of the order.

    Example:
        >>> stream = StepOfFacts(torch.arange(12).view(4, 3), seed=0)
        >>> [len(facts) for facts in stream.load(stream.draw(4)[:1])]
        [1, 4]
    """

    def __init__(self, rows: Tensor, seed: int) -> None:
        super().__init__(len(rows), self._facts, seed)
        self._rows = rows

    def _facts(self, places: Any) -> tuple[Tensor, Tensor]:
        return self._rows[torch.from_numpy(places)], self._rows[torch.from_numpy(self.step)]
