"""Members of ensembles beside one another in a batch: one round of all samples after another."""

from __future__ import annotations

from torch import Tensor


def rounds_of(samples: Tensor, count: int) -> Tensor:
    """Samples ``(B, ...)`` again and again, ``(count, ...)``; count is a multiple of B.

    Example:
        >>> import torch
        >>> rounds_of(torch.tensor([[1, 2], [3, 4]]), 4).tolist()
        [[1, 2], [3, 4], [1, 2], [3, 4]]
    """
    return samples.repeat(count // len(samples), *[1] * (samples.ndim - 1))
