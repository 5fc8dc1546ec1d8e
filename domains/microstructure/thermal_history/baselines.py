"""What KHRONOS is compared with: ridge regression, boosted trees and a small CNN, each a `Model` with its settings.

Models of scikit-learn take the logarithms of all ranges, standardised, or the same windows as KHRONOS; the CNN takes
the ranges in their order. Needs scikit-learn.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from domains.microstructure.thermal_history.histories import EDGES, Array
from domains.microstructure.thermal_history.validation import Model
from domains.microstructure.thermal_history.windows import Windows


def regressor(
    histogram: Array,
    strength: Array,
    new: Array,
    make: Callable[[], Any],
    edges: Array = EDGES,
    on_windows: bool = False,
) -> Array:
    """A model of scikit-learn, as a `Model`.

    Args:
        histogram: ``(N, B)``, s.
        strength: ``(N,)``, MPa.
        new: ``(M, B)``, s.
        make: Makes an object with ``fit`` and ``predict``.
        edges: ``(B + 1,)``, K.
        on_windows: Whether it is given `Windows` or logarithms of all ranges; both are standardised.

    Returns:
        Strengths ``(M,)``, MPa.
    """
    inputs = Windows.of(histogram, edges) if on_windows else _logarithms
    seen = inputs(histogram)
    mean, spread = seen.mean(0), seen.std(0) + 1e-3
    fitted = make().fit((seen - mean) / spread, strength)
    return np.asarray(fitted.predict((inputs(new) - mean) / spread), dtype=np.float64)


def _logarithms(histogram: Array) -> Array:
    logs: Array = np.log(histogram + 0.1)
    return logs


def network(width: int) -> nn.Sequential:
    """A small CNN over the ranges, ``(N, 1, B)`` -> ``(N, 1)``, which learns B from its first input.

    Example:
        >>> model = network(8)
        >>> model(torch.zeros(3, 1, 36)).shape, sum(p.numel() for p in model.parameters())
        (torch.Size([3, 1]), 3041)
    """
    layers: list[nn.Module] = [nn.Conv1d(1, width, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)]
    layers += [nn.Conv1d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 1))


def cnn(histogram: Array, strength: Array, new: Array, width: int = 8, decay: float = 0.3) -> Array:
    """`network`, trained by 150 steps of AdamW on standardised logarithms, as a `Model`.

    Args:
        histogram: ``(N, B)``, s.
        strength: ``(N,)``, MPa.
        new: ``(M, B)``, s.
        width: Channels of the first convolution.
        decay: Of the weights.

    Returns:
        Strengths ``(M,)``, MPa.
    """
    torch.manual_seed(0)
    logs = _logarithms(histogram)
    # Of a range that the training walls hardly enter, the least time would be some thousand deviations, which a
    # convolution carries everywhere. On data sets apart from the record's 1 left the least error.
    mean, spread = logs.mean(0), np.maximum(logs.std(0), 1.0)
    a, b = (torch.tensor((part - mean) / spread).float()[:, None] for part in (logs, _logarithms(new)))
    t = torch.tensor((strength - strength.mean()) / strength.std()).float()[:, None]
    model = network(width)
    model(a[:1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=decay)
    for _ in range(150):
        optimiser.zero_grad()
        (model(a) - t).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        return np.asarray(model(b)[:, 0].double().numpy() * strength.std() + strength.mean())


SIZES = ((1, 200), (2, 80), (2, 200), (3, 80))
"""Depth and number of boosted trees."""


def candidates(edges: Array = EDGES, few: bool = False) -> dict[str, list[Model]]:
    """Each baseline at the settings among which `leave_wall_out` chooses.

    Args:
        edges: ``(B + 1,)``, the ends of the ranges, K.
        few: One size of trees and of CNN, for a quick look.
    """
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import Ridge

    trees = partial(GradientBoostingRegressor, subsample=0.5, random_state=0)
    return {
        "ridge": on_both([partial(Ridge, a) for a in (0.3, 1, 3, 10, 30, 100)], edges),
        "boosted trees": on_both(
            [partial(trees, max_depth=d, n_estimators=n) for d, n in (SIZES[1:2] if few else SIZES)], edges
        ),
        "CNN": [partial(cnn, width=width) for width in ((8,) if few else (8, 16))],
    }


def on_both(makes: Sequence[Callable[[], Any]], edges: Array = EDGES) -> list[Model]:
    """`regressor` with each of ``makes`` on all ranges, then each on the windows."""
    return [partial(regressor, make=make, edges=edges, on_windows=on) for on in (False, True) for make in makes]
