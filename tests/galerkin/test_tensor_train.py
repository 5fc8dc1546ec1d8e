"""Tensor-train solves against the dense Kronecker solution, against sums of products, and asked like any solution."""

import itertools

import numpy as np
import pytest

from separable.atoms import BSpline, Chebyshev
from separable.galerkin import Coordinate, Problem, Product, Solution, Source, Term, solve, tensor_train, trains
from separable.galerkin.alternating import State
from separable.galerkin.axes import Axis
from separable.galerkin.discretisation import Discretisation
from separable.interactions import TensorTrain

PI = np.pi


def identity(x):
    return x


def dense(system):
    """A and b with every Kronecker product written out."""
    matrices = [axis.dense(m) for axis, m in zip(system.axes, system.matrices, strict=True)]
    total = 0.0
    for row, scale in zip(*system.all_rows(), strict=True):
        product = np.ones((1, 1)) * scale
        for j, m in enumerate(row):
            product = np.kron(product, matrices[j][m])
        total = total + product
    right = 0.0
    for t, scale in enumerate(system.data_scales):
        vector = np.ones(1) * scale
        for data in system.data:
            vector = np.kron(vector, data[:, t])
        right = right + vector
    return total, right


def written_out(train):
    """The vector of all coefficients."""
    full = np.ones((1, 1))
    for core in train:
        full = np.einsum("ka,nab->knb", full, core).reshape(-1, core.shape[2])
    return full[:, 0]


def advection():
    """A weak form that is not symmetric, with coefficients, in three coordinates."""
    return Problem(
        [
            Coordinate("x", BSpline(7, 2), "value", "value"),
            Coordinate("y", BSpline(5, 3), "free", "value"),
            Coordinate("v", Chebyshev(degree=3, domain=(1.0, 2.0))),
        ],
        operator=[
            {"x": (1, 1)},
            {"y": (1, 1, lambda y: 1 + y)},
            {"x": (1, 0), "v": (0, 0, lambda v: 2 * v)},
            {"x": (0, 0, identity), "y": (0, 0, np.exp)},
        ],
        source=[{"x": np.sin, "y": np.cos}, Source({"v": lambda v: v**2}, factor=0.3)],
    )


def four():
    """A symmetric weak form in four coordinates with an additive part and a coupling."""
    return Problem(
        [Coordinate(n, BSpline(3, 2), "value", "value") for n in "abcd"],
        operator=[*({n: (1, 1)} for n in "abcd"), {}, Term({"b": (0, 0, identity), "c": (0, 0, identity)}, 5.0)],
        source=[{"a": np.exp}, {"d": identity, "b": np.cos}],
    )


def heat():
    """An equation in three coordinates, solved by minimal residual, with a lift."""
    return Problem(
        [
            Coordinate("x", BSpline(8, 4), "value", "value"),
            Coordinate("t", BSpline(8, 4, (0.0, 0.3)), "value"),
            Coordinate("nu", BSpline(2, 3, (0.2, 1.0))),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0), "nu": (0, 0, identity)}, factor=-1.0)],
        lift=[{"x": lambda x: np.sin(PI * x)}],
    )


def springs(count, stiffness=50.0):
    """Neighbours tied together: a ridge that sums of products are slow to hold."""
    names = [f"x{j}" for j in range(count)]
    operator = [{n: (1, 1)} for n in names]
    for a, b in itertools.pairwise(names):
        operator += [Term({n: (0, 0, lambda x: x * x)}, stiffness) for n in (a, b)]
        operator.append(Term({a: (0, 0, identity), b: (0, 0, identity)}, -2 * stiffness))
    side = BSpline(10, 3, (-1.0, 1.0))
    return Problem([Coordinate(n, side, "value", "value") for n in names], operator, source=[{}])


@pytest.mark.parametrize(("problem", "least_squares"), [(advection(), False), (four(), False), (heat(), True)])
def test_a_train_reaches_the_dense_solution(problem, least_squares):
    system = Discretisation(problem).system(least_squares)
    matrix, right = dense(system)
    truth = np.linalg.solve(matrix, right)
    state = tensor_train.alternate(
        system,
        State(trains.zero(system.axes)),
        rank=16,
        tolerance=1e-10,
        sweeps=8,
        random=np.random.default_rng(0),
        report=lambda state: None,
    )
    assert np.linalg.norm(written_out(state.factors) - truth) < 1e-6 * np.linalg.norm(truth)


def test_the_residual_is_exact():
    system = Discretisation(advection()).system(False)
    matrix, right = dense(system)
    random = np.random.default_rng(1)
    shapes = [(1, 3), (3, 2), (2, 1)]
    train = [random.standard_normal((a.size, *s)) for a, s in zip(system.axes, shapes, strict=True)]
    mass = np.ones((1, 1))
    for axis in system.axes:
        mass = np.kron(mass, axis.dense(axis.mass)[0])
    rest = right - matrix @ written_out(train)
    expected = np.sqrt(rest @ np.linalg.solve(mass, rest) / (right @ np.linalg.solve(mass, right)))
    assert tensor_train.measured(system, train, 0.0) == pytest.approx(expected, rel=1e-9)


def test_the_residual_of_an_equation_is_no_less_than_the_rounding_of_a_difference():
    """``u_t - nu u_xx`` of ``t x (1 - x)``, which the functions hold: what is left of the square is rounding."""
    x, t = Coordinate("x", Chebyshev(6), "value", "value"), Coordinate("t", Chebyshev(4), "value")
    nu = Coordinate("nu", Chebyshev(3, (1.0, 2.0)))
    operator = [{"t": (1, 0)}, Term({"x": (2, 0), "nu": (0, 0, identity)}, factor=-1.0)]
    source = [{"x": lambda x: x * (1 - x)}, Source({"t": identity, "nu": identity}, 2.0)]
    u = solve(
        Problem([x, t, nu], operator, source), interaction="tensor_train", tolerance=0, estimate=False, progress=False
    )
    assert u(x=0.3, t=0.8, nu=1.6) == pytest.approx(0.8 * 0.21, rel=1e-8)
    assert min(told for _, told in u.history) > 1e-8


def test_rounding_keeps_the_train_within_its_tolerance():
    random = np.random.default_rng(0)
    axes = [Axis(Coordinate(n, BSpline(6, 3))) for n in "abcd"]
    train = trains.of_products([random.standard_normal((a.size, 3)) for a in axes])
    double = trains.joined(train, train)
    again = trains.rounded(axes, double, 1e-12, 99)
    assert [core.shape[1:] for core in again] == [(1, 3), (3, 3), (3, 3), (3, 1)]
    np.testing.assert_allclose(written_out(again), 2 * written_out(train), rtol=0, atol=1e-10)
    gap = trains.joined(again, double, -1.0)
    assert trains.norm(gap) < 1e-10 * trains.norm(double)
    assert max(core.shape[2] for core in trains.rounded(axes, double, 0.0, 2)) == 2


def test_a_train_holds_a_chain_of_couplings_better_than_a_sum_of_products():
    problem = springs(4)
    train = solve(problem, rank=8, interaction="tensor_train", estimate=False, progress=False)
    products = solve(problem, rank=30, estimate=False, progress=False)
    assert isinstance(train.layer.interaction, TensorTrain)
    assert train.rank == 8
    assert train.residual < 0.9 * products.residual


def test_auto_takes_the_train_where_products_stall():
    problem = springs(3)
    u = solve(problem, rank=6, interaction="auto", estimate=False, progress=False)
    assert isinstance(u.layer.interaction, TensorTrain)
    assert "products left" in u.stopped
    easy = Problem(problem.coordinates, [{n: (1, 1)} for n in problem.names], source=[{}])
    assert not isinstance(solve(easy, interaction="auto", progress=False).layer.interaction, TensorTrain)


@pytest.mark.parametrize("interaction", ["tensor_train", "auto"])
def test_a_train_of_bond_one_is_the_product(interaction):
    problem = Problem(
        [Coordinate(n, BSpline(5, 2), "value", "value") for n in "abc"], [{n: (1, 1)} for n in "abc"], [{}]
    )
    product = solve(problem, rank=1, progress=False)
    u = solve(problem, rank=1, interaction=interaction, progress=False)
    assert u.rank == 1
    assert u(a=0.3, b=0.4, c=0.6) == pytest.approx(product(a=0.3, b=0.4, c=0.6), rel=1e-4)
    assert u.error_estimate == pytest.approx(product.error_estimate, rel=0.5)


def test_a_train_whose_residual_is_too_wide_to_be_measured_is_kept(monkeypatch):
    expected = solve(four(), rank=4, interaction="tensor_train", estimate=False, progress=False)
    monkeypatch.setattr(tensor_train, "_WIDEST", 1)
    u = solve(four(), rank=4, interaction="tensor_train", estimate=False, progress=False)
    assert np.isnan(u.residual)
    place = {"a": 0.3, "b": 0.4, "c": 0.6, "d": 0.7}
    assert u(**place) == pytest.approx(expected(**place), rel=1e-2)


@pytest.fixture(scope="module")
def warm():
    return solve(heat(), rank=8, interaction="tensor_train", progress=False)


def test_the_estimate_of_a_train_brackets_its_error(warm):
    random = np.random.default_rng(0)
    x, t, nu = random.uniform(0, 1, 2000), random.uniform(0, 0.3, 2000), random.uniform(0.2, 1.0, 2000)
    truth = np.exp(-nu * PI**2 * t) * np.sin(PI * x)
    found = np.linalg.norm(warm(x=x, t=t, nu=nu) - truth) / np.linalg.norm(truth)
    assert found < 3e-4
    assert found / 10 < warm.error_estimate < 10 * found


def test_a_train_is_asked_like_any_solution(warm, tmp_path):
    place = {"x": 0.3, "t": 0.2, "nu": 0.6}
    h = 1e-5
    ahead, behind = warm(**{**place, "nu": 0.6 + h}), warm(**{**place, "nu": 0.6 - h})
    assert warm.gradient(**place)["nu"] == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)
    assert warm.integral(["x"], t=0.2, nu=0.6) == pytest.approx(2 / PI * np.exp(-0.12 * PI**2), rel=2e-3)
    assert float(warm.slice(t=0.2, nu=0.6, points=5).u.sel(x=0.5)) == pytest.approx(warm(x=0.5, t=0.2, nu=0.6))
    warm.save(tmp_path / "u")
    assert Solution.load(tmp_path / "u")(**place) == warm(**place)
    assert warm(x=0.0, t=0.2, nu=0.6) == pytest.approx(0.0, abs=1e-14)  # held conditions are exact
    assert warm(x=0.4, t=0.0, nu=0.6) == pytest.approx(np.sin(0.4 * PI), rel=1e-3)


def test_one_and_two_coordinates():
    for names in ("x", "xy"):
        problem = Problem(
            [Coordinate(n, BSpline(12, 4), "value", "value") for n in names],
            operator=[{n: (1, 1)} for n in names],
            source=[Source({n: lambda x: np.sin(PI * x) for n in names}, len(names) * PI**2)],
        )
        u = solve(problem, interaction="tensor_train", progress=False)
        assert u(**dict.fromkeys(names, 0.5)) == pytest.approx(1.0, abs=1e-5)


def test_what_a_train_does_not_take_is_refused():
    quadratic = Problem(
        [Coordinate("x", BSpline(6), "value", "value")], [{"x": (2, 0)}], source=[{}], products=[Product({}, {})]
    )
    with pytest.raises(ValueError):
        solve(quadratic, interaction="tensor_train", progress=False)
    with pytest.raises(ValueError):
        solve(four(), interaction="tucker", progress=False)
    train = solve(four(), rank=3, interaction="tensor_train", estimate=False, progress=False)
    with pytest.raises(ValueError, match="start"):
        solve(four(), start=train, progress=False)


def test_an_interrupt_keeps_the_best_train(monkeypatch):
    calls, original = 0, tensor_train.sweep

    def interrupted(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls > 8:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    monkeypatch.setattr(tensor_train, "sweep", interrupted)
    u = solve(springs(3), rank=8, interaction="tensor_train", progress=False)
    assert u.rank >= 1
    assert "interrupted" in u.stopped


# Inversion


@pytest.mark.parametrize("interaction", ["canonical_polyadic", "tensor_train"])
def test_a_known_inverse_is_found_by_name(interaction):
    # u = exp(-nu pi^2 t) sin(pi x): at x = 1/2 and t = 0.1 the diffusivity follows from the value
    u = solve(heat(), rank=8, interaction=interaction, estimate=False, progress=False)
    value = float(np.exp(-0.45 * PI**2 * 0.1))
    found = u.invert(value, fixed={"x": 0.5, "t": 0.1}, n_solutions=2)
    assert found.reachable
    assert len(found) == 1
    assert float(found.inputs[0, 2]) == pytest.approx(0.45, abs=1e-3)
    places = u.invert(0.3, fixed={"nu": 0.5, "t": 0.1}, bounds={"x": (0.5, 1.0)}, n_solutions=2)
    expected = 1 - np.arcsin(0.3 / np.exp(-0.05 * PI**2)) / PI
    assert float(places.inputs[0, 0]) == pytest.approx(expected, abs=1e-3)
    assert not u.invert(2.0, fixed={"nu": 0.5}).reachable
    for wrong in ({"fixed": {"w": 1.0}}, {"bounds": {"w": (0.0, 1.0)}}, {"fixed": {"x": 2.0}}):
        with pytest.raises(ValueError):
            u.invert(0.3, **wrong)
