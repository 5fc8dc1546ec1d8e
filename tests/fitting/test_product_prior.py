"""Conditioning a product prior: the posterior is the textbook's, says how sure it is, and survives degenerate data."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from scipy import stats
from scipy.optimize import approx_fprime

import separable
from separable.fitting.product_prior import ProductPrior, evidence, loss_and_slope, most_likely, robust_evidence
from separable.problems import OTL_CIRCUIT

UNIT = [(0.0, 1.0)] * 3


def smooth(x):
    return np.sin(3 * x[:, 0]) * np.exp(x[:, 1]) + x[:, 2] ** 2 - 0.4


def data(rows, seed=0, noise=0.0, coordinates=3):
    random = np.random.default_rng(seed)
    x = random.random((rows, coordinates))
    return x, smooth(x) + noise * random.standard_normal(rows)


def prior(bend=(1.5, -2.0, 1e-5), noise=-6.0, degree=5):
    share, fading = np.array([-1.0, -2.0, -1.5]), np.array([-1.0, -2.0, -0.5])
    return ProductPrior(share, fading, np.array(bend), noise, degree)


def dense_kernel(p, u, v):
    """The prior's covariance, entry by entry from its formula."""

    def functions(t, j):
        warped = np.log(1 + (np.exp(p.bend[j]) - 1) * t) / p.bend[j]
        return legendre.legvander(2 * warped - 1, p.degree)[:, 1:] * np.sqrt(2 * np.arange(1, p.degree + 1) + 1)

    kernel = np.ones((len(u), len(v)))
    for j in range(u.shape[1]):
        sizes = np.exp(p.share[j]) * np.exp(p.fading[j]) ** np.arange(p.degree)
        kernel *= 1 + np.einsum("na,ma,a->nm", functions(u[:, j], j), functions(v[:, j], j), sizes)
    return kernel


@pytest.fixture(scope="module")
def noisy():
    x, y = data(150, noise=0.1)
    return separable.condition(x, y, domain=UNIT)


def test_the_posterior_is_that_of_a_dense_computation(noisy):
    p, x, y = noisy.prior, noisy.x.numpy(), noisy.y.numpy()
    z = (y - y.mean()) / y.std()
    new = np.random.default_rng(5).random((40, 3))
    cross = dense_kernel(p, new, x)
    covariance = dense_kernel(p, x, x) + np.exp(p.noise) * np.eye(len(x))
    solved = np.linalg.solve(covariance, np.column_stack([z, cross.T]))
    mean = y.mean() + y.std() * cross @ solved[:, 0]
    scale = y.var() * (z @ solved[:, 0]) / len(z)
    variance = scale * (dense_kernel(p, new, new).diagonal() - np.einsum("nm,mn->n", cross, solved[:, 1:]))
    assert noisy.link.name == "identity"
    np.testing.assert_allclose(noisy.predict(new).numpy(), mean, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(noisy.deviation(new, noisy=False).numpy() ** 2, variance, rtol=1e-6)
    np.testing.assert_allclose(noisy.deviation(new) ** 2, variance + scale * np.exp(p.noise), rtol=1e-6)


def test_the_likelihood_has_the_gradient_of_finite_differences():
    x, y = data(60, noise=0.05)
    p, z = prior(), (y - y.mean()) / y.std()
    slope = loss_and_slope(p, x, z)[1]
    near = approx_fprime(p.vector(), lambda v: evidence(p.with_vector(v), x, z).loss, 1e-6)
    np.testing.assert_allclose(slope, near, rtol=1e-4, atol=1e-4)


def test_errors_left_out_are_those_of_a_posterior_without_the_row():
    x, y = data(30, noise=0.05)
    p, z = prior(), (y - y.mean()) / y.std()
    full = robust_evidence(p, x, z)
    for row in (0, 7, 29):
        others = np.arange(30) != row
        part = robust_evidence(p, x[others], z[others])
        expected = z[row] - dense_kernel(p, x[row : row + 1], x[others])[0] @ part.dual
        assert full.dual[row] / full.inverse[row, row] == pytest.approx(expected, rel=1e-6)


def test_the_layer_is_the_mean_inside_and_outside_the_domain(noisy):
    layer, new = noisy.layer, torch.from_numpy(np.random.default_rng(6).uniform(-0.2, 1.2, (300, 3)))
    assert layer.core.dtype == torch.float64
    mean = noisy.predict(new)
    with torch.no_grad():
        torch.testing.assert_close(layer(new)[:, 0], mean, rtol=1e-8, atol=1e-8 * float(mean.abs().max()))


def test_the_mean_is_compressed_to_a_stated_tolerance():
    x, y = data(120)
    posterior = separable.condition(x, y, domain=UNIT)
    new = torch.from_numpy(np.random.default_rng(7).random((500, 3)))
    f = posterior.link.forward(posterior.predict(new))
    layers = [posterior.compressed(tolerance) for tolerance in (1e-2, 1e-5)]
    for layer, tolerance in zip(layers, (1e-2, 1e-5), strict=True):
        with torch.no_grad():
            assert float((layer(new)[:, 0] - f).square().mean().sqrt()) < 1.5 * tolerance * y.std()
    assert layers[0].interaction.rank < layers[1].interaction.rank
    assert layers[1].n_parameters < 0.2 * posterior.layer.n_parameters
    with pytest.raises(ValueError):
        posterior.compressed(1e-30)


def test_the_mean_of_one_coordinate_is_compressed_as_well():
    x = np.linspace(0, 1, 30)[:, None]
    posterior = separable.condition(x, np.exp(x[:, 0]), links=("identity",))
    layer = posterior.compressed(1e-8)
    with torch.no_grad():
        values = layer(torch.from_numpy(x))[:, 0].numpy()
    np.testing.assert_allclose(values, np.exp(x[:, 0]), rtol=1e-5)


def test_a_strong_warp_is_a_polynomial_to_rounding():
    p = prior(bend=(8.0, -8.0, 0.0), degree=10)
    t = np.linspace(0, 1, 1001)
    for j, least in enumerate((100, 100, 11)):
        coefficients = p.chebyshev(j)
        assert len(coefficients) >= least
        values = np.polynomial.chebyshev.chebvander(2 * t - 1, len(coefficients) - 1) @ coefficients
        np.testing.assert_allclose(values, p.functions(t, j), atol=1e-9)


def test_intervals_of_noisy_data_hold_the_share_that_they_promise():
    held = []
    for seed in range(4):
        posterior = separable.condition(*data(200, seed, noise=0.2), domain=UNIT)
        assert posterior.report.noise == pytest.approx(0.2, rel=0.3)
        x, y = data(1000, seed + 50, noise=0.2)
        lower, upper = posterior.interval(x, 0.9)
        held.append(np.mean((lower.numpy() <= y) & (y <= upper.numpy())))
    assert 0.85 < np.mean(held) < 0.95


def test_intervals_are_those_of_student_with_a_degree_of_freedom_less_for_every_size(noisy):
    new = np.random.default_rng(8).random((20, 3))
    few = separable.condition(*data(10), domain=UNIT, links=("identity",))
    for posterior, left in ((noisy, 150 - 10), (few, 10 / 8)):
        scale = posterior.deviation(new) * (len(posterior.x) / left) ** 0.5
        expected = stats.t.interval(0.9, left, posterior.predict(new), scale)
        for found, end in zip(posterior.interval(new, 0.9), expected, strict=True):
            np.testing.assert_allclose(found, end, rtol=1e-9)


def test_the_sizes_are_the_most_likely_that_a_search_from_either_start_finds():
    likelier = []
    for seed in range(2):
        x, y = data(12, seed, noise=0.3)
        z, found = (y - y.mean()) / y.std(), separable.condition(x, y, domain=UNIT, links=("identity",))
        losses = [robust_evidence(most_likely(p, x, z, 80), x, z).loss for p in ProductPrior.starts(3, 10)]
        assert found.report.log_likelihood == pytest.approx(-min(losses), abs=1e-3)
        likelier.append(int(np.argmin(losses)))
    assert likelier == [1, 0]


def test_deviations_of_exact_data_are_of_the_size_of_the_errors():
    # The prior is not the truth's law, so its 90 % intervals of exact data hold about, not exactly, 90 %.
    x, y = OTL_CIRCUIT.sample(150, 1, space_filling=True)
    posterior = separable.condition(x, y, domain=OTL_CIRCUIT.ranges)
    x, y = OTL_CIRCUIT.sample(2000, 2)
    errors = (posterior.predict(x) - y).abs()
    lower, upper = posterior.interval(x, 0.9)
    assert 0.75 < float(((lower <= y) & (y <= upper)).double().mean()) <= 1
    assert float(errors.square().mean().sqrt() / y.std()) < 1e-3
    assert 0.3 < float(errors.square().mean().sqrt() / posterior.deviation(x).square().mean().sqrt()) < 3


def test_suggested_points_teach_more_than_random_ones():
    new, truth = OTL_CIRCUIT.sample(2000, 9)
    gains = []
    for seed in (1, 2):
        posterior = separable.condition(*OTL_CIRCUIT.sample(80, seed), domain=OTL_CIRCUIT.ranges, links=("identity",))
        asked = posterior.suggest(80, seed=seed)
        assert len(torch.unique(asked, dim=0)) == 80
        errors = [
            float((posterior.extended(x, OTL_CIRCUIT(x)).predict(new) - truth).square().mean().sqrt())
            for x in (asked, OTL_CIRCUIT.sample(80, seed + 100)[0])
        ]
        gains.append(errors[1] / errors[0])
    assert np.exp(np.mean(np.log(gains))) > 1.2


def test_the_link_is_chosen_by_what_it_predicts():
    x, _ = data(120)
    y = np.exp(2 * smooth(x))
    posterior = separable.condition(x, y)
    assert posterior.link.name == "log"
    assert posterior.report.left_out["log"] < posterior.report.left_out["identity"]
    lower, upper = posterior.interval(x, 0.9)
    assert bool((lower > 0).all())
    assert bool((lower <= upper).all())


@pytest.mark.parametrize("scale", [1e-9, 1e14])
@pytest.mark.parametrize("link", ["square", "reciprocal"])
def test_a_link_with_a_pole_says_the_same_in_every_unit(link, scale):
    x, y = data(60)
    y = 1.0 + y - y.min()
    one, other = (separable.condition(x, unit * y, domain=UNIT, links=(link,)) for unit in (1.0, scale))
    new, _ = data(50, 1)
    assert torch.allclose(other.predict(new) / scale, one.predict(new), rtol=1e-4)
    assert torch.allclose(other.deviation(new) / scale, one.deviation(new), rtol=0.05)
    for found, expected in zip(other.interval(new), one.interval(new), strict=True):
        assert torch.allclose(found / scale, expected, rtol=1e-3)
    assert other.report.error / scale == pytest.approx(one.report.error, rel=0.05)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_give_finite_predictions(rows):
    posterior = separable.condition(*data(rows), domain=UNIT)
    new, _ = data(20, 1)
    assert bool(torch.isfinite(posterior.predict(new)).all())
    assert bool(torch.isfinite(posterior.deviation(new)).all())
    assert posterior.suggest(4).shape == (4, 3)
    if rows == 1:  # from which no spread can be learned
        with pytest.raises(ValueError, match="two rows"):
            posterior.interval(new)


def test_a_constant_target_is_predicted():
    x, _ = data(20)
    posterior = separable.condition(x, np.full(20, 7.0))
    assert torch.allclose(posterior.predict(x), torch.tensor(7.0, dtype=torch.float64))
    assert torch.allclose(posterior.layer(torch.from_numpy(x))[:, 0], posterior.link.forward(posterior.y))


@pytest.mark.parametrize("conflict", [0.0, 1.0])
def test_duplicate_rows_and_constant_columns_are_no_trouble(conflict):
    x, y = data(40)
    x[:, 2], y = 5.0, y - x[:, 2] ** 2
    x, y = np.concatenate([x, x]), np.concatenate([y, y + conflict])
    posterior = separable.condition(x, y)
    assert bool(torch.isfinite(posterior.deviation(x)).all())
    middle = 0.5 * conflict + y[:40]
    assert float(np.abs(posterior.predict(x[:40]).numpy() - middle).max()) < (0.4 if conflict else 0.02)


def test_equal_seeds_give_equal_results_and_prediction_takes_any_leading_shape(noisy):
    again = separable.condition(noisy.x, noisy.y, domain=UNIT)
    other = separable.condition(noisy.x, noisy.y, domain=UNIT)
    new = np.random.default_rng(1).random((2, 5, 3))
    assert torch.equal(again.predict(new), other.predict(new))
    assert again.predict(new).shape == again.deviation(new).shape == (2, 5)
    assert torch.equal(again.x, noisy.x)  # rows keep their order, so errors left out can be told apart
    assert float(again.left_out().square().mean().sqrt()) == pytest.approx(again.report.error)


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros((3001, 3)), "y": np.zeros(3001)},
        {"x": np.full((10, 3), np.nan)},
        {"y": np.zeros(9)},
        {"y": np.zeros((10, 2))},
        {"x": np.zeros(10)},
        {"y": None},
        {"domain": [(0.0, 1.0)]},
        {"domain": [(0.0, 0.1)] * 3},
        {"domain": [(0.0, np.inf)] * 3},
        {"links": ("cube",)},
        {"links": "log"},
        {"links": ("log",), "y": -np.ones(10)},
        {"degree": 0},
        {"y": np.tile([-1e308, 1e308], 5), "links": ("identity",)},
        {"x": np.tile([[-1e308], [1e308]], (5, 3))},
    ],
)
def test_what_cannot_be_conditioned_on_is_refused(change):
    x, y = data(10)
    with pytest.raises(ValueError):
        separable.condition(**({"x": x, "y": y} | change))


def test_wrong_questions_are_refused(noisy):
    for ask in (
        lambda: noisy.predict(np.zeros((4, 2))),
        lambda: noisy.interval(np.zeros((4, 3)), 1.0),
        lambda: noisy.suggest(0),
        lambda: noisy.extended(np.zeros((4, 2)), np.zeros(4)),
    ):
        with pytest.raises(ValueError):
            ask()


def test_rows_beyond_the_domain_do_not_extend_a_posterior(noisy):
    x = np.full((2, 3), 0.5)
    x[1, 2] = 1.25
    with pytest.raises(ValueError, match=r"x is 1.25 at row 1, column 2, outside the domain \[0, 1\]"):
        noisy.extended(x, np.zeros(2))
