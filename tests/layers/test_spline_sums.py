"""Sums of splines without the table of atom values: against scipy, against the plain form, and who watches them."""

import itertools

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as ScipySpline
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.functional import jacobian

from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer, spline_points, spline_sums
from separable.layers.spline_sums import plain_sums
from separable.layers.spline_sums import spline_sums as sums

KNOTS = (-1.0, -0.7, 0.1, 0.4, 2.0)


@pytest.fixture(params=["dense", "sparse"])
def way(request, monkeypatch):
    """Both ways, whatever the sizes, in tiles that do not divide them."""
    least = 0 if request.param == "sparse" else 10**9
    monkeypatch.setattr(spline_sums, "SPARSE", least)
    monkeypatch.setattr(spline_sums, "SPARSE_DX", least)
    monkeypatch.setattr(spline_sums, "FEWEST_ROWS", 1)
    monkeypatch.setattr(spline_sums, "TILE", 1000)
    monkeypatch.setattr(spline_sums, "WIDTH", 20)
    monkeypatch.setattr(spline_sums, "SORTED_BITS", 5)
    return request.param


@pytest.fixture
def no_plain(monkeypatch):
    """Nothing falls back to the plain form."""

    def refuse(*_):
        raise AssertionError("the plain form was used")

    monkeypatch.setattr(spline_sums, "plain_sums", refuse)


def spline(intervals=5, degree=3, outside="linear", knots=None):
    return BSpline(intervals, degree, (-1.0, 2.0), outside, knots)


def data(atom, rows=7, coordinates=3, rank=2, dtype=torch.float64):
    """Points within and beyond the domain, and coefficients, both waiting for gradients."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, coordinates, dtype=dtype, generator=generator) * 4 - 1.5
    c = torch.randn(coordinates, atom.size, rank, dtype=dtype, generator=generator)
    return x.requires_grad_(), c.requires_grad_()


def gradients(function, x, c, g):
    y = function(x, c)
    return y, *torch.autograd.grad(y, (x, c), g)


def assert_same(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert (a - e).abs().max() <= tolerance * e.abs().max()


@pytest.mark.parametrize(
    ("intervals", "degree", "knots"),
    [(n, p, None) for n, p in itertools.product([1, 2, 5, 40], [0, 1, 2, 3, 5])] + [(4, 2, KNOTS), (4, 4, KNOTS)],
)
def test_equals_scipy(way, no_plain, intervals, degree, knots):
    atom = spline(intervals, degree, knots=knots)
    vector = np.r_[[-1.0] * degree, atom.breakpoints, [2.0] * degree]
    random = np.random.default_rng(0)
    x, c = random.uniform(-1, 2, (50, 3)), random.standard_normal((3, atom.size, 4))
    x[0] = -1.0
    if degree:
        x[1] = 2.0
    g = random.standard_normal((50, 4))
    tables = np.stack([ScipySpline.design_matrix(x[:, d], vector, degree).toarray() for d in range(3)])
    slopes = np.stack([ScipySpline(vector, c[d], degree).derivative()(x[:, d]) for d in range(3)]) if degree else 0.0
    y, dx, dc = gradients(
        lambda x, c: sums(atom, x, c),
        torch.tensor(x, requires_grad=True),
        torch.tensor(c, requires_grad=True),
        torch.tensor(g),
    )
    assert np.allclose(y.detach(), np.einsum("dnk,dkr->nr", tables, c), atol=1e-11)
    assert np.allclose(dc, np.einsum("dnk,nr->dkr", tables, g), atol=1e-11)
    wanted = np.einsum("dnr,nr->nd", slopes, g) if degree else np.zeros_like(x)
    assert np.allclose(dx, wanted, atol=1e-9 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("outside", ["linear", "constant", "periodic"])
@pytest.mark.parametrize(("degree", "knots"), [(1, None), (3, None), (4, None), (3, KNOTS)])
def test_first_and_second_derivatives(way, outside, degree, knots):
    atom = spline(4, degree, outside, knots)
    x, c = data(atom, rows=5)
    assert gradcheck(lambda x, c: sums(atom, x, c), (x, c))
    if degree > 1:
        assert gradgradcheck(lambda x, c: sums(atom, x, c), (x, c))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("outside", ["linear", "constant", "periodic"])
@pytest.mark.parametrize(
    ("rows", "coordinates", "rank", "intervals", "degree"),
    [(130, 37, 5, 8, 3), (77, 4, 70, 64, 3), (33, 30, 3, 3, 2), (1, 1, 1, 1, 1), (90, 3, 2, 30, 5)],
)
def test_equals_plain(way, no_plain, rows, coordinates, rank, intervals, degree, outside, dtype, tolerance):
    atom = spline(intervals, degree, outside)
    x, c = data(atom, rows, coordinates, rank, dtype)
    g = torch.randn(rows, rank, dtype=dtype)
    exact = gradients(lambda x, c: plain_sums(atom, x, c), x.double(), c.double(), g.double())
    assert_same(gradients(lambda x, c: sums(atom, x, c), x, c, g), exact, tolerance)


@pytest.mark.parametrize("threads", [1, 2])
def test_default_tiles_on_any_number_of_threads(no_plain, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for intervals in (4, 40):
            atom = spline(intervals)
            x, c = data(atom, 3000, 60, 9)
            g = torch.randn(3000, 9, dtype=torch.float64)
            exact = gradients(lambda x, c, atom=atom: plain_sums(atom, x, c), x, c, g)
            assert_same(gradients(lambda x, c, atom=atom: sums(atom, x, c), x, c, g), exact, 1e-12)
    finally:
        torch.set_num_threads(before)


def test_error_policy_names_the_offender(way):
    atom = spline(outside="error")
    x, c = data(atom)
    with pytest.raises(ValueError, match="outside='error'"):
        sums(atom, x, c)
    inside = x.detach().clamp(-1, 2)
    assert torch.allclose(sums(atom, inside, c), plain_sums(atom, inside, c))


@pytest.mark.parametrize(("degree", "knots"), [(0, None), (1, None), (3, None), (3, KNOTS)])
def test_not_a_number_stays_one_and_stays_where_it_is(way, no_plain, degree, knots):
    atom = spline(4, degree, knots=knots)
    x, c = data(atom)
    with torch.no_grad():
        x[2, 1] = torch.nan
    y, dx, _ = gradients(lambda x, c: sums(atom, x, c), x, c, torch.ones(7, 2, dtype=torch.float64))
    rows = torch.arange(7) == 2
    assert torch.equal(y.isnan().all(dim=1), rows)
    assert torch.equal(y.isnan().any(dim=1), rows)
    assert torch.isfinite(dx[:2]).all()
    if degree:
        assert dx[2, 1].isnan()


@pytest.mark.parametrize("knots", [None, KNOTS])
def test_any_layout_and_leading_axes(way, no_plain, knots):
    atom = spline(4, knots=knots)
    x, c = data(atom, rows=24)
    expected = gradients(lambda x, c: atom(x).flatten(-2) @ c.flatten(0, 1), x, c, torch.ones(24, 2).double())
    folded = gradients(
        lambda x, c: sums(atom, x.reshape(2, 3, 4, 3), c).reshape(24, 2), x, c, torch.ones(24, 2).double()
    )
    columns = gradients(
        lambda x, c: sums(atom, x.T.contiguous().T, c.permute(2, 1, 0).contiguous().permute(2, 1, 0)),
        x,
        c,
        torch.ones(1, 1).double().expand(24, 2),
    )
    assert_same(folded, expected, 1e-12)
    assert_same(columns, expected, 1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (3,)])
def test_no_rows_and_a_single_one(shape):
    atom = spline()
    _, c = data(atom)
    y = sums(atom, torch.zeros(shape, dtype=torch.float64), c)
    assert y.shape == (*shape[:-1], 2)
    y.sum().backward()


def test_gradients_only_where_wanted(way, no_plain):
    atom = spline()
    x, c = data(atom)
    y, dx, dc = gradients(lambda x, c: sums(atom, x, c), x, c, torch.ones(7, 2, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(sums(atom, x, c.detach()).sum(), x)[0], dx)
    assert torch.equal(torch.autograd.grad(sums(atom, x.detach(), c).sum(), c)[0], dc)
    with torch.no_grad():
        assert torch.equal(sums(atom, x, c), y)
    assert not sums(atom, x.detach(), c.detach()).requires_grad


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch imports its own for jacfwd
def test_transforms(way):
    atom = spline()
    x, c = data(atom)
    x = x.detach()

    def one(row):
        return sums(atom, row[None], c)[0]

    def both(v):
        return torch.cat([sums(atom, v, c).flatten()])

    expected = torch.stack([jacobian(one, row) for row in x])
    assert torch.allclose(torch.func.vmap(one)(x), sums(atom, x, c))
    assert torch.allclose(torch.func.vmap(torch.func.jacrev(one))(x), expected)
    assert torch.allclose(torch.func.vmap(torch.func.jacfwd(one))(x), expected)
    assert torch.allclose(jacobian(both, x, vectorize=True), jacobian(both, x))
    hessian = torch.func.hessian(lambda row: one(row).sum())(x[0])
    assert torch.allclose(torch.autograd.functional.hessian(lambda row: one(row).sum(), x[0]), hessian)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(sums(atom, forward_ad.make_dual(x, torch.ones_like(x)), c)).tangent
    assert torch.allclose(tangent, expected.sum(-1))


def test_compiled_and_autocast(way):
    atom = spline()
    x, c = data(atom, dtype=torch.float32)
    compiled = torch.compile(lambda x, c: sums(atom, x, c), backend="aot_eager", fullgraph=True)
    g = torch.ones(7, 2)
    assert_same(gradients(compiled, x, c, g), gradients(lambda x, c: sums(atom, x, c), x, c, g), 1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert sums(atom, x, c).dtype == torch.bfloat16


def test_layer_with_a_domain_and_a_family_of_its_own_for_each_coordinate(no_plain):
    atoms = [
        BSpline(6, 3, (0.0, 1.0)),
        BSpline(6, 3, (-300.0, 50.0)),
        BSpline(40, 2, (0.0, 1e-3), outside="constant"),
        BSpline(6, 3, (5.0, 6.0)),
    ]
    layer = SeparableLayer(4, 2, atoms=atoms, interaction=CanonicalPolyadic(rank=5, order=1), dtype=torch.float64)
    ends = torch.tensor([atom.domain for atom in atoms], dtype=torch.float64)
    inner = torch.rand(100, 4, dtype=torch.float64) * 1.4 - 0.2
    x = (ends[:, 0] + inner * (ends[:, 1] - ends[:, 0])).requires_grad_()
    y = layer(x)
    assert torch.allclose(y, layer.interaction.contract(layer.expansion.factors(x), layer.core) + layer.bias)
    (dx,) = torch.autograd.grad(y[:, 1].sum(), x)
    assert torch.allclose(dx, layer.jacobian(x)[:, 1])


def test_whole_functions_span_the_same_splines():
    for intervals, degree in itertools.product([1, 2, 3, 6, 20], [1, 2, 3]):
        matrix = spline_points._whole(intervals, degree).numpy()
        assert np.abs(matrix).max() < 16
        assert np.linalg.matrix_rank(matrix) == intervals + degree
        if intervals >= degree:
            shorter = spline_points._whole(min(intervals, 2 * degree), degree).numpy()
            expected = np.eye(intervals + degree)
            expected[:degree, :degree], expected[-degree:, -degree:] = (
                shorter[:degree, :degree],
                shorter[-degree:, -degree:],
            )
            assert np.allclose(matrix, expected, atol=1e-10)
