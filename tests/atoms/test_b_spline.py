"""B-splines against scipy.interpolate.BSpline."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline as Scipy

from separable.atoms import BSpline
from separable.testing import AtomContract, close


def scipy_basis(breakpoints, degree, periodic, x, order):
    """All K functions, one scipy spline each, on a knot vector built here from the definition."""
    t = np.asarray(breakpoints, dtype=float)
    if not periodic:
        knots = np.concatenate([[t[0]] * degree, t, [t[-1]] * degree])
        size = len(t) - 1 + degree
        coefficients = np.eye(size)
        return derivative(Scipy(knots, coefficients, degree, extrapolate=True), x, order)
    size, period = len(t) - 1, t[-1] - t[0]
    rounds = range(-degree - 1, degree + 2)
    knots = np.unique(np.round(np.concatenate([t + r * period for r in rounds]), 12))
    if len(np.unique(t)) < len(t):  # repeated breakpoints stay repeated
        knots = np.sort(np.concatenate([t[:-1] + r * period for r in rounds]))
    first = int(np.searchsorted(knots, t[0] - 1e-9)) - degree
    # Function i of the circle starts at knot first + i, as every size-th function of the line does.
    count = len(knots) - degree - 1
    coefficients = np.zeros((count, size))
    coefficients[np.arange(count), (np.arange(count) - first) % size] = 1
    return derivative(Scipy(knots, coefficients, degree), x, order)


def derivative(spline, x, order):
    if order > spline.k:
        return np.zeros((len(x), spline.c.shape[1]))
    return spline(x, nu=order)


class TestBSpline(AtomContract):
    family = BSpline
    instances = (
        BSpline(intervals=5, degree=0, domain=(-1.0, 2.0)),
        BSpline(intervals=4, degree=1),
        BSpline(intervals=4, degree=2, outside="constant"),
        BSpline(),
        BSpline(intervals=1, degree=3, domain=(2.0, 2.5)),
        BSpline(intervals=3, degree=7, domain=(-1.0, 1.0)),
        BSpline(intervals=3, degree=2, outside="error"),
        BSpline(knots=(0.0, 0.1, 0.5, 0.5, 0.5, 0.8, 2.0), degree=3),
        BSpline(knots=(-1.0, 0.0, 0.0, 0.0, 1.0), degree=3, outside="periodic"),
        BSpline(knots=(0.0, 0.3, 1.0), degree=0),
        BSpline(intervals=6, degree=3, domain=(0.0, 3.0), periodic=True),
        BSpline(intervals=1, degree=0, periodic=True),
        BSpline(knots=(0.0, 0.2, 0.5, 0.5, 0.9, 1.3), degree=2, periodic=True),
    )
    traced = (
        instances[3],
        instances[7],
        instances[12],
    )
    refinements = (
        (BSpline(intervals=4, degree=3), {"intervals": 8}),
        (BSpline(intervals=4, degree=3), {"intervals": 4}),
        (BSpline(intervals=3, degree=5, domain=(-1.0, 1.0), outside="constant"), {"intervals": 9}),
        (BSpline(intervals=2, degree=0), {"intervals": 6}),
        (BSpline(intervals=1, degree=2), {"degree": 5}),
        (BSpline(intervals=2, degree=1), {"knots": (0.0, 0.1, 0.5, 0.5, 1.0), "degree": 2}),
        (BSpline(knots=(0.0, 0.3, 1.0)), {"knots": (0.0, 0.3, 0.3, 0.7, 1.0)}),
        (BSpline(intervals=4, degree=3, periodic=True), {"intervals": 12}),
        (BSpline(intervals=4, degree=3, periodic=True), {"periodic": False}),
        (BSpline(intervals=3, degree=2, outside="error"), {"intervals": 6}),
    )
    refusals = (
        (BSpline(intervals=4, degree=3), {"intervals": 7}),
        (BSpline(intervals=4, degree=3), {"intervals": 2}),
        (BSpline(intervals=4, degree=3), {"degree": 2}),
        (BSpline(intervals=4, degree=3), {"degree": 4}),  # smoother at the breakpoints than what it should hold
        (BSpline(intervals=6, degree=3), {"periodic": True}),
        (BSpline(knots=(0.0, 0.3, 1.0)), {"intervals": 8}),  # knots decide the intervals
        (BSpline(knots=(0.0, 0.3, 1.0)), {"knots": (0.0, 0.2, 0.5, 1.0)}),
        (BSpline(intervals=4), {"intervals": 0}),
    )
    bad_fields = (
        {"intervals": 0},
        {"intervals": 2.0},
        {"intervals": True},
        {"degree": -1},
        {"degree": "3"},
        {"domain": (1.0, 1.0)},
        {"domain": (1.0, 0.0)},
        {"domain": (0.0, float("inf"))},
        {"domain": (0.0, float("nan"))},
        {"domain": (0.0,)},
        {"domain": 3},
        {"outside": "zero"},
        {"knots": (0.0,)},
        {"knots": (0.0, 0.6, 0.5, 1.0)},
        {"knots": (0.0, float("nan"), 1.0)},
        {"knots": (0.0, 0.0, 1.0)},
        {"knots": (0.0, 0.5, 0.5, 0.5, 1.0), "degree": 2},
        {"knots": (0.0, 0.5, 0.5, 1.0), "degree": 0},
        {"periodic": True, "intervals": 3, "degree": 3},
    )

    def evaluate(self, atom, x, order):
        if atom.knots is None:
            breakpoints = [atom.domain[0] + (atom.domain[1] - atom.domain[0]) * i / atom.intervals
                           for i in range(atom.intervals + 1)]  # fmt: skip
        else:
            breakpoints = atom.knots
        return scipy_basis(breakpoints, atom.degree, atom.periodic, x, order)

    def with_policy(self, atom, policy):
        return atom if atom.periodic else super().with_policy(atom, policy)

    def test_outside(self, atom):
        if atom.periodic:
            self.check_circle(atom)
        else:
            super().test_outside(atom)

    def check_circle(self, atom):
        """Whatever policy was asked for, a periodic basis is the same one period on."""
        assert atom.outside == "periodic"
        assert BSpline(intervals=4, periodic=True, outside="linear").outside == "periodic"
        x = torch.from_numpy(self.points(atom))
        period = atom.domain[1] - atom.domain[0]
        for order in range(atom.degree + 1):
            for shift in (-1e5, -1.0, 1.0, 3.0):
                close(atom(x + shift * period, order), atom(x, order), 1e-7)


@pytest.mark.parametrize("degree", range(8))
@pytest.mark.parametrize("periodic", [False, True])
def test_every_degree_and_derivative(degree, periodic):
    """Degrees 0 to 7, uniform and with a breakpoint as often repeated as the degree allows, every derivative."""
    uniform = BSpline(intervals=9, degree=degree, domain=(-1.0, 2.0), periodic=periodic)
    repeated = (0.0, 0.4, *[0.5] * degree, 0.6, 0.7, 1.0) if degree else (0.0, 0.4, 1.0)
    given_knots = BSpline(knots=repeated, degree=degree, periodic=periodic)
    for atom in (uniform, given_knots):
        breakpoints = atom.breakpoints
        x = np.random.default_rng(degree).uniform(*atom.domain, 50)
        for order in range(degree + 2):
            expected = scipy_basis(breakpoints, degree, periodic, x, order)
            close(atom(torch.from_numpy(x), order), expected, 1e-10)


@pytest.mark.parametrize("degree", range(5))
def test_given_uniform_breakpoints_are_the_uniform_basis(degree):
    x = torch.linspace(-0.5, 2.5, 101, dtype=torch.float64)
    for periodic in (False, True):
        uniform = BSpline(intervals=6, degree=degree, domain=(0.0, 2.0), periodic=periodic)
        same = BSpline(knots=uniform.breakpoints, degree=degree, periodic=periodic)
        if degree == 0:  # a jump at a breakpoint goes to either side by rounding
            close(same(x[::7]), uniform(x[::7]))
        else:
            close(same(x), uniform(x))


@settings(max_examples=40, deadline=None)
@given(
    degree=st.integers(0, 6),
    gaps=st.lists(st.floats(0.01, 10), min_size=1, max_size=8),
    start=st.floats(-100, 100),
    fraction=st.floats(0, 1),
)
def test_partition_of_unity_on_any_knots(degree, gaps, start, fraction):
    knots = tuple(np.concatenate([[start], start + np.cumsum(gaps)]))
    atom = BSpline(knots=knots, degree=degree)
    a, b = atom.domain
    x = torch.tensor([a, b, min(b, a + fraction * (b - a)), *knots, a - 1e6, b + 1e6], dtype=torch.float64)
    values = atom(x)
    close(values.sum(-1), torch.ones(len(x), dtype=torch.float64), 1e-7)
    inside = values[: 3 + len(knots)]
    assert (inside >= -1e-12).all()
    close(atom.integral().sum(), np.array(b - a))


def test_local_values_are_the_dense_ones():
    for atom in (BSpline(intervals=5, degree=3), BSpline(knots=(0.0, 0.1, 0.1, 1.0)), BSpline(5, 2, periodic=True)):
        x = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for order in (0, 1):
            first, values = atom.local(x, order)
            assert values.shape == (3, 4, atom.degree + 1)
            dense = torch.zeros(3, 4, atom.size, dtype=torch.float64)
            for i in range(atom.degree + 1):
                dense.scatter_(-1, (first[..., None] + i) % atom.size, values[..., i : i + 1])
            close(atom(x, order), dense)


def test_a_numpy_truth_value_becomes_a_plain_one():
    assert BSpline(6, periodic=np.bool_(True)).periodic is True


def test_numpy_integers_become_plain_ones():
    atom = BSpline(intervals=np.int64(4), degree=np.int32(2))
    assert type(atom.intervals) is int
    assert type(atom.degree) is int
    assert atom == BSpline(intervals=4, degree=2)


def test_both_ends_belong_to_the_domain_of_a_wrapped_basis() -> None:
    wrapped, held = (BSpline(4, 3, (-1.0, 2.0), outside=outside) for outside in ("periodic", "constant"))
    ends = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert torch.equal(wrapped(ends), held(ends))
    torch.testing.assert_close(wrapped(ends + torch.tensor([-0.5, 0.5])), held(torch.tensor([1.5, -0.5]).double()))


@pytest.mark.parametrize("knots", [(1.7e9, 1.7e9 + 100, 1.7e9 + 200, 1.7e9 + 260), (0.0, 0.5, 1 - 1e-9, 1.0)])
def test_breakpoints_that_narrow_numbers_cannot_tell_apart_are_no_gaps(knots):
    atom = BSpline(knots=knots)
    found = atom(torch.tensor([knots[0], knots[-1], 1.1 * knots[-1]]))
    assert torch.isfinite(found).all()
    assert torch.allclose(found[:2].sum(-1), torch.ones(2))
    exact = atom(torch.tensor([knots[-1]], dtype=torch.float64))
    assert torch.allclose(exact[0].float(), torch.eye(atom.size)[-1], atol=1e-6)
