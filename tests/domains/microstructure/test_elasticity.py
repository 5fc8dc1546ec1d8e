"""Effective stiffness against exact results: layers (Backus), checkerboards, one shear modulus, turned cells."""

import itertools
import math

import numpy as np
import pytest
import torch

from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import (
    VOIGT,
    Material,
    effective_stiffness,
    elastic_response,
    young_moduli,
)
from domains.microstructure.homogenisation import NotConverged

SOFT, HARD = Material(1.0, 0.35), Material(20.0, 0.2)


def random_cells(count, n, d, seed=0, width=1.5):
    """Thresholded smooth noise: two-phase periodic cells with features of several voxels."""
    rng = np.random.default_rng(seed)
    waves = np.meshgrid(*[np.fft.fftfreq(n)] * d, indexing="ij")
    smooth = np.exp(-2 * (np.pi * width) ** 2 * sum(w * w for w in waves))
    cells = []
    for _ in range(count):
        field = np.fft.ifftn(np.fft.fftn(rng.standard_normal((n,) * d)) * smooth).real
        cells.append(field > np.quantile(field, rng.uniform(0.2, 0.8)))
    return torch.from_numpy(np.array(cells)).double()


def lame(material):
    shear = material.young / (2 * (1 + material.poisson))
    return material.young * material.poisson / ((1 + material.poisson) * (1 - 2 * material.poisson)), shear


def full(stiffness):
    """The tensor (d, d, d, d) of a stiffness in Voigt form."""
    d = {3: 2, 6: 3}[len(stiffness)]
    tensor = np.zeros((d,) * 4)
    for (row, (i, j)), (column, (k, m)) in itertools.product(enumerate(VOIGT[d]), repeat=2):
        for a, b in {(i, j), (j, i)}:
            for p, q in {(k, m), (m, k)}:
                tensor[a, b, p, q] = stiffness[row, column]
    return tensor


def voigt(tensor):
    return np.array([[tensor[(*a, *b)] for b in VOIGT[len(tensor)]] for a in VOIGT[len(tensor)]])


def turned(stiffness, rotation):
    return voigt(np.einsum("ai,bj,ck,dl,ijkl->abcd", *[rotation] * 4, full(stiffness)))


def backus(weights, materials, axis, d):
    """Layers of isotropic phases (Backus 1962, eq. 13, without his factor 2 in shear), normal along an axis."""
    la, mu = np.array([lame(m) for m in materials]).T
    w = np.array(weights)
    p = la + 2 * mu
    along = 1 / (w / p).sum()
    ratio = (w * la / p).sum() * along
    within = (w * 4 * mu * (la + mu) / p).sum() + (w * la / p).sum() ** 2 * along
    between = (w * 2 * mu * la / p).sum() + (w * la / p).sum() ** 2 * along
    tensor = np.zeros((d,) * 4)
    for i, j in itertools.product(range(d), repeat=2):
        tensor[i, i, j, j] = ratio if axis in (i, j) else between
    for i, j in itertools.permutations(range(d), 2):
        shear = 1 / (w / mu).sum() if axis in (i, j) else (w * mu).sum()
        tensor[i, j, i, j] = tensor[i, j, j, i] = shear
    for i in range(d):
        tensor[i, i, i, i] = along if i == axis else within
    return voigt(tensor)


def layered(values, axis, others):
    shape = [1] * (len(others) + 1)
    shape[axis] = len(values)
    extent = list(others)
    extent.insert(axis, len(values))
    return torch.tensor(values, dtype=torch.float64).reshape(shape).expand(extent)[None]


@pytest.mark.parametrize(("d", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("pair", [(SOFT, HARD), (Material(1.0, 0.49), Material(1000.0, -0.3))])
def test_layers_are_exact(d, axis, pair):
    found = effective_stiffness(layered([0, 1, 1, 0, 0], axis, (3,) * (d - 1)), pair, tolerance=1e-9)[0].numpy()
    expected = backus((0.6, 0.4), pair, axis, d)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_layers_of_sheets_in_plane_stress():
    """Plane stress is plane strain with lambda* = 2 lambda mu / (lambda + 2 mu)."""
    pair = tuple(Material(m.young, m.poisson, "stress") for m in (SOFT, HARD))
    found = effective_stiffness(layered([0, 1, 1, 0, 0], 0, (3,)), pair, tolerance=1e-9)[0].numpy()
    la, mu = np.array([lame(m) for m in pair]).T
    star, w = 2 * la * mu / (la + 2 * mu), np.array([0.6, 0.4])
    assert found[0, 0] == pytest.approx(1 / (w / (star + 2 * mu)).sum(), rel=1e-9)
    assert found[2, 2] == pytest.approx(1 / (w / mu).sum(), rel=1e-9)
    uniform = Material(2.0, 0.3, "stress").stiffness(2)
    np.testing.assert_allclose(uniform[0, 0], 2.0 / (1 - 0.3**2))
    np.testing.assert_allclose(uniform[0, 1], 0.3 * 2.0 / (1 - 0.3**2))


@pytest.mark.parametrize("normal", [(1, 1), (1, -1), (0, 1, 1), (1, 0, 1)])
def test_oblique_layers_converge_to_the_turned_tensor(normal):
    d = len(normal)
    pair = (Material(1.0, 0.3), Material(4.0, 0.3))
    first = np.array(normal) / np.linalg.norm(normal)
    rotation = np.linalg.qr(np.column_stack([first, np.eye(d)[:, : d - 1] if d == 2 else np.eye(3)[:, [0, 1]]]))[0]
    rotation[:, 0] = first
    if d == 3:  # any right-handed frame with the normal first
        other = np.eye(3)[normal.index(0)]
        rotation = np.column_stack([first, other, np.cross(first, other)])
    expected = turned(backus((0.5, 0.5), pair, 0, d), rotation)
    errors = []
    for n in (16, 32, 64) if d == 2 else (8, 16):
        phase = sum(c * p for c, p in zip(normal, np.indices((n,) * d), strict=True))
        cell = torch.from_numpy((phase % n < n / 2).astype(float))[None]
        errors.append(np.abs(effective_stiffness(cell, pair)[0].numpy() - expected).max() / expected.max())
    assert errors[-1] < (0.01 if d == 2 else 0.03)
    assert all(fine < 0.6 * coarse for coarse, fine in itertools.pairwise(errors))


@pytest.mark.parametrize(("d", "n"), [(2, 32), (3, 12)])
def test_equal_shear_moduli_make_the_bulk_modulus_exact(d, n):
    """Hill (1963): phases of one shear modulus have 1 / (lambda + 2 mu) averaged, whatever the geometry."""
    shear = 1.0
    pair = tuple(Material(2 * shear * (1 + nu), nu) for nu in (-0.4, 0.4))
    cell = random_cells(1, n, d, seed=3)
    share = float(cell.mean())
    p = [lame(m)[0] + 2 * lame(m)[1] for m in pair]
    exact = 1 / ((1 - share) / p[0] + share / p[1])
    coarse = effective_stiffness(cell, pair)[0]
    fine = effective_stiffness(torch.from_numpy(np.kron(cell[0], np.ones((2,) * d)))[None], pair)[0]
    expected = torch.full((d, d), exact - 2 * shear, dtype=torch.float64) + 2 * shear * torch.eye(d)
    errors = [float((c[:d, :d] - expected).abs().max()) / exact for c in (coarse, fine)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < (5e-3 if d == 2 else 1e-2)


def test_incompressible_checkerboard_of_two_shear_moduli():
    """With bulk moduli far above, the plane is dual to itself: the two shear moduli multiply to mu_1 mu_2."""
    bulk, pair = 1e3, []
    for shear in (1.0, 4.0):
        nu = (bulk - shear) / (2 * bulk)  # plane strain: bulk = mu / (1 - 2 nu)
        pair.append(Material(2 * shear * (1 + nu), nu))
    products = []
    for n in (8, 16, 32, 64):
        i, j = np.indices((n, n)) // (n // 2)
        found = effective_stiffness(torch.from_numpy((i + j) % 2)[None], tuple(pair))[0].numpy()
        products.append((found[0, 0] - found[0, 1]) / 2 * found[2, 2] / 4)
    assert all(fine < coarse for coarse, fine in itertools.pairwise(products))
    assert products[-1] == pytest.approx(1, abs=0.12)


def test_antiplane_shear_of_a_prism_is_conduction():
    """A cell that does not change along z carries xz and yz shear as conductivity mu, node by node."""
    cell = random_cells(1, 12, 2)
    prism = cell[..., None].expand(1, 12, 12, 2)
    stiffness = effective_stiffness(prism, (SOFT, HARD), tolerance=1e-9)[0].numpy()
    shear = effective_conductivity(cell, (lame(SOFT)[1], lame(HARD)[1]), tolerance=1e-9)[0].numpy()
    np.testing.assert_allclose(stiffness[[4, 3]][:, [4, 3]], shear, rtol=1e-9)
    plane = effective_stiffness(cell, (SOFT, HARD), tolerance=1e-9)[0].numpy()
    np.testing.assert_allclose(stiffness[[0, 1, 5]][:, [0, 1, 5]], plane, rtol=0, atol=1e-9 * plane.max())


def test_smooth_cells_converge_with_order_two():
    def cell(n):
        x = 2 * np.pi * (np.arange(n) + 0.5) / n
        return torch.from_numpy(0.5 + 0.3 * np.outer(np.cos(x), np.cos(x)) + 0.15 * np.sin(x)[:, None])[None]

    values = [effective_stiffness(cell(n), (SOFT, HARD), tolerance=1e-8)[0].numpy() for n in (8, 16, 32, 64)]
    steps = [np.linalg.norm(b - a) for a, b in itertools.pairwise(values)]
    assert math.log2(steps[1] / steps[2]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 6)])
def test_symmetric_and_positive_definite(d, n):
    tensors = effective_stiffness(random_cells(4, n, d), (Material(0.01, 0.1), HARD))
    assert torch.equal(tensors, tensors.mT)
    assert torch.linalg.eigvalsh(tensors).min() > 0.004


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 6)])
def test_moving_the_cell_changes_nothing(d, n):
    cells = random_cells(2, n, d)
    first, second = (effective_stiffness(c, (SOFT, HARD), tolerance=1e-8) for c in (cells, cells.roll((3, 5), (1, 2))))
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1), (1, 0, 2)])
def test_exchanging_axes_exchanges_the_tensor(order):
    d = len(order)
    cell = random_cells(1, 16 if d == 2 else 8, d)[:, :-2]
    first, second = (
        effective_stiffness(c, (SOFT, HARD), tolerance=1e-8)[0].numpy()
        for c in (cell, cell.permute(0, *(1 + a for a in order)))
    )
    np.testing.assert_allclose(turned(first, np.eye(d)[list(order)]), second, rtol=0, atol=1e-9 * first.max())


def test_mirroring_turns_the_sign_of_one_coordinate():
    cell = random_cells(1, 16, 2)
    first, second = (effective_stiffness(c, (SOFT, HARD), tolerance=1e-8)[0].numpy() for c in (cell, cell.flip(1)))
    np.testing.assert_allclose(turned(first, np.diag([-1.0, 1.0])), second, rtol=0, atol=1e-9 * first.max())


def test_a_batch_is_its_cells():
    cells = random_cells(4, 16, 2)
    whole = effective_stiffness(cells, (SOFT, HARD))
    alone = torch.cat([effective_stiffness(cell[None], (SOFT, HARD)) for cell in cells])
    torch.testing.assert_close(whole, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("contrast", [10.0, 1000.0])
def test_float32_agrees_to_2e_5(contrast):
    cells, pair = random_cells(3, 32, 2), (Material(1.0, 0.3), Material(contrast, 0.3))
    exact = effective_stiffness(cells, pair)
    single = effective_stiffness(cells.float(), pair)
    assert single.dtype == torch.float32
    assert (torch.linalg.matrix_norm(single - exact) / torch.linalg.matrix_norm(exact)).max() < 2e-5


@pytest.mark.parametrize(("d", "n"), [(2, 32), (3, 8)])
def test_a_contrast_of_a_thousand_converges(d, n):
    cells, pair = random_cells(1, n, d, seed=9), (Material(1000.0, 0.3), Material(1.0, 0.3))
    tight = effective_stiffness(cells, pair, tolerance=1e-9)
    torch.testing.assert_close(effective_stiffness(cells, pair), tight, rtol=0, atol=1e-8 * float(tight.max()))


@pytest.mark.parametrize(("d", "grid"), [(2, (3, 4)), (3, (2, 3, 2))])
def test_gradcheck(d, grid):
    cells = torch.rand(1, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    assert torch.autograd.gradcheck(
        lambda c: effective_stiffness(c, (SOFT, HARD), penalty=2.0, tolerance=1e-11),
        cells.requires_grad_(),
        eps=1e-5,
        atol=1e-6,
    )


def test_gradient_of_a_youngs_modulus_against_differences():
    cells = torch.rand(1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def value(cells):
        return young_moduli(effective_stiffness(cells, (SOFT, HARD), penalty=3.0, tolerance=1e-9))[0, 1]

    value(cells).backward()
    step = 1e-5
    for i, j in ((0, 0), (3, 5), (7, 2)):
        change = torch.zeros_like(cells)
        change[0, i, j] = step
        with torch.no_grad():
            slope = (value(cells + change) - value(cells - change)) / (2 * step)
        assert float(cells.grad[0, i, j]) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("penalty", [1.0, 3.0])
def test_a_grey_cell_is_the_penalised_mixture(penalty):
    found = effective_stiffness(torch.full((1, 4, 4), 0.5, dtype=torch.float64), (SOFT, HARD), penalty=penalty)[0]
    share = 0.5**penalty
    np.testing.assert_allclose(found, (1 - share) * SOFT.stiffness(2) + share * HARD.stiffness(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 6)])
def test_mean_stress_is_the_tensor_times_the_load(d, n):
    effective, local = elastic_response(random_cells(2, n, d), (SOFT, HARD), tolerance=1e-8)
    voxels = tuple(range(3, 3 + d))
    torch.testing.assert_close(local.stress.mean(voxels).mT, effective, rtol=0, atol=1e-7 * float(effective.max()))
    mean = local.strain.mean(voxels)
    torch.testing.assert_close(mean, torch.eye(mean.shape[1]).expand_as(mean).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_local_fields_of_layers(d):
    _, local = elastic_response(layered([0, 1, 1, 0, 0], 0, (2,) * (d - 1)), (SOFT, HARD), tolerance=1e-9)
    stiffness = backus((0.6, 0.4), (SOFT, HARD), 0, d)
    p = [lame(m)[0] + 2 * lame(m)[1] for m in (SOFT, HARD, HARD, SOFT, SOFT)]
    p = torch.tensor(p, dtype=torch.float64).reshape(5, *[1] * (d - 1)).expand(5, *[2] * (d - 1))
    torch.testing.assert_close(local.stress[0, 0, 0], torch.full_like(p, stiffness[0, 0]), rtol=1e-9, atol=0)
    torch.testing.assert_close(local.strain[0, 0, 0], stiffness[0, 0] / p, rtol=1e-9, atol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_engineering_constants_of_a_uniform_cell(d):
    material = Material(3.0, 0.25)
    found = effective_stiffness(torch.zeros((1, *[3] * d), dtype=torch.float64), (material, HARD))
    young = 3.0 if d == 3 else 3.0 / (1 - 0.25**2)
    torch.testing.assert_close(young_moduli(found)[0], torch.full((d,), young, dtype=torch.float64))


@pytest.mark.parametrize(
    "bad",
    [(0.0, 0.3), (-1.0, 0.3), (float("nan"), 0.3), (float("inf"), 0.3), (1.0, 0.5), (1.0, -1.0), (1.0, float("nan"))],
)
def test_materials_that_are_not_are_refused(bad):
    with pytest.raises(ValueError):
        Material(*bad)


def test_other_arguments_that_are_not_are_refused():
    with pytest.raises(ValueError):
        Material(1.0, 0.3, "stretch")
    for bad in ((SOFT,), (SOFT, HARD, SOFT), (1.0, 2.0)):
        with pytest.raises(TypeError):
            effective_stiffness(torch.zeros(1, 4, 4), bad)
    thin = Material(1.0, 0.3, "stress")
    for pair in ((SOFT, thin), (thin, HARD)):  # a cell is long in z or thin, not both
        with pytest.raises(ValueError):
            effective_stiffness(torch.zeros(1, 4, 4), pair)
    for cells in (torch.full((1, 4, 4), torch.nan), torch.full((1, 4, 4), -0.1), torch.zeros(4, 4)):
        with pytest.raises(ValueError):
            effective_stiffness(cells, (SOFT, HARD))


def test_few_iterations_do_not_converge():
    with pytest.raises(NotConverged):
        effective_stiffness(random_cells(1, 16, 2), (SOFT, HARD), max_iterations=2)
