"""A cell from a field: the voxels with the smallest values are phase 1, as many as the volume fraction asks for.

The threshold is a quantile of the N values, so the volume fraction is exact to half a voxel, ``|phi - wanted| <=
1 / (2 N)``. Voxels of equal value (to 1e-12 of the largest) stay together, so that a symmetric field gives a symmetric
cell; then the fraction is the nearest that whole groups allow.
"""

import numpy as np
import torch
from torch import Tensor

from domains.microstructure.cells.grid import Array


def level_set(field: Array, volume_fraction: float) -> Tensor:
    """Phase 1 where the field is smallest.

    Args:
        field: ``(n_1, .., n_d)``, finite values, or infinity where the voxel is never phase 1.
        volume_fraction: Share of voxels of phase 1, between 0 and 1.

    Returns:
        The cell ``(n_1, .., n_d)``, float64 of 0 and 1.

    Raises:
        ValueError: If fewer voxels than wanted have a finite value.

    Example:
        >>> level_set(np.array([[0.0, 1.0], [2.0, 3.0]]), 0.5)
        tensor([[1., 1.],
                [0., 0.]], dtype=torch.float64)
    """
    flat = field.reshape(-1)
    count = round(volume_fraction * flat.size)
    if count == 0:
        return torch.zeros(field.shape, dtype=torch.float64)
    threshold = np.partition(flat, count - 1)[count - 1]
    if not np.isfinite(threshold):
        raise ValueError(
            f"level_set: {count} of {flat.size} voxels are wanted, but only {int(np.isfinite(flat).sum())} have a "
            "finite value"
        )
    tolerance = 1e-12 * float(np.abs(flat, where=np.isfinite(flat), out=np.zeros_like(flat)).max())
    below = field < threshold - tolerance
    through = field <= threshold + tolerance
    surplus, deficit = int(through.sum()) - count, count - int(below.sum())
    return torch.from_numpy((through if surplus <= deficit else below).astype(np.float64))
