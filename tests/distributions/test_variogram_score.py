"""Variogram scores against sums over pairs written out."""

import numpy as np
import pytest
import torch

from separable.distributions import grid_variogram_score, variogram_score


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_pairs(members, y, pairs, weights, order, alpha):
    """The kernel form in numpy, one pair and one pair of members at a time; members ``(M, D)``."""
    count, score = len(members), 0.0
    for (i, j), weight in zip(pairs, weights, strict=True):
        v = np.abs(members[:, i] - members[:, j]) ** order
        to_y = ((v - np.abs(y[i] - y[j]) ** order) ** 2).mean()
        apart = sum((a - b) ** 2 for a in v for b in v)
        score += weight * (to_y - (1 - alpha) * apart / (2 * count**2) - alpha * apart / (2 * count * (count - 1)))
    return score


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("estimator", "alpha"), [("ensemble", 0.0), ("fair", 1.0), ("almost fair", 0.95)])
def test_it_is_the_sum_over_pairs(order, estimator, alpha):
    x, y, weights = draw(5, 4), draw(4, seed=1), draw(4, 4, seed=2).abs()
    every = [(i, j) for i in range(4) for j in range(4)]
    expected = by_pairs(x.numpy(), y.numpy(), every, [float(weights[i, j]) for i, j in every], order, alpha)
    found = variogram_score(x, y, order=order, weights=weights, estimator=estimator)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    listed = [(0, 1), (3, 1), (2, 0)]
    expected = by_pairs(x.numpy(), y.numpy(), listed, [1.0, 2.0, 0.5], order, alpha)
    weights = torch.tensor([1.0, 2.0, 0.5])
    found = variogram_score(x, y, order=order, pairs=torch.tensor(listed), weights=weights, estimator=estimator)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_components_and_members_may_lie_along_any_axis():
    x, y = draw(5, 3, 4), draw(3, 4, seed=1)
    scores = variogram_score(x, y)
    assert torch.allclose(scores, torch.stack([variogram_score(x[:, i], y[i]) for i in range(3)]))
    assert torch.allclose(variogram_score(x.permute(2, 1, 0), y.T, axis=0, member_axis=2), scores)


@pytest.mark.parametrize("estimator", ["ensemble", "fair", "almost fair"])
def test_on_a_grid_it_is_the_score_of_the_shifted_pairs(estimator):
    shape, offsets, weights = (5, 7), [(0, 1), (2, -1), (1, 0)], [1.0, 0.25, 2.0]
    x, y = draw(6, 3, *shape), draw(3, *shape, seed=1)
    index = np.arange(35).reshape(shape)
    pairs, each = [], []
    for (down, right), weight in zip(offsets, weights, strict=True):
        for i in range(5):
            for j in range(7):
                pairs.append((index[i, j], index[(i + down) % 5, (j + right) % 7]))
                each.append(weight / 35)
    expected = variogram_score(
        x.flatten(2),
        y.flatten(1),
        pairs=torch.tensor(np.array(pairs)),
        weights=torch.tensor(each, dtype=torch.float64),
        estimator=estimator,
    )
    found = grid_variogram_score(x, y, offsets=offsets, weights=weights, estimator=estimator)
    assert torch.allclose(found, expected)
    moved = grid_variogram_score(
        x.movedim(1, -1), y.movedim(0, -1), offsets=offsets, weights=weights, axes=(0, 1), estimator=estimator
    )
    assert torch.allclose(moved, expected)


def test_the_usual_offsets_are_powers_of_two_up_to_half_the_grid():
    x, y = draw(3, 8, 6), draw(8, 6, seed=1)
    named = grid_variogram_score(x, y, offsets=[(1, 0), (2, 0), (4, 0), (0, 1), (0, 2)])
    assert torch.allclose(grid_variogram_score(x, y), named)
    assert grid_variogram_score(draw(2, 64, 64), draw(64, 64)).shape == ()
    line = grid_variogram_score(x[:, :, 0], y[:, 0], axes=-1)
    assert torch.allclose(line, grid_variogram_score(x[:, :, 0], y[:, 0], axes=0, offsets=[(1,), (2,), (4,)]))


def test_the_mean_fair_score_does_not_depend_on_the_number_of_members():
    x, y = draw(16, 30_000, 3), draw(30_000, 3, seed=1)
    fair = [float(variogram_score(x[:members], y, estimator="fair").mean()) for members in (2, 4, 16)]
    plain = [float(variogram_score(x[:members], y, estimator="ensemble").mean()) for members in (2, 16)]
    assert max(fair) - min(fair) < 0.02  # 3 standard errors
    assert plain[0] - plain[1] > 0.2


def test_it_sees_a_wrong_correlation_and_not_a_common_shift():
    common = draw(17, 2000, 1) + 0.3 * draw(17, 2000, 4, seed=1)
    apart = 1.09**0.5 * draw(16, 2000, 4, seed=2)
    right = variogram_score(common[1:], common[0])
    assert float(variogram_score(apart, common[0]).mean()) > 2 * float(right.mean())
    assert torch.allclose(variogram_score(common[1:] + 5, common[0]), right)


def test_slopes_are_those_of_finite_differences_and_finite_where_components_are_equal():
    x, y = draw(4, 3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: variogram_score(a, b, estimator="almost fair"), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: grid_variogram_score(a, b, estimator="fair"), (x, y))
    x = torch.zeros(4, 3, requires_grad=True)
    variogram_score(x, torch.arange(3.0)).backward()
    assert bool(torch.isfinite(x.grad).all())


def test_one_member_is_scored_as_the_whole_distribution_and_never_fairly():
    x, y = draw(1, 4), draw(4, seed=1)
    v, o = ((f[:, None] - f[None]).abs() ** 0.5 for f in (x[0], y))
    assert float(variogram_score(x, y, estimator="ensemble")) == pytest.approx(float(((v - o) ** 2).sum()))
    with pytest.raises(ValueError, match=r"2 members.*got 1"):
        variogram_score(x, y, estimator="fair")


def test_what_does_not_fit_is_refused_by_name():
    x, y = draw(3, 4), draw(4)
    for name, wrong in [
        ("order", {"order": 0.0}),
        ("order", {"order": float("nan")}),
        ("pairs", {"pairs": torch.tensor([[0, 4]])}),
        ("pairs", {"pairs": torch.tensor([0, 1])}),
        ("weights", {"weights": torch.ones(4)}),
        ("weights", {"weights": -torch.ones(4, 4)}),
        ("weights", {"pairs": torch.tensor([[0, 1]]), "weights": torch.ones(4, 4)}),
        ("axis", {"axis": 1}),
    ]:
        with pytest.raises(ValueError, match=f"variogram_score: {name}"):
            variogram_score(x, y, **wrong)
    with pytest.raises(TypeError, match="pairs"):
        variogram_score(x, y, pairs=torch.ones(1, 2))
    with pytest.raises(ValueError, match="256 components, got 300"):
        variogram_score(draw(2, 300), draw(300))
    with pytest.raises(ValueError, match="ensemble"):
        variogram_score(x * torch.nan, y)
    for lone, wrong in ((1, {}), (4, {"pairs": torch.zeros(0, 2, dtype=torch.long)})):  # a score of nothing is not zero
        with pytest.raises(ValueError, match="at least one pair"):
            variogram_score(draw(3, 2, lone), draw(2, lone), **wrong)


def test_offsets_that_do_not_fit_are_refused():
    x, y = draw(3, 4, 4), draw(4, 4)
    for name, wrong in [
        ("offsets", {"offsets": [(1,)]}),
        ("offsets", {"offsets": [(4, 0)]}),  # back to the same point
        ("offsets", {"offsets": []}),
        ("weights", {"offsets": [(1, 0)], "weights": [1.0, 1.0]}),
        ("weights", {"offsets": [(1, 0)], "weights": [-1.0]}),
        ("axes", {"axes": (0, 2)}),
    ]:
        with pytest.raises(ValueError, match=f"grid_variogram_score: {name}"):
            grid_variogram_score(x, y, **wrong)
    with pytest.raises(ValueError, match="grid_variogram_score: axes"):
        grid_variogram_score(draw(3, 5, 1, 1), draw(5, 1, 1))


def test_half_precision_overflows_only_where_the_score_does():
    x, y = (500 * draw(6, 5, 7)).half(), (500 * draw(5, 7, seed=1)).half()
    found = variogram_score(x, y, order=1.0, weights=torch.full((7, 7), 1e-4))
    wanted = variogram_score(x.double(), y.double(), order=1.0, weights=torch.full((7, 7), 1e-4))
    assert found.dtype == torch.float16
    assert torch.allclose(found.double(), wanted, rtol=1e-3)
    found = grid_variogram_score(x, y, order=1.0, offsets=[(0, 1), (2, 1)], weights=[1e-3, 2e-3])
    wanted = grid_variogram_score(x.double(), y.double(), order=1.0, offsets=[(0, 1), (2, 1)], weights=[1e-3, 2e-3])
    assert found.dtype == torch.float16
    assert float(found) == pytest.approx(float(wanted), rel=1e-3)
