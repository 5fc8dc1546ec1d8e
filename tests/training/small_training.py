"""A training of a second: a network, its rows and its loss."""

import torch
from torch import Tensor, nn

from separable.training import ShuffledRows

X = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.sin(X.sum(1, keepdim=True))


def network(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1)).double()


def stream(seed: int = 0) -> ShuffledRows:
    return ShuffledRows(64, lambda rows: (X[rows], Y[rows]), seed)


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()
