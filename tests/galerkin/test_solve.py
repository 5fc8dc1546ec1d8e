"""Solutions against manufactured truths, orders of convergence, and the refusal of ill-posed problems."""

import dataclasses

import numpy as np
import pytest

from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian, Table
from separable.galerkin import At, Coordinate, Field, Problem, Product, Solution, Source, Term, solve
from tests.galerkin.problems import PI, error, identity, poisson, sides


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_splines_converge_with_order_degree_plus_one(degree):
    counts, errors = (16, 32), []
    for n in counts:
        u = solve(poisson(BSpline(n, degree, (-1.0, 1.0))), rank=1, tolerance=1e-11, progress=False)
        errors.append(error(u, lambda x, y: np.sin(PI * x) * np.sin(PI * y), x=(-1, 1), y=(-1, 1)))
        assert errors[-1] / 3 < u.error_estimate < 3 * errors[-1]
    assert abs(np.log2(errors[0] / errors[1]) - degree - 1) < 0.35


def test_chebyshev_converges_spectrally():
    u = solve(poisson(Chebyshev(degree=14, domain=(-1.0, 1.0))), rank=1, tolerance=1e-11, progress=False)
    assert error(u, lambda x, y: np.sin(PI * x) * np.sin(PI * y), x=(-1, 1), y=(-1, 1)) < 1e-7


@pytest.mark.parametrize("atom", [Fourier(8, (-1.0, 1.0)), BSpline(20, 5, (-1.0, 1.0), periodic=True)])
def test_a_periodic_problem_with_a_source_that_is_not_a_product(atom):
    def truth(x, y):
        return np.exp(np.sin(PI * (x + y)))

    def source(x, y):
        s, c = np.sin(PI * (x + y)), np.cos(PI * (x + y))
        return (1 - 2 * PI**2 * (c**2 - s)) * np.exp(s)

    problem = Problem(
        [Coordinate("x", atom), Coordinate("y", atom)],
        operator=[{"x": (1, 1)}, {"y": (1, 1)}, {}],
        source=[Field(source, tolerance=1e-9)],
    )
    u = solve(problem, rank=30, tolerance=1e-9, progress=False)
    found = error(u, truth, x=(-1, 1), y=(-1, 1))
    assert found < 1e-5
    assert found / 10 < u.error_estimate < 10 * found


def test_a_coefficient_that_is_not_a_product_agrees_with_finite_differences():
    def kappa(x, y):
        return 1.0 + 0.5 * np.exp(-4 * ((x - 0.4) ** 2 + (y - 0.6) ** 2 + (x - 0.4) * (y - 0.6)))

    side = BSpline(12, 3, (0.0, 1.0))
    problem = Problem(
        [Coordinate("x", side, "value", "value"), Coordinate("y", side, "value", "value")],
        operator=[
            Term({"x": (1, 1)}, coefficient=Field(kappa, tolerance=1e-8)),
            Term({"y": (1, 1)}, coefficient=Field(kappa, tolerance=1e-8)),
        ],
        source=[{}],
    )
    u = solve(problem, rank=12, tolerance=1e-8, progress=False)
    n = 96
    h = 1.0 / n
    at = np.arange(1, n) * h
    x, y = np.meshgrid(at, at, indexing="ij")
    import scipy.sparse as sparse
    import scipy.sparse.linalg as linear

    east, west = kappa(x + h / 2, y), kappa(x - h / 2, y)
    north, south = kappa(x, y + h / 2), kappa(x, y - h / 2)
    m = n - 1
    number = np.arange(m * m).reshape(m, m)
    rows, columns, values = [number.ravel()], [number.ravel()], [(east + west + north + south).ravel()]
    for k, here, there in (
        (east, np.s_[:-1, :], np.s_[1:, :]),
        (west, np.s_[1:, :], np.s_[:-1, :]),
        (north, np.s_[:, :-1], np.s_[:, 1:]),
        (south, np.s_[:, 1:], np.s_[:, :-1]),
    ):
        rows.append(number[here].ravel())
        columns.append(number[there].ravel())
        values.append(-k[here].ravel())
    matrix = sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    truth = linear.spsolve(matrix / h**2, np.ones(m * m)).reshape(m, m)
    assert np.abs(u.slice(x=at, y=at).u.values - truth).max() < 5e-4 * truth.max()


def test_a_coefficient_that_is_not_a_product_takes_further_factors():
    # -(nu k u')' = 1 with k = 1 in x and y: u = x (1 - x) / (2 nu)
    coordinates = [
        Coordinate("x", BSpline(4, 2, (0.0, 1.0)), "value", "value"),
        Coordinate("y", BSpline(1, 1)),
        Coordinate("nu", Chebyshev(degree=12, domain=(1.0, 4.0))),
    ]

    def stated(**entries):
        field = Field(lambda x, y: 1 + 0 * x * y, entries=entries)
        return Problem(coordinates, [Term({"x": (1, 1), "nu": (0, 0, identity)}, coefficient=field)], source=[{}])

    nu = np.array([1.0, 2.0, 4.0])
    for entries, power in (({}, 1), ({"nu": identity}, 2)):
        u = solve(stated(**entries), estimate=False, progress=False)
        np.testing.assert_allclose(u(x=0.5, y=0.5, nu=nu), 0.125 / nu**power, rtol=1e-4)
    with pytest.raises(ValueError, match="At"):
        solve(stated(nu=At(2.0)), progress=False)


def test_a_jump_of_a_field_at_a_breakpoint_is_kept():
    # -(k u')' = 1, u = 0 at both ends: k u' = c - x, and u is quadratic on either side of the jump
    def k(x):
        return np.where(x < 0.5, 10.0, 1.0)

    coordinates = [
        Coordinate("x", BSpline(degree=2, knots=(0, 0.25, 0.5, 0.5, 0.75, 1)), "value", "value"),
        Coordinate("y", BSpline(1, 1)),
    ]
    operator = [Term({"x": (1, 1)}, coefficient=Field(lambda x, y: k(x) + 0 * y))]
    u = solve(Problem(coordinates, operator, source=[{}]), estimate=False, progress=False)
    c = (0.125 / 10 + 0.375) / (0.5 / 10 + 0.5)
    x = np.linspace(0, 1, 41)
    right = c * (x - 1) - (x**2 - 1) / 2
    np.testing.assert_allclose(u(x=x, y=0.3), np.where(x < 0.5, (c * x - x**2 / 2) / 10, right), atol=1e-14)


def test_a_field_that_nearly_vanishes_agrees_with_the_same_product_of_profiles():
    def bump(x):
        return np.exp(-60 * (x - 0.3) ** 2)

    field = [Term({"x": (1, 1)}, coefficient=Field(lambda x, y: bump(x) * bump(y), tolerance=1e-12)), {"y": (1, 1)}]
    profiles = [{"x": (1, 1, bump), "y": (0, 0, bump)}, {"y": (1, 1)}]
    u, v = (
        solve(Problem(sides("value", "value"), operator, source=[{}]), tolerance=1e-12, estimate=False, progress=False)
        for operator in (field, profiles)
    )
    x = np.linspace(0, 1, 9)
    np.testing.assert_allclose(u(x=x[:, None], y=x), v(x=x[:, None], y=x), atol=1e-11)


def test_boundary_values_enter_through_the_lift_exactly():
    # u = x^2 - y^2 is harmonic; blend its boundary values linearly
    side = BSpline(4, 3, (0.0, 1.0))
    problem = Problem(
        [Coordinate("x", side, "value", "value"), Coordinate("y", side, "value", "value")],
        operator=[{"x": (1, 1)}, {"y": (1, 1)}],
        lift=[{"x": identity}, Source({"y": identity}, factor=-1.0)],
        source=[],
    )
    u = solve(problem, progress=False)
    assert u(x=0.3, y=0.8) == pytest.approx(-0.5)  # the lift itself is harmonic
    curved = dataclasses.replace(problem, lift=[{"x": lambda x: x**2}, Source({"y": lambda y: y**2}, factor=-1.0)])
    assert error(solve(curved, progress=False), lambda x, y: x**2 - y**2, x=(0, 1), y=(0, 1)) < 1e-10


def test_a_boundary_flux_and_a_robin_term():
    # -u'' = 0 on [0, 1], -u'(0) = 2, u'(1) + 3 u(1) = 0:  u = 2/3 + 2 (1 - x), times (1 + y) along a parameter
    problem = Problem(
        [Coordinate("x", BSpline(4, 2, (0.0, 1.0))), Coordinate("y", BSpline(1, 1, (0.0, 1.0)))],
        operator=[{"x": (1, 1)}, Term({"x": At(1.0)}, factor=3.0)],
        source=[Source({"x": At(0.0), "y": lambda y: 1 + y}, factor=2.0)],
    )
    u = solve(problem, progress=False)
    assert u(x=0.25, y=0.5) == pytest.approx((2 / 3 + 1.5) * 1.5, rel=1e-10)


def test_heat_conduction_with_the_diffusivity_as_a_coordinate():
    problem = Problem(
        [
            Coordinate("x", BSpline(12, 4, (0.0, 1.0)), "value", "value"),
            Coordinate("t", BSpline(14, 4, (0.0, 0.5)), "value"),
            Coordinate("nu", BSpline(3, 4, (0.2, 1.0))),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0), "nu": (0, 0, identity)}, factor=-1.0)],
        lift=[{"x": lambda x: np.sin(PI * x)}],
    )
    u = solve(problem, rank=12, progress=False)
    found = error(u, lambda x, t, nu: np.exp(-nu * PI**2 * t) * np.sin(PI * x), x=(0, 1), t=(0, 0.5), nu=(0.2, 1.0))
    assert found < 1e-4
    assert found / 10 < u.error_estimate < 10 * found


def test_the_wave_equation():
    problem = Problem(
        [
            Coordinate("x", BSpline(12, 4, (0.0, 1.0)), "value", "value"),
            Coordinate("t", BSpline(16, 4, (0.0, 1.0)), "both"),
        ],
        operator=[{"t": (2, 0)}, Term({"x": (2, 0)}, factor=-1.0)],
        lift=[{"x": lambda x: np.sin(PI * x)}],
    )
    u = solve(problem, rank=6, progress=False)
    assert error(u, lambda x, t: np.sin(PI * x) * np.cos(PI * t), x=(0, 1), t=(0, 1)) < 1e-4


def test_advection_from_an_inflow():
    # u_t + u_x = 0 with u = sin(x - t): the inflow value is in the lift
    problem = Problem(
        [Coordinate("x", BSpline(12, 4, (0.0, 1.0)), "value"), Coordinate("t", BSpline(12, 4, (0.0, 1.0)), "value")],
        operator=[{"t": (1, 0)}, {"x": (1, 0)}],
        lift=[{"x": np.sin}, Source({"t": np.sin}, factor=-1.0)],
    )
    u = solve(problem, rank=8, progress=False)
    assert error(u, lambda x, t: np.sin(x - t), x=(0, 1), t=(0, 1)) < 1e-5


def test_burgers_by_newton_against_a_travelling_front():
    # u = 1/2 - 1/2 tanh((x - t/2) / (4 nu)) solves Burgers
    nu = 0.1

    def truth(x, t):
        return 0.5 - 0.5 * np.tanh((x - 0.5 * t) / (4 * nu))

    ends = [lambda t, x=x: truth(x, t) for x in (-1.0, 1.0)]
    corners = [truth(-1.0, 0.0), truth(1.0, 0.0)]
    problem = Problem(
        [
            Coordinate("x", BSpline(24, 4, (-1.0, 1.0)), "value", "value"),
            Coordinate("t", BSpline(10, 4, (0.0, 1.0)), "value"),
        ],
        operator=[{"t": (1, 0)}, Term({"x": (2, 0)}, factor=-nu)],
        products=[Product({}, {"x": 1})],
        lift=[
            {"x": lambda x: truth(x, 0.0)},
            {"x": lambda x: (1 - x) / 2, "t": lambda t: ends[0](t) - corners[0]},
            {"x": lambda x: (1 + x) / 2, "t": lambda t: ends[1](t) - corners[1]},
        ],
    )
    u = solve(problem, rank=8, tolerance=1e-6, progress=False)
    found = error(u, truth, x=(-1, 1), t=(0, 1))
    assert found < 1e-4
    assert found / 10 < u.error_estimate < 10 * found


PRICE = [
    [Term({"s": (2, 0, lambda s: 0.02 * s**2)}, -1.0)],
    [Term({"s": (2, 0)}, -1.0, Field(lambda s, t: 0.02 * s**2 * np.exp(0 * t)))],
    [Term({"s": (2, 0, lambda s: 0.02 * (s**2 + 1))}, -1.0), Term({"s": (2, 0)}, 0.02)],
]


@pytest.mark.parametrize("spread", PRICE)
def test_an_end_where_the_second_derivative_drops_out_needs_no_condition(spread):
    # V_t = 0.02 s^2 V_ss + 0.05 s V_s - 0.05 V (Black and Scholes) has the solutions s^n exp(q t) with
    # q = 0.02 n (n - 1) + 0.05 n - 0.05
    def truth(s, t):
        return np.exp(-0.05 * t) + s**2 * np.exp(0.09 * t)

    problem = Problem(
        [Coordinate("s", BSpline(4, 4, (0.0, 2.0)), "free", "value"), Coordinate("t", BSpline(4, 4), "value")],
        operator=[{"t": (1, 0)}, *spread, Term({"s": (1, 0, identity)}, -0.05), Term({}, 0.05)],
        lift=[
            {"s": lambda s: truth(s, 0.0)},
            {"s": lambda s: s / 2, "t": lambda t: truth(2.0, t) - truth(2.0, 0.0)},
        ],
    )
    u = solve(problem, rank=8, estimate=False, progress=False)
    assert error(u, truth, s=(0, 2), t=(0, 1)) < 1e-5
    never = Term({"s": (2, 0, lambda s: 1e-3 + 0 * s)}, -1.0)
    with pytest.raises(ValueError, match="conditions"):
        solve(dataclasses.replace(problem, operator=[*problem.operator, never]), progress=False)


def test_twelve_coordinates():
    names = [f"x{j}" for j in range(12)]
    problem = Problem(
        [Coordinate(n, BSpline(8, 4, (0.0, 1.0)), "value", "value") for n in names],
        operator=[*({n: (1, 1)} for n in names), {}],
        source=[Source({n: lambda x: np.sin(PI * x) for n in names}, factor=12 * PI**2 + 1)],
    )
    u = solve(problem, rank=2, progress=False)
    assert u(**dict.fromkeys(names, 0.5)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "lift", [[{"x": lambda x: np.exp(3 * x)}], [Field(lambda x: np.exp(3 * x))]], ids=["product", "field"]
)
def test_a_held_slope_is_that_of_the_lift(lift):
    errors, places = [], np.linspace(0, 1, 101)
    for intervals in (4, 8, 16):
        x = Coordinate("x", BSpline(intervals, 3), "value", "slope")
        source = [{"x": lambda x: -9 * np.exp(3 * x)}]
        u = solve(Problem([x], [Term({"x": (2, 0)}, -1.0)], source, lift), estimate=False, progress=False)
        errors.append(np.abs(u(x=places) - np.exp(3 * places)).max() / np.exp(3))
    assert errors[-1] < 5e-6
    assert np.log2(errors[0] / errors[-1]) / 2 > 3.6  # the order of cubic splines is 4


def test_functions_that_cannot_be_refined_have_no_estimate():
    # sin(5 pi x) on six bumps, which cannot hold it
    x = Coordinate("x", Gaussian(centres=6), "value", "value")
    problem = Problem([x], [{"x": (1, 1)}], source=[{"x": lambda x: 25 * PI**2 * np.sin(5 * PI * x)}])
    for interaction in ("canonical_polyadic", "tensor_train"):
        u = solve(problem, interaction=interaction, progress=False)
        assert error(u, lambda x: np.sin(5 * PI * x), x=(0, 1)) > 0.5
        assert np.isnan(u.error_estimate)
        assert "no error estimate: x" in u.stopped


# Interruption


def test_an_interrupt_keeps_the_best_so_far(monkeypatch):
    from separable.galerkin import alternating

    calls = 0
    original = alternating.sweep

    def interrupted(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls > 12:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    monkeypatch.setattr(alternating, "sweep", interrupted)
    source = [Field(lambda x, y: np.exp(-20 * (x - y) ** 2), tolerance=1e-6)]
    u = solve(poisson(BSpline(12, 3, (-1.0, 1.0)), source), rank=10, progress=False)
    assert isinstance(u, Solution)
    assert u.rank >= 1
    assert "interrupted" in u.stopped


def test_one_coordinate_alone():
    problem = Problem(
        [Coordinate("x", BSpline(16, 4), "value", "value")],
        operator=[{"x": (1, 1)}],
        source=[{"x": lambda x: PI**2 * np.sin(PI * x)}],
    )
    assert solve(problem, progress=False)(x=0.5) == pytest.approx(1.0, abs=1e-6)


def test_a_discrete_coordinate():
    problem = Problem(
        [Coordinate("x", BSpline(4, 2), "value", "value"), Coordinate("material", Table(3))],
        operator=[{"x": (1, 1), "material": (0, 0, lambda m: 1 + m)}],
        source=[{}],
    )
    u = solve(problem, progress=False)
    np.testing.assert_allclose(u(x=0.5, material=np.arange(3.0)), 1 / 8 / np.arange(1, 4), rtol=1e-9)


def test_the_estimate_of_a_solution_that_no_further_product_can_change():
    # two categories hold at most two products; -u'' = 1 in one, -u'' + 100 u = 1 in the other
    problem = Problem(
        [Coordinate("x", BSpline(8, 3), "value", "value"), Coordinate("m", Table(2))],
        operator=[{"x": (1, 1)}, {"m": (0, 0, lambda m: 100 * m)}],
        source=[{}],
    )
    u = solve(problem, progress=False)
    x = np.linspace(0, 1, 201)
    truth = np.stack([x * (1 - x) / 2, (1 - np.cosh(10 * (x - 0.5)) / np.cosh(5)) / 100])
    found = np.linalg.norm(u(x=x, m=np.arange(2.0)[:, None]) - truth) / np.linalg.norm(truth)
    assert found / 3 < u.error_estimate < 3 * found


@pytest.mark.parametrize("interaction", ["canonical_polyadic", "tensor_train"])
@pytest.mark.parametrize("names", ["x", "xy", "xyz"])
def test_a_source_that_is_zero_gives_zero(names, interaction):
    coordinates = [Coordinate(n, BSpline(4, 2), "value", "value") for n in names]
    for source in ([], [{"x": lambda x: 0 * x}], [Source({}, 0.0)]):
        problem = Problem(coordinates, [{n: (1, 1)} for n in names], source=source)
        u = solve(problem, interaction=interaction, progress=False)
        assert u(**dict.fromkeys(names, 0.4)) == 0.0
        assert u.residual == u.error_estimate == 0.0


def test_no_source_gives_zero_from_any_start_and_with_a_quadratic_term():
    side = BSpline(8, 3, (-1.0, 1.0))
    start = solve(poisson(side), rank=1, estimate=False, progress=False)
    u = solve(dataclasses.replace(poisson(side), source=()), start=start, estimate=False, progress=False)
    assert u(x=0.5, y=0.5) == 0.0
    quadratic = [Term({n: (2, 0)}, -1.0) for n in "xy"]
    problem = Problem(poisson(side).coordinates, quadratic, products=[Product({}, {})], source=[Source({}, 0.0)])
    u = solve(problem, progress=False)
    assert u(x=0.5, y=0.5) == u.error_estimate == 0.0


def test_an_equation_with_a_quadratic_term():
    side = BSpline(12, 5)
    problem = Problem(
        [Coordinate("x", side, "value", "value"), Coordinate("y", side, "value", "value")],
        operator=[Term({"x": (2, 0)}, -1.0), Term({"y": (2, 0)}, -1.0)],
        products=[Product({}, {})],
        source=[
            Source({"x": lambda x: np.sin(PI * x), "y": lambda y: np.sin(PI * y)}, 2 * PI**2),
            {"x": lambda x: np.sin(PI * x) ** 2, "y": lambda y: np.sin(PI * y) ** 2},
        ],
    )
    u = solve(problem, progress=False)
    assert error(u, lambda x, y: np.sin(PI * x) * np.sin(PI * y), x=(0, 1), y=(0, 1)) < 1e-6


def test_a_start_on_other_coordinates_is_refused():
    u = solve(poisson(BSpline(8, 3, (-1.0, 1.0))), rank=1, estimate=False, progress=False)
    again = solve(poisson(BSpline(8, 3, (-1.0, 1.0))), rank=1, start=u, estimate=False, progress=False)
    assert again(x=0.3, y=0.3) == pytest.approx(u(x=0.3, y=0.3))
    with pytest.raises(ValueError):
        solve(poisson(BSpline(9, 3, (-1.0, 1.0))), start=u, progress=False)
    twice = solve(poisson(BSpline(8, 3, (-1.0, 1.0)), [{"x": np.cos}, {"y": np.exp}]), rank=3, progress=False)
    with pytest.raises(ValueError, match="start has 3 products"):
        solve(poisson(BSpline(8, 3, (-1.0, 1.0))), rank=2, start=twice, progress=False)


def test_a_quadratic_term_in_a_weak_form_is_refused():
    problem = Problem(
        [Coordinate("x", BSpline(6), "value", "value")], [{"x": (1, 1)}], source=[{}], products=[Product({}, {})]
    )
    with pytest.raises(ValueError):
        solve(problem, progress=False)


def test_a_parameter_value_without_diffusion_is_refused():
    coordinates = [Coordinate("x", BSpline(6), "value", "value"), Coordinate("k", BSpline(4, 1))]
    operator = [{"x": (1, 1), "k": (0, 0, lambda k: np.where(k < 0.5, 0.0, 1.0))}]
    with pytest.raises(ValueError):
        solve(Problem(coordinates, operator, source=[{}]), progress=False)
