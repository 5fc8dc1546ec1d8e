"""Ill-posed and misstated problems are refused before anything is solved, and their well-posed neighbours are not."""

import dataclasses

import numpy as np
import pytest

from separable.atoms import BSpline, Gaussian
from separable.galerkin import At, Coordinate, Field, Problem, Product, Source, Term, solve
from tests.galerkin.problems import PI, error, identity, poisson, sides

LAPLACE = ({"x": (1, 1)}, {"y": (1, 1)})


def test_an_elliptic_operator_without_conditions_is_refused():
    with pytest.raises(ValueError):
        solve(Problem(sides(), LAPLACE, source=[{}]), progress=False)


def test_negative_diffusivity_is_refused():
    operator = [{"x": (1, 1, lambda x: x - 0.5)}, {"y": (1, 1)}]
    with pytest.raises(ValueError):
        solve(Problem(sides("value", "value"), operator, source=[{}]), progress=False)


def test_diffusion_that_runs_backward_is_refused():
    coordinates = [Coordinate("x", BSpline(6), "value", "value"), Coordinate("t", BSpline(6), "value")]
    with pytest.raises(ValueError):
        solve(Problem(coordinates, [{"t": (1, 0)}, {"x": (2, 0)}], source=[{}]), progress=False)


def test_a_value_held_at_the_end_of_time_is_refused_unless_diffusion_runs_from_there():
    x, t = Coordinate("x", BSpline(12, 4), "value", "value"), Coordinate("t", BSpline(12, 4), "free", "value")
    backward = [{"t": (1, 0)}, Term({"x": (2, 0)}, -1.0)]
    with pytest.raises(ValueError, match="backward"):
        solve(Problem([x, t], backward, source=[{}]), progress=False)
    # u_t + u_xx = 0 with u(x, 1) = sin(pi x), as of a cost that is known at the end
    onward = Problem([x, t], [{"t": (1, 0)}, {"x": (2, 0)}], lift=[{"x": lambda x: np.sin(PI * x)}])
    u = solve(onward, rank=6, estimate=False, progress=False)
    assert error(u, lambda x, t: np.exp(PI**2 * (t - 1)) * np.sin(PI * x), x=(0, 1), t=(0, 1)) < 1e-3


def test_an_evolution_without_an_initial_condition_is_refused():
    coordinates = [Coordinate("x", BSpline(6), "value", "value"), Coordinate("t", BSpline(6))]
    with pytest.raises(ValueError):
        solve(Problem(coordinates, [{"t": (1, 0)}, Term({"x": (2, 0)}, -1.0)], source=[{}]), progress=False)


def test_a_reaction_term_stands_for_no_condition():
    x, t = Coordinate("x", BSpline(6), "value", "value"), Coordinate("t", BSpline(6), "value")
    klein_gordon = [{"t": (2, 0)}, Term({"x": (2, 0)}, -1.0), Term({}, 9.0)]
    with pytest.raises(ValueError, match="along t, which has 1 conditions"):
        solve(Problem([x, t], klein_gordon, source=[{}]), progress=False)
    with pytest.raises(ValueError, match="along x, which has 1 conditions"):
        solve(Problem([dataclasses.replace(x, right="free")], [Term({"x": (2, 0)}, -1.0), {}]), progress=False)


@pytest.mark.parametrize(
    ("operator", "x", "t"),
    [
        ([{"t": (1, 0)}, {}], ("free", "free"), ("value", "value")),
        ([Term({"x": (2, 0)}, -1.0), {"t": (1, 0)}], ("value", "value"), ("value", "both")),
        ([Term({"x": (2, 0)}, -1.0), {"t": (1, 0)}], ("both", "value"), ("value", "free")),
        ([{"t": (2, 0)}, Term({"x": (2, 0)}, -1.0)], ("value", "value"), ("both", "value")),
        ([Term({"x": (2, 0)}, -1.0)], ("value", "value"), ("value", "free")),
    ],
)
def test_more_conditions_than_the_equation_takes_are_refused(operator, x, t):
    atom = BSpline(6, 4)
    with pytest.raises(ValueError, match="are held"):
        solve(Problem([Coordinate("x", atom, *x), Coordinate("t", atom, *t)], operator, source=[{}]), progress=False)


def test_what_is_carried_in_from_both_ends_is_held_at_both():
    """``(1/2 - x) u_x + u = f``, whose u comes in at x = 0 and at x = 1."""
    x = Coordinate("x", BSpline(12, 4), "value", "value")
    operator = [{"x": (1, 0, lambda x: 0.5 - x)}, {}]
    source = [{"x": lambda x: (0.5 - x) * PI * np.cos(PI * x) + np.sin(PI * x)}]
    u = solve(Problem([x], operator, source), progress=False)
    assert error(u, lambda x: np.sin(PI * x), x=(0, 1)) < 1e-4


def test_what_the_solution_itself_carries_in_from_both_ends_is_held_at_both():
    """``u_t + u u_x = 0`` from ``-sin(pi x)``: u is constant along ``x = s - t sin(pi s)`` until these cross."""
    coordinates = [
        Coordinate("x", BSpline(16, 4, (-1.0, 1.0)), "value", "value"),
        Coordinate("t", BSpline(8, 4, (0.0, 0.15)), "value"),
    ]
    lift = [{"x": lambda x: -np.sin(PI * x)}]
    u = solve(
        Problem(coordinates, [{"t": (1, 0)}], products=[Product({}, {"x": 1})], lift=lift),
        rank=8,
        estimate=False,
        progress=False,
    )
    starts = np.linspace(-1, 1, 2001)

    def truth(x, t):
        return -np.sin(PI * np.interp(x, starts - t * np.sin(PI * starts), starts))

    for t in (0.05, 0.15):
        x = np.linspace(-1, 1, 201)
        assert np.abs(u(x=x, t=np.full_like(x, t)) - truth(x, t)).max() < 5e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_coefficient_that_is_not_finite_is_refused(bad):
    operator = [{"x": (1, 1, lambda x: np.where(x > 0.7, bad, 1.0))}, {"y": (1, 1)}]
    with pytest.raises(ValueError):
        solve(Problem(sides("value", "value"), operator, source=[{}]), progress=False)


def test_a_field_that_is_not_finite_is_refused():
    with np.errstate(invalid="ignore"), pytest.raises(ValueError):
        solve(Problem(sides("value", "value"), LAPLACE, source=[Field(lambda x, y: np.sqrt(x - y))]), progress=False)


def test_splines_too_rough_for_the_operator_are_refused():
    coordinates = [Coordinate("x", BSpline(6, 1), "value", "value"), Coordinate("t", BSpline(6), "value")]
    with pytest.raises(ValueError):
        solve(Problem(coordinates, [{"t": (1, 0)}, Term({"x": (2, 0)}, -1.0)], source=[{}]), progress=False)


def test_splines_too_rough_for_a_quadratic_term_are_refused():
    x = Coordinate("x", BSpline(6, 2), "value", "value")  # whose third derivative is zero everywhere
    problem = Problem([x], [Term({"x": (2, 0)}, -1.0)], source=[{}], products=[Product({}, {"x": 3})])
    with pytest.raises(ValueError, match="degree"):
        solve(problem, progress=False)


@pytest.mark.parametrize(
    ("ends", "start", "match"),
    [
        (("value", "value"), "free", "along t, which has 0 conditions"),
        (("value", "free"), "value", "along x, which has 1 conditions"),
        (("free", "free"), "value", "along x, which has 0 conditions"),
    ],
)
def test_a_quadratic_equation_without_conditions_is_refused(ends, start, match):
    coordinates = [Coordinate("x", BSpline(6), *ends), Coordinate("t", BSpline(6), start)]
    burgers = Problem(
        coordinates, [{"t": (1, 0)}, Term({"x": (2, 0)}, -0.1)], source=[{}], products=[Product({}, {"x": 1})]
    )
    with pytest.raises(ValueError, match=match):
        solve(burgers, progress=False)


def test_constants_that_only_a_square_determines():
    # -u'' + u^2 = f between slopes of zero: u = 2 + cos(pi x) is a solution, and u plus a constant is none
    x = Coordinate("x", BSpline(40, 4), "slope", "slope")

    def source(x):
        return np.pi**2 * np.cos(np.pi * x) + (2 + np.cos(np.pi * x)) ** 2

    u = solve(
        Problem([x], [Term({"x": (2, 0)}, -1.0)], source=[{"x": source}], products=[Product({}, {})]), progress=False
    )
    places = np.linspace(0.0, 1.0, 201)
    values = u(x=places)
    second = np.diff(values, 2) / (places[1] - places[0]) ** 2
    assert np.abs(-second + values[1:-1] ** 2 - source(places[1:-1])).max() < 1e-2
    slope = Product({"x": 1}, {"x": 1})  # which constants do not change
    with pytest.raises(ValueError, match="constants"):
        solve(Problem([x], [Term({"x": (2, 0)}, -1.0)], source=[{"x": source}], products=[slope]), progress=False)


@pytest.mark.parametrize("ends", [("both", "free"), ("value", "value"), ("both", "value")])
def test_a_beam_as_an_equation_needs_four_conditions(ends):
    with pytest.raises(ValueError, match="derivative 4 along x"):
        solve(Problem([Coordinate("x", BSpline(12, 4), *ends)], [{"x": (4, 0)}], source=[{}]), progress=False)


@pytest.mark.parametrize(
    ("degree", "knots", "ends", "operator"),
    [
        (2, (0, 0.25, 0.5, 0.5, 0.75, 1), ("value", "value"), Term({"x": (2, 0)}, -1.0)),
        (3, (0, 0.5, 0.5, 0.5, 1), ("value", "value"), Term({"x": (2, 0)}, -1.0)),
        (2, (0, 0.25, 0.5, 0.5, 0.75, 1), ("both", "both"), {"x": (2, 2)}),
    ],
)
def test_splines_with_a_kink_under_a_second_derivative_are_refused(degree, knots, ends, operator):
    x = Coordinate("x", BSpline(degree=degree, knots=knots), *ends)
    with pytest.raises(ValueError, match=r"times at 0\.5"):
        solve(Problem([x], [operator], source=[{}]), progress=False)


def test_a_beam_that_can_turn_is_refused_and_a_cantilever_is_solved():
    beam = [{"x": (2, 2)}]
    for ends in (("value", "free"), ("free", "value")):
        with pytest.raises(ValueError, match="linear functions"):
            solve(Problem([Coordinate("x", BSpline(12, 4), *ends)], beam, source=[{}]), progress=False)
    u = solve(Problem([Coordinate("x", BSpline(12, 4), "both", "free")], beam, source=[{}]), progress=False)
    x = np.array([0.25, 0.5, 1.0])
    np.testing.assert_allclose(u(x=x), x**2 * (6 - 4 * x + x**2) / 24, rtol=1e-8)  # of a load of one


@pytest.mark.parametrize(
    ("ends", "match"),
    [(("free", "free"), "needs a condition"), (("free", "value"), "left end"), (("value", "value"), "both ends")],
)
def test_an_evolution_in_weak_form_is_held_where_it_comes_from(ends, match):
    coordinates = [Coordinate("x", BSpline(12, 4), "value", "value"), Coordinate("t", BSpline(12, 4), *ends)]
    with pytest.raises(ValueError, match=match):
        solve(Problem(coordinates, [{"t": (1, 0)}, {"x": (1, 1)}], source=[{}]), progress=False)


def test_conditions_that_leave_no_function_are_refused():
    with pytest.raises(ValueError):
        solve(Problem([Coordinate("x", BSpline(1, 1), "value", "value")], [{"x": (1, 1)}], source=[{}]), progress=False)


def test_functions_that_depend_on_each_other_are_refused():
    wide = Gaussian(centres=12, width=20.0)  # flat over the domain, alike to rounding
    with pytest.raises(ValueError):
        solve(Problem([Coordinate("x", wide)], [{"x": (1, 1)}, {"x": (0, 0)}], source=[{}]), progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"operator": [{"w": (1, 1)}]},
        {"operator": []},
        {"operator": [{"x": (-1, 1)}]},
        {"operator": [{"x": At(2.0)}]},
        {"operator": [Term({"x": (1, 1)}, coefficient=Field(lambda x: 1 + x, entries={"w": np.sin}))]},
        {"source": [{"w": np.sin}]},
        {"products": [Product({"w": 1}, {})]},
        {"products": [Product({"x": -1}, {})]},
        {"products": [Product({}, {"x": 0.5})]},
        {"source": [{"x": At(0.5, test=-1)}]},
        {"operator": [Term({"x": (1, 1)}, factor=np.inf)]},
        {"source": [Source({}, factor=np.nan)]},
        {"lift": [Source({}, factor=np.nan)]},
        {"products": [Product({}, {}, factor=np.nan)]},
        {"operator": [{"x": (1,)}]},
        {"operator": [{"x": (1, 1, 2.0, 3.0)}]},
        {"operator": [{"x": 2}]},
        {"operator": {"x": (1, 1)}},
        {"source": {"x": np.sin}},
        {"source": Source({})},
        {"name": "y"},
        {"source": [identity]},
        {"source": [Source(identity)]},
        {"source": [{"x": Field(lambda x, y: x * y)}]},
        {"source": [Source({}, factor=1j)]},
        {"operator": [Term({"x": (1, 1)}, coefficient=lambda x, y: 1 + x * y)]},
        {"operator": [{"x": (1, 1, Field(lambda x, y: 1 + x * y))}]},
        {"operator": [{"x": (1, 1, At(0.5))}]},
        {"operator": [Term({"x": (1, 1)}, factor=1 + 1j)]},
        {"products": [{"x": 1}]},
        {"products": [Product({"x": (1, 0)}, {})]},
        {"products": [Product({}, {}, coefficients={"x": Field(lambda x, y: x * y)})]},
    ],
)
def test_misstated_problems_are_refused(change):
    good = {"coordinates": sides("value", "value"), "operator": LAPLACE, "source": [{}]}
    with pytest.raises(ValueError):
        Problem(**{**good, **change})


@pytest.mark.parametrize("options", [{"tolerance": np.nan}, {"tolerance": -1.0}, {"rank": 0}, {"rank": 2.5}])
def test_a_field_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Field(lambda x, y: x * y, **options)


@pytest.mark.parametrize(
    "source", [{"x": lambda x: np.exp(1j * x)}, Field(lambda x, y: np.exp(1j * x * y)), Field(lambda x, y: np.ones(3))]
)
def test_complex_values_and_other_shapes_are_refused(source):
    with pytest.raises(ValueError, match="values"):
        solve(poisson(BSpline(6), [source]), progress=False)


def test_a_method_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="method"):
        solve(poisson(BSpline(6)), method="least_squares", progress=False)  # it has a space
    coordinates = [Coordinate("x", BSpline(6), "value", "value")]
    quadratic = Problem(coordinates, [Term({"x": (2, 0)}, -1.0)], source=[{}], products=[Product({}, {})])
    with pytest.raises(ValueError, match="method"):
        solve(quadratic, method="galerkin", progress=False)


@pytest.mark.parametrize(
    "options", [{"rank": 0}, {"rank": 2.5}, {"sweeps": 0}, {"newton": 0}, {"step": -1}, {"tolerance": np.nan}]
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        solve(poisson(BSpline(6)), progress=False, **options)


@pytest.mark.parametrize("name", ["lambda", "orders", "over", "points", "two words"])
def test_coordinates_are_named_so_that_a_solution_can_be_asked(name):
    with pytest.raises(ValueError, match="name is"):
        Coordinate(name, BSpline(6))


def test_an_equation_is_not_solved_better_than_its_residual_can_tell():
    """The residual of an equation is a difference of squares, of which what is left may be rounding."""
    coordinates = [Coordinate("x", BSpline(20, 5), "value", "value"), Coordinate("t", BSpline(20, 5), "value")]
    heat = Problem(coordinates, [{"t": (1, 0)}, Term({"x": (2, 0)}, -1.0)], lift=[{"x": lambda x: np.sin(PI * x)}])
    u = solve(heat, tolerance=1e-9, estimate=False, progress=False)
    assert u.residual > 1e-9
    assert "tolerance" not in u.stopped


def test_an_end_that_a_weak_form_determines_holds_no_slope():
    """-u'' = sin(x) with u'(0) = 2 and u(1) = sin(1) + 1, whose solution is x + sin(x)."""

    def stated(left, *flux, lift):
        x = Coordinate("x", BSpline(20, 4), left, "value")
        return Problem([x], [{"x": (1, 1)}], source=[{"x": np.sin}, *flux], lift=lift)

    rising = [{"x": lambda x: 2 * x + np.sin(1) - 1}]
    for left, lift in (("slope", rising), ("slope", [Field(lambda x: 2 * x + np.sin(1) - 1)]), ("both", [])):
        with pytest.raises(ValueError, match="natural"):
            solve(stated(left, lift=lift), progress=False)
    u = solve(stated("free", Source({"x": At(0.0)}, -2.0), lift=rising), progress=False)
    assert error(u, lambda x: x + np.sin(x), x=(0, 1)) < 1e-6
    level = stated("slope", lift=[{"x": lambda x: 300 + np.cos(PI * x)}])  # which has no slope at 0: u'(0) = 0
    u = solve(level, progress=False)
    assert error(u, lambda x: 299 + np.sin(x) - np.sin(1) + 1 - x, x=(0, 1)) < 1e-8


def test_the_highest_even_derivative_decides_what_diffuses():
    """A column below its buckling load, and waves of which the long ones grow."""
    column = [{"x": (2, 2)}, Term({"x": (1, 1)}, -4.0)]
    source = [{"x": lambda x: (PI**4 - 4 * PI**2) * np.sin(PI * x)}]
    u = solve(Problem([Coordinate("x", BSpline(12, 4), "value", "value")], column, source), progress=False)
    assert error(u, lambda x: np.sin(PI * x), x=(0, 1)) < 1e-5
    circle = Coordinate("x", BSpline(12, 5, (0.0, 2 * PI), periodic=True))
    waves, lift = [circle, Coordinate("t", BSpline(8, 4), "value")], [{"x": np.sin}]
    onward = [{"t": (1, 0)}, {"x": (2, 0)}, Term({"x": (4, 0)}, 2.0)]  # sin(x) falls by 2 - 1
    u = solve(Problem(waves, onward, lift=lift), estimate=False, progress=False)
    assert error(u, lambda x, t: np.exp(-t) * np.sin(x), x=(0, 2 * PI), t=(0, 1)) < 1e-3
    for order, sign in ((4, -1.0), (6, 1.0)):
        x = dataclasses.replace(circle, atom=BSpline(12, order, (0.0, 2 * PI), periodic=True))
        with pytest.raises(ValueError, match="backward"):
            solve(Problem([x, waves[1]], [{"t": (1, 0)}, Term({"x": (order, 0)}, sign)], lift=lift), progress=False)
    with pytest.raises(ValueError, match="negative diffusivity"):
        solve(Problem([circle], [Term({"x": (2, 2)}, -1.0), {"x": (1, 1)}, {}], [{}]), progress=False)


@pytest.mark.parametrize("ends", [("value", "free"), ("free", "value")])
def test_a_wave_in_weak_form_needs_two_initial_conditions(ends):
    coordinates = [Coordinate("x", BSpline(8, 4), "value", "value"), Coordinate("t", BSpline(8, 4), *ends)]
    with pytest.raises(ValueError, match="derivative 2 along t"):
        solve(Problem(coordinates, [{"t": (2, 0)}, {"x": (1, 1)}], source=[{}]), progress=False)


def test_what_is_carried_is_held_where_it_comes_in():
    t = Coordinate("t", BSpline(8, 4), "value")
    for speed, ends in ((1.0, ("free", "value")), (-1.0, ("value", "free"))):
        advection = [{"t": (1, 0)}, Term({"x": (1, 0)}, speed)]
        for along_t in (t, dataclasses.replace(t, left="free", right="value")):
            backward = along_t.right == "value"
            wrong = Problem([Coordinate("x", BSpline(8, 4), *(ends[::-1] if backward else ends)), along_t], advection)
            with pytest.raises(ValueError, match="leaves"):
                solve(wrong, progress=False)
    u = solve(  # all held where it leaves: u_x + u_y = 2 from the other corner
        Problem(sides("free", "value"), [{"x": (1, 0)}, {"y": (1, 0)}], source=[Source({}, 2.0)]),
        estimate=False,
        progress=False,
    )
    assert u(x=0.9, y=0.4) == pytest.approx(2 * (0.9 - 1), rel=0.1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ends_that_are_left_need_no_condition_and_take_none(sign):
    """``(x - 1/2) u_x + u = 3 x - 1/2 - x``, of either sign, whose solution without a pole is x, and with time."""

    def stated(hold, reaction):
        x = Coordinate("x", BSpline(12, 4), hold, hold)
        operator = [Term({"x": (1, 0, lambda x: x - 0.5)}, sign), Term({}, sign * reaction)]
        return Problem(
            [x], operator, source=[Source({"x": lambda x: (1 + reaction) * x - 0.5}, sign)], lift=[{"x": identity}]
        )

    assert error(solve(stated("free", 1.0), progress=False), identity, x=(0, 1)) < 1e-8
    with pytest.raises(ValueError, match="are held"):
        solve(stated("value", 1.0), progress=False)
    with pytest.raises(ValueError, match="0 conditions"):  # u + C |x - 1/2| would be one too
        solve(stated("free", -1.0), progress=False)
    assert error(solve(stated("value", -1.0), progress=False), identity, x=(0, 1)) < 1e-8


def test_a_flow_that_leaves_at_both_ends():
    t = Coordinate("t", BSpline(8, 4), "value")
    operator, lift = [{"t": (1, 0)}, {"x": (1, 0, lambda x: x - 0.5)}], [{"x": lambda x: np.cos(3 * x)}]
    u = solve(Problem([Coordinate("x", BSpline(12, 4)), t], operator, lift=lift), estimate=False, progress=False)
    assert error(u, lambda x, t: np.cos(1.5 + 3 * (x - 0.5) * np.exp(-t)), x=(0, 1), t=(0, 1)) < 1e-4
    with pytest.raises(ValueError, match="are held"):
        solve(Problem([Coordinate("x", BSpline(12, 4), "value", "value"), t], operator, lift=lift), progress=False)
    inward = [{"t": (1, 0)}, {"x": (1, 0, lambda x: 0.5 - x)}]
    with pytest.raises(ValueError, match="0 conditions"):
        solve(Problem([Coordinate("x", BSpline(12, 4)), t], inward, lift=lift), progress=False)


def test_ends_where_the_second_derivative_drops_out_need_no_condition():
    x, r = Coordinate("x", BSpline(8, 4, (-1.0, 1.0))), Coordinate("r", BSpline(8, 4), "free", "value")
    legendre = [Term({"x": (2, 0, lambda x: 1 - x**2)}, -1.0), {"x": (1, 0, lambda x: 2 * x)}, {}]
    u = solve(Problem([x], legendre, source=[{"x": lambda x: 3 * x}]), progress=False)
    assert error(u, identity, x=(-1, 1)) < 1e-8
    radial = [Term({"r": (2, 0, lambda r: r)}, -1.0), Term({"r": (1, 0)}, -1.0)]
    u = solve(Problem([r], radial, source=[{"r": lambda r: 4 * r}]), progress=False)
    assert error(u, lambda r: 1 - r**2, r=(0, 1)) < 1e-8
    with pytest.raises(ValueError, match="conditions"):  # only one end is left without
        solve(Problem([dataclasses.replace(r, right="free")], [*radial, {}], source=[{}]), progress=False)
