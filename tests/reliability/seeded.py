"""What a seed gives: values of a layer that was fitted in closed form, and of one trained by gradient.

Run with numbers of threads, it writes the values with each of them, one after the other, as bytes.
"""

import sys
from typing import Any

import numpy as np
import torch

import separable
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic


def values(threads: int) -> np.ndarray[Any, Any]:
    """500 of the fit, in double precision, and 500 of the training, in single precision."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _values()
    finally:
        torch.set_num_threads(before)


def _values() -> np.ndarray[Any, Any]:
    torch.manual_seed(0)
    x = torch.rand(6_000, 3, dtype=torch.float64)
    y = torch.sin(3 * x[:, :1]) * x[:, 1:2] + x[:, 2:]
    layer = separable.SeparableLayer(3, 1, atoms=BSpline(6), interaction=CanonicalPolyadic(3), dtype=torch.float64)
    separable.fit(layer, x, y, method="alternating_least_squares", max_steps=4, rank_growth=False)
    fitted = layer(x[:500]).flatten()
    other = separable.SeparableLayer(3, 1, atoms=BSpline(6), interaction=CanonicalPolyadic(3))
    optimiser = torch.optim.Adam(other.parameters(), 1e-2)
    for _ in range(20):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(other(x.float()), y.float()).backward()
        optimiser.step()
    trained = other(x[:500].float()).flatten()
    return torch.cat([fitted, trained.double()]).detach().numpy()


if __name__ == "__main__":
    for number in sys.argv[1:]:
        sys.stdout.buffer.write(values(int(number)).tobytes())
