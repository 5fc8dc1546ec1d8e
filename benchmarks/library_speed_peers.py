"""A Kolmogorov-Arnold layer in the dense-basis formulation of efficient-kan, written anew, to time against ours.

The formulation (https://github.com/Blealtan/efficient-kan): the grid is uniform and continued by p knots on either
side; all K = intervals + p B-splines are evaluated at every input by the Cox-de Boor recursion on tensors
``(N, D, K + p)``, and one matrix product with the flattened table ``(N, D K)`` adds the inputs, beside a plain linear
layer of ``silu(x)``. Its optional scale for each connection is left out, which makes it slightly faster.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu


class DenseBasisKAN(nn.Module):
    """One layer ``(N, D) -> (N, O)`` with ``D O (K + 1)`` parameters, K = intervals + degree, on [-1, 1]."""

    def __init__(self, in_features: int, out_features: int, intervals: int, degree: int = 3) -> None:
        super().__init__()
        self.degree = degree
        knots = torch.arange(-degree, intervals + degree + 1) * (2 / intervals) - 1
        self.grid: Tensor
        self.register_buffer("grid", knots.expand(in_features, -1).contiguous())
        size, spread = intervals + degree, in_features**-0.5
        self.base = nn.Parameter(torch.randn(out_features, in_features) * spread)
        self.spline = nn.Parameter(torch.randn(out_features, in_features, size) * 0.1 * spread)

    def basis(self, x: Tensor) -> Tensor:
        """All B-splines ``(N, D, K)``."""
        x, grid = x[..., None], self.grid
        values = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for q in range(1, self.degree + 1):
            rising = (x - grid[:, : -(q + 1)]) / (grid[:, q:-1] - grid[:, : -(q + 1)])
            falling = (grid[:, q + 1 :] - x) / (grid[:, q + 1 :] - grid[:, 1:-q])
            values = rising * values[..., :-1] + falling * values[..., 1:]
        return values

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(N, O)``."""
        return linear(silu(x), self.base) + linear(self.basis(x).flatten(1), self.spline.flatten(1))


def stack(in_features: int, out_features: int, intervals: int, parameters: int, degree: int = 3) -> nn.Module:
    """One layer if it has that many parameters within a quarter, else two, as wide in between as gives that number."""
    each = intervals + degree + 1
    if abs(in_features * out_features * each / parameters - 1) < 0.25:
        return DenseBasisKAN(in_features, out_features, intervals, degree)
    hidden = round(parameters / ((in_features + out_features) * each))
    return nn.Sequential(
        DenseBasisKAN(in_features, hidden, intervals, degree), DenseBasisKAN(hidden, out_features, intervals, degree)
    )


def wide(in_features: int, intervals: int, parameters: int, degree: int = 3) -> nn.Module:
    """One layer with as many outputs as give that number of parameters."""
    return DenseBasisKAN(in_features, round(parameters / (in_features * (intervals + degree + 1))), intervals, degree)
