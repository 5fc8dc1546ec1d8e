"""Bounds against other forms of the same formulas, against laminates that reach them, and over random cells."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from domains.microstructure.bounds import (
    conductivity_margins,
    hashin_shtrikman_conductivity,
    hashin_shtrikman_elasticity,
    reachable_conductivity,
    stiffness_margins,
    voigt_reuss,
    wiener,
)
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import Material, effective_stiffness

SOFT, HARD = Material(1.0, 0.35), Material(20.0, 0.2)


def random_cell(rng, n, d, width):
    waves = np.meshgrid(*[np.fft.fftfreq(n)] * d, indexing="ij")
    smooth = np.exp(-2 * (np.pi * width) ** 2 * sum(w * w for w in waves))
    field = np.fft.ifftn(np.fft.fftn(rng.standard_normal((n,) * d)) * smooth).real
    return (field > np.quantile(field, 1 - rng.uniform(0.05, 0.95))).astype(float)


def laminate(first, second, share, axis):
    """Layers of two diagonal conductivities: harmonic mean across, arithmetic mean along."""
    mean = share * first + (1 - share) * second
    mean[axis] = 1 / (share / first[axis] + (1 - share) / second[axis])
    return mean


def random_laminate(rng, d, k, depth):
    """Layers of layers: a conductivity on the diagonal and the volume fraction of the second phase."""
    if depth == 0:
        phase = int(rng.integers(2))
        return np.full(d, k[phase]), float(phase)
    (a, fa), (b, fb) = (random_laminate(rng, d, k, depth - 1) for _ in range(2))
    share = rng.uniform(0.05, 0.95)
    return laminate(a, b, share, int(rng.integers(d))), share * fa + (1 - share) * fb


def rank_one(materials, share, normal):
    """Stiffness of layers from continuity of traction and of tangential strain, solved for the jump alone."""
    d = len(normal)
    soft, hard = (m.modulus(d) for m in materials)
    n = np.array(normal) / np.linalg.norm(normal)
    pairs = [(i, i) for i in range(d)] + ([(0, 1)] if d == 2 else [(1, 2), (0, 2), (0, 1)])
    found = np.zeros((len(pairs),) * 2)
    for column, (i, j) in enumerate(pairs):
        strain = np.zeros((d, d))
        strain[i, j] += 0.5
        strain[j, i] += 0.5
        # strain in soft = strain + (1 - share) jump n, in hard = strain - share jump n; tractions agree
        jump = np.linalg.solve(
            np.einsum("iajb,a,b->ij", (1 - share) * soft + share * hard, n, n),
            np.einsum("iajb,jb,a->i", hard - soft, strain, n),
        )
        gradient = np.outer(jump, n)
        stress = share * np.einsum("iajb,jb->ia", soft, strain + (1 - share) * gradient)
        stress = stress + (1 - share) * np.einsum("iajb,jb->ia", hard, strain - share * gradient)
        found[:, column] = [stress[p] for p in pairs]
    return found


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("k", [(1.0, 10.0), (5.0, 0.2)])
@pytest.mark.parametrize("f", [0.0, 0.2, 0.7, 1.0])
def test_conductivity_of_two_phases_in_the_published_form(d, k, f):
    found = hashin_shtrikman_conductivity((1 - f, f), k, d)
    expected = []
    for a, b, share in ((k[0], k[1], f), (k[1], k[0], 1 - f)):  # b spread in a
        expected.append(a + share / (1 / (b - a) + (1 - share) / (d * a)))
    np.testing.assert_allclose((found.lower, found.upper), sorted(expected), rtol=1e-12)
    simple = wiener((1 - f, f), k)
    slack = 1e-12 * max(k)
    assert simple.lower - slack <= found.lower <= found.upper + slack
    assert found.upper <= simple.upper + slack


@pytest.mark.parametrize("f", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("pair", [(SOFT, HARD), (HARD, SOFT), (Material(1.0, -0.4), Material(1000.0, 0.45))])
def test_elasticity_of_two_phases_in_the_published_form(f, pair):
    """Hashin and Shtrikman (1963), eqs. 4.1 to 4.4; Hashin (1965) for the plane."""
    k = [m.young / (3 * (1 - 2 * m.poisson)) for m in pair]
    g = [m.young / (2 * (1 + m.poisson)) for m in pair]
    plane = [a + b / 3 for a, b in zip(k, g, strict=True)]
    solid, sheet = ([], []), ([], [])
    for a, b, share in ((0, 1, f), (1, 0, 1 - f)):
        rest = 1 - share
        solid[0].append(k[a] + share / (1 / (k[b] - k[a]) + 3 * rest / (3 * k[a] + 4 * g[a])))
        six = 6 * (k[a] + 2 * g[a]) * rest / (5 * g[a] * (3 * k[a] + 4 * g[a]))
        solid[1].append(g[a] + share / (1 / (g[b] - g[a]) + six))
        sheet[0].append(plane[a] + share / (1 / (plane[b] - plane[a]) + rest / (plane[a] + g[a])))
        two = rest * (plane[a] + 2 * g[a]) / (2 * g[a] * (plane[a] + g[a]))
        sheet[1].append(g[a] + share / (1 / (g[b] - g[a]) + two))
    for d, expected in ((3, solid), (2, sheet)):
        for found, values in zip(hashin_shtrikman_elasticity((1 - f, f), pair, d), expected, strict=True):
            np.testing.assert_allclose((found.lower, found.upper), sorted(values), rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_bounds_of_an_isotropic_stiffness_are_those_of_hashin_and_shtrikman(d):
    """On an isotropic tensor the trace bounds must turn negative exactly where the bulk or shear bound is passed."""
    f = (0.4, 0.6)
    bulk, shear = hashin_shtrikman_elasticity(f, (SOFT, HARD), d)
    one = np.eye(d)
    deviator = np.einsum("ij,ab->iajb", one, one) + np.einsum("ib,aj->iajb", one, one)
    deviator = deviator - 2 / d * np.einsum("ia,jb->iajb", one, one)
    pairs = [(i, i) for i in range(d)] + ([(0, 1)] if d == 2 else [(1, 2), (0, 2), (0, 1)])

    def margins(k, g):
        tensor = k * np.einsum("ia,jb->iajb", one, one) + g * deviator
        return stiffness_margins([[tensor[(*p, *q)] for q in pairs] for p in pairs], f, (SOFT, HARD))

    for end, side in ((bulk.lower, "lower, bulk"), (bulk.upper, "upper, bulk")):
        middle = (shear.lower + shear.upper) / 2
        assert margins(end, middle)[f"Milton-Kohn, {side}"] == pytest.approx(0, abs=1e-12)
    for end, side in ((shear.lower, "lower, shear"), (shear.upper, "upper, shear")):
        middle = (bulk.lower + bulk.upper) / 2
        assert margins(middle, end)[f"Milton-Kohn, {side}"] == pytest.approx(0, abs=1e-12)
    assert margins(bulk.lower * 0.99, shear.lower * 1.01)["Milton-Kohn, lower, bulk"] < 0
    assert margins(bulk.upper * 1.01, shear.upper * 0.99)["Milton-Kohn, upper, bulk"] < 0


def test_several_phases_lie_between_their_extremes():
    k, f = (1.0, 4.0, 20.0), (0.2, 0.5, 0.3)
    for d in (2, 3):
        found = hashin_shtrikman_conductivity(f, k, d)
        for bound, medium in ((found.lower, 1.0), (found.upper, 20.0)):
            # The coated-sphere formula of Bruggeman's kind: sum f (k - medium) / (k + (d - 1) medium)
            ratio = sum(w * (c - medium) / (c + (d - 1) * medium) for w, c in zip(f, k, strict=True))
            assert (bound - medium) / (bound + (d - 1) * medium) == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize("normal", [(1, 0), (1, 2), (0, 0, 1), (1, -1, 2)])
@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("pair", [(SOFT, HARD), (HARD, SOFT)])
def test_layers_reach_every_trace_bound_of_stiffness(normal, share, pair):
    stiffness = rank_one(pair, share, normal)
    np.testing.assert_allclose(stiffness, stiffness.T, atol=1e-12)
    margins = stiffness_margins(stiffness, (share, 1 - share), pair)
    assert len(margins) == 6
    for name, margin in margins.items():
        if name.startswith("Milton-Kohn"):
            assert margin == pytest.approx(0, abs=1e-10)
        else:
            assert margin > -1e-12


@pytest.mark.parametrize("d", [2, 3])
def test_layers_of_layers_respect_and_reach_the_bounds_of_conductivity(d):
    rng = np.random.default_rng(0)
    k, tested = (1.0, 30.0), 0
    for _ in range(300):
        tensor, f = random_laminate(rng, d, k, 4)
        if not 0.01 < f < 0.99:
            continue
        tested += 1
        rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
        margins = conductivity_margins(rotation @ np.diag(tensor) @ rotation.T, (1 - f, f), k)
        assert min(margins.values()) > -1e-10
        for entry in range(d):
            others = np.delete(tensor, entry)
            for count in range(d):
                allowed = reachable_conductivity((1 - f, f), k, d, others[:count])
                assert allowed.lower - 1e-9 <= tensor[entry] <= allowed.upper + 1e-9
    assert tested > 150
    # Layers in the weaker phase again and again, across each axis: matrix laminates, which reach the lower trace bound.
    for matrix, side in ((0, "lower"), (1, "upper")):
        host = np.full(d, k[matrix])
        tensor, f = np.full(d, k[1 - matrix]), 1.0
        for axis in range(d):
            tensor, f = laminate(tensor, host, 0.6, axis), 0.6 * f
        shares = (1 - f, f) if matrix == 0 else (f, 1 - f)
        assert conductivity_margins(np.diag(tensor), shares, k)[f"Lurie-Cherkaev, {side}"] == pytest.approx(
            0, abs=1e-12
        )
        allowed = reachable_conductivity(shares, k, d, tensor[1:])
        assert getattr(allowed, side) == pytest.approx(tensor[0], rel=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_reachable_interval_is_that_of_all_allowed_diagonals(d):
    """Against a search over diagonals on a fine grid with the four inequalities written out."""
    f, k = (0.35, 0.65), (1.0, 8.0)
    h, m = 1 / (f[0] / k[0] + f[1] / k[1]), f[0] * k[0] + f[1] * k[1]
    grid = np.linspace(h, m, 121 if d == 2 else 81)
    values = np.stack(np.meshgrid(*[grid] * d, indexing="ij"), -1).reshape(-1, d)
    lower = (1 / (values - k[0])).sum(1) <= (1 / (h - k[0]) + (d - 1) / (m - k[0])) * (1 + 1e-12)
    upper = (1 / (k[1] - values)).sum(1) <= (1 / (k[1] - h) + (d - 1) / (k[1] - m)) * (1 + 1e-12)
    allowed = values[lower & upper]
    spacing = grid[1] - grid[0]
    for given in grid[[20, 40, 60]]:
        mine = allowed[np.isclose(allowed[:, 1], given)]
        found = reachable_conductivity(f, k, d, (given,))
        assert found.lower - 1e-9 <= mine[:, 0].min() <= found.lower + 4 * spacing
        assert found.upper - 4 * spacing <= mine[:, 0].max() <= found.upper + 1e-9


def test_given_entries_that_nothing_has_are_refused():
    f, k = (0.5, 0.5), (1.0, 3.0)
    for given in ((2.1,), (1.4,), (float("nan"),)):
        with pytest.raises(ValueError):
            reachable_conductivity(f, k, 2, given)
    with pytest.raises(ValueError):
        reachable_conductivity(f, k, 3, (1.5, 1.5))  # each is reachable, both are not
    with pytest.raises(ValueError):
        reachable_conductivity(f, k, 2, (1.6, 1.6))
    assert 1.7 in reachable_conductivity(f, k)
    assert 2.01 not in reachable_conductivity(f, k)


def refined(cells, factor):
    return torch.from_numpy(np.kron(cells, np.ones((1, factor, factor))))


@pytest.mark.parametrize("contrast", [1.5, 4.0, 30.0, 1000.0, 0.5, 0.1, 0.01, 0.001])
def test_random_cells_break_no_bound_of_conductivity(contrast):
    """25 for each contrast; the upper trace bound holds where features have some voxels: here at least 4."""
    rng = np.random.default_rng(1)
    cells = np.array([random_cell(rng, 16, 2, rng.uniform(0, 2)) for _ in range(25)])
    tensors = effective_conductivity(refined(cells, 4), (1.0, contrast), tolerance=1e-5)
    for cell, tensor in zip(cells, tensors.numpy(), strict=True):
        f = cell.mean()
        assert min(conductivity_margins(tensor, (1 - f, f), (1.0, contrast)).values()) > 0


def test_random_cells_break_no_bound_of_conductivity_in_three_dimensions():
    rng = np.random.default_rng(2)
    for _ in range(12):
        cell = random_cell(rng, 14, 3, rng.uniform(2, 3))
        f = cell.mean()
        tensor = effective_conductivity(torch.from_numpy(cell)[None], (1.0, 50.0))[0].numpy()
        assert min(conductivity_margins(tensor, (1 - f, f), (1.0, 50.0)).values()) > 0


@pytest.mark.parametrize("contrast", [1.5, 4.0, 30.0, 1000.0, 0.5, 0.1, 0.01, 0.001])
def test_random_cells_break_no_bound_of_stiffness(contrast):
    """25 for each contrast. The upper trace bounds are of the limit, so for them two grids are extrapolated."""
    rng = np.random.default_rng(3)
    cells = np.array([random_cell(rng, 10, 2, rng.uniform(0, 1.5)) for _ in range(25)])
    pair = (Material(1.0, 0.3), Material(contrast, 0.3))
    coarse, fine = (effective_stiffness(refined(cells, n), pair, tolerance=1e-5).numpy() for n in (2, 4))
    for cell, first, second in zip(cells, coarse, fine, strict=True):
        shares = (1 - cell.mean(), cell.mean())
        limit = stiffness_margins(2 * second - first, shares, pair)
        for name, margin in stiffness_margins(second, shares, pair).items():
            assert (limit[name] if "upper" in name else margin) > 0


def test_random_cells_break_no_bound_of_stiffness_in_three_dimensions():
    rng = np.random.default_rng(4)
    for _ in range(4):
        cell = random_cell(rng, 12, 3, 2.5)
        f = cell.mean()
        tensor = effective_stiffness(torch.from_numpy(cell)[None], (SOFT, HARD))[0].numpy()
        assert min(stiffness_margins(tensor, (1 - f, f), (SOFT, HARD)).values()) > 0


def test_squares_of_one_voxel_break_the_upper_bound_until_they_are_resolved():
    """A checkerboard of single voxels cannot bend the field at all: it comes out as the arithmetic mean."""
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    margins = []
    for refined in (1, 4):
        cell = torch.kron(board, torch.ones(refined, refined, dtype=torch.float64))[None]
        tensor = effective_conductivity(cell, (1.0, 10.0))[0].numpy()
        margins.append(conductivity_margins(tensor, (0.5, 0.5), (1.0, 10.0))["Lurie-Cherkaev, upper"])
    assert margins[0] < 0 < margins[1]


def test_margins_of_what_no_mixture_has():
    f, k = (0.5, 0.5), (1.0, 10.0)
    assert conductivity_margins(np.eye(2) * 0.9, f, k)["Lurie-Cherkaev, lower"] == -np.inf
    assert conductivity_margins(np.eye(3) * 10.0, f, k)["Lurie-Cherkaev, upper"] == -np.inf
    reuss, voigt = voigt_reuss(f, (SOFT, HARD), 2)
    assert stiffness_margins(0.99 * reuss, f, (SOFT, HARD))["Reuss"] == pytest.approx(-0.01)
    assert stiffness_margins(1.01 * voigt, f, (SOFT, HARD))["Voigt"] == pytest.approx(-0.01)


@pytest.mark.parametrize("bad", [(0.5, 0.6), (-0.1, 1.1), (0.5,), (float("nan"), 0.5)])
def test_fractions_that_are_not_are_refused(bad):
    with pytest.raises(ValueError):
        wiener(bad, (1.0, 2.0))
    with pytest.raises(ValueError):
        stiffness_margins(np.eye(3), bad, (SOFT, HARD))


def test_other_arguments_that_are_not_are_refused():
    with pytest.raises(ValueError):
        wiener((0.5, 0.5), (1.0, -2.0))
    with pytest.raises(ValueError):
        hashin_shtrikman_conductivity((0.5, 0.5), (1.0, 2.0), 4)
    with pytest.raises(ValueError):
        conductivity_margins(np.eye(2), (0.5, 0.5), (2.0, 2.0))
    with pytest.raises(ValueError):
        conductivity_margins(np.ones(3), (0.5, 0.5), (1.0, 2.0))
    with pytest.raises(ValueError):  # stiffer in shear, softer in bulk
        stiffness_margins(np.eye(3), (0.5, 0.5), (Material(1.0, 0.49), Material(1.1, 0.0)))
    with pytest.raises(ValueError):
        reachable_conductivity((0.5, 0.5), (1.0, 2.0), 2, (1.4, 1.4))


def test_phases_that_there_are_none_of_bound_nothing():
    present = hashin_shtrikman_conductivity((0.5, 0.5), (1.0, 3.0), 3)
    absent = hashin_shtrikman_conductivity((0.5, 0.5, 0.0), (1.0, 3.0, 100.0), 3)
    assert (absent.lower, absent.upper) == (present.lower, present.upper)
    absent = hashin_shtrikman_elasticity((0.3, 0.0, 0.7), (SOFT, Material(300.0, 0.1), HARD), 3)
    assert absent == hashin_shtrikman_elasticity((0.3, 0.7), (SOFT, HARD), 3)


@pytest.mark.parametrize("fractions", [(1.0, 0.0), (0.3, 0.7), (1e-9, 1 - 1e-9)])
def test_bounds_keep_their_digits_at_any_contrast(fractions):
    conductivities = (1e-12, 1e6)
    f, k = ([Fraction(value) for value in values] for values in (fractions, conductivities))
    f = [share / sum(f) for share in f]
    present = [value for share, value in zip(f, k, strict=True) if share]
    exact = [1 / sum(s / (v + 2 * z) for s, v in zip(f, k, strict=True)) - 2 * z for z in (min(present), max(present))]
    found = hashin_shtrikman_conductivity(fractions, conductivities, 3)
    assert (found.lower, found.upper) == pytest.approx([float(value) for value in exact], rel=1e-12)


def test_equal_phases_are_within_their_bounds():
    assert 3.1 in wiener((0.3, 0.7), (3.1, 3.1))
    assert 3.1 in hashin_shtrikman_conductivity((0.3, 0.7), (3.1, 3.1), 2)
