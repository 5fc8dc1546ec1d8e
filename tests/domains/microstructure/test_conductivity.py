"""Effective conductivity against exact results: layers, checkerboards, arrays of discs and spheres, duality."""

import itertools
import math

import numpy as np
import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.conductivity import conduction, effective_conductivity
from domains.microstructure.homogenisation import NotConverged


def random_cells(count, n, d, seed=0, width=1.5):
    """Thresholded smooth noise: two-phase periodic cells with features of several voxels."""
    rng = np.random.default_rng(seed)
    waves = np.meshgrid(*[np.fft.fftfreq(n)] * d, indexing="ij")
    smooth = np.exp(-2 * (np.pi * width) ** 2 * sum(w * w for w in waves))
    cells = []
    for _ in range(count):
        field = np.fft.ifftn(np.fft.fftn(rng.standard_normal((n,) * d)) * smooth).real
        cells.append(field > np.quantile(field, rng.uniform(0.1, 0.9)))
    return torch.from_numpy(np.array(cells)).double()


def layered(values, axis, others):
    """A cell whose voxels change along one axis only."""
    shape = [1] * (len(others) + 1)
    shape[axis] = len(values)
    full = list(others)
    full.insert(axis, len(values))
    return torch.tensor(values, dtype=torch.float64).reshape(shape).expand(full)[None]


@pytest.mark.parametrize(("d", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("contrast", [0.001, 0.1, 1.0, 10.0, 1000.0])
def test_layers_are_exact(d, axis, contrast):
    values = [0.0, 1.0, 0.25, 1.0, 0.6]
    local = np.array([1 + v * (contrast - 1) for v in values])
    expected = np.full(d, local.mean())
    expected[axis] = 1 / (1 / local).mean()
    found = effective_conductivity(layered(values, axis, (3,) * (d - 1)), (1.0, contrast), tolerance=1e-9)[0]
    np.testing.assert_allclose(found, np.diag(expected), rtol=1e-9, atol=1e-9 * expected.max())


def oblique(n, d, normal):
    """Layers of equal thickness across a diagonal; their voxels make staircases."""
    positions = np.indices((n,) * d)
    phase = sum(c * p for c, p in zip(normal, positions, strict=True)) + (0.5 if sum(map(abs, normal)) % 2 else 0)
    return torch.from_numpy((phase % n < n / 2).astype(float))[None]


@pytest.mark.parametrize("normal", [(1, 1), (1, -1), (1, 1, 0), (1, 0, 1), (0, 1, -1), (1, 1, 1)])
def test_oblique_layers_converge_to_the_rotated_tensor(normal):
    d, k = len(normal), (1.0, 5.0)
    unit = np.array(normal) / np.linalg.norm(normal)
    harmonic, mean = 2 / (1 / k[0] + 1 / k[1]), sum(k) / 2
    expected = mean * np.eye(d) + (harmonic - mean) * np.outer(unit, unit)
    errors = [
        np.abs(effective_conductivity(oblique(n, d, normal), k)[0].numpy() - expected).max() / mean
        for n in ((16, 32, 64) if d == 2 else (8, 16))
    ]
    assert errors[-1] < (0.012 if d == 2 else 0.05)
    assert all(fine < 0.6 * coarse for coarse, fine in itertools.pairwise(errors))


@pytest.mark.parametrize("contrast", [2.0, 10.0])
def test_checkerboard_converges_to_the_geometric_mean(contrast):
    exact, excess = math.sqrt(contrast), []
    for n in (8, 16, 32, 64, 128):
        i, j = np.indices((n, n)) // (n // 2)
        found = effective_conductivity(torch.from_numpy((i + j) % 2)[None], (1.0, contrast))[0]
        np.testing.assert_allclose(found, float(found[0, 0]) * np.eye(2), atol=1e-9)
        excess.append(float(found[0, 0]) / exact - 1)
    assert excess[-1] < (1e-4 if contrast == 2 else 0.02)
    # The corner where four squares meet limits the order to 2 s, tan(pi s / 4) = contrast^-1/2 (Keller 1987).
    order = 8 / math.pi * math.atan(contrast**-0.5)
    found = np.diff(np.log2(excess))
    assert found[-1] == pytest.approx(-order, abs=0.15)


def rayleigh(fraction, contrast, terms=8):
    """Square array of discs: Rayleigh's multipoles (Perrins, McKenzie and McPhedran 1979, eq. 13), unit cell."""
    g4 = math.gamma(0.25) ** 8 / (960 * math.pi**2)  # sum over the lattice of z^-4
    sums = {2: math.pi, 4: g4}
    points = np.arange(-60, 61)
    lattice = (points[:, None] + 1j * points).ravel()
    lattice = lattice[lattice != 0]
    for m in range(6, 4 * terms + 2, 2):
        sums[m] = float((lattice**-m).sum().real)
    radius2 = fraction / math.pi
    t = (1 + contrast) / (1 - contrast)
    orders = range(1, 2 * terms, 2)
    system = np.array([[math.comb(n + m - 1, n) * sums[n + m] for m in orders] for n in orders])
    system += np.diag([t / radius2**n for n in orders])
    return 1 - 2 * math.pi * np.linalg.solve(system, np.eye(terms)[0])[0]


def grey_ball(n, d, fraction, samples=8):
    """A ball in the middle of the cell; voxels that it cuts have the share that lies inside."""
    radius = (fraction / math.pi) ** 0.5 if d == 2 else (3 * fraction / (4 * math.pi)) ** (1 / 3)
    x = ((np.arange(n * samples) + 0.5) / (n * samples) - 0.5) ** 2
    inside = sum(np.meshgrid(*[x] * d, indexing="ij", sparse=True)) < radius**2
    for axis in range(d):
        shape = [*inside.shape[:axis], n, samples, *inside.shape[axis + 1 :]]
        inside = inside.reshape(shape).mean(axis + 1)
    return torch.from_numpy(inside)[None]


@pytest.mark.parametrize("contrast", [50.0, 10.0, 0.02])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7])
def test_square_array_of_discs(contrast, fraction):
    errors = []
    for n in (32, 64, 128):
        disc = (grey_ball(n, 2, fraction) > 0.5).double()
        found = float(effective_conductivity(disc, (1.0, contrast))[0, 0, 0])
        # The staircase has not quite the area of the disc; Rayleigh's value moves with it.
        errors.append(abs(found / rayleigh(float(disc.mean()), contrast) - 1))
    assert errors[-1] < (0.01 if fraction < 0.7 else 0.03)
    assert errors[-1] < 0.6 * errors[0]


def test_rayleigh_series_is_the_published_one():
    """Perrins et al. (1979), eq. 14, for moderate filling."""
    f, t = 0.4, (1 + 10) / (1 - 10)
    published = 1 - 2 * f / (t + f - 0.305827 * f**4 * t / (t**2 - 1.402958 * f**8) - 0.013362 * f**8 / t)
    assert rayleigh(f, 10.0) == pytest.approx(published, rel=1e-6)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4])
@pytest.mark.parametrize("contrast", [10.0, 0.1])
def test_simple_cubic_array_of_spheres(fraction, contrast):
    """Sangani and Acrivos (1983), eq. 30, the values of McPhedran and McKenzie (1978)."""
    low = [(contrast - 1) / (contrast + 2 * i / (2 * i - 1)) for i in range(1, 6)]
    f = fraction
    series = -1 / low[0] + f
    series += (
        1.305 * low[1] * f ** (10 / 3) * (1 + 0.231 * low[2] * f ** (11 / 3)) / (1 - 0.405 * low[1] * f ** (7 / 3))
    )
    series += 0.0723 * low[2] * f ** (14 / 3) + 0.153 * low[3] * f**6 + 0.0105 * low[4] * f ** (22 / 3)
    expected = 1 - 3 * f / series
    # Grey voxels at the surface err in proportion to h: two grids remove that.
    coarse, fine = (float(effective_conductivity(grey_ball(n, 3, f, 4), (1.0, contrast))[0, 0, 0]) for n in (16, 32))
    assert expected < fine < expected + 0.6 * (coarse - expected)
    assert 2 * fine - coarse == pytest.approx(expected, rel=0.015)


def test_smooth_cells_converge_with_order_two():
    def cell(n):
        x = 2 * np.pi * (np.arange(n) + 0.5) / n
        return torch.from_numpy(0.5 + 0.3 * np.outer(np.cos(x), np.cos(x)) + 0.15 * np.sin(x)[:, None])[None]

    values = [effective_conductivity(cell(n), (1.0, 20.0), tolerance=1e-8)[0].numpy() for n in (8, 16, 32, 64, 128)]
    steps = [np.linalg.norm(b - a) for a, b in itertools.pairwise(values)]
    orders = np.log2(np.array(steps[:-1]) / steps[1:])
    assert orders[-1] == pytest.approx(2, abs=0.03)


def test_layers_with_a_smooth_profile_have_their_exact_integral():
    n, k = 64, 9.0
    x = 2 * np.pi * (np.arange(n) + 0.5) / n
    cell = torch.from_numpy(np.repeat((0.5 + 0.5 * np.cos(x))[:, None], 2, 1))[None]
    # 1 / (2 pi) int dx / (a + b cos x) = (a^2 - b^2)^-1/2, with a + b = k and a - b = 1
    assert float(effective_conductivity(cell, (1.0, k))[0, 0, 0]) == pytest.approx(math.sqrt(k), rel=1e-9)


def test_duality_holds_in_the_limit():
    """Keller (1964), Mendelson (1975): K(k1, k2) turned by 90 degrees is k1 k2 times the inverse of K(k2, k1)."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    cell = random_cells(1, 32, 2, seed=4, width=2)
    errors = []
    for refined in (1, 2, 4):
        fine = torch.kron(cell[0], torch.ones(refined, refined, dtype=torch.float64))[None]
        one = effective_conductivity(fine, (1.0, 8.0))[0].numpy()
        other = effective_conductivity(fine, (8.0, 1.0))[0].numpy()
        product = turn @ other @ turn.T @ one / 8.0
        errors.append(np.abs(product - np.eye(2)).max())
        assert np.linalg.det(one) * np.linalg.det(other) >= 64  # both are overestimates
    assert errors[2] < 0.5 * errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.03


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 8)])
def test_symmetric_and_positive_definite(d, n):
    tensors = effective_conductivity(random_cells(6, n, d), (0.01, 3.0))
    assert torch.equal(tensors, tensors.mT)
    assert torch.linalg.eigvalsh(tensors).min() > 0.01


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 8)])
def test_moving_the_cell_changes_nothing(d, n):
    cells = random_cells(2, n, d)
    moved = cells.roll((3, 5), (1, 2))
    first, second = (effective_conductivity(c, (1.0, 30.0), tolerance=1e-8) for c in (cells, moved))
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
def test_exchanging_axes_exchanges_the_tensor(order):
    d = len(order)
    cells = random_cells(2, 16 if d == 2 else 8, d)[:, :-2]  # sides differ
    swapped = cells.permute(0, *(1 + a for a in order))
    first, second = (effective_conductivity(c, (1.0, 30.0), tolerance=1e-8) for c in (cells, swapped))
    torch.testing.assert_close(first[:, order][:, :, order], second, rtol=1e-10, atol=1e-10)


def test_mirroring_turns_the_sign_of_one_coordinate():
    cells = random_cells(2, 16, 2)
    first, second = (effective_conductivity(c, (1.0, 30.0), tolerance=1e-8) for c in (cells, cells.flip(1)))
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(first * sign, second, rtol=1e-10, atol=1e-10)


def test_scaling_and_swapping_the_phases():
    cells = random_cells(3, 16, 2)
    base = effective_conductivity(cells, (1.0, 7.0), tolerance=1e-8)
    torch.testing.assert_close(effective_conductivity(cells, (3.0, 21.0), tolerance=1e-8), 3 * base, rtol=1e-11, atol=0)
    torch.testing.assert_close(effective_conductivity(1 - cells, (7.0, 1.0), tolerance=1e-8), base, rtol=1e-11, atol=0)


def test_layers_are_solved_beside_cells_that_take_longer():
    """The layers' loads are solved in a step or two, and nothing is left to divide by in the others' steps."""
    layers = torch.zeros(16, 16)
    layers[:, 1:9] = 1
    others = [generate("gaussian", (16, 16), 0.5, seed=s, length=(6.0, 1.2)).float() for s in range(20)]
    found = effective_conductivity(torch.stack([layers, *others]), (0.1, 1.0))
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[0].diagonal(), torch.tensor([0.55, 2 / 11]), rtol=1e-4, atol=0.0)


def test_a_batch_is_its_cells():
    cells = random_cells(5, 16, 2)
    whole = effective_conductivity(cells, (1.0, 100.0))
    alone = torch.cat([effective_conductivity(cell[None], (1.0, 100.0)) for cell in cells])
    torch.testing.assert_close(whole, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("contrast", [10.0, 1000.0, 0.001])
def test_float32_agrees_to_2e_5(contrast):
    cells = random_cells(4, 32, 2)
    exact = effective_conductivity(cells, (1.0, contrast))
    single = effective_conductivity(cells.float(), (1.0, contrast))
    assert single.dtype == torch.float32
    error = torch.linalg.matrix_norm(single.double() - exact) / torch.linalg.matrix_norm(exact)
    assert error.max() < 2e-5


@pytest.mark.parametrize(("d", "n"), [(2, 64), (3, 16)])
def test_a_contrast_of_a_thousand_converges(d, n):
    cells = random_cells(2, n, d, seed=9)
    tight = effective_conductivity(cells, (1.0, 1000.0), tolerance=1e-9)
    usual = effective_conductivity(cells, (1.0, 1000.0))
    torch.testing.assert_close(usual, tight, rtol=1e-8, atol=1e-8)


def test_gradient_in_the_cell_against_differences():
    cells = torch.rand(1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.tensor([[1.0, 0.3], [0.2, -0.5]], dtype=torch.float64)

    def value(cells):
        return (weights * effective_conductivity(cells, (1.0, 50.0), penalty=3.0, tolerance=1e-9)).sum()

    value(cells).backward()
    step = 1e-5
    for i, j in ((0, 0), (3, 5), (7, 2)):
        change = torch.zeros_like(cells)
        change[0, i, j] = step
        with torch.no_grad():
            slope = (value(cells + change) - value(cells - change)) / (2 * step)
        assert float(cells.grad[0, i, j]) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


def test_gradcheck():
    cells = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    assert torch.autograd.gradcheck(
        lambda c: effective_conductivity(c, (2.0, 0.3), tolerance=1e-11), cells.requires_grad_(), eps=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("penalty", [1.0, 3.0])
def test_a_grey_cell_is_the_penalised_mixture(penalty):
    found = effective_conductivity(torch.full((1, 4, 4), 0.5), (1.0, 9.0), penalty=penalty)[0]
    torch.testing.assert_close(found, (1 + 8 * 0.5**penalty) * torch.eye(2))


@pytest.mark.parametrize(("d", "n"), [(2, 16), (3, 8)])
def test_mean_flux_is_the_tensor_times_the_load(d, n):
    effective, local = conduction(random_cells(2, n, d), (0.1, 7.3), tolerance=1e-8)
    voxels = tuple(range(3, 3 + d))
    torch.testing.assert_close(local.flux.mean(voxels).mT, effective, rtol=1e-7, atol=1e-8)
    mean = local.gradient.mean(voxels)
    torch.testing.assert_close(mean, torch.eye(d, dtype=torch.float64).expand_as(mean), rtol=0, atol=1e-12)


def test_local_fields_of_layers():
    cell = layered([0.0, 1.0, 1.0, 0.0, 0.0], 0, (3,))
    _, local = conduction(cell, (0.1, 0.7), tolerance=1e-9)
    across = 1 / (0.6 / 0.1 + 0.4 / 0.7)
    k = torch.tensor([0.1, 0.7, 0.7, 0.1, 0.1], dtype=torch.float64)[:, None].expand(5, 3)
    torch.testing.assert_close(local.flux[0, 0, 0], torch.full_like(k, across), rtol=1e-10, atol=0)
    torch.testing.assert_close(local.flux[0, 1, 1], k, rtol=1e-10, atol=0)
    torch.testing.assert_close(local.gradient[0, 0, 0], across / k, rtol=1e-10, atol=0)
    assert local.flux[0, 0, 1].abs().max() < 1e-12


def test_the_tensor_falls_as_voxels_are_refined():
    cell = random_cells(1, 16, 2, seed=2, width=1)
    values = []
    for refined in (1, 2, 4):
        fine = torch.kron(cell[0], torch.ones(refined, refined, dtype=torch.float64))[None]
        values.append(effective_conductivity(fine, (1.0, 20.0))[0])
    for coarse, fine in itertools.pairwise(values):
        assert torch.linalg.eigvalsh(coarse - fine).min() > 0


@pytest.mark.parametrize("bad", [(1.0, -2.0), (0.0, 1.0), (1.0, float("nan")), (1.0, float("inf")), (1.0,), (1, 2, 3)])
def test_conductivities_that_are_not_are_refused(bad):
    with pytest.raises(ValueError):
        effective_conductivity(torch.zeros(1, 4, 4), bad)


@pytest.mark.parametrize("bad", [torch.full((1, 4, 4), torch.nan), torch.full((1, 4, 4), 2.0), torch.zeros(4, 4)])
def test_cells_that_are_not_are_refused(bad):
    with pytest.raises(ValueError):
        effective_conductivity(bad, (1.0, 2.0))


@pytest.mark.parametrize("bad", [torch.nan, -1.0, 1.0, torch.inf])
def test_tolerances_that_would_leave_the_mean_of_the_phases_are_refused(bad):
    with pytest.raises(ValueError):
        effective_conductivity(random_cells(1, 16, 2), (1.0, 100.0), tolerance=bad)


def test_few_iterations_do_not_converge():
    with pytest.raises(NotConverged):
        effective_conductivity(random_cells(1, 16, 2), (1.0, 100.0), max_iterations=2)
