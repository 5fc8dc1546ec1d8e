"""Whether a cell is like those a model was trained on: what warns a user before a prediction is believed.

Three measures, each held against the 99 % quantile over training cells:

    distance     Mahalanobis distance, from those of the training cells, of the latent's statistics over the blocks of a
                 cell: its mean, its covariance, and its covariance with the next block along each axis
    round trip   share of voxels that come back wrong from encoding and decoding
    fraction     how far the share of phase 1 is from its mean

The third tells a cell of one phase, which is simple and comes back right.  In the first, the mean alone does not tell a
lattice from a random cell of the same energy; the covariances do.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from domains.microstructure.janus import Janus

_LEAST = 0.01  # of a limit: cells of one share of phase 1 differ in it by a voxel
_FLOOR = 1e-8  # added to variances; the latent lies in (0, 1), so its covariances vary by 1e-3 or so


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """The training cells' statistics and the limits; make it with `of`.

    Attributes:
        model: the model whose training cells these are.
        centre: ``(F,)`` mean of the statistics.
        whitening: ``(F, F)``, to unit covariance.
        fraction: mean share of phase 1.
        limits: greatest usual distance, share of wrong voxels and departure of the share of phase 1.
    """

    model: Janus
    centre: Tensor
    whitening: Tensor
    fraction: float
    limits: tuple[float, float, float]

    @classmethod
    def of(cls, model: Janus, cells: Tensor, quantile: float = 0.99) -> Familiarity:
        """Measure the training cells ``(N, n_1, ..)``: every other one gives the statistics, the rest the limits.

        A distance is smaller for the cells that its covariance was taken from than for others like them.
        """
        if len(cells) < 4:
            raise ValueError(f"cells: expected four or more to tell what is usual, got {len(cells)}")
        features, wrong, share = _measured(model, cells)
        first, second = features[::2], features[1::2]
        centre = first.mean(0)
        covariance = torch.cov(first.T) + _FLOOR * torch.eye(features.shape[1], dtype=features.dtype)
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
        distance = ((second - centre) @ whitening.T).norm(dim=1)
        fraction = float(share.mean())
        usual = tuple(float(m.quantile(quantile)) for m in (distance, wrong, (share - fraction).abs()))
        return cls(model, centre, whitening, fraction, (usual[0], usual[1], usual[2]))

    def __call__(self, cells: Tensor) -> Tensor:
        """How far each cell ``(B, n_1, ..)`` is from the training set; above 1 is unusual.

        Example:
            >>> from domains.microstructure.janus import JanusConfig
            >>> model = Janus(JanusConfig((16, 16), ("conductivity_xx",)), torch.zeros(1), torch.ones(1))
            >>> cells = (torch.rand(50, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
            >>> bool((Familiarity.of(model, cells)(cells) <= 1).float().mean() > 0.9)
            True
        """
        features, wrong, share = _measured(self.model, cells)
        distance = ((features - self.centre) @ self.whitening.T).norm(dim=1)
        measures = torch.stack([distance, wrong, (share - self.fraction).abs()])
        return (measures / torch.tensor(self.limits).clamp_min(_LEAST)[:, None]).amax(0)


def _measured(model: Janus, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics ``(B, F)``, shares of wrong voxels ``(B,)`` and shares of phase 1 ``(B,)``, in float64."""
    features, wrong = [], []
    with torch.no_grad():
        for part in cells.split(256):
            latent = model.encode(part.float())
            features.append(_statistics(latent.double()))
            wrong.append(((model.decode(latent) > 0) != (part > 0.5)).double().flatten(1).mean(1))
    return torch.cat(features), torch.cat(wrong), (cells > 0.5).double().flatten(1).mean(1)


def _statistics(latent: Tensor) -> Tensor:
    """Mean, covariance and covariance with the next block along each axis, ``(B, F)``, of a latent ``(B, C, ..)``."""
    if latent.ndim == 2:  # the published latent has no blocks
        return latent
    axes = tuple(range(2, latent.ndim))
    mean = latent.mean(axes)
    varying = latent - latent.mean(axes, keepdim=True)
    flat = varying.flatten(2)
    covariance = flat @ flat.mT / flat.shape[2]
    upper = torch.triu_indices(covariance.shape[1], covariance.shape[1])
    beside = [(varying * torch.roll(varying, 1, axis)).mean(axes) for axis in axes]
    return torch.cat([mean, covariance[:, upper[0], upper[1]], *beside], 1)
