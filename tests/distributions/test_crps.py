"""The CRPS against its definitions, a closed form, and what fairness promises."""

import math

import numpy as np
import pytest
import torch

from separable.distributions import crps
from separable.distributions.crps import _by_pairs, _by_sorting

ESTIMATORS = [("ensemble", 0.0), ("fair", 1.0), ("almost fair", 0.95)]


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_double_sum(members, y, alpha):
    """The definition: mean distance to y less half the mean distance between members, both counted as alpha asks."""
    count = len(members)
    to_y = np.abs(members - y).mean(0)
    apart = np.abs(members[:, None] - members[None]).sum((0, 1))
    plain = to_y - apart / (2 * count**2)
    return plain if alpha == 0 else (1 - alpha) * plain + alpha * (to_y - apart / (2 * count * (count - 1)))


@pytest.mark.parametrize("members", [2, 3, 8, 9, 40])
@pytest.mark.parametrize(("estimator", "alpha"), ESTIMATORS)
def test_it_is_the_double_sum_over_members(members, estimator, alpha):
    x, y = draw(members, 3, 5), draw(3, 5, seed=1)
    x[0] = x[1]  # a tie
    expected = by_double_sum(x.numpy(), y.numpy(), alpha)
    assert np.abs(crps(x, y, estimator=estimator).numpy() - expected).max() < 1e-14


@pytest.mark.parametrize("members", [2, 5, 30])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.95, 1.0])
def test_pairs_and_sorting_agree_in_value_and_in_slope(members, alpha):
    deviations = draw(members, 50).requires_grad_()
    values, slopes = [], []
    for formula in (_by_pairs, _by_sorting):
        values.append(formula(deviations, alpha))
        slopes.append(torch.autograd.grad(values[-1].sum(), deviations)[0])
    assert torch.allclose(*values, atol=1e-14, rtol=0)
    assert torch.allclose(*slopes, atol=1e-14, rtol=0)


def test_the_ensemble_score_is_the_integral_of_the_squared_difference_of_distribution_functions():
    x, y = draw(11), draw(seed=1)
    edges = np.linspace(-6, 6, 400_001)
    distribution = (x.numpy()[:, None] <= edges).mean(0)
    integral = ((distribution - (edges >= float(y))) ** 2).sum() * (edges[1] - edges[0])
    assert float(crps(x, y, estimator="ensemble")) == pytest.approx(integral, abs=1e-4)


def test_many_members_of_a_gaussian_have_its_closed_form():
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    closed = z * (2 * normal.cdf(z) - 1) + 2 * normal.log_prob(z).exp() - 1 / math.sqrt(math.pi)
    # Members at the quantiles of equal steps leave an error of order 1 / M, and no noise.
    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    members = normal.icdf(levels)[:, None].expand(-1, 9)
    assert torch.allclose(crps(members, z, estimator="ensemble"), closed, atol=1e-3)


def test_the_mean_fair_score_is_the_same_for_any_number_of_members_and_the_plain_one_is_not():
    x, y = draw(16, 100_000), draw(100_000, seed=1)
    of_infinitely_many = 1 / math.sqrt(math.pi)  # of N(0, 1) scored by N(0, 1)
    for members in (2, 4, 16):
        fair = float(crps(x[:members], y).mean())
        plain = float(crps(x[:members], y, estimator="ensemble").mean())
        almost = float(crps(x[:members], y, estimator="almost fair").mean())
        assert fair == pytest.approx(of_infinitely_many, abs=0.006)  # 3 standard errors, at two members
        # E|X - X'| = 2 / sqrt(pi), half of which over M is what too few members cost
        assert plain == pytest.approx(of_infinitely_many * (1 + 1 / members), abs=0.006)
        assert almost == pytest.approx(0.95 * fair + 0.05 * plain, abs=1e-12)


def test_no_other_spread_or_mean_scores_better_than_the_true_one():
    x, y = draw(16, 50_000), draw(50_000, seed=1)
    best = float(crps(x, y).mean())
    for other in (0.7 * x, 1.4 * x, x + 0.3):
        assert float(crps(other, y).mean()) > best + 0.01


def test_one_member_is_scored_by_its_absolute_error_and_never_fairly():
    x, y = draw(1, 7), draw(7, seed=1)
    assert torch.equal(crps(x, y, estimator="ensemble"), (x[0] - y).abs())
    for estimator in ("fair", "almost fair"):
        with pytest.raises(ValueError, match=r"ensemble.*2 members.*got 1"):
            crps(x, y, estimator=estimator)


@pytest.mark.parametrize("members", [4, 20])
def test_members_may_lie_along_any_axis(members):
    x, y = draw(members, 3, 5), draw(3, 5, seed=1)
    for axis in (1, 2, -1):
        assert torch.allclose(crps(x.movedim(0, axis), y, member_axis=axis), crps(x, y), atol=1e-15)


@pytest.mark.parametrize("members", [4, 20])
@pytest.mark.parametrize("estimator", [name for name, _ in ESTIMATORS])
def test_single_precision_loses_nothing_far_from_the_observation(members, estimator):
    # Members within 0.01 of each other and 1000 away: the two means of the definition agree to five digits.
    x = (1000 + 0.01 * draw(members, 200)).float()
    y = (1000 + 0.01 * draw(200, seed=1)).float()
    exact = crps(x.double(), y.double(), estimator=estimator)
    single = crps(x, y, estimator=estimator)
    assert single.dtype == torch.float32
    assert float((single - exact).abs().max()) < 1e-6 * float(exact.max())
    assert float(single.min()) > -1e-9


@pytest.mark.parametrize("members", [3, 12])
@pytest.mark.parametrize(("estimator", "alpha"), ESTIMATORS)
def test_slopes_are_those_of_finite_differences(members, estimator, alpha):
    x, y = draw(members, 4).requires_grad_(), draw(4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: crps(a, b, estimator=estimator), (x, y))


@pytest.mark.parametrize("members", [3, 12])
def test_a_training_loss_moves_members_to_the_distribution(members):
    noise, y = draw(members, 20_000), 2 + 0.5 * draw(20_000, seed=1)
    free = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)  # mean and spread
    optimiser = torch.optim.Adam([free], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        crps(free[0] + free[1] * noise, y, estimator="almost fair").mean().backward()
        optimiser.step()
    mean, spread = free.tolist()
    assert mean == pytest.approx(2.0, abs=0.015)
    # Of Gaussians the score is least where s / sqrt(s^2 + 1/4) = (1 - eps) / sqrt(2): a little below 1/2.
    share = (1 - 0.05 / members) ** 2 / 2
    assert spread == pytest.approx(0.5 * math.sqrt(share / (1 - share)), abs=0.015)


@pytest.mark.parametrize("members", [3, 12])
def test_members_that_are_all_equal_to_the_observation_have_finite_slopes(members):
    x = torch.zeros(members, 5, requires_grad=True)
    crps(x, torch.zeros(5), estimator="almost fair").sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_it_compiles_as_one_graph():
    compiled = torch.compile(crps, backend="eager", fullgraph=True)
    for members in (4, 12):
        x, y = draw(members, 6), draw(6, seed=1)
        assert torch.allclose(compiled(x, y), crps(x, y))


def test_what_does_not_fit_is_refused_by_name():
    x, y = draw(4, 6), draw(6, seed=1)
    with pytest.raises(ValueError, match=r"observation.*\(6,\).*got \(7,\)"):
        crps(x, draw(7))
    with pytest.raises(ValueError, match="observation"):
        crps(x, draw(1))  # would broadcast
    with pytest.raises(ValueError, match="member_axis"):
        crps(x, y, member_axis=2)
    with pytest.raises(ValueError, match="estimator"):
        crps(x, y, estimator="almost")
    with pytest.raises(ValueError, match="alpha"):
        crps(x, y, estimator="almost fair", alpha=1.5)
    with pytest.raises(TypeError, match=r"ensemble.*int64"):
        crps(torch.ones(4, 6, dtype=torch.int64), y)
    with pytest.raises(TypeError, match=r"observation.*float"):
        crps(x[:, 0], 1.0)
    with pytest.raises(ValueError, match="ensemble"):
        crps(x[:0], y, estimator="ensemble")
    with pytest.raises(ValueError, match=r"observation.*\(0,\)"):
        crps(torch.zeros(4, 0), torch.zeros(0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_missing_members_are_refused_and_named(bad):
    x, y = draw(4, 6), draw(6, seed=1)
    x[2, 3] = bad
    with pytest.raises(ValueError, match=r"ensemble.*1 of 24, in members \[2\]"):
        crps(x, y)
    with pytest.raises(ValueError, match=r"observation.*1 of 6"):
        crps(x[:2], torch.where(torch.arange(6) == 0, bad, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("members", [8, 9, 600])
def test_half_precision_overflows_only_where_the_score_does(members, dtype):
    x, y = (1500 * draw(members, 200) + 3000).to(dtype), (1500 * draw(200, seed=1)).to(dtype)
    found, exact = crps(x, y), crps(x.double(), y.double())
    assert found.dtype == dtype
    assert torch.allclose(found.double(), exact, rtol=float(torch.finfo(dtype).eps), atol=1e-3)
