"""Whether a cell is like those a model was trained on: what warns a user before a prediction is believed.

Two measures, each held against the 99 % quantile over training cells:

    distance     Mahalanobis distance of the head's averages from those of the training cells
    round trip   share of voxels that come back wrong from encoding and decoding
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from domains.microstructure.janus import Janus


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """The training cells' averages and the limits; make it with `of`.

    Attributes:
        model: the model whose training cells these are.
        centre: ``(F,)`` mean of the averages.
        whitening: ``(F, F)``, to unit covariance.
        limits: greatest usual distance and share of wrong voxels.
    """

    model: Janus
    centre: Tensor
    whitening: Tensor
    limits: tuple[float, float]

    @classmethod
    def of(cls, model: Janus, cells: Tensor, quantile: float = 0.99) -> Familiarity:
        """Measure the training cells ``(N, n_1, ..)``."""
        features, wrong = _measured(model, cells)
        centre = features.mean(0)
        covariance = torch.cov(features.T) + 1e-6 * torch.eye(features.shape[1], dtype=features.dtype)
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
        distance = ((features - centre) @ whitening.T).norm(dim=1)
        return cls(model, centre, whitening, (float(distance.quantile(quantile)), float(wrong.quantile(quantile))))

    def __call__(self, cells: Tensor) -> Tensor:
        """How far each cell ``(B, n_1, ..)`` is from the training set; above 1 is unusual.

        Example:
            >>> from domains.microstructure.janus import JanusConfig
            >>> model = Janus(JanusConfig((16, 16), ("conductivity_xx",)), torch.zeros(1), torch.ones(1))
            >>> cells = (torch.rand(50, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
            >>> bool((Familiarity.of(model, cells)(cells) <= 1).float().mean() > 0.9)
            True
        """
        features, wrong = _measured(self.model, cells)
        distance = ((features - self.centre) @ self.whitening.T).norm(dim=1)
        return torch.maximum(distance / self.limits[0], wrong / max(self.limits[1], 1e-6))


def _measured(model: Janus, cells: Tensor) -> tuple[Tensor, Tensor]:
    features, wrong = [], []
    with torch.no_grad():
        for part in cells.split(256):
            latent = model.encode(part.float())
            features.append(model.averages(latent).double())
            wrong.append(((model.decode(latent) > 0) != (part > 0.5)).double().flatten(1).mean(1))
    return torch.cat(features), torch.cat(wrong)
