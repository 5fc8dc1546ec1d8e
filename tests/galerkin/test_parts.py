"""The parts against their slow obvious versions: matrices, dense Kronecker systems, separation, queries."""

import numpy as np
import pytest
import scipy.integrate
import torch

from separable.atoms import BSpline, Chebyshev, Fourier, Perceptron, Table
from separable.galerkin import Coordinate, Field, Problem, Solution, Source, Term, discretisation, separate, solve
from separable.galerkin.alternating import State, alternate, l2_norm, norm, residual, sweep
from separable.galerkin.axes import Axis
from separable.galerkin.discretisation import Discretisation

ATOMS = [
    BSpline(7, 3, (0.0, 2.0)),
    BSpline(degree=2, knots=(0.0, 0.1, 0.4, 0.5, 1.1, 1.5, 2.0)),
    BSpline(9, 2, (0.0, 2.0), periodic=True),
    Fourier(3, (0.0, 2.0)),
    Chebyshev(degree=6, domain=(0.0, 2.0)),
]


@pytest.mark.parametrize("atom", ATOMS)
def test_matrices_are_the_integrals_they_claim_to_be(atom):
    axis = Axis(Coordinate("x", atom))
    matrix = axis.dense(axis.matrices(np.exp(axis.nodes)[None], 1, 0))[0]
    for k, j in ((0, 0), (2, 3), (4, 3)):
        expected, _ = scipy.integrate.quad(
            lambda x, k=k, j=j: np.exp(x) * axis.at(x, 0)[k] * axis.at(x, 1)[j],
            *atom.domain,
            points=list(np.unique(atom.breakpoints))[1:-1] or None,
            limit=200,
        )
        assert matrix[k, j] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("atom", [ATOMS[0], ATOMS[4]])
@pytest.mark.parametrize(("hold", "orders"), [("value", (0,)), ("slope", (1,)), ("both", (0, 1))])
def test_conditions_are_held_exactly(atom, hold, orders):
    axis = Axis(Coordinate("x", atom, left=hold, right=hold))
    assert axis.size == atom.size - 2 * len(orders)
    for end in atom.domain:
        for order in orders:
            assert np.abs(axis.at(end, order)).max() < 1e-11 * max(1.0, np.abs(axis.at(1.0, order)).max() * 100)


def advection(coordinates=3):
    """A weak form that is not symmetric, with coefficients, in three coordinates."""
    atoms = [BSpline(9, 2, (0.0, 1.0)), BSpline(5, 3, (0.0, 1.0)), Chebyshev(degree=3, domain=(1.0, 2.0))]
    return Problem(
        [
            Coordinate("x", atoms[0], "value", "value"),
            Coordinate("y", atoms[1], "free", "value"),
            Coordinate("v", atoms[2]),
        ][:coordinates],
        operator=[
            {"x": (1, 1)},
            {"y": (1, 1, lambda y: 1 + y)},
            {"x": (1, 0), "v": (0, 0, lambda v: 2 * v)},
            {"x": (0, 0, lambda x: x), "y": (0, 0, np.exp)},
        ],
        source=[{"x": np.sin, "y": np.cos}, Source({"v": lambda v: v**2}, factor=0.3)],
    )


def dense(system):
    """A and b with every Kronecker product written out."""
    rows, scales = [tuple(r) for r in system.rows], list(system.scales)
    for j, matrix in enumerate(system.additive):
        if matrix:
            rows.append(tuple(matrix if i == j else 0 for i in range(len(system.axes))))
            scales.append(1.0)
    matrices = [axis.dense(m) for axis, m in zip(system.axes, system.matrices, strict=True)]
    total = 0.0
    for row, scale in zip(rows, scales, strict=True):
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


def assembled(factors):
    """The vector of all coefficients."""
    return sum(np.einsum("i,j,k->ijk", *(f[:, r] for f in factors)).ravel() for r in range(factors[0].shape[1]))


def test_the_alternating_solve_reaches_the_dense_solution():
    system = Discretisation(advection()).system(False)
    matrix, right = dense(system)
    truth = np.linalg.solve(matrix, right)
    state = alternate(
        system,
        State([np.zeros((a.size, 0)) for a in system.axes]),
        rank=16,
        tolerance=1e-9,
        sweeps=20,
        random=np.random.default_rng(0),
        report=lambda state: None,
    )
    assert np.linalg.norm(assembled(state.factors) - truth) < 3e-5 * np.linalg.norm(truth)


def test_the_residual_is_exact():
    system = Discretisation(advection()).system(False)
    matrix, right = dense(system)
    random = np.random.default_rng(1)
    factors = [random.standard_normal((a.size, 3)) for a in system.axes]
    mass = np.ones((1, 1))
    for axis in system.axes:
        mass = np.kron(mass, axis.dense(axis.mass)[0])
    rest = right - matrix @ assembled(factors)
    expected = np.sqrt(rest @ np.linalg.solve(mass, rest) / (right @ np.linalg.solve(mass, right)))
    assert residual(system, factors) == pytest.approx(expected, rel=1e-9)


def test_additive_terms_equal_the_same_terms_written_apart():
    names = "abcd"
    problem = Problem(
        [Coordinate(n, BSpline(4, 2), "value", "value") for n in names],
        operator=[*({n: (1, 1)} for n in names), Term({}, factor=2.0), {"a": (1, 1), "b": (0, 0, np.exp)}],
        source=[{}],
    )
    system = Discretisation(problem).system(False)
    assert system.has_additive
    random = np.random.default_rng(0)
    factors = [random.standard_normal((a.size, 2)) for a in system.axes]
    swept, gained = sweep(system, factors)
    system.rows = np.array(
        [*system.rows, *([m if i == j else 0 for i in range(4)] for j, m in enumerate(system.additive))]
    )
    system.scales = np.concatenate([system.scales, np.ones(4)])
    system.additive = [0] * 4
    import scipy.sparse

    for j in range(4):
        system.selectors[j] = scipy.sparse.csr_matrix(
            (system.scales, (system.rows[:, j], np.arange(len(system.rows)))),
            shape=(len(system.matrices[j]), len(system.rows)),
        )
    again, same = sweep(system, factors)
    assert gained == pytest.approx(same, rel=1e-10)
    for a, b in zip(swept, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rank", [3, 30])
def test_norms_of_sums_of_products(rank):
    random = np.random.default_rng(0)
    columns = [random.standard_normal((n, rank)) for n in (4, 5, 6)]
    weights = random.standard_normal(rank)
    full = np.einsum("ir,jr,kr,r->ijk", *columns, weights)
    assert norm(columns, weights) == pytest.approx(np.linalg.norm(full), rel=1e-12)


def test_a_small_difference_of_large_sums_keeps_its_digits():
    random = np.random.default_rng(0)
    axes = [Axis(Coordinate(n, BSpline(6, 3))) for n in "abc"]
    factors = [random.standard_normal((a.size, 5)) for a in axes]
    moved = [f.copy() for f in factors]
    moved[1] = moved[1] * (1 + 1e-11)
    difference = [
        np.hstack([a, b * (-1.0 if j == 0 else 1.0)]) for j, (a, b) in enumerate(zip(moved, factors, strict=True))
    ]
    assert l2_norm(axes, difference) == pytest.approx(1e-11 * l2_norm(axes, factors), rel=1e-3)


# Separation


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
def test_separation_keeps_its_tolerance(tolerance):
    def moving(x, t, w):
        return np.exp(-((x - 0.5 * t) ** 2) / w)

    nodes = [np.linspace(0, 1, n) for n in (40, 30)] + [np.linspace(0.2, 0.6, 12)]
    weights = [np.full(len(n), 1 / len(n)) for n in nodes]
    factors, reached = separate(moving, nodes, weights, tolerance=tolerance)
    truth = moving(nodes[0][:, None, None], nodes[1][None, :, None], nodes[2])
    found = np.einsum("ir,jr,kr->ijk", *factors)
    assert np.linalg.norm(found - truth) == pytest.approx(reached * np.linalg.norm(truth), rel=1e-2)
    assert reached <= tolerance


def test_a_separation_that_cannot_reach_its_tolerance_is_refused():
    nodes = [np.linspace(0, 1, 30)] * 2
    with pytest.raises(ValueError):
        separate(lambda x, y: np.abs(x - y), nodes, [np.ones(30)] * 2, tolerance=1e-12, rank=3)


def test_functions_that_change_what_they_are_given_change_nothing_else():
    def doubled(h):
        h *= 2
        return np.exp(h)

    def joint(x, h):
        h *= 2
        return np.exp(h) * (1 + 0 * x)

    coordinates = [Coordinate("x", BSpline(4, 3), "value", "value"), Coordinate("h", BSpline(4, 4))]
    for source in ({"h": doubled}, Field(joint)):
        problem = Problem(
            coordinates,
            [Term({"x": (1, 1)}, coefficient=Field(lambda x, h: 1 + 0 * x * h))],
            [source, {"h": lambda h: h}],
        )
        u = solve(problem, estimate=False, progress=False)
        assert u(x=0.5, h=0.7) == pytest.approx((np.exp(1.4) + 0.7) / 8, rel=1e-4)


def test_a_field_of_too_many_nodes_is_fitted_and_the_error_of_the_fit_counts(monkeypatch):
    monkeypatch.setattr(discretisation, "_MOST_AT_NODES", 1)
    coordinates = [Coordinate("x", BSpline(2, 2)), Coordinate("y", Chebyshev(degree=3))]
    basis = coordinates[0].atom

    def stated(tolerance):
        field = Field(lambda x, y: np.exp(3 * x) * (1 + y), tolerance=tolerance)
        return Discretisation(Problem(coordinates, [{}], source=[field]))

    # the L2 projection of exp(3 x) on four splines, by a fine quadrature of its own
    x = (np.arange(4000) + 0.5) / 4000
    table, wanted = basis(torch.from_numpy(x)).numpy(), np.exp(3 * x)
    rest = wanted - table @ np.linalg.lstsq(table, wanted, rcond=None)[0]
    expected = np.linalg.norm(rest) / np.linalg.norm(wanted)
    found = stated(2 * expected)
    assert found.separation_error == pytest.approx(expected, rel=0.1)
    values = [item.values for item in found.source]
    grid = sum(np.multiply.outer(*pair) for pair in values)
    axes = found.axes
    truth = np.multiply.outer(np.exp(3 * axes[0].nodes), 1 + axes[1].nodes)
    weights = np.sqrt(np.multiply.outer(axes[0].weights, axes[1].weights))
    gap = np.linalg.norm((grid - truth) * weights) / np.linalg.norm(truth * weights)
    assert gap == pytest.approx(expected, rel=0.1)
    with pytest.raises(ValueError, match="atoms"):
        stated(0.5 * expected)


# Asking a solution


@pytest.fixture(scope="module")
def solution():
    side = BSpline(10, 4, (0.0, 1.0))
    problem = Problem(
        [
            Coordinate("x", side, "value", "value", unit="m"),
            Coordinate("y", side, "value", "value"),
            Coordinate("s", BSpline(1, 1, (1.0, 3.0))),
        ],
        operator=[{"x": (1, 1)}, {"y": (1, 1)}],
        source=[
            {"x": lambda x: 2 * np.pi**2 * np.sin(np.pi * x), "y": lambda y: np.sin(np.pi * y), "s": lambda s: s},
            Field(lambda x, y: np.exp(x * y), tolerance=1e-8, entries={"s": lambda s: 1 + 0 * s}),
        ],
    )
    return solve(problem, rank=20, progress=False)


def test_gradient_and_integral_agree_with_values(solution):
    h = 1e-5
    place = {"x": 0.31, "y": 0.62, "s": 1.7}
    for name, slope in solution.gradient(**place).items():
        ahead, behind = ({**place, name: place[name] + d} for d in (h, -h))
        assert slope == pytest.approx((solution(**ahead) - solution(**behind)) / (2 * h), rel=1e-6, abs=1e-7)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    nodes, weights = (nodes + 1) / 2, weights / 2
    s = np.array([1.2, 2.9])
    values = solution(x=nodes[:, None], y=0.4, s=s)
    np.testing.assert_allclose(solution.integral(["x"], y=0.4, s=s), weights @ values, rtol=1e-8)
    assert np.isfinite(solution.integral())
    assert solution.integral("x", y=0.4, s=1.0) == solution.integral(["x"], y=0.4, s=1.0)
    with pytest.raises(ValueError, match="both"):
        solution.integral(["x"], x=0.5, y=0.4, s=1.0)
    for twice in (("x", "x"), ("x", "y")):
        with pytest.raises(ValueError, match="once"):
            solution.plot(*twice, y=0.5)


def test_slices_hold_numbers_and_span_arrays(solution):
    field = solution.slice(y=0.4, s=np.array([1.0, 2.0]), points=11)
    assert dict(field.sizes) == {"x": 11, "s": 2}
    assert field.x.attrs["units"] == "m"
    assert float(field.u.sel(x=0.5, s=2.0)) == pytest.approx(solution(x=0.5, y=0.4, s=2.0))
    assert float(solution.slice(x=0.5, y=0.4, s=2.0).u) == pytest.approx(solution(x=0.5, y=0.4, s=2.0))


def test_plots(solution):
    assert len(solution.plot("x", "y", points=11, s=2.0).axes) == 2
    assert len(solution.plot("s", points=11).axes) == 1
    assert "x = 0.25" in solution.plot("y", "s", points=11, x=0.25).axes[0].get_title()


def test_a_discrete_coordinate_is_shown_by_its_categories():
    problem = Problem(
        [Coordinate("x", BSpline(4, 2), "value", "value"), Coordinate("m", Table(4))],
        [{"x": (1, 1)}],
        [{"m": lambda m: 1 + m}],
    )
    u = solve(problem, estimate=False, progress=False)
    field = u.slice(x=0.5).u
    np.testing.assert_array_equal(field.m, np.arange(4))
    np.testing.assert_allclose(field, np.arange(1, 5) / 8)
    axes = u.plot("x", points=5).axes[0]
    assert axes.get_title() == "m = 1"
    np.testing.assert_allclose(axes.lines[0].get_ydata()[2], 2 / 8)
    assert len(u.plot("m").axes[0].lines[0].get_xdata()) == 4
    assert len(u.plot("m", "x", points=5).axes) == 2


@pytest.mark.filterwarnings("error")
def test_a_lift_on_many_categories_is_exact():
    axis = Axis(Coordinate("m", Table(60)))
    np.testing.assert_allclose(axis.project(lambda m: m**2), np.arange(60) ** 2, rtol=1e-12, atol=1e-10)


def test_saved_and_loaded(solution, tmp_path):
    solution.save(tmp_path / "u")
    again = Solution.load(tmp_path / "u")
    assert again(x=0.2, y=0.7, s=1.5) == solution(x=0.2, y=0.7, s=1.5)
    assert again.history == solution.history
    assert again.names == solution.names
    (tmp_path / "u" / "solution.json").write_text("{}")
    with pytest.raises(ValueError):
        Solution.load(tmp_path / "u")


@pytest.mark.parametrize("places", [{"x": 0.1}, {"x": 0.1, "y": 0.1, "s": 1.0, "z": 0.0}])
def test_missing_or_unknown_coordinates_are_refused(solution, places):
    with pytest.raises(ValueError):
        solution(**places)


def test_a_coordinate_refuses_learned_atoms_and_draws_nothing():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="Perceptron atoms are learned"):
        Coordinate("x", Perceptron())
    assert torch.equal(torch.get_rng_state(), before)
