"""Growth of a structure: what is hidden is found, limits are kept, noise stays noise, and bad data are refused."""

import numpy as np
import pytest
import torch

import separable
from separable.fitting.links import LINKS


def rows(seed=0, n=1200, d=3, low=1.0, high=3.0):
    return np.random.default_rng(seed).uniform(low, high, (n, d))


STRUCTURES = {
    "product": ("identity", lambda a, b, c: a * b**2 * np.sin(c)),
    "sum of products": ("identity", lambda a, b, c: a * np.cos(b) + c * b - 2),
    "power law": ("any", lambda a, b, c: a**1.5 / (b * np.sqrt(c))),
    "Gaussian": ("log", lambda a, b, c: np.exp(-(((a - b) / c) ** 2))),
    "quotient": ("reciprocal", lambda a, b, c: a / (b + c**2)),
    "distance": ("square", lambda a, b, c: np.sqrt(a**2 + b**2 - 1.5 * a * b * np.cos(c))),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_hidden_structure_is_found(name):
    link, formula = STRUCTURES[name]
    x, unseen = rows(), rows(1)
    y, truth = formula(*x.T), formula(*unseen.T)
    grown = separable.grow(x, y)
    error = np.sqrt(np.mean((grown.predict(unseen).numpy() - truth) ** 2)) / truth.std()
    assert error < 2e-6
    assert link in ("any", grown.link.name)
    assert grown.report.stopped == "tolerance"


def test_the_layer_is_the_prediction_before_the_link():
    x = rows(n=400)
    y = 50.0 * x[:, 0] / (x[:, 1] + x[:, 2])
    grown = separable.grow(x, y)
    assert grown.layer.core.dtype == torch.float64
    assert grown.layer.n_parameters == grown.report.parameters
    layer_values = grown.layer(torch.from_numpy(x))[:, 0]
    assert torch.allclose(layer_values, grown.link.forward(torch.from_numpy(y)), rtol=1e-4)
    assert torch.allclose(grown.predict(x), grown.link.inverse(layer_values))
    for atom, low, high in zip(grown.layer.atoms, x.min(0), x.max(0), strict=True):
        assert (atom.domain, atom.outside) == ((low, high), "linear")


def test_the_layer_can_be_inverted_for_a_wanted_target():
    x = rows(n=400)
    grown = separable.grow(x, x[:, 0] / (x[:, 1] + x[:, 2]))
    wanted = grown.link.forward(torch.tensor([0.6], dtype=torch.float64))
    found = separable.invert(grown.layer, wanted, bounds=[(1.0, 3.0)] * 3, n_solutions=3)
    assert found.reachable
    assert torch.allclose(grown.predict(found.inputs), torch.tensor(0.6, dtype=torch.float64), atol=1e-5)


def test_predictions_stay_finite_far_outside_the_data_and_have_gradients():
    x = rows(n=400)
    grown = separable.grow(x, x[:, 0] / (x[:, 1] + x[:, 2]))
    assert torch.isfinite(grown.predict(1e3 * rows(2) - 2e3)).all()
    point = torch.tensor([[2.0, 1.5, 1.5]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(grown.predict(point).sum(), point)
    assert torch.allclose(gradient, torch.tensor([[1 / 3, -2 / 9, -2 / 9]], dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize(
    "formula",
    [
        lambda a, b: np.sin(2 * np.pi * a) + b,
        lambda a, b: np.tanh(5 * (a - 0.5)) * b,
        lambda a, b: np.cos(2 * np.pi * a) + b,
    ],
)
def test_functions_that_degree_two_does_not_help_are_learned_from_few_rows(formula):
    x, unseen = rows(n=150, d=2, low=0, high=1), rows(1, d=2, low=0, high=1)
    truth = formula(*unseen.T)
    grown = separable.grow(x, formula(*x.T), links=["identity"])
    assert np.sqrt(np.mean((grown.predict(unseen).numpy() - truth) ** 2)) < 1e-3 * truth.std()


@pytest.mark.parametrize("most", [8, 20, 60])
def test_the_limit_on_parameters_is_kept(most):
    x = rows(n=600)
    grown = separable.grow(x, np.sin(3 * x[:, 0] * x[:, 1]) + x[:, 2] ** 2, max_parameters=most, effort=0.2)
    assert grown.layer.n_parameters == grown.report.parameters <= most


def test_equal_seeds_give_equal_results_and_leave_the_callers_random_numbers_alone():
    x = rows(n=300)
    y = np.cos(x[:, 0] * x[:, 1]) + x[:, 2]
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = (separable.grow(x, y, seed=5, effort=0.1).predict(x) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_not_learned():
    # Friedman's first function (1991) with noise of deviation one; five of ten coordinates carry nothing.
    def friedman(x):
        return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]

    x, unseen = rows(n=1500, d=10, low=0, high=1), rows(1, n=2000, d=10, low=0, high=1)
    truth = friedman(unseen)
    grown = separable.grow(x, friedman(x) + np.random.default_rng(2).normal(size=len(x)))
    error = np.sqrt(np.mean((grown.predict(unseen).numpy() - truth) ** 2))

    # Independent baseline: least squares on all 65 monomials of degree two, given the same noisy rows.
    def quadratic(x):
        pairs = [x[:, i] * x[:, j] for i in range(10) for j in range(i, 10)]
        return np.column_stack([np.ones(len(x)), x, *pairs])

    noisy = friedman(x) + np.random.default_rng(2).normal(size=len(x))
    baseline = quadratic(unseen) @ np.linalg.lstsq(quadratic(x), noisy, rcond=None)[0]
    assert error < 0.5 * np.sqrt(np.mean((baseline - truth) ** 2))
    assert error < 0.4


def test_pure_noise_gives_nearly_a_constant():
    x, y = rows(n=300), np.random.default_rng(4).normal(size=300)
    grown = separable.grow(x, y)
    assert grown.predict(rows(1)).std() < 0.5


def test_rows_of_weight_zero_have_no_say():
    x = rows(n=500)
    y = x[:, 0] * x[:, 1] + x[:, 2]
    spoilt, weights = y.copy(), np.ones(500)
    spoilt[::5], weights[::5] = -1e6, 0.0
    grown = separable.grow(x, spoilt, weights=weights)
    assert np.abs(grown.predict(x).numpy() - y).max() < 1e-4
    assert grown.report.rows == 400


def test_weights_are_those_of_the_squared_errors():
    # Two levels at every point: the fitted one is their weighted mean.
    x = np.repeat(rows(n=200), 2, axis=0)
    y, weights = np.tile([0.0, 1.0], 200) + x[:, 0], np.tile([3.0, 1.0], 200)
    grown = separable.grow(x, y, weights=weights, links=["identity"], max_parameters=8)
    assert abs(float((grown.predict(x) - torch.from_numpy(x[:, 0])).mean()) - 0.25) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_validation_error_is_the_weighted_mean_of_the_rows_held_out(seed):
    # Of a column that is constant only a level near zero is learned: about one is the error of every row, and their
    # mean, whichever of the six heavy rows are held out.
    y, weights = np.tile([-1.0, 1.0], 100), np.where(np.arange(200) < 6, 1e4, 1.0)
    grown = separable.grow(np.ones((200, 1)), y, weights=weights, links=["identity"], seed=seed)
    assert 0.5 < grown.report.validation < 1.5


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("d", [1, 4])
def test_few_rows_give_finite_answers(n, d):
    x = rows(n=n, d=d)
    grown = separable.grow(x, x.sum(1))
    predictions = grown.predict(rows(1, n=50, d=d))
    assert torch.isfinite(predictions).all()
    if n >= 3 and d == 1:
        assert torch.allclose(predictions, torch.from_numpy(rows(1, n=50, d=d)[:, 0]), atol=1e-6)


def test_constant_columns_discrete_columns_and_duplicate_rows():
    x = rows(n=400)
    x[:, 1] = np.random.default_rng(1).integers(0, 3, 400)
    y = x[:, 0] * (1 + (x[:, 1] == 1)) + x[:, 2]
    x = np.column_stack([x, np.full(400, 7.0), -1e9 + 1e-8 * x[:, 0]])
    x, y = np.repeat(x, 2, axis=0), np.repeat(y, 2)
    grown = separable.grow(x, y)
    assert np.abs(grown.predict(x).numpy() - y).max() < 1e-4
    sizes = [atom.size for atom in grown.layer.atoms]
    assert sizes[1] <= 3
    assert sizes[3:] == [1, 1]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_units_do_not_matter(scale):
    x = rows(n=300)
    for y in (x[:, 0] * x[:, 1] + x[:, 2], np.sqrt(x[:, 0] ** 2 + x[:, 1])):
        grown = separable.grow(scale * x, scale * y)
        assert grown.report.validation < 1e-3 * scale
        assert np.abs(grown.predict(scale * x).numpy() / scale - y).max() < 0.01


@pytest.mark.parametrize("scale", [1e-9, 1e14])
@pytest.mark.parametrize("name", ["quotient", "distance"])
def test_predictions_through_a_link_hold_in_any_unit(name, scale):
    link, formula = STRUCTURES[name]
    x, unseen = rows(n=400), rows(1)
    grown, truth = separable.grow(x, scale * formula(*x.T)), scale * formula(*unseen.T)
    assert grown.link.name == link
    through_link = grown.link.inverse(grown.layer(torch.from_numpy(unseen))[:, 0]).detach().numpy()
    for found in (grown.predict(unseen).numpy(), through_link):
        assert np.abs(found / truth - 1).max() < 1e-4


def test_a_constant_target_is_a_constant():
    for level in (0.0, -3.0):
        grown = separable.grow(rows(n=50), np.full(50, level))
        assert torch.equal(grown.predict(rows(1)), torch.full((1200,), level, dtype=torch.float64))


def test_links_are_left_out_where_the_data_do_not_allow_them():
    x = rows(n=200)
    grown = separable.grow(x, -(x[:, 0] * x[:, 1]))
    assert {move.link for move in grown.report.path} == {"identity"}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_a_link_and_its_inverse_slope_and_unit_agree(link):
    y = torch.linspace(0.2, 5, 50, dtype=torch.float64)
    for scale in (1e-30, 1e30):
        assert torch.allclose(link.inverse(link.forward(scale * y)) / scale, y)
        assert torch.allclose(
            link.slope(link.forward(scale * y)) * link.scaled(scale)[0] / scale, link.slope(link.forward(y))
        )
    f = link.forward(y)
    assert torch.allclose(link.inverse(f), y)
    step = 1e-6
    difference = (link.inverse(f + step) - link.inverse(f - step)) / (2 * step)
    assert torch.allclose(link.slope(f), difference, rtol=1e-6)
    factor, shift = link.scaled(7.0)
    assert torch.allclose(link.forward(7.0 * y), factor * f + shift)
    low, high = link.reach(float(f.min()), float(f.max()))
    assert low <= f.min()
    assert high >= f.max()
    assert torch.isfinite(link.inverse(torch.tensor([-1e300, 0.0, 1e300], dtype=torch.float64))).all()


def test_lists_float32_tensors_and_columns_are_taken():
    x = rows(n=100, d=2)
    y = x[:, 0] * x[:, 1]
    for grown in (
        separable.grow(x.tolist(), y.tolist()),
        separable.grow(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]),
    ):
        assert grown.predict(x).shape == (100,)
        assert np.abs(grown.predict(x).numpy() - y).max() < 1e-4


def test_large_data_are_searched_on_a_part_and_refined_on_all():
    x = rows(n=40_000, d=2)
    grown = separable.grow(x, np.sin(x[:, 0]) * x[:, 1] + 0.1 * np.random.default_rng(1).normal(size=40_000))
    truth = np.sin(x[:, 0]) * x[:, 1]
    assert grown.report.rows == 40_000
    assert np.sqrt(np.mean((grown.predict(x).numpy() - truth) ** 2)) < 0.004


X, Y = rows(n=40), rows(n=40).sum(1)
WRONG = {
    "nan": (dict(x=np.where(X > 2.9, np.nan, X), y=Y), "x is nan at row"),
    "infinite": (dict(x=X, y=np.where(Y.min() < Y, Y, np.inf)), "y is inf at row"),
    "flat x": (dict(x=X[:, 0], y=Y), "shape \\(N, D\\)"),
    "several outputs": (dict(x=X, y=X), "3 outputs"),
    "lengths": (dict(x=X[:9], y=Y), "9 rows"),
    "no rows": (dict(x=X[:0], y=Y[:0]), "no rows"),
    "no targets": (dict(x=X, y=None), "targets are missing"),
    "negative weight": (dict(x=X, y=Y, weights=-Y), "negative"),
    "unknown link": (dict(x=X, y=Y, links=["logit"]), "logit"),
    "one string": (dict(x=X, y=Y, links="log"), "log"),
    "no link fits": (dict(x=X, y=-Y, links=["log"]), "no link"),
    "too small a layer": (dict(x=X, y=Y, max_parameters=3), "max_parameters=3"),
    "validation": (dict(x=X, y=Y, validation=1.0), "validation"),
    "tolerance": (dict(x=X, y=Y, tolerance=0.0), "tolerance"),
    "effort": (dict(x=X, y=Y, effort=0.0), "effort"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_and_settings_are_named(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        separable.grow(**arguments)
