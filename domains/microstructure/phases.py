"""What every solver asks of a cell: its shape, its values, and how grey voxels mix two phases.

A batch of cells is ``(B, n_1, ..., n_d)`` with d = 2 or 3: periodic, cubic voxels, array axis k is coordinate k
(x, y, z).  A value of 1 is phase 1 (solid, inclusion), 0 is phase 0 (matrix, pore), and values between are mixtures.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_VOXELS = 2


def checked_cells(cells: Tensor) -> Tensor:
    """Return the cells as floating point, or say what is wrong with them.

    Raises:
        TypeError: not a tensor, or one of half precision or complex numbers.
        ValueError: wrong number of axes, fewer than two voxels along an axis, NaN, or values outside [0, 1].

    Example:
        >>> checked_cells(torch.ones(3, 8, 8, dtype=torch.bool)).dtype
        torch.float64
    """
    if not isinstance(cells, Tensor):
        raise TypeError(f"cells: expected a torch.Tensor, got {type(cells).__name__}")
    if cells.is_complex() or (cells.is_floating_point() and cells.dtype not in (torch.float32, torch.float64)):
        raise TypeError(f"cells: expected float32, float64, integers or booleans, got {cells.dtype}")
    if cells.ndim not in (3, 4):
        raise ValueError(
            f"cells: expected (B, n_1, n_2) or (B, n_1, n_2, n_3), got shape {tuple(cells.shape)}; "
            "a single cell is cell[None]"
        )
    if len(cells) == 0 or min(cells.shape[1:]) < MIN_VOXELS:
        raise ValueError(
            f"cells: expected a cell or more of {MIN_VOXELS} voxels or more a side, got {tuple(cells.shape)}"
        )
    if not cells.is_floating_point():
        cells = cells.to(torch.float64)
    outside = ~((cells >= 0) & (cells <= 1))
    if bool(outside.any()):
        where = tuple(int(i) for i in outside.nonzero()[0])
        raise ValueError(f"cells: expected values in [0, 1], got {float(cells[where]):g} at {where}")
    return cells


def phase_shares(cells: Tensor, penalty: float = 1.0) -> Tensor:
    """Shares ``(B, 2, n_1, ..., n_d)`` of phase 0 and phase 1: 1 - cells^penalty and cells^penalty.

    ``penalty`` 1 is the mean of the phases; about 3 is the SIMP rule of topology optimisation, which makes grey
    voxels uneconomical so that a design goes to 0 and 1 (Bendsoe and Sigmund 1999).

    Example:
        >>> phase_shares(torch.tensor([[[0.5, 1.0], [0.0, 1.0]]]), penalty=2.0)[0, 1]
        tensor([[0.2500, 1.0000],
                [0.0000, 1.0000]])
    """
    if not penalty >= 1:  # below 1 the slope at 0 is infinite
        raise ValueError(f"penalty: expected an exponent of 1 or more, got {penalty}")
    solid = cells if penalty == 1 else cells**penalty
    return torch.stack([1 - solid, solid], 1)
