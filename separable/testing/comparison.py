"""Comparing values with an independent computation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Tracing is checked without the code generator, which takes seconds a case; one layer's test runs that too.
COMPILER = "aot_eager"


def close(actual: Tensor, expected: Tensor | Array, tolerance: float = 1e-10) -> None:
    """Assert equal shapes and values, within a tolerance relative to the largest expected magnitude (at least one)."""
    expected = torch.as_tensor(expected, dtype=torch.float64).detach()
    actual = actual.detach().double()
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert torch.isfinite(expected).all()
    assert torch.isfinite(actual).all()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    error = float((actual - expected).abs().max()) / scale if expected.numel() else 0.0
    assert error <= tolerance, f"relative error {error:.2e} exceeds {tolerance:.0e}"
