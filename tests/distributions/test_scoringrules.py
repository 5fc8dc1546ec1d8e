"""The same scores computed by others: `scoringrules`, to 1e-6 and in fact to rounding."""

import pytest
import torch

from separable.distributions import crps, energy_score, variogram_score

scoringrules = pytest.importorskip("scoringrules", reason="needs Python 3.11; the other tests write the sums out")

NAMES = [("ensemble", "nrg"), ("fair", "fair")]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("members", [2, 8, 9, 50])
@pytest.mark.parametrize(("ours", "theirs"), NAMES)
def test_crps(members, ours, theirs):
    x, y = draw(members, 20), draw(20, seed=1)
    expected = scoringrules.crps_ensemble(y.numpy(), x.numpy(), 0, estimator=theirs, backend="numpy")
    assert torch.allclose(crps(x, y, estimator=ours), torch.as_tensor(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("members", [2, 8, 50])
@pytest.mark.parametrize(("ours", "theirs"), NAMES)
def test_energy_score(members, ours, theirs):
    x, y = draw(members, 20, 6), draw(20, 6, seed=1)
    expected = scoringrules.es_ensemble(y.numpy(), x.numpy(), 0, -1, estimator=theirs, backend="numpy")
    assert torch.allclose(energy_score(x, y, estimator=ours), torch.as_tensor(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("ours", "theirs"), NAMES)
def test_variogram_score(order, ours, theirs):
    x, y, weights = draw(8, 20, 6), draw(20, 6, seed=1), draw(6, 6, seed=2).abs()
    expected = scoringrules.vs_ensemble(
        y.numpy(), x.numpy(), weights.numpy(), 0, -1, p=order, estimator=theirs, backend="numpy"
    )
    found = variogram_score(x, y, order=order, weights=weights, estimator=ours)
    assert torch.allclose(found, torch.as_tensor(expected), rtol=1e-12, atol=1e-12)
