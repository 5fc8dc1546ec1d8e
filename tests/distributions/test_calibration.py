"""Spread, coverage and ranks of ensembles that are calibrated by construction, and of those that are not."""

import math

import numpy as np
import pytest
import torch

from separable.distributions import interval_coverage, rank_histogram, spread_skill


def exchangeable(members, points, kind="normal", seed=0):
    """M members and an observation of the same distribution, about a centre that changes from point to point."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(members + 1, points, generator=generator, dtype=torch.float64)
    if kind == "normal":
        draws = torch.special.ndtri(draws)
    elif kind == "skewed":
        draws = -(torch.log(draws) ** 3)
    elif kind == "counts":  # many ties
        draws = (4 * draws).floor()
    centre = torch.randint(5, (points,), generator=generator).double()
    return draws[1:] + centre, draws[0] + centre


@pytest.mark.parametrize("members", [2, 8, 30])
def test_a_calibrated_ensemble_of_any_size_has_ratio_one(members):
    x, y = exchangeable(members, 200_000)
    found = spread_skill(x, y)
    assert float(found.ratio) == pytest.approx(1.0, abs=0.01)
    assert float(found.spread) == pytest.approx(1.0, abs=0.01)
    assert float(found.skill) == pytest.approx(math.sqrt(1 + 1 / members), abs=0.01)
    x = x.mean(0) + 0.5 * (x - x.mean(0))
    assert float(spread_skill(x, y).ratio) == pytest.approx(0.5, abs=0.01)


def test_spread_and_skill_are_roots_of_means():
    x, y = (t.reshape(*t.shape[:-1], 4, 3) for t in exchangeable(5, 12))
    found = spread_skill(x, y, over=0)
    variance, error = x.numpy().var(0, ddof=1), x.numpy().mean(0) - y.numpy()
    assert np.allclose(found.spread.numpy(), np.sqrt(variance.mean(0)))
    assert np.allclose(found.skill.numpy(), np.sqrt((error**2).mean(0)))
    assert np.allclose(found.ratio.numpy(), np.sqrt(6 / 5 * variance.mean(0) / (error**2).mean(0)))
    moved = spread_skill(x.movedim(0, 1), y, over=-2, member_axis=1)
    assert torch.allclose(moved.ratio, found.ratio)


def test_spread_and_skill_in_half_precision_overflow_only_where_they_do():
    x, y = ((300 * t).half() for t in exchangeable(8, 1000))
    found, exact = spread_skill(x, y), spread_skill(x.double(), y.double())
    for name in ("spread", "skill", "ratio"):
        assert getattr(found, name).dtype == torch.float16
        assert float(getattr(found, name)) == pytest.approx(float(getattr(exact, name)), rel=2e-3)


def test_one_member_has_no_spread():
    with pytest.raises(ValueError, match=r"spread_skill: ensemble.*2 members.*got 1"):
        spread_skill(torch.zeros(1, 3), torch.zeros(3))


@pytest.mark.parametrize("kind", ["normal", "skewed", "counts"])
@pytest.mark.parametrize("members", [1, 2, 8, 19, 50])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_a_calibrated_ensemble_covers_the_nominal_share(kind, members, level):
    x, y = exchangeable(members, 20_000, kind)
    # At most 3 standard errors of a share of 20,000 draws; the shares of edge ranks vary less than that.
    assert float(interval_coverage(x, y, level)) == pytest.approx(level, abs=3 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("members", [1, 3, 8, 19])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.8, 0.9, 0.99])
def test_its_mean_over_the_ranks_is_the_level_exactly(members, level):
    x = torch.arange(1.0, members + 1, dtype=torch.float64)[:, None].expand(-1, members + 1)
    y = torch.arange(members + 1, dtype=torch.float64) + 0.5  # one observation for each rank
    assert float(interval_coverage(x, y, level)) == pytest.approx(level, abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_members_bound_the_interval_it_is_the_raw_coverage(dtype):
    for members, level in [(19, 0.9), (39, 0.95), (9, 0.6), (8, 5 / 9)]:
        x, y = (t.to(dtype) for t in exchangeable(members, 500))
        ordered = x.sort(0).values
        cut = round((members + 1) * (1 - level) / 2)  # the interval from the cut-th member to the cut-th last
        raw = ((y > ordered[cut - 1]) & (y < ordered[-cut])).to(dtype).mean()
        assert torch.equal(interval_coverage(x, y, level), raw)


def test_too_little_spread_covers_too_little_and_an_outlier_counts_what_eight_members_allow():
    x, y = exchangeable(50, 20_000)
    x = x.mean(0) + 0.5 * (x - x.mean(0))
    expected = math.erf(0.5 * 1.645 / math.sqrt(2))
    assert float(interval_coverage(x, y, 0.9)) == pytest.approx(expected, abs=0.015)
    outside = interval_coverage(torch.zeros(8, 5), torch.ones(5), 0.9)
    assert float(outside) == pytest.approx(0.55)


def test_coverage_and_ranks_are_counted_over_the_axes_that_are_named():
    x, y = (t.reshape(*t.shape[:-1], 30, 4) for t in exchangeable(5, 120))
    coverage, histogram = interval_coverage(x, y, 0.5, over=0), rank_histogram(x, y, over=0)
    assert coverage.shape == (4,)
    assert histogram.counts.shape == (4, 6)
    assert torch.allclose(coverage[2], interval_coverage(x[..., 2], y[:, 2], 0.5))
    assert torch.equal(histogram.counts[2], rank_histogram(x[..., 2], y[:, 2]).counts)
    assert torch.equal(rank_histogram(x.movedim(0, 2), y, over=-2, member_axis=2).counts, histogram.counts)
    assert torch.equal(histogram.counts.sum(0), rank_histogram(x, y).counts)


def test_ranks_are_where_the_observation_would_be_sorted_in():
    x, y = exchangeable(6, 300)
    ranks = [np.searchsorted(np.sort(x[:, i].numpy()), float(y[i])) for i in range(300)]
    assert rank_histogram(x, y).counts.tolist() == np.bincount(ranks, minlength=7).tolist()


@pytest.mark.parametrize("kind", ["normal", "counts"])
def test_the_histogram_of_a_calibrated_ensemble_is_flat_ties_included(kind):
    x, y = exchangeable(8, 20_000, kind)
    histogram = rank_histogram(x, y)
    assert int(histogram.counts.sum()) == 20_000
    assert float(histogram.chi_square) < 26.1  # 8 degrees of freedom, exceeded once in a thousand
    assert float(histogram.reliability_index) < 2 * math.sqrt(2 * 8 / (math.pi * 20_000))


def test_unevenness_is_that_of_the_counts():
    x, y = exchangeable(4, 20_000)
    narrow = rank_histogram(x.mean(0) + 0.3 * (x - x.mean(0)), y)
    counts = narrow.counts.double().numpy()
    assert counts[0] > 2 * counts[2] < 0.5 * counts[-1]  # a U
    assert float(narrow.chi_square) == pytest.approx(((counts - 4000) ** 2 / 4000).sum())
    assert float(narrow.reliability_index) == pytest.approx(np.abs(counts / 20_000 - 0.2).sum())
    assert torch.allclose(narrow.frequencies.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_ties_are_broken_by_a_seed_and_evenly():
    x, y = torch.zeros(3, 4000), torch.zeros(4000)
    first = rank_histogram(x, y, seed=1).counts
    assert torch.equal(first, rank_histogram(x, y, seed=1).counts)
    assert not torch.equal(first, rank_histogram(x, y, seed=2).counts)
    assert float(rank_histogram(x, y, seed=1).chi_square) < 16.3  # 3 degrees of freedom, once in a thousand


@pytest.mark.parametrize("measure", [spread_skill, interval_coverage, rank_histogram])
def test_what_does_not_fit_is_refused_by_name(measure):
    name = measure.__name__
    with pytest.raises(ValueError, match=f"{name}: observation"):
        measure(torch.zeros(3, 4), torch.zeros(5))
    with pytest.raises(ValueError, match=f"{name}: ensemble"):
        measure(torch.full((3, 4), torch.nan), torch.zeros(4))
    with pytest.raises(ValueError, match=f"{name}: over"):
        measure(torch.zeros(3, 4), torch.zeros(4), over=1)
    with pytest.raises(TypeError, match=f"{name}: ensemble"):
        measure(np.zeros((3, 4)), torch.zeros(4))


@pytest.mark.parametrize("level", [0.0, 1.0, 90])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="level"):
        interval_coverage(torch.zeros(3, 4), torch.zeros(4), level)


@pytest.mark.parametrize("measure", [interval_coverage, rank_histogram])
def test_single_numbers_are_measured_too(measure):
    found = measure(torch.tensor([0.0, 1.0]), torch.tensor(0.5))
    assert getattr(found, "counts", found).tolist() in ([0, 1, 0], 1.0)
