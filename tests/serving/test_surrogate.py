"""Whatever was fitted becomes a surrogate that gives the values, intervals, slopes and inverses of its model."""

import copy
import json
import math

import numpy as np
import pytest
import torch

import separable
from separable.atoms import BSpline, Table
from separable.galerkin import Coordinate, Problem, solve
from separable.interactions import CanonicalPolyadic
from separable.layers import LearnedCoordinates, SeparableLayer
from separable.serving import Surrogate


def numbers(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def posterior():
    x = numbers(30, 2) * torch.tensor([2.0, 1.0])
    noise = 0.02 * torch.randn(30, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return separable.condition(x, torch.exp(torch.sin(x[:, 0]) + x[:, 1] + noise), links=["log"])


@pytest.fixture(scope="module")
def grown():
    x = 1 + numbers(200, 2)
    return separable.grow(x, x[:, 0] / (x[:, 1] + 1), links=["reciprocal"], effort=0.3)


@pytest.fixture(scope="module")
def solution():
    """The solution of du/dx = c with u = 0 at x = 0 is c x."""
    problem = Problem(
        coordinates=[
            Coordinate("x", BSpline(4, degree=2, domain=(0.0, 2.0)), left="value", unit="m"),
            Coordinate("c", BSpline(2, degree=2, domain=(1.0, 3.0)), unit="m/s"),
        ],
        operator=[{"x": (1, 0)}],
        source=[{"c": lambda c: c}],
        name="speed",
    )
    return solve(problem, rank=2)


def slopes_by_differences(surrogate, x, step=1e-5):
    found = np.empty((len(x), len(surrogate.values), x.shape[1]))
    for j in range(x.shape[1]):
        move = np.zeros(x.shape[1])
        move[j] = step
        found[:, :, j] = (surrogate.evaluate(x + move)[0] - surrogate.evaluate(x - move)[0]) / (2 * step)
    return found


def test_values_and_intervals_are_those_of_the_posterior(posterior):
    surrogate = Surrogate.of(posterior, names=["a", "b"], units=["m", ""], value="drag", value_unit="N")
    x = numbers(20, 2, seed=1).numpy() * [2.0, 1.0]
    values, lower, upper = surrogate.evaluate(x, 0.8)
    np.testing.assert_allclose(values[:, 0], posterior.predict(x).numpy(), rtol=1e-14)
    for ours, theirs in zip((lower, upper), posterior.interval(x, 0.8), strict=True):
        np.testing.assert_allclose(ours[:, 0], theirs.numpy(), rtol=1e-14)
    assert surrogate.values == (("drag", "N"),)
    assert surrogate.uncertainty.kind == "interval"
    assert [(c.name, c.unit, c.lower, c.upper) for c in surrogate.coordinates] == [
        (name, unit, *ends) for name, unit, ends in zip("ab", ("m", ""), posterior.domain, strict=True)
    ]


def test_slopes_are_those_of_differences(posterior, grown):
    for model, low, high in ((posterior, [0.1, 0.1], [1.8, 0.9]), (grown, [1.1, 1.1], [1.9, 1.9])):
        surrogate = Surrogate.of(model)
        x = np.array(low) + numbers(10, 2, seed=2).numpy() * (np.array(high) - low)
        np.testing.assert_allclose(surrogate.gradient(x), slopes_by_differences(surrogate, x), rtol=2e-5, atol=1e-7)


def test_the_slope_is_zero_where_the_value_is_held():
    x = numbers(60, 2)
    shore = (x[:, 0] - 0.5).clamp_min(0).sqrt() * (1 + x[:, 1])  # its square is fitted, and swings below 0
    surrogate = Surrogate.of(separable.condition(x, shore, links=["square"], domain=[(0, 1), (0, 1)]))
    places = np.stack([np.linspace(0.02, 0.98, 25), np.full(25, 0.3)], axis=1)
    by_differences = slopes_by_differences(surrogate, places, step=1e-6)
    assert (by_differences == 0).any(axis=(1, 2)).sum() > 3
    np.testing.assert_allclose(surrogate.gradient(places), by_differences, rtol=1e-4, atol=1e-4)


def test_inverses_give_the_wanted_value_within_what_was_asked(posterior, grown):
    found = Surrogate.of(posterior, names=["a", "b"]).inverse(2.5, fixed={"a": 0.7}, bounds={"b": (0.0, 0.5)})
    assert found.converged.all()
    np.testing.assert_allclose(posterior.predict(found.inputs).numpy(), 2.5, rtol=1e-5)
    np.testing.assert_allclose(found.inputs[:, 0], 0.7)
    assert (found.inputs[:, 1] <= 0.5).all()
    curve = Surrogate.of(grown).inverse(0.6, solutions=3)
    assert len(curve.inputs) == 3
    np.testing.assert_allclose(curve.inputs[:, 0] / (curve.inputs[:, 1] + 1), 0.6, rtol=1e-4)


def test_a_value_out_of_reach_is_said_to_be(posterior):
    found = Surrogate.of(posterior).inverse(100.0)
    assert not found.converged.any()
    assert found.seen[1, 0] < 20
    assert abs(found.values[0, 0] - found.seen[1, 0]) < 0.05 * found.seen[1, 0]  # the nearest is the greatest


def test_a_solved_problem_brings_its_names(solution):
    surrogate = Surrogate.of(solution)
    assert [(c.name, c.unit, c.lower, c.upper) for c in surrogate.coordinates] == [
        ("x", "m", 0.0, 2.0),
        ("c", "m/s", 1.0, 3.0),
    ]
    assert surrogate.values[0][0] == "speed"
    np.testing.assert_allclose(surrogate.evaluate([[1.5, 2.0]])[0], [[3.0]], rtol=1e-6)
    np.testing.assert_allclose(surrogate.gradient([[1.5, 2.0]]), [[[2.0, 1.5]]], rtol=1e-6)


def test_an_estimator_is_asked_on_its_encoded_columns():
    rng = np.random.default_rng(0)
    table = np.empty((300, 2), dtype=object)
    table[:, 0], table[:, 1] = rng.random(300), rng.choice(["iron", "zinc"], 300)
    y = table[:, 0].astype(float) ** 2 + (table[:, 1] == "zinc")
    model = separable.SeparableRegressor(effort=0.3).fit(table, y)
    surrogate = Surrogate.of(model)
    assert surrogate.uncertainty.size in model.held_out_errors_.values()
    np.testing.assert_allclose(surrogate.evaluate(model.encode(table))[0][:, 0], model.predict(table), rtol=1e-9)
    assert surrogate.coordinates[1].categories == ("iron", "zinc", "unknown")
    assert surrogate.gradient(model.encode(table[:3]))[:, 0, 1].tolist() == [0.0] * 3
    with pytest.raises(ValueError, match=r"row 1, .* holds categories, .* got 0.5"):
        surrogate.evaluate([[0.3, 1.0], [0.3, 0.5]])


def test_an_inverse_chooses_no_category_that_is_unknown_and_nothing_missing(tmp_path):
    rng = np.random.default_rng(0)
    table = np.empty((300, 2), dtype=object)
    table[:, 0], table[:, 1] = rng.random(300), rng.choice(["iron", "zinc"], 300)
    y = table[:, 0].astype(float) + 10.0 * (table[:, 1] == "zinc")
    table[:40, 0] = None
    y[:40] = 3.0 + 10.0 * (table[:40, 1] == "zinc")  # 3 is given by a gap alone, and 5.5 by an unknown metal
    model = separable.SeparableRegressor(1).fit(table, y)
    fresh = Surrogate.of(model, names=["a", "gap", "metal"])
    fresh.save(tmp_path)
    for surrogate in (fresh, Surrogate.load(tmp_path)):
        assert [(c.lower, c.upper) for c in surrogate.coordinates[1:]] == [(0, 0), (0, 1)]
        for wanted in (0.5, 3.0, 5.5, 10.5):
            found = surrogate.inverse(wanted, solutions=2)
            assert found.converged.any() == (wanted in (0.5, 10.5))
            assert set(found.inputs[:, 1]) == {0.0}
            assert set(found.inputs[:, 2]) <= {0.0, 1.0}
        # What is asked for by name is done.
        assert surrogate.inverse(5.5, fixed={"metal": 2}, solutions=1).converged.any()
        assert surrogate.inverse(3.0, bounds={"gap": (0, 1)}, solutions=1).converged.any()
        np.testing.assert_allclose(surrogate.evaluate([[0.5, 1.0, 0.0]])[0], 3.0, atol=0.1)
        with pytest.raises(ValueError, match="'metal'"):
            surrogate.inverse(5.5, fixed={"metal": 3})


def test_categories_go_by_their_number_or_name_and_others_are_refused():
    rng = np.random.default_rng(0)
    table = np.empty((300, 2), dtype=object)
    table[:, 0], table[:, 1] = rng.random(300), rng.choice(["iron", "zinc"], 300)
    model = separable.SeparableRegressor(1).fit(table, table[:, 0].astype(float) + 10.0 * (table[:, 1] == "zinc"))
    surrogate = Surrogate.of(model, names=["a", "metal"])
    unknown = model.predict(np.array([[0.5, "lead"]], dtype=object))
    np.testing.assert_allclose(surrogate.evaluate([[0.5, 2]])[0][:, 0], unknown)
    for wrong in (-1, 3, 99):  # -1 is what pandas calls a gap
        for question in (surrogate.evaluate, surrogate.gradient):
            with pytest.raises(ValueError, match="row 1, 'metal'"):
                question([[0.5, 0.0], [0.5, wrong]])
    for options in ({"fixed": {"metal": "zinc"}}, {"bounds": {"metal": ("zinc", "zinc")}}):
        found = surrogate.inverse(10.25, solutions=1, **options)
        assert found.converged.all()
        np.testing.assert_allclose(found.inputs, [[0.25, 1.0]], atol=0.01)
    for options in (
        {"fixed": {"metal": "lead"}},
        {"fixed": {"metal": None}},
        {"fixed": {"metal": [1]}},
        {"bounds": {"metal": "zinc"}},
        {"bounds": {"metal": ("iron", "lead")}},
        {"bounds": {"metal": (-1, 1)}, "fixed": {"metal": -1}},
    ):
        with pytest.raises(ValueError, match="'metal'"):
            surrogate.inverse(10.25, **options)
    with pytest.raises(ValueError, match=r"fixed: .*'a'"):
        surrogate.inverse(10.25, fixed={"a": "zinc"})


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_what_is_close_goes_by_the_spread_and_not_by_the_size(offset):
    layer = SeparableLayer(
        1, 1, atoms=BSpline(1, 1), interaction=CanonicalPolyadic(rank=1), dtype=torch.float64
    ).requires_grad_(False)
    layer.expansion.coefficient(0)[:, 0] = torch.tensor([0.0, 1.0])
    layer.core.fill_(1.0)
    layer.bias.fill_(offset)  # the function is x + offset
    surrogate = Surrogate.of(layer)
    found = surrogate.inverse(offset + 0.25)
    assert found.converged.all()
    np.testing.assert_allclose(found.inputs, 0.25, atol=1e-6)
    assert surrogate.inverse(offset + 1.0).converged.all()
    assert not surrogate.inverse(offset + 1.05).converged.any()


def test_the_given_layer_is_not_touched():
    layer = SeparableLayer(2, 3, atoms=[BSpline(3), Table(4)], interaction=CanonicalPolyadic(rank=2))
    surrogate = Surrogate.of(layer)
    assert layer.core.dtype == torch.float32
    assert layer.core.requires_grad
    x = torch.tensor([[0.3, 2.0], [0.9, 0.0]])
    np.testing.assert_allclose(surrogate.evaluate(x)[0], layer(x).detach().numpy(), rtol=1e-4, atol=1e-6)
    assert surrogate.uncertainty.kind == "none"
    assert surrogate.coordinates[1].categories == ("0", "1", "2", "3")


def test_what_is_saved_comes_back(posterior, grown, solution, tmp_path):
    for number, model in enumerate((posterior, grown, solution)):
        kept = Surrogate.of(model)
        kept.save(tmp_path / str(number))
        loaded = Surrogate.load(tmp_path / str(number))
        assert (loaded.coordinates, loaded.values, loaded.uncertainty) == (
            kept.coordinates,
            kept.values,
            kept.uncertainty,
        )
        assert loaded.link is kept.link
        assert loaded.reach == kept.reach
        x = np.array([[1.2, 0.9], [1.0, 2.0]])
        for ours, theirs in zip(loaded.evaluate(x), kept.evaluate(x), strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def test_a_layer_or_posterior_of_another_is_no_part_of_a_surrogate(posterior, grown, tmp_path):
    x = numbers(30, 2)
    other = separable.condition(x, x[:, 0] + x[:, 1], links=["identity"])
    later = copy.deepcopy(grown.layer).requires_grad_(False)  # trained on, say
    later.core.mul_(2.0)
    for number, (model, intruder) in enumerate(((posterior, other), (posterior, later), (grown, later))):
        folder = tmp_path / str(number)
        Surrogate.of(model).save(folder)
        Surrogate.load(folder)
        intruder.save(folder)
        with pytest.raises(ValueError):
            Surrogate.load(folder)
        Surrogate.of(intruder).save(folder)
        assert Surrogate.load(folder).evaluate([[1.2, 0.9]])[0] == Surrogate.of(intruder).evaluate([[1.2, 0.9]])[0]


def test_a_surrogate_of_before_there_were_checksums_is_read(solution, tmp_path):
    from separable.fitting.checked_files import read_checked, write_checked

    Surrogate.of(solution).save(tmp_path)
    facts, _ = read_checked(tmp_path, "surrogate")
    del facts["parts"]
    write_checked(tmp_path, "surrogate", facts, {})
    np.testing.assert_allclose(Surrogate.load(tmp_path).evaluate([[1.5, 2.0]])[0], [[3.0]], rtol=1e-6)


def test_what_the_models_save_themselves_is_read_as_well(posterior, solution, tmp_path):
    posterior.save(tmp_path / "posterior")
    solution.save(tmp_path / "solution")
    solution.layer.save(tmp_path / "layer")
    assert Surrogate.load(tmp_path / "posterior").uncertainty.kind == "interval"
    assert Surrogate.load(tmp_path / "solution").coordinates[0].name == "x"
    assert Surrogate.load(tmp_path / "layer").coordinates[0].name == "x0"
    with pytest.raises(FileNotFoundError):
        Surrogate.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"link": "cube"},
        {"reach": 3},
        {"coordinates": []},
        {"values": [["a", ""], ["b", ""]]},
        {"coordinates": "none"},
        {"posterior": True},
    ],
)
def test_a_damaged_description_is_refused(solution, tmp_path, change):
    Surrogate.of(solution).save(tmp_path)
    described = json.loads((tmp_path / "surrogate.json").read_text())
    described["facts"].update(change)
    (tmp_path / "surrogate.json").write_text(json.dumps(described))
    with pytest.raises(ValueError):  # the checksum tells
        Surrogate.load(tmp_path)
    from separable.fitting.checked_files import write_checked

    write_checked(tmp_path, "surrogate", described["facts"], {})
    with pytest.raises((ValueError, FileNotFoundError)):
        Surrogate.load(tmp_path)


def test_wrong_questions_are_refused(posterior):
    surrogate = Surrogate.of(posterior, names=["a", "b"])
    for x in ([[1.0]], [1.0, 2.0], [[1.0, math.nan]], [[1.0, math.inf]], [["1", "2"]], [[1j, 0]]):
        with pytest.raises(ValueError):
            surrogate.evaluate(x)
    for coverage in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError):
            surrogate.evaluate([[1.0, 0.5]], coverage)
    for options, told in (
        ({"fixed": {"a": 50.0}}, "fixed: 'a' is 50"),
        ({"bounds": {"a": (1.0, 0.0)}}, "bounds: .*'a'"),
        ({"bounds": {"b": (0.0, math.inf)}}, "bounds: .*'b'"),
        ({"bounds": {"b": (0.0, 0.5, 1.0)}}, "bounds: .*'b'"),
        ({"solutions": 1.5}, "solutions: .*1.5"),
    ):
        with pytest.raises(ValueError, match=told):
            surrogate.inverse(2.0, **options)
    for target, options in (
        (math.nan, {}),
        (-1.0, {}),  # the logarithm's values are positive
        ([1.0, 2.0], {}),
        (2.0, {"fixed": {"z": 1.0}}),
        (2.0, {"fixed": {"a": 50.0}}),
        (2.0, {"bounds": {"z": (0.0, 1.0)}}),
        (2.0, {"bounds": {"a": (1.0, 0.0)}}),
        (2.0, {"solutions": 0}),
    ):
        with pytest.raises(ValueError):
            surrogate.inverse(target, **options)


def test_an_inverse_lies_on_a_category_or_is_refused():
    layer = SeparableLayer(
        2, 1, atoms=[BSpline(4), Table(4)], interaction=CanonicalPolyadic(rank=2), dtype=torch.float64
    )
    x = torch.stack([numbers(300, 1)[:, 0], torch.arange(300, dtype=torch.float64) % 4], dim=1)
    separable.fit(layer, x, x[:, 0] * (1 + x[:, 1]))
    surrogate = Surrogate.of(layer, names=["a", "kind"])
    found = surrogate.inverse(0.5, bounds={"kind": (1, 2.0)})
    assert set(found.inputs[:, 1]) == {1.0, 2.0}
    np.testing.assert_allclose(found.inputs[:, 0] * (1 + found.inputs[:, 1]), 0.5, rtol=1e-4)
    for options in (
        {"bounds": {"kind": (0.2, 1.9)}},
        {"bounds": {"kind": (0.0, math.inf)}},
        {"fixed": {"kind": 0.5}},
        {"fixed": {"kind": math.nan}},
    ):
        with pytest.raises(ValueError):
            surrogate.inverse(0.5, **options)


def test_wrong_descriptions_are_refused(posterior):
    for options in (
        {"names": ["a"]},
        {"names": ["a", "a"]},
        {"units": ["m"]},
        {"ranges": [(0.0, 1.0)]},
        {"value": ["a", "b"]},
    ):
        with pytest.raises(ValueError):
            Surrogate.of(posterior, **options)
    with pytest.raises(ValueError):
        Surrogate.of(posterior, ranges=[(0.0, math.inf), (0.0, 1.0)])
    with pytest.raises(TypeError):
        Surrogate.of("a model")
    learned = SeparableLayer(
        3, 1, atoms=BSpline(), interaction=CanonicalPolyadic(rank=1), coordinates=LearnedCoordinates(3, 2)
    )
    with pytest.raises(ValueError):
        Surrogate.of(learned)
    assert Surrogate.of(learned, ranges=[(0.0, 1.0)] * 3).coordinates[2].upper == 1.0
