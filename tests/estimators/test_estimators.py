"""The estimators: scikit-learn's own contract, recovery of known functions, and the layer as the same function."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_iris, make_friedman1, make_gaussian_quantiles
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import separable
from separable import SeparableClassifier, SeparableRegressor
from separable.estimators.copies import merged
from separable.estimators.families import Bernoulli, Softmax
from separable.estimators.kernel_model import KernelModel, _solve, fit_kernel_model
from separable.estimators.smooth_model import SmoothModel


@parametrize_with_checks([SeparableRegressor(), SeparableClassifier()])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def layer_values(model, table) -> np.ndarray:
    with torch.no_grad():
        return model.layer_(torch.from_numpy(model.encode(table))).numpy()


@pytest.fixture(scope="module")
def friedman():
    x, y = make_friedman1(2000, 10, noise=1.0, random_state=0)
    return x, y, SeparableRegressor(order=2).fit(x, y)


def friedman_mains(grid: np.ndarray) -> list[np.ndarray]:
    """Main effects of Friedman-1 on the unit cube; ``int_0^1 10 sin(pi x u) du = 10 (1 - cos(pi x)) / (pi x)``."""
    safe = np.where(grid > 0, grid, 1)
    wave = np.where(grid > 0, 10 * (1 - np.cos(np.pi * grid)) / (np.pi * safe), 0)
    return [wave, wave, 20 * (grid - 0.5) ** 2, 10 * grid, 5 * grid, *[0 * grid] * 5]


def test_friedman_is_recovered(friedman) -> None:
    x, y, model = friedman
    assert model.model_.terms.pairs == ((0, 1),)
    grid = np.linspace(0.01, 0.99, 99)
    for shape, truth in zip(model.shape_functions_.values(), friedman_mains(grid), strict=True):
        found = np.interp(grid, shape.grid, shape.values)
        error = (found - found.mean()) - (truth - truth.mean())
        assert np.sqrt(np.mean(error**2)) < 0.12  # noise 1, and a range of 5 to 10
        assert np.all(shape.standard_error > 0)
    fresh, truth = make_friedman1(2000, 10, noise=0.0, random_state=1)
    assert np.sqrt(np.mean((model.predict(fresh) - truth) ** 2)) < 0.25
    assert model.score(x, y) > 0.95


def test_intervals_cover(friedman) -> None:
    _, _, model = friedman
    fresh, y = make_friedman1(4000, 10, noise=1.0, random_state=2)
    lower, upper = model.predict_interval(fresh, coverage=0.9).T
    assert 0.88 < np.mean((lower < y) & (y < upper)) < 0.92


def test_intervals_of_few_rows_cover() -> None:
    """The error is estimated from few degrees of freedom: quantiles of the normal law would cover 76 % here."""
    inside, fresh = [], np.random.default_rng(1).random((2000, 3))
    for seed in range(24):
        random = np.random.default_rng(seed)
        x = random.random((10, 3))
        model = SeparableRegressor(order=1).fit(x, 2 * x[:, 0] + x[:, 1] + random.normal(size=10))
        if model.model_.spare < 1:
            continue
        lower, upper = model.predict_interval(fresh).T
        y = 2 * fresh[:, 0] + fresh[:, 1] + np.random.default_rng(seed + 100).normal(size=2000)
        inside.append(np.mean((lower < y) & (y < upper)))
    assert len(inside) > 15
    assert 0.85 < np.mean(inside) < 0.97


def test_an_interval_without_a_degree_of_freedom_is_refused() -> None:
    x = np.linspace(0, 1, 3)[:, None]
    model = SeparableRegressor(order=1).fit(x, np.array([0.0, 1.0, -1.0]))
    with pytest.raises(ValueError, match="degree of freedom"):
        model.predict_interval(x)


def test_a_grown_classifier_keeps_the_round_that_new_rows_like() -> None:
    """Two shells in five dimensions: a round that separates the training rows costs new ones a log loss of 0.2."""
    x, y = make_gaussian_quantiles(n_samples=2800, n_features=5, n_classes=2, random_state=0)
    model = SeparableClassifier(order=None).fit(x[:800], y[:800])
    assert log_loss(y[800:], model.predict_proba(x[800:])) < 0.15


def test_a_grown_classifier_is_no_worse_than_a_guess_where_classes_are_apart() -> None:
    """Rows on the wrong side of a sure logit have working targets of exp(12) if that is what is sure."""

    def above(x: np.ndarray) -> np.ndarray:
        return 2 * x[:, 0] + x[:, 1] + (x[:, 2] > 0.5) > 1.9

    x, fresh = (np.random.default_rng(seed).random((rows, 3)) for seed, rows in ((0, 300), (1, 2000)))
    model = SeparableClassifier(order=None).fit(x, above(x))
    assert model.score(fresh, above(fresh)) > 0.9
    sure = model.predict_proba(fresh)[np.arange(2000), above(fresh).astype(int)]
    assert -np.log(sure).mean() < 0.35


def test_equal_weights_do_not_depend_on_their_unit() -> None:
    x = np.random.default_rng(0).random((240, 2))
    y = np.sin(20 * x[:, 0]) + 0.1 * np.random.default_rng(1).normal(size=240)
    plain = SeparableRegressor(order=1).fit(x, y)
    for weight in (0.1, 1e-3):
        weighted = SeparableRegressor(order=1).fit(x, y, sample_weight=np.full(240, weight))
        np.testing.assert_allclose(weighted.predict(x), plain.predict(x), atol=1e-6)


def test_rows_of_two_kinds_in_turn_give_the_effects_of_shuffled_ones() -> None:
    random = np.random.default_rng(0)
    side, x = np.arange(24_000) % 2, random.random(24_000)
    y = 2.0 * side + np.sin(3 * x) * side + 0.1 * random.normal(size=24_000)
    table, order = np.stack([side, x], axis=1), random.permutation(24_000)
    models = [SeparableRegressor(order=2).fit(table[rows], y[rows]) for rows in (slice(None), order)]
    strengths = [model.interaction_strengths_ for model in models]
    assert [model.order_ for model in models] == [2, 2]
    assert strengths[0].keys() == strengths[1].keys()
    for name, value in strengths[0].items():
        assert value == pytest.approx(strengths[1][name], abs=2e-3)
    means = np.array([0.0, 2.0 + (1 - np.cos(3)) / 3])  # of y where side is 0 and 1
    share = (means[1] - means[0]) ** 2 / 4 / (np.var(y) - 0.1**2)
    assert strengths[0]["x0",] == pytest.approx(share, abs=0.01)


def test_the_layer_is_the_smooth_model(friedman) -> None:
    x, y, model = friedman
    smooth = model.model_.outputs(model.encode(x[:200]))[:, 0] * model.scale_ + y.mean()
    assert model.order_ == 2
    assert np.allclose(layer_values(model, x[:200])[:, 0], smooth, atol=1e-8)
    assert np.allclose(model.predict(x[:200]), smooth, atol=1e-8)


def test_a_fitted_regressor_is_inverted(friedman) -> None:
    _, _, model = friedman
    found = separable.invert(model.layer_, 15.0, n_solutions=4)
    assert bool(found.converged.all())
    assert np.allclose(model.predict(found.inputs.numpy()), 15.0, atol=1e-3)


def test_strengths_equal_the_analytic_shares() -> None:
    """For y = a x0 + b x1 x2 with x uniform on (-1, 1): variances a^2 / 3 and b^2 / 9, and no main effect of x1."""
    x = np.random.default_rng(0).uniform(-1, 1, (1500, 4))
    y = 2 * x[:, 0] + 3 * x[:, 1] * x[:, 2]
    for order in (2, None):
        strengths = SeparableRegressor(order=order, links=("identity",)).fit(x, y).interaction_strengths_
        assert strengths["x0",] == pytest.approx((4 / 3) / (4 / 3 + 1), abs=0.03)
        assert strengths["x1", "x2"] == pytest.approx(1 / (4 / 3 + 1), abs=0.03)
        assert sum(strengths.values()) == pytest.approx(1, abs=1e-6)
        assert strengths["x3",] < 1e-3


def test_strengths_of_three_features() -> None:
    """For y = x0 x1 x2 on (-1, 1)^3 everything is of three features together."""
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    strengths = SeparableRegressor(order=None, links=("identity",)).fit(x, x.prod(1)).interaction_strengths_
    assert strengths[()] > 0.97


def test_auto_takes_the_product_for_physics_and_the_smooth_model_for_noise() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(1, 2, (400, 4))
    physics = x[:, 0] * x[:, 1] ** 2 / (x[:, 2] + x[:, 3])
    model = SeparableRegressor(effort=0.5).fit(x, physics)
    assert model.order_ is None
    assert set(model.held_out_errors_) == {"smooth", "grown"}
    assert model.score(x, physics) > 1 - 1e-6
    raw = torch.from_numpy(layer_values(model, x)[:, 0])
    assert np.allclose(model.predict(x), model.link_.inverse(raw).numpy(), rtol=1e-8)
    with pytest.raises(ValueError):
        model.predict_interval(x)
    noisy = x.sum(1) + random.normal(size=400)
    assert SeparableRegressor(effort=0.5).fit(x, noisy).order_ == 1


def test_weights_equal_repeated_rows() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 3)), random.normal(size=80)
    counts = random.integers(0, 4, 80)
    weighted = SeparableRegressor(2).fit(x, y, sample_weight=counts)
    repeated = SeparableRegressor(2).fit(x.repeat(counts, 0), y.repeat(counts))
    assert np.allclose(weighted.predict(x), repeated.predict(x), atol=1e-7)
    small = SeparableRegressor(2).fit(x, y, sample_weight=np.full(80, 1 / 80))
    assert np.allclose(small.predict(x), SeparableRegressor(2).fit(x, y).predict(x), atol=1e-7)


def three_classes(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of which logits are products and lines."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    logits = np.stack([2 * x[:, 0] * x[:, 1], x[:, 2], np.zeros(rows)], axis=1)
    return x, (logits + random.gumbel(size=logits.shape)).argmax(1)


def test_copies_of_rows_judge_nothing() -> None:
    x, y = three_classes(120, 0)
    fits = []
    for copies in (1, 2, 5):
        z, goal, weights, left = merged(x.repeat(copies, 0), np.eye(3)[y.repeat(copies)], np.ones(120 * copies), {})
        assert np.array_equal(z, x)
        assert np.array_equal(goal, np.eye(3)[y])
        assert np.array_equal(weights, np.full(120, copies))
        assert np.array_equal(left, weights)
        settings = {"tables": {}, "intervals": 5, "degree": 3, "random": np.random.default_rng(0)}
        fits.append(fit_kernel_model(z, goal, weights, left, **settings))
    fresh, _ = three_classes(200, 1)
    for fit in fits:
        assert fit.left_out == pytest.approx(fits[0].left_out, rel=1e-6)
        assert np.allclose(fit.outputs(fresh), fits[0].outputs(fresh), atol=1e-6)


def test_copies_of_rows_equal_weights() -> None:
    x, y = three_classes(60, 1)
    counts = np.random.default_rng(0).integers(0, 4, 60)
    weighted = SeparableClassifier(intervals=4, max_interactions=0).fit(x, y, sample_weight=counts)
    repeated = SeparableClassifier(intervals=4, max_interactions=0).fit(x.repeat(counts, 0), y.repeat(counts))
    assert repeated.held_out_errors_ == pytest.approx(weighted.held_out_errors_, rel=1e-9)
    assert np.allclose(repeated.predict_proba(x), weighted.predict_proba(x), atol=1e-9)


def test_left_out_losses_of_the_kernel_are_those_of_fits_without() -> None:
    random = np.random.default_rng(0)
    frame = random.normal(size=(15, 6))
    kernel, y = frame @ frame.T, np.eye(3)[random.integers(0, 3, 15)]
    weights = random.integers(1, 4, 15) * 1.0
    shares, noise = weights @ y / weights.sum(), 0.1 * float(weights @ np.diagonal(kernel) / weights.sum())
    for left in (np.ones(15), weights):
        outputs, levels = np.empty((15, 3)), np.empty((15, 3))
        for n in range(15):
            fewer = weights.copy()
            fewer[n] -= left[n]
            root = np.sqrt(fewer)
            matrix = root[:, None] * kernel * root + noise * np.eye(15)
            others = fewer @ y / fewer.sum()
            outputs[n] = kernel[n] @ (root[:, None] * np.linalg.solve(matrix, root[:, None] * (y - others)))
            levels[n] = np.log(others)

        def loss(log_temperature: float, outputs=outputs, levels=levels, left=left) -> float:
            logits = levels + np.exp(log_temperature) * outputs
            lost = float(weights @ -np.log(np.sum(y * softmax(logits, axis=1), axis=1)))
            priors = -norm.logpdf(log_temperature) - norm.logpdf(np.log10(0.1 / weights.mean())) + 2 * norm.logpdf(0)
            return lost / float(weights.sum()) + float(priors) / float((weights / left).sum())

        expected = minimize_scalar(loss, bounds=(-4, 3.5), method="bounded", options={"xatol": 1e-9}).fun
        assert _solve(kernel, y, weights, left, shares, 0.1).left_out == pytest.approx(expected, rel=1e-6)


def test_rows_that_agree_by_chance_are_no_copies() -> None:
    """Of a category nobody knows but its own rows: the loss has to come near the conditional entropy."""
    random = np.random.default_rng(0)
    shares = np.random.default_rng(5).dirichlet([0.4] * 3, 5)
    index = random.integers(0, 5, 400)
    y = (shares[index].cumsum(1) < random.random((400, 1))).sum(1)
    model = SeparableClassifier().fit(np.array(list("pqrst"), dtype=object)[index, None], y)
    found = model.predict_proba(np.array([list("pqrst")], dtype=object).T)
    divergence = np.mean(np.sum(shares * np.log(np.maximum(shares, 1e-300) / found), axis=1))
    assert 0 <= divergence < 0.05


@pytest.mark.parametrize("order", ["auto", None])
def test_two_classes_whatever_the_model(order) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    logit = 3 * np.sin(3 * x[:, 0]) + 4 * x[:, 1] * x[:, 2]
    y = np.where(np.random.default_rng(1).random(500) < 1 / (1 + np.exp(-logit)), "yes", "no")
    model = SeparableClassifier(order=order, effort=0.3).fit(x, y)
    loss, flat = (
        Bernoulli((y == "yes") * 1.0).loss(e[:, None]).mean() for e in (model.decision_function(x), 0 * logit)
    )
    assert loss < 0.8 * flat
    assert np.allclose(layer_values(model, x)[:, 0], model.decision_function(x), atol=1e-8)
    assert np.allclose(model.predict_proba(x).sum(1), 1)


def test_three_classes_by_the_kernel_and_by_the_smooth_model() -> None:
    x, y = load_iris(return_X_y=True)
    for order, kind in (("auto", KernelModel), (2, SmoothModel)):
        model = SeparableClassifier(order=order).fit(x, y)
        assert isinstance(model.model_, kind)
        outputs = model.model_.outputs(model.encode(x))
        assert np.allclose(layer_values(model, x), outputs, atol=1e-8)
        assert Softmax(np.eye(3)[y]).loss(outputs).mean() < 0.15
        assert sum(model.interaction_strengths_.values()) == pytest.approx(1)
    with pytest.raises(ValueError):
        SeparableClassifier(order=None).fit(x, y)


@pytest.mark.parametrize(("order", "accuracy"), [("auto", 1e-6), (2, 0.05)])  # of the order in which classes are fitted
def test_effects_do_not_depend_on_the_names_of_classes(order, accuracy: float) -> None:
    x, y = load_iris(return_X_y=True)
    plain, renamed = (SeparableClassifier(order).fit(x, each) for each in (y, (y + 1) % 3))
    assert np.abs(plain.decision_function(x).sum(1)).max() < 1e-9
    assert np.abs(plain.predict_proba(x) - np.roll(renamed.predict_proba(x), -1, axis=1)).max() < accuracy
    for name, share in plain.interaction_strengths_.items():
        assert renamed.interaction_strengths_.get(name, 0.0) == pytest.approx(share, abs=accuracy)
    for name, shape in plain.shape_functions_.items():
        np.testing.assert_allclose(
            shape.values, np.roll(renamed.shape_functions_[name].values, -1, axis=1), atol=accuracy
        )


def test_errors_of_logits_are_of_logits_less_their_mean() -> None:
    x, y = load_iris(return_X_y=True)
    shape, model = (m := SeparableClassifier(1).fit(x, y)).shape_functions_["x2"], m.model_
    functions, columns = model.terms.bases[2](shape.grid), model.terms.mains[2]
    powers = [np.diagonal(functions @ (root.T @ root)[columns, columns] @ functions.T) for root in model.roots]
    contrast = np.eye(3) - 1 / 3
    expected = [np.diagonal(contrast @ np.diag(power) @ contrast.T) for power in np.transpose(powers)]
    np.testing.assert_allclose(shape.standard_error**2, expected, rtol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_rows_of_noise_are_not_believed(classes: int) -> None:
    """Log losses on fresh rows of labels that mean nothing; a certain model has 10 and more on these."""
    losses = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        x, y = random.random((6, 2)), random.permutation(np.arange(6) % classes)
        shares = SeparableClassifier().fit(x, y).predict_proba(random.random((300, 2)))
        losses.append(-np.log(shares).mean())  # over all labels, which are equally likely
    assert np.mean(losses) < np.log(classes) + 1.2
    held_out = SeparableClassifier().fit([[0, 0], [1, 0], [0, 1]], [0, 1, 2]).held_out_errors_
    assert min(held_out.values()) > np.log(3) - 0.1  # of a class that is left out nothing is known


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows(rows: int) -> None:
    x = np.random.default_rng(0).normal(size=(rows, 3))
    assert np.isfinite(SeparableRegressor().fit(x, x[:, 0]).predict(x)).all()
    if rows > 1:
        model = SeparableClassifier().fit(x, np.arange(rows))  # one row for each class
        assert np.isfinite(model.predict_proba(x)).all()


@pytest.mark.parametrize("unit", [1e-150, 1.0, 1e150])
def test_units_do_not_matter(unit: float) -> None:
    x = np.random.default_rng(0).normal(size=(120, 2))
    y = np.sin(x[:, 0]) + 0.1 * x[:, 1]
    plain = SeparableRegressor().fit(x, y).predict(x)
    scaled = SeparableRegressor().fit(x * unit, y * unit).predict(x * unit)
    assert np.allclose(scaled / unit, plain, atol=1e-6)


def test_constant_and_duplicate_columns_and_constant_targets() -> None:
    x = np.random.default_rng(0).normal(size=(100, 1))
    y = x[:, 0] ** 2
    table = np.hstack([x, x, np.full((100, 1), 7.0)])
    model = SeparableRegressor().fit(table, y)
    assert model.score(table, y) > 0.99
    assert model.interaction_strengths_["x2",] == 0
    constant = SeparableRegressor().fit(table, np.full(100, 1 / 3))
    assert np.allclose(constant.predict(table), 1 / 3, rtol=1e-15)
    assert set(constant.interaction_strengths_.values()) == {0.0}
    assert np.allclose(SeparableRegressor(order=None).fit(table, np.full(100, 3.0)).predict(table), 3.0)


def test_pipelines_grids_clones_and_pickles() -> None:
    x, y = make_friedman1(150, 5, noise=0.5, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), SeparableRegressor()), {"separableregressor__order": [1, 2]})
    best = search.fit(x, y).best_estimator_
    again = pickle.loads(pickle.dumps(best))  # scikit-learn's own way to keep a model; nothing of a user's is unpickled
    assert np.array_equal(again.predict(x), best.predict(x))
    assert np.array_equal(clone(best).fit(x, y).predict(x), best.predict(x))
    assert np.array_equal(copy.deepcopy(best).predict(x), best.predict(x))


@pytest.mark.parametrize(
    "setting",
    [
        {"order": 3},
        {"max_interactions": -1},
        {"intervals": 0},
        {"degree": 0},
        {"categorical_features": [9]},
        *({"max_parameters": wrong} for wrong in (-3, 0, 2.5, True, "many")),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SeparableRegressor(**setting).fit(np.random.rand(20, 2), np.arange(20.0))  # noqa: NPY002


def test_too_few_parameters_for_a_product_leave_the_smooth_model() -> None:
    random = np.random.default_rng(0)
    x, classes = random.normal(size=(300, 3)), random.integers(0, 2, 300)
    y = x[:, 0] + 0.1 * random.normal(size=300)
    for limit, tried in ((7, False), (8, True)):  # a bias, a weight and three lines
        models = [e(max_parameters=limit, effort=0.02) for e in (SeparableRegressor, SeparableClassifier)]
        for model, goal in zip(models, (y, classes), strict=True):
            assert bool(model.fit(x, goal).held_out_errors_) == tried
        assert models[0].score(x, y) > 0.9
        assert np.isfinite(models[1].predict_proba(x)).all()
    with pytest.raises(ValueError, match="least layer"):
        SeparableRegressor(None, max_parameters=7).fit(x, y)


@pytest.mark.parametrize("order", ["auto", 1, 2, None])
@pytest.mark.parametrize(
    "setting", [{"effort": 0.0}, {"effort": float("nan")}, {"effort": "1"}, {"links": ("cube",)}, {"links": "log"}]
)
def test_settings_of_the_growth_are_refused_before_any_fit(order, setting: dict[str, object], monkeypatch) -> None:
    monkeypatch.setattr(SeparableRegressor, "_smooth", lambda *_: pytest.fail("a model was fitted first"))
    with pytest.raises(ValueError, match=f"SeparableRegressor: {next(iter(setting))}"):
        SeparableRegressor(order, **setting).fit(np.random.rand(300, 2), np.arange(300.0))  # noqa: NPY002


def test_the_classifier_refuses_an_effort_before_any_fit(monkeypatch) -> None:
    monkeypatch.setattr(SeparableClassifier, "_smooth", lambda *_: pytest.fail("a model was fitted first"))
    with pytest.raises(ValueError, match="SeparableClassifier: effort"):
        SeparableClassifier(1, effort=-1.0).fit(np.random.rand(300, 2), np.arange(300) % 2)  # noqa: NPY002
