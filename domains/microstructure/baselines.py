"""What Janus is compared with: a convolutional regressor, and ridge regression on two-point statistics.

Both predict the standardised logarithms of the properties, on the cells and with the symmetries that Janus sees.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.microstructure.data import CellData
from domains.microstructure.properties import read_properties
from domains.microstructure.train import axis_orders, standard, turned

Array = NDArray[np.float64]


class ConvolutionalRegressor(nn.Module):
    """Periodic convolutions, a mean over the cell, two dense layers: the usual property network.

    Args:
        dimensions: 2 or 3.
        outputs: P.
        width: channels of the first stage; they double at every halving of the grid.

    Example:
        >>> ConvolutionalRegressor(2, 5)(torch.rand(3, 64, 64)).shape
        torch.Size([3, 5])
    """

    def __init__(self, dimensions: int, outputs: int, width: int = 24) -> None:
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d

        def stage(inputs: int, channels: int) -> list[nn.Module]:
            periodic = kind(inputs, channels, 3, padding=1, padding_mode="circular", bias=False)
            return [periodic, norm(channels), nn.GELU()]

        self.features = nn.Sequential(
            kind(1, width, 4, 4),
            nn.GELU(),
            *stage(width, width),
            kind(width, 2 * width, 2, 2),
            *stage(2 * width, 2 * width),
            *stage(2 * width, 2 * width),
        )
        self.dense = nn.Sequential(nn.Linear(2 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, outputs))

    def forward(self, cells: Tensor) -> Tensor:
        """Standardised logarithms ``(B, P)`` for cells ``(B, n_1, ..)``."""
        found: Tensor = self.dense(self.features(cells[:, None] - 0.5).flatten(2).mean(2))
        return found


def train_regressor(
    data: CellData,
    properties: tuple[str, ...],
    rows: range,
    *,
    seconds: float,
    width: int = 24,
    rate: float = 3e-3,
    batch: int = 64,
    seed: int = 0,
) -> tuple[ConvolutionalRegressor, Tensor, Tensor]:
    """Train a convolutional regressor for so much processor time; returns it, and mean and spread of the logarithms."""
    logs = torch.log(read_properties(data.columns, properties).double())
    turns = axis_orders(properties, data.cells.ndim - 1)
    learned = torch.tensor(rows)
    centre, spread = standard(logs[learned], turns)
    wanted = ((logs - centre) / spread).float()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    dimensions = data.cells.ndim - 1
    model = ConvolutionalRegressor(dimensions, len(properties), width)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-4)
    started = time.process_time()
    while (passed := (time.process_time() - started) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 50 * passed + 1e-3) * 0.5 * (1 + math.cos(math.pi * passed))
        chosen = learned[torch.randint(len(rows), (batch,), generator=generator)]
        cells, target = turned(data.cells[chosen].float(), wanted[chosen], turns, generator)
        loss = nn.functional.mse_loss(model(cells), target)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval(), centre, spread


def two_point_statistics(cells: Tensor, reach: int = 16) -> Array:
    """Probability that two voxels at every lag up to ``reach`` are both phase 1, ``(B, lags)``, by FFT.

    Half of the lags are kept, the others being their mirror images.

    Example:
        >>> float(two_point_statistics(torch.ones(1, 8, 8), 2).min())
        1.0
    """
    axes = tuple(range(1, cells.ndim))
    shape = cells.shape[1:]
    spectrum = torch.fft.rfftn(cells.double(), dim=axes).abs().square()
    correlation = torch.fft.irfftn(spectrum, s=shape, dim=axes) / math.prod(shape)
    reach = min(reach, min(shape) // 2 - 1)
    lags = [torch.arange(-reach, reach + 1) % n for n in shape[:-1]]
    lags.append(torch.arange(reach + 1))
    for axis, index in zip(axes, lags, strict=True):
        correlation = correlation.index_select(axis, index)
    return correlation.flatten(1).numpy()


def ridge_errors(data: CellData, properties: tuple[str, ...], rows: range, held_out: range, reach: int = 16) -> Tensor:
    """Relative errors ``(held out, P)`` of ridge regression on principal components of the two-point statistics.

    The number of components, their squares or not, and the penalty are chosen on a tenth of the training rows.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    logs = torch.log(read_properties(data.columns, properties).double()).numpy()
    statistics = np.concatenate([two_point_statistics(part, reach) for part in data.cells.float().split(256)])
    inner = range(rows.start, rows.stop - len(rows) // 10)
    check = range(inner.stop, rows.stop)

    def fitted(parts: tuple[range, range], components: int, degree: int, penalty: float) -> Array:
        train, test = (np.arange(part.start, part.stop) for part in parts)
        reduce = PCA(components, random_state=0).fit(statistics[train])
        powers = PolynomialFeatures(degree, include_bias=False)
        features = powers.fit_transform(reduce.transform(statistics[train]) / np.sqrt(reduce.explained_variance_[0]))
        scale = StandardScaler().fit(features)
        model = Ridge(penalty).fit(scale.transform(features), logs[train])
        rest = powers.transform(reduce.transform(statistics[test]) / np.sqrt(reduce.explained_variance_[0]))
        predicted: Array = model.predict(scale.transform(rest))
        return predicted

    settings = [(c, d, p) for c, d in ((20, 1), (60, 1), (200, 1), (10, 2), (30, 2)) for p in (0.1, 3.0, 100.0)]
    settings = [s for s in settings if s[0] < min(statistics.shape[1], len(inner))]
    best = min(
        settings, key=lambda s: float(np.abs(fitted((inner, check), *s) - logs[check.start : check.stop]).mean())
    )
    predicted = fitted((rows, held_out), *best)
    return torch.from_numpy(np.abs(np.exp(predicted - logs[held_out.start : held_out.stop]) - 1))
