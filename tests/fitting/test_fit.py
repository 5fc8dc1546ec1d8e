"""`separable.fit` against independent least squares, on degenerate data, and streaming."""

import copy
import functools
import importlib
import itertools
import types

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

import separable
from separable.atoms import BSpline, Chebyshev, Perceptron, Table
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.layers import LearnedCoordinates, SeparableLayer


def data(rows: int, coordinates: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, coordinates, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(inputs: int, outputs: int = 1, interaction=None, atoms=None, **options) -> SeparableLayer:
    return SeparableLayer(
        inputs,
        outputs,
        atoms=atoms or BSpline(intervals=3, degree=3),
        interaction=interaction or CanonicalPolyadic(rank=2),
        dtype=torch.float64,
        **options,
    )


def test_an_additive_fit_is_the_least_squares_solution() -> None:
    x = data(300, 2)
    y = torch.sin(5 * x[:, 0]) + x[:, 1] ** 2 + 0.3 * torch.randn(300, dtype=torch.float64)
    model = layer(2, interaction=CanonicalPolyadic(rank=1, order=1))
    separable.fit(model, x, y, tolerance=1e-9)
    design = np.concatenate([BSpline(3, 3)(x[:, j]).numpy() for j in range(2)], axis=1)
    expected = design @ np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
    assert np.allclose(model(x).detach().numpy()[:, 0], expected, atol=1e-6)


def test_weights_equal_repeated_rows() -> None:
    x, y = data(60, 1), torch.randn(60, dtype=torch.float64)
    weights = torch.randint(0, 4, (60,)).double()
    weighted, repeated = layer(1), layer(1)
    separable.fit(weighted, x, y, weights=weights)
    separable.fit(repeated, x.repeat_interleave(weights.long(), 0), y.repeat_interleave(weights.long()))
    assert torch.allclose(weighted(x), repeated(x), atol=1e-6)


@pytest.mark.parametrize(
    ("interaction", "atoms"),
    [
        (CanonicalPolyadic(rank=2), None),
        (CanonicalPolyadic(rank=3, order=2), None),
        (TensorTrain(rank=2), None),
        (Tucker(rank=2), None),
        (CanonicalPolyadic(rank=2), Chebyshev(degree=3)),
    ],
)
def test_every_interaction_recovers_a_function_it_contains(interaction, atoms) -> None:
    x = data(800, 3)
    y = (1 + x[:, 0]) * (2 - x[:, 1]) + (x[:, 0] ** 2 - 0.3) * x[:, 1] ** 3
    y = torch.stack([y, 2 * y - 1], dim=1)
    model = layer(3, 2, interaction=interaction, atoms=atoms)
    report = separable.fit(model, x, y, tolerance=1e-5, max_steps=300)
    new = data(200, 3, seed=1)
    truth = (1 + new[:, 0]) * (2 - new[:, 1]) + (new[:, 0] ** 2 - 0.3) * new[:, 1] ** 3
    assert report.training < 1e-3
    assert float((model(new).detach()[:, 0] - truth).abs().max()) < 2e-2


def test_learned_coordinates_are_found_by_gauss_newton() -> None:
    x = 2 * data(600, 2) - 1
    y = torch.exp(-2 * (x[:, 0] - x[:, 1]) ** 2)
    without = layer(2, atoms=BSpline(4, 3, domain=(-1.0, 1.0)), interaction=CanonicalPolyadic(rank=1))
    generator = torch.Generator().manual_seed(3)
    coordinates = LearnedCoordinates(2, 1, generator=generator)
    model = layer(2, atoms=BSpline(6, 3), interaction=CanonicalPolyadic(rank=1), coordinates=coordinates.double())
    plain = separable.fit(without, x, y)
    learned = separable.fit(model, x, y, starts=4)
    assert learned.training < 0.005 < 0.1 < plain.training
    assert learned.path[-1].method == "gauss_newton"


def test_times_count_from_the_call_whichever_start_is_best(monkeypatch) -> None:
    ticks = itertools.count()
    module = importlib.import_module("separable.fitting.fit")  # the function has the module's name
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    x = data(60, 2, seed=3)
    coordinates = LearnedCoordinates(2, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = layer(2, interaction=CanonicalPolyadic(rank=1), coordinates=coordinates)
    first = separable.fit(copy.deepcopy(model), x, torch.sin(8 * (x[:, 0] - x[:, 1])), max_steps=4)
    best = separable.fit(model, x, torch.sin(8 * (x[:, 0] - x[:, 1])), max_steps=4, starts=6)
    assert best.training < first.training
    assert best.path[0].seconds > first.seconds  # the clock ticks once a step


def test_gauss_newton_moves_learned_atoms() -> None:
    x = data(300, 1)
    y = torch.tanh(8 * (x[:, 0] - 0.4))
    model = layer(1, atoms=Perceptron(functions=4, width=6, depth=1), interaction=CanonicalPolyadic(rank=1))
    before = copy.deepcopy(model.state_dict())
    linear = separable.fit(copy.deepcopy(model), x, y, method="alternating_least_squares")
    joint = separable.fit(model, x, y)
    assert joint.training < 0.5 * linear.training
    moved = [k for k, v in model.state_dict().items() if "atom_parameters" in k and not torch.equal(v, before[k])]
    assert moved


def test_validation_stops_rank_growth_on_noise() -> None:
    x = data(400, 4)
    y = x[:, 0] + torch.randn(400, dtype=torch.float64)
    model = layer(4, interaction=CanonicalPolyadic(rank=12))
    report = separable.fit(model, x, y, validation=0.3, ridge=1e-3)
    assert max(step.rank for step in report.path) < 12
    assert report.validation < 1.3


@pytest.mark.parametrize(
    ("interaction", "ranks"),
    [
        (CanonicalPolyadic(rank=3), {1, 2, 3}),
        (TensorTrain(rank=3), {1, 2, 3}),
        (Tucker(rank=(1, 3)), {1, 2, 3}),
    ],
)
def test_the_path_tells_the_rank_of_every_step(interaction, ranks) -> None:
    x = data(100, 2)
    report = separable.fit(layer(2, interaction=interaction), x, torch.exp(x[:, 0] * x[:, 1]), max_steps=3)
    assert {step.rank for step in report.path} == ranks


def test_streaming_gives_the_same_fit_as_arrays() -> None:
    x = data(500, 2)
    y = x[:, 0] * torch.cos(3 * x[:, 1])
    whole, streamed = layer(2), layer(2)

    class Batches:
        def __iter__(self):
            for start in range(0, 500, 90):
                yield x[start : start + 90].numpy(), y[start : start + 90].numpy()

    options = {"method": "alternating_least_squares", "max_steps": 5}
    first = separable.fit(whole, x, y, **options)
    second = separable.fit(streamed, Batches(), **options)
    assert first.rows == second.rows == 500
    assert torch.allclose(whole(x), streamed(x), atol=1e-8)


def test_arrays_that_torch_does_not_take_give_the_same_fit(tmp_path) -> None:
    x, y = data(100, 2).numpy(), data(100, 1, seed=1).numpy()[:, 0]
    for name, values in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    models = [layer(2) for _ in range(3)]
    for model, rows in zip(models, [(x, y), (x[::-1].copy()[::-1], y[::-1].copy()[::-1]), mapped], strict=True):
        separable.fit(model, *rows)
    expected, backwards, from_file = (model(torch.from_numpy(x)) for model in models)
    assert torch.equal(backwards, expected)
    assert torch.equal(from_file, expected)
    for surrogate in (separable.grow(*mapped), separable.condition(*mapped)):
        # To rounding: products of matrices add up in an order that depends on the row.
        torch.testing.assert_close(surrogate.predict(x[::-1]), surrogate.predict(x).flip(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(surrogate.predict(mapped[0]), surrogate.predict(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("as_given", [lambda v: v, lambda v: v.numpy(), lambda v: v.bfloat16()])
def test_ends_of_the_domain_as_single_precision_rounds_them_lie_inside(as_given) -> None:
    x = as_given(torch.linspace(0, 0.1, 11, dtype=torch.float32)[:, None])
    y = torch.linspace(0, 1, 11)
    for outside in ("error", "periodic"):
        atom = Chebyshev(1, domain=(0.0, 0.1), outside=outside)
        assert separable.fit(layer(1, atoms=atom), x, y).training < 1e-2
        batches = [(x[:6], y[:6]), (x[6:], y[6:])]
        assert separable.fit(layer(1, atoms=atom), batches).training < 1e-2
    posterior = separable.condition(x, y, domain=[(0.0, 0.1)])
    assert float(posterior.x.max()) == 0.1
    assert posterior.extended(x[-1:], y[-1:]).x[-1].tolist() == [0.1]


def test_single_precision_layers_are_fitted_in_double() -> None:
    x = data(300, 2)
    model = SeparableLayer(2, 1, atoms=BSpline(4, 3), interaction=CanonicalPolyadic(rank=2))
    report = separable.fit(model, x.float(), (x[:, 0] * x[:, 1]).float())
    assert model.core.dtype == torch.float32
    assert report.training < 1e-5


def test_the_report_is_of_the_layer_as_it_was_left() -> None:
    x = data(500, 2)
    y = torch.sin(3 * x[:, 0]) * x[:, 1]
    model = layer(2, interaction=CanonicalPolyadic(rank=3)).to(torch.bfloat16)
    report = separable.fit(model, x, y, validation=[x, y])
    with torch.no_grad():
        found = float((copy.deepcopy(model).double()(x)[:, 0] - y).square().mean().sqrt())
    assert report.training == pytest.approx(found, rel=1e-6)
    assert report.validation == pytest.approx(found, rel=1e-6)
    assert found > 1e-4  # rounding


def test_numbers_beyond_the_layers_dtype_are_refused_and_the_layer_left_alone() -> None:
    x = data(100, 1)
    model = layer(1, interaction=CanonicalPolyadic(rank=1)).half()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="float16"):
        separable.fit(model, x, 1e9 * x[:, 0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_roughness_leads_to_straight_lines() -> None:
    x = data(200, 1)
    y = 1 + 2 * x[:, 0] + torch.sin(20 * x[:, 0])
    model = layer(1, atoms=BSpline(10, 3), interaction=CanonicalPolyadic(rank=1, order=1))
    separable.fit(model, x, y, roughness=1e7, ridge=0.0)
    line = np.polyval(np.polyfit(x[:, 0].numpy(), y.numpy(), 1), x[:, 0].numpy())
    assert np.allclose(model(x).detach().numpy()[:, 0], line, atol=1e-3)


@pytest.mark.parametrize("roughness", [0.0, 1e-3])
@pytest.mark.parametrize("atom", [BSpline(4), Perceptron(functions=3, width=4)])
def test_the_callers_random_numbers_are_left_alone(atom, roughness) -> None:
    x, model = data(50, 2), layer(2, atoms=atom)
    before = torch.random.get_rng_state()
    separable.fit(model, x, x[:, 0] * x[:, 1], roughness=roughness, max_steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_category_means_are_found() -> None:
    x = torch.randint(0, 3, (300, 1)).double()
    y = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)[x[:, 0].long()]
    model = layer(1, atoms=Table(3), interaction=CanonicalPolyadic(rank=1, order=1))
    assert separable.fit(model, x, y).training < 1e-6


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    rows=st.integers(1, 12),
    coordinates=st.integers(1, 4),
    rank=st.integers(1, 3),
    order=st.sampled_from([None, 1]),
    constant=st.booleans(),
    repeated=st.booleans(),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_degenerate_data_gets_a_finite_regularised_answer(
    rows: int, coordinates: int, rank: int, order: int | None, constant: bool, repeated: bool, scale: float
) -> None:
    x = data(rows, coordinates, seed=rows)
    if constant:
        x[:, 0] = 0.5
    if repeated:
        x = x[:1].expand(rows, -1).clone()
    y = scale * torch.randn(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))
    model = layer(coordinates, interaction=CanonicalPolyadic(rank=rank, order=order))
    report = separable.fit(model, x, y, max_steps=10)
    inside = model(data(50, coordinates, seed=9)).detach()
    assert bool(torch.isfinite(inside).all())
    # Never worse than the mean: the bias alone reaches that.
    assert report.training <= float(y.std(correction=0)) * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x, y: (x[:, :1], y),
        lambda x, y: (x, y[:-1]),
        lambda x, y: (x[:0], y[:0]),
        lambda x, y: (x.index_fill(0, torch.tensor([3]), float("nan")), y),
        lambda x, y: (x, y.index_fill(0, torch.tensor([3]), float("inf"))),
        lambda x, y: (x, torch.stack([y, y], 1)),
        lambda x, y: (x[0], y[0]),
        lambda x, y: (np.ma.masked_less(x.numpy(), 0.2), y),
        lambda x, y: (x, np.ma.masked_array(y.numpy(), np.arange(10) == 3)),
        lambda x, y: (x, y + 1j),
        lambda x, y: (x.numpy() + 0j, y),
        lambda x, y: ([(x, np.ma.masked_array(y.numpy(), np.arange(10) == 3))], None),
    ],
)
def test_bad_data_is_refused_and_the_layer_left_alone(spoil) -> None:
    x, y = data(10, 2), torch.ones(10, dtype=torch.float64)
    model = layer(2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError):
        separable.fit(model, *spoil(x, y))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_a_mask_hides_is_told_apart_from_numbers() -> None:
    x, y = data(20, 2).numpy(), np.ma.masked_array(np.ones(20), np.arange(20) == 3)
    for learn in (functools.partial(separable.fit, layer(2)), separable.grow, separable.condition):
        with pytest.raises(ValueError, match="y is nan at row 3"):
            learn(x, y)
        learn(x, np.ma.masked_array(np.ones(20)))
    predicted = separable.condition(x, x[:, 0]).predict(np.ma.masked_array(x, np.arange(40).reshape(20, 2) == 0))
    assert predicted.isnan().tolist() == [True, *[False] * 19]


def test_bad_settings_are_refused() -> None:
    x, y = data(10, 2), torch.ones(10, dtype=torch.float64)
    for options in (
        {"ridge": -1.0},
        {"validation": 1.5},
        {"validation": 0.001},
        {"method": "adam"},
        {"method": "gauss_newton", "roughness": 0.1},
        {"weights": torch.zeros(10)},
        {"weights": -torch.ones(10)},
        {"weights": torch.ones(9)},
        {"max_steps": 0},
        {"batch_size": 0},
    ):
        with pytest.raises(ValueError):
            separable.fit(layer(2), x, y, **options)
    with pytest.raises(TypeError):
        separable.fit(layer(2), iter([(x, y)]))
    with pytest.raises(ValueError):
        separable.fit(layer(2), x)


@pytest.mark.parametrize(
    "interaction",
    [CanonicalPolyadic(rank=4), CanonicalPolyadic(rank=3, order=2), TensorTrain(rank=2), Tucker(rank=2)],
)
def test_terms_that_a_ridge_puts_out_do_not_come_back_as_rounding(interaction) -> None:
    """Sums over rows in another order round otherwise, and nothing else is different."""
    generator = torch.Generator().manual_seed(2)
    x, new = data(200, 5), data(50, 5, seed=1)
    y = torch.sin(3 * x[:, 0]) * x[:, 1] + x[:, 2] ** 2 * x[:, 3]
    y = y + 0.1 * torch.randn(200, dtype=torch.float64, generator=generator)
    order = torch.randperm(200, generator=generator)
    found = []
    for rows in (torch.arange(200), order):
        model = layer(5, interaction=interaction)
        separable.fit(model, x[rows], y[rows], ridge=0.1, max_steps=6, method="alternating_least_squares")
        found.append(model(new).detach())
    assert float((found[0] - found[1]).abs().max()) < 1e-8
    assert float(found[0].std()) > 0.1  # it has learned something


def test_the_same_seed_gives_the_same_fit() -> None:
    x = data(200, 3)
    y = torch.randn(200, dtype=torch.float64)
    first, second = layer(3), layer(3)
    separable.fit(first, x, y, validation=0.2, seed=4)
    separable.fit(second, x, y, validation=0.2, seed=4)
    assert torch.equal(first(x), second(x))
