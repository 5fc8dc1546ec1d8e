"""The energy score against its definition, the CRPS, and what fairness promises."""

import numpy as np
import pytest
import torch

from separable.distributions import crps, energy_score


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_double_sum(members, y, alpha):
    """The definition over the last axis, in numpy."""
    count = len(members)
    to_y = np.linalg.norm(members - y, axis=-1).mean(0)
    apart = np.linalg.norm(members[:, None] - members[None], axis=-1).sum((0, 1))
    return to_y - (1 - alpha) * apart / (2 * count**2) - alpha * apart / (2 * count * (count - 1))


@pytest.mark.parametrize("members", [2, 7, 20])
@pytest.mark.parametrize(("estimator", "alpha"), [("ensemble", 0.0), ("fair", 1.0), ("almost fair", 0.95)])
def test_it_is_the_double_sum_over_members(members, estimator, alpha):
    x, y = draw(members, 4, 6), draw(4, 6, seed=1)
    expected = by_double_sum(x.numpy(), y.numpy(), alpha)
    assert np.abs(energy_score(x, y, estimator=estimator).numpy() - expected).max() < 1e-14


def test_the_vector_may_lie_along_any_axes():
    x, y = draw(5, 3, 4, 6), draw(3, 4, 6, seed=1)
    flat = energy_score(x.flatten(2), y.flatten(1))
    assert torch.allclose(energy_score(x, y, axes=(-2, -1)), flat)
    assert torch.allclose(energy_score(x.movedim(1, 2), y.movedim(0, 1), axes=(0, -1)), flat)
    assert torch.allclose(energy_score(x.movedim(0, 2), y, axes=(1, 2), member_axis=2), flat)
    assert energy_score(x, y, axes=None).shape == ()


def test_of_a_vector_of_one_it_is_the_crps():
    x, y = draw(6, 9), draw(9, seed=1)
    assert torch.allclose(energy_score(x[..., None], y[..., None]), crps(x, y))


def test_the_mean_fair_score_does_not_depend_on_the_number_of_members():
    x, y = draw(16, 30_000, 3), draw(30_000, 3, seed=1)
    fair = [float(energy_score(x[:members], y).mean()) for members in (2, 4, 16)]
    plain = [float(energy_score(x[:members], y, estimator="ensemble").mean()) for members in (2, 16)]
    assert max(fair) - min(fair) < 0.012  # 3 standard errors
    assert plain[0] - plain[1] > 0.3


def test_it_prefers_members_that_vary_together_if_the_observation_does():
    common = draw(17, 5000, 1).expand(-1, -1, 4)
    apart = draw(16, 5000, 4, seed=1)
    assert float(energy_score(common[1:], common[0]).mean()) < float(energy_score(apart, common[0]).mean()) - 0.05


def test_one_member_is_scored_by_its_distance():
    x, y = draw(1, 7), draw(7, seed=1)
    assert float(energy_score(x, y, estimator="ensemble")) == pytest.approx(float((x[0] - y).norm()))
    with pytest.raises(ValueError, match=r"2 members.*got 1"):
        energy_score(x, y)


def test_slopes_are_those_of_finite_differences_and_finite_where_members_meet():
    x, y = draw(4, 3, 2).requires_grad_(), draw(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: energy_score(a, b, estimator="almost fair"), (x, y))
    x = torch.zeros(4, 3, requires_grad=True)
    energy_score(x, torch.zeros(3)).backward()
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("axes", [2, (0, 0), (0, -2), ()])
def test_axes_that_do_not_fit_are_refused(axes):
    with pytest.raises(ValueError, match=r"energy_score: axes.*\(3, 4\)"):
        energy_score(draw(2, 3, 4), draw(3, 4), axes=axes)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="observation"):
        energy_score(draw(2, 3), draw(4))
    with pytest.raises(ValueError, match="observation"):
        energy_score(draw(2), draw(), axes=None)
    with pytest.raises(ValueError, match="ensemble"):
        energy_score(draw(2, 3) * torch.nan, draw(3))


def test_half_precision_overflows_only_where_the_score_does():
    x, y = (100 * draw(8, 64, 64)).half(), (100 * draw(64, 64, seed=1)).half()
    found = energy_score(x, y, axes=None)
    assert found.dtype == torch.float16
    assert float(found) == pytest.approx(float(energy_score(x.double(), y.double(), axes=None)), rel=1e-3)
