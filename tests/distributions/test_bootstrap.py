"""The bootstrap against the normal interval, and its coverage by simulation."""

import math

import pytest
import torch

from separable.distributions import bootstrap_interval


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_of_a_mean_it_is_near_the_normal_interval():
    values = draw(200)
    found = bootstrap_interval(values, resamples=4000)
    half = 1.96 * float(values.std()) / math.sqrt(200)
    assert float(found.estimate) == pytest.approx(float(values.mean()))
    assert float(found.low) == pytest.approx(float(values.mean()) - half, abs=0.1 * half)
    assert float(found.high) == pytest.approx(float(values.mean()) + half, abs=0.1 * half)


def test_it_holds_the_truth_as_often_as_it_says():
    # 400 experiments of 40 trajectories, as 400 columns; each column is drawn again by the same indices.
    found = bootstrap_interval(draw(40, 400), level=0.9, resamples=500)
    held = ((found.low < 0) & (found.high > 0)).double().mean()
    assert float(held) == pytest.approx(0.9, abs=0.045)  # 3 standard errors


def test_trajectories_not_points_are_drawn():
    # Points that repeat their trajectory add nothing; drawing points would shrink the interval tenfold.
    few = draw(30, 1)
    alone, repeated = (bootstrap_interval(few.expand(30, n).clone(), lambda v: v.mean()) for n in (1, 100))
    assert float(repeated.high - repeated.low) == pytest.approx(float(alone.high - alone.low))


def test_any_statistic_along_any_axis():
    values = draw(2, 50, seed=3).abs()
    found = bootstrap_interval(values, lambda v: (v[:, 0].mean() / v[:, 1].mean()).sqrt(), axis=1)
    assert float(found.estimate) == pytest.approx(float((values[0].mean() / values[1].mean()).sqrt()))
    assert float(found.low) < float(found.estimate) < float(found.high)
    same = bootstrap_interval(values.T, lambda v: (v[:, 0].mean() / v[:, 1].mean()).sqrt())
    assert torch.equal(same.low, found.low)
    assert not torch.equal(bootstrap_interval(values, axis=1).low, bootstrap_interval(values, axis=1, seed=1).low)


def test_counts_are_a_statistic():
    values = draw(20, seed=2)
    counted, shared = (bootstrap_interval(values, lambda v, by=by: (v > 0).sum(0) / by) for by in (1, 20))
    whole = bootstrap_interval(values, lambda v: (v > 0).sum(0))
    assert (float(whole.low), float(whole.high)) == (float(counted.low), float(counted.high))
    assert float(whole.low) == pytest.approx(20 * float(shared.low))


def test_its_ends_are_interpolated_quantiles_of_the_resamples():
    drawn = []

    def kept(v):
        drawn.append(v.mean(0))
        return drawn[-1]

    found = bootstrap_interval(draw(12), kept, level=0.8, resamples=57)
    quantiles = torch.quantile(torch.stack(drawn[:57]), torch.tensor([0.1, 0.9], dtype=torch.float64))
    assert torch.allclose(torch.stack([found.low, found.high]), quantiles)


def test_what_does_not_fit_is_refused_by_name():
    for name, values, wrong in [
        ("values", draw(1), {}),
        ("values", draw(5) * torch.nan, {}),
        ("axis", draw(5), {"axis": 1}),
        ("level", draw(5), {"level": 1.0}),
        ("values", draw(5), {"resamples": 1}),
    ]:
        with pytest.raises(ValueError, match=f"bootstrap_interval: {name}"):
            bootstrap_interval(values, **wrong)
    with pytest.raises(TypeError, match="values"):
        bootstrap_interval([1.0, 2.0])
