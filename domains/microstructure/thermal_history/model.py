"""A KHRONOS of 240 coefficients from the coordinates of a history to strength."""

import numpy as np
import torch

import separable
from domains.microstructure.thermal_history.histories import EDGES, Array
from domains.microstructure.thermal_history.windows import Windows
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer


def fit_khronos(z: Array, strength: Array, ridge: float = 0.1) -> SeparableLayer:
    """Fit a KHRONOS of 240 coefficients: 16 modes, each a product of 5 quadratics (3 kernels) of one coordinate each.

    Args:
        z: Coordinates ``(N, 5)`` in [0, 1], from `Windows`; beyond, the layer is constant, as histories unlike all
            measured ones would otherwise be extrapolated by a product of five polynomials.
        strength: ``(N,)``, MPa.
        ridge: Penalty, see `separable.fit`; with 257 numbers for some hundred points it decides how well new walls are
            predicted, and 0.01 to 0.1 are good values.

    Returns:
        A layer from z to strength in MPa: 240 coefficients, 16 weights of the modes and a bias.

    Deviations from the published layer (`separable.layers.Khronos`): full quadratics on [0, 1] for kernels of learned
    width, and alternating least squares with joint steps for Adam.
    """
    mean, spread = float(strength.mean()), float(strength.std()) or 1.0
    layer = SeparableLayer(
        z.shape[1],
        1,
        atoms=BSpline(intervals=1, degree=2, outside="constant"),
        interaction=CanonicalPolyadic(rank=16),
        dtype=torch.float64,
    )
    separable.fit(layer, z, (strength - mean) / spread, ridge=ridge, max_steps=5)
    assert layer.bias is not None
    with torch.no_grad():  # the output is linear in core and bias: back to MPa
        layer.core.mul_(spread)
        layer.bias.mul_(spread).add_(mean)
    return layer


def khronos(histogram: Array, strength: Array, new: Array, edges: Array = EDGES, ridge: float = 0.1) -> Array:
    """`fit_khronos` on the windows of the training histograms, as a `Model`."""
    windows = Windows.of(histogram, edges)
    layer = fit_khronos(windows(histogram), strength, ridge)
    with torch.no_grad():
        return np.asarray(layer(torch.from_numpy(windows(new)))[:, 0])
