"""Permeability against channels and ducts, published drags of spheres and cylinders, and a dense solve of the faces."""

import itertools
import math

import numpy as np
import pytest
import torch

from domains.microstructure import permeability as room
from domains.microstructure.permeability import StokesFlow, permeability

EXACT = 1e-12


def random_cell(grid, porosity=0.7, seed=0, kind="binary"):
    """Float64 densities from smoothed noise: solid or fluid, grey, or all three."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*grid, generator=generator, dtype=torch.float64)
    for axis in range(len(grid)):
        noise = noise + noise.roll(1, axis) + noise.roll(-1, axis)
    level = torch.quantile(noise, porosity)
    if kind == "binary":
        return (noise > level).to(torch.float64)
    grey = torch.sigmoid(2 * (noise - level) / noise.std())
    return grey if kind == "grey" else torch.where(grey > 0.7, 1.0, torch.where(grey < 0.4, 0.0, grey))


def dense_flow(cell, drag=6.0, maximal_drag=math.inf):
    """K and the face velocities (load, component, *grid) with voxels of edge one: the equations, one face at a time.

    No slip is a condition that removes the face; velocities and pressures are solved together by least squares.
    """
    rho = np.asarray(cell)
    grid, d = rho.shape, rho.ndim
    voxels = list(itertools.product(*(range(n) for n in grid)))

    def moved(voxel, axis, step):
        return tuple((i + step * (k == axis)) % grid[k] for k, i in enumerate(voxel))

    def alpha(x):
        rest = 1 - x + drag / maximal_drag
        return math.inf if rest == 0 else drag * x / rest

    unknown = {}
    for k, v in itertools.product(range(d), voxels):
        if alpha(rho[v]) < math.inf and alpha(rho[moved(v, k, -1)]) < math.inf:
            unknown[k, v] = len(unknown)
    first_pressure = len(unknown)
    pressure = {v: first_pressure + i for i, v in enumerate(voxels)}
    matrix = np.zeros((first_pressure + len(voxels),) * 2)
    load = np.zeros((len(matrix), d))
    for (k, v), row in unknown.items():
        behind = moved(v, k, -1)
        load[row, k] = 1.0
        matrix[row, row] += 2 * d + (alpha(rho[v]) + alpha(rho[behind])) / 2
        for axis, step in itertools.product(range(d), (1, -1)):
            neighbour = k, moved(v, axis, step)
            if neighbour in unknown:
                matrix[row, unknown[neighbour]] -= 1.0
            if axis != k:
                for side in (v, behind):  # half the face each: walls at half the distance pull twice as much
                    matrix[row, row] += 0.5 * max(0.0, rho[moved(side, axis, step)] - rho[side]) ** 2
        matrix[row, pressure[v]] += 1.0
        matrix[row, pressure[behind]] -= 1.0
        matrix[pressure[v], row] += 1.0
        matrix[pressure[behind], row] -= 1.0
    solution = np.linalg.lstsq(matrix, load, rcond=1e-13)[0]
    flow = np.zeros((d, d, *grid))
    for (k, v), row in unknown.items():
        flow[(slice(None), k, *v)] = solution[row]
    return flow.reshape(d, d, -1).mean(-1).T, flow


def ball(n, d, fraction, parts=1):
    """A centred disc or sphere that fills a fraction of the unit cell, drawn by the centres of parts^d subvoxels."""
    radius = (fraction / math.pi) ** 0.5 if d == 2 else (3 * fraction / (4 * math.pi)) ** (1 / 3)
    x = (torch.arange(n * parts, dtype=torch.float64) + 0.5) / (n * parts) - 0.5
    square = sum((x**2).reshape([-1 if i == k else 1 for i in range(d)]) for k in range(d))
    inside = (square < radius**2).to(torch.float64)
    pool = torch.nn.functional.avg_pool2d if d == 2 else torch.nn.functional.avg_pool3d
    return pool(inside[None, None], parts)[0, 0], radius


@pytest.mark.parametrize("width", [1, 2, 5, 12])
@pytest.mark.parametrize("axis", [0, 1])
def test_channel_is_plane_poiseuille_with_the_known_error(width, axis):
    cell = torch.ones(3, 16, dtype=torch.float64)
    cell[:, 2 : 2 + width] = 0.0
    cell = cell if axis == 0 else cell.T
    k = permeability(cell, tolerance=EXACT, voxel=0.1)
    # The parabola through the voxel centres, lifted by h^2 / 8 for walls by reflection, and its midpoint sum.
    expected = torch.zeros(2, 2, dtype=torch.float64)
    expected[axis, axis] = 0.01 * width / 16 * (width**2 / 12 + 1 / 6)
    torch.testing.assert_close(k, expected, rtol=1e-10, atol=1e-15)
    assert (k == 0).sum() == 3


@pytest.mark.parametrize("tilt", [0, 2])
def test_plane_channel_in_three_dimensions(tilt):
    cell = torch.ones(2, 3, 8, dtype=torch.float64)
    cell[..., 1:6] = 0.0
    k = permeability(cell.movedim(2, tilt), tolerance=EXACT, voxel=1.0)
    value = 5 / 8 * (25 / 12 + 1 / 6)
    expected = torch.tensor([0.0 if i == tilt else value for i in range(3)], dtype=torch.float64).diag()
    torch.testing.assert_close(k, expected, rtol=1e-10, atol=1e-14)


def test_square_duct_converges_with_second_order_to_the_series():
    series = sum(math.tanh(m * math.pi / 2) / m**5 for m in range(1, 60, 2))
    factor = (1 - 192 / math.pi**5 * series) / 12
    errors = []
    for width in (4, 8, 16):
        cell = torch.ones(1, width + 1, width + 1, dtype=torch.float64)
        cell[:, 1:, 1:] = 0.0
        k = permeability(cell, voxel=1 / width, tolerance=1e-9)
        errors.append(k[0, 0].item() * (width + 1) ** 2 / width**2 / factor - 1)
        assert k.count_nonzero() == 1
    assert 0 < errors[2] < 0.015
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


# Zick and Homsy, J. Fluid Mech. 115 (1982), table 2: drag of spheres in a simple cubic array over 6 pi mu a U.
SPHERES = {0.027: 2.008, 0.125: 4.292, 0.343: 15.4}


@pytest.mark.parametrize(
    ("fraction", "n", "parts", "allowed"),
    [
        (0.125, 16, 1, 0.04),
        (0.125, 32, 1, 0.025),
        (0.343, 16, 1, 0.06),
        (0.343, 32, 1, 0.05),
        (0.027, 32, 1, 0.05),
        (0.125, 16, 5, 0.015),
        (0.125, 32, 5, 0.015),
        (0.343, 32, 5, 0.015),
    ],
)
def test_cubic_array_of_spheres(fraction, n, parts, allowed):
    cell, radius = ball(n, 3, fraction, parts)
    k = permeability(cell)
    expected = 1 / (6 * math.pi * radius * SPHERES[fraction])
    torch.testing.assert_close(k, expected * torch.eye(3, dtype=torch.float64), rtol=allowed, atol=1e-6 * expected)


# Sangani and Acrivos, Int. J. Multiphase Flow 8 (1982), table 1: F / (mu U) across a square array of cylinders.
CYLINDERS = {0.05: 15.56, 0.1: 24.83, 0.2: 51.53, 0.5: 532.55}


@pytest.mark.parametrize("fraction", sorted(CYLINDERS))
def test_square_array_of_cylinders(fraction):
    errors = [permeability(ball(n, 2, fraction)[0])[0, 0].item() * CYLINDERS[fraction] - 1 for n in (64, 256)]
    assert abs(errors[0]) < 0.1
    assert abs(errors[1]) < 0.02
    drawn_by_volume = permeability(ball(64, 2, fraction, 8)[0])[0, 0].item() * CYLINDERS[fraction] - 1
    assert abs(drawn_by_volume) < 0.025


@pytest.mark.parametrize("fraction", [0.02, 0.05, 0.1])
def test_dilute_cylinders_follow_the_series(fraction):
    c = fraction
    series = 4 * math.pi / (-0.5 * math.log(c) - 0.738 + c - 0.887 * c**2 + 2.038 * c**3)
    assert permeability(ball(128, 2, fraction)[0])[0, 0].item() * series == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", ["binary", "grey", "mixed"])
@pytest.mark.parametrize(
    ("grid", "porosity", "seed"),
    [((9, 11), 0.8, 0), ((10, 10), 0.65, 1), ((8, 9), 0.9, 2), ((5, 6, 4), 0.6, 3), ((4, 4, 5), 0.8, 4)],
)
def test_equals_a_dense_solve_of_all_faces(grid, porosity, seed, kind):
    cell = random_cell(grid, porosity, seed, kind)
    expected, flow = dense_flow(cell)
    found = permeability(cell, voxel=1.0, tolerance=1e-8, return_fields=True)
    assert isinstance(found, StokesFlow)
    scale = np.trace(expected)
    assert scale > 1e-3
    np.testing.assert_allclose(found.permeability.numpy(), expected, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(found.velocity.numpy(), flow, rtol=0, atol=1e-4 * abs(flow).max())


@pytest.mark.parametrize("options", [{"drag": 0.3}, {"drag": 50.0, "maximal_drag": 200.0}, {"maximal_drag": 1.0}])
def test_drags_equal_a_dense_solve(options):
    cell = random_cell((8, 7), 0.6, 5, "mixed")
    expected, _ = dense_flow(cell, **options)
    scaled = {name: value * 4 for name, value in options.items()}  # per length^2, with voxels of edge 1/2
    k = permeability(cell, voxel=0.5, tolerance=1e-9, **scaled)
    np.testing.assert_allclose(4 * k.numpy(), expected, rtol=0, atol=1e-7 * np.trace(expected))


@pytest.mark.parametrize("grid", [(1, 1), (4, 6), (3, 1, 5)])
@pytest.mark.parametrize(("density", "ceiling"), [(0.01, math.inf), (0.75, math.inf), (0.75, 9.0), (1.0, 9.0)])
def test_an_even_grey_medium_obeys_darcy(grid, density, ceiling):
    k = permeability(torch.full(grid, density, dtype=torch.float64), voxel=1.0, drag=3.0, maximal_drag=ceiling)
    alpha = 3.0 * density / (1 - density + 3.0 / ceiling)
    torch.testing.assert_close(k, torch.eye(len(grid), dtype=torch.float64) / alpha, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "grey"])
@pytest.mark.parametrize(("grid", "porosity"), [((32, 24), 0.85), ((12, 12, 10), 0.5)])
def test_symmetric_and_positive(grid, porosity, kind):
    k = permeability(random_cell(grid, porosity, 6, kind))
    assert torch.equal(k, k.mT)
    assert torch.linalg.eigvalsh(k).min() > 0


@pytest.mark.parametrize(("grid", "porosity", "shift"), [((20, 16), 0.85, (7, 3)), ((8, 10, 9), 0.6, (3, 5, 2))])
def test_moving_turning_and_mirroring_the_cell(grid, porosity, shift):
    cell = random_cell(grid, porosity, 7, "mixed")
    d, axes = len(grid), tuple(range(len(grid)))
    k = permeability(cell, voxel=1.0, tolerance=1e-10)
    close = {"rtol": 1e-6, "atol": 1e-7 * k.trace().item()}
    torch.testing.assert_close(permeability(cell.roll(shift, axes), voxel=1.0, tolerance=1e-10), k, **close)
    for order in itertools.permutations(axes):
        turned = permeability(cell.permute(order), voxel=1.0, tolerance=1e-10)
        torch.testing.assert_close(turned, k[list(order)][:, list(order)], **close)
    mirror = torch.ones(d, dtype=torch.float64)
    mirror[0] = -1.0
    torch.testing.assert_close(
        permeability(cell.flip(0), voxel=1.0, tolerance=1e-10), mirror[:, None] * k * mirror, **close
    )


def test_scales_with_the_voxel_squared():
    cell = random_cell((16, 20), 0.85, 8, "mixed")
    k = permeability(cell, tolerance=1e-9)
    torch.testing.assert_close(
        permeability(cell, voxel=3.0, tolerance=1e-9), k * (3.0 * 16) ** 2, rtol=1e-8, atol=1e-12
    )


def test_a_plane_cell_equals_its_extrusion():
    cell = random_cell((10, 12), 0.8, 9, "mixed")
    flat = permeability(cell, voxel=1.0, tolerance=1e-10)
    deep = permeability(cell.expand(3, 10, 12), voxel=1.0, tolerance=1e-10)
    torch.testing.assert_close(deep[1:, 1:], flat, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(deep[0, 1:], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("chunk", [1, 2**17])
def test_a_batch_equals_its_cells(monkeypatch, chunk):
    monkeypatch.setitem(room._CHUNK, "cpu", chunk)
    kinds = ["binary", "grey", "mixed"]
    cells = torch.stack([random_cell((12, 14), 0.8, seed, kinds[seed % 3]) for seed in range(5)])
    cells = torch.cat([cells, torch.ones(1, 12, 14, dtype=torch.float64)]).reshape(2, 3, 12, 14)
    together = permeability(cells, 2, tolerance=1e-9, return_fields=True)
    assert together.permeability.shape == (2, 3, 2, 2)
    assert together.velocity.shape == (2, 3, 2, 2, 12, 14)
    assert together.pressure.shape == (2, 3, 2, 12, 14)
    for i, j in itertools.product(range(2), range(3)):
        alone = permeability(cells[i, j], tolerance=1e-9, return_fields=True)
        torch.testing.assert_close(together.permeability[i, j], alone.permeability, rtol=1e-9, atol=1e-16)
        torch.testing.assert_close(together.velocity[i, j], alone.velocity, rtol=1e-7, atol=1e-12)
        torch.testing.assert_close(together.pressure[i, j], alone.pressure, rtol=1e-6, atol=1e-9)
    assert permeability(torch.zeros(0, 4, 4), 2).shape == (0, 2, 2)


@pytest.mark.parametrize(("grid", "porosity"), [((24, 20), 0.85), ((9, 8, 10), 0.6)])
def test_fields_are_the_flow(grid, porosity):
    cell, d, edge = random_cell(grid, porosity, 10), len(grid), 0.25
    flow = permeability(cell, voxel=edge, tolerance=EXACT, return_fields=True)
    u, p = flow.velocity, flow.pressure
    scale = u.abs().max()
    torch.testing.assert_close(u.flatten(2).mean(-1).T, flow.permeability, rtol=1e-5, atol=1e-6 * float(scale))
    divergence = sum(u[:, k].roll(-1, k + 1) - u[:, k] for k in range(d))
    assert divergence.abs().max() < 1e-12 * scale
    for k in range(d):
        solid = (cell + cell.roll(1, k)) > 0
        assert u[:, k][:, solid].abs().max() < 1e-4 * scale
        near = solid.clone()  # faces with a wall in reach of their stencil
        for axis, step in itertools.product(range(d), (1, -1)):
            near |= solid.roll(step, axis)
        laplacian = sum(u[:, k].roll(s, a + 1) - u[:, k] for a in range(d) for s in (1, -1)) / edge**2
        balance = -laplacian + (p - p.roll(1, k + 1)) / edge
        balance[k] -= 1.0
        assert (~near).any()
        assert balance[:, ~near].abs().max() < 1e-3


def test_fluid_that_goes_nowhere_has_no_permeability():
    sealed = torch.ones(12, 12, dtype=torch.float64)
    sealed[2:9, 3:7] = 0.0
    across_the_border = sealed.roll((6, 6), (0, 1))
    spiral = torch.ones(8, 8, dtype=torch.float64)  # leaves the box through every side and comes back on itself
    spiral[0, :7] = spiral[:7, 0] = 0.0
    spiral[0, 0] = 1.0
    corner = torch.eye(6, dtype=torch.float64)  # a diagonal row of voxels that touch at corners only
    cells = [sealed, across_the_border, torch.ones(5, 5, dtype=torch.float64), 1 - corner]
    for cell in cells:
        flow = permeability(cell, return_fields=True)
        assert flow.permeability.count_nonzero() == 0
        assert flow.velocity.count_nonzero() == 0
    assert permeability(spiral).isfinite().all()
    thick = cells[0].clone().requires_grad_()
    permeability(thick).sum().backward()
    assert thick.grad.abs().max() < 1e-8


def test_a_diagonal_channel_conducts_along_the_diagonal_only():
    i = torch.arange(8)
    gap = (i[:, None] - i[None, :]) % 8
    cell = (gap >= 3).to(torch.float64)
    k = permeability(cell, voxel=1.0, tolerance=1e-10)
    torch.testing.assert_close(k, k[0, 0] * torch.ones(2, 2, dtype=torch.float64), rtol=1e-12, atol=0)
    np.testing.assert_allclose(k.numpy(), dense_flow(cell)[0], rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_which_directions_percolate_agrees_with_the_dense_flow(seed):
    cell = (torch.rand(7, 7, generator=torch.Generator().manual_seed(seed)) > 0.66).to(torch.float64)
    expected, _ = dense_flow(cell)
    k = permeability(cell, voxel=1.0, tolerance=1e-9)
    np.testing.assert_allclose(k.numpy(), expected, rtol=0, atol=1e-6 * np.trace(expected) + 1e-12)


@pytest.mark.parametrize("kind", ["binary", "grey", "mixed"])
@pytest.mark.parametrize("grid", [(7, 6), (4, 3, 4)])
@pytest.mark.parametrize("ceiling", [math.inf, 40.0])
def test_gradient_equals_differences(grid, kind, ceiling):
    d = len(grid)
    cell = random_cell(grid, 0.6 if d == 3 else 0.85, 11, kind)
    weights = torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(x, tolerance=EXACT):
        k = permeability(x, d, voxel=1.0, tolerance=tolerance, maximal_drag=ceiling)
        return (k * weights).sum((-2, -1))

    point = cell.clone().requires_grad_()
    loss(point, 1e-8).backward()
    step, flat = 1e-5, cell.flatten()
    # Inside, central; at 0 and 1, one-sided of second order, into the interval.
    inner = (flat > step) & (flat < 1 - step)
    sign = torch.where(flat < 0.5, 1.0, -1.0).to(flat.dtype)
    shifts = torch.stack([sign * step, torch.where(inner, -sign, 2 * sign) * step])
    near, far = loss((flat + torch.stack([s.diag() for s in shifts])).reshape(2, -1, *grid))
    one_sided = 4 * near - far - 3 * loss(cell)
    differences = sign * torch.where(inner, near - far, one_sided) / (2 * step)
    scale = differences.abs().max().item()
    assert scale > 1e-3
    torch.testing.assert_close(point.grad.flatten(), differences, rtol=0, atol=2e-6 * scale)


def test_gradient_through_a_batch_with_the_default_tolerance():
    cells = torch.stack([random_cell((20, 20), 0.8, seed, "grey") for seed in range(3)])
    loose, tight = cells.clone().requires_grad_(), cells.clone().requires_grad_()
    permeability(loose, 2).square().sum().backward()
    permeability(tight, 2, tolerance=EXACT).square().sum().backward()
    torch.testing.assert_close(loose.grad, tight.grad, rtol=0, atol=1e-3 * tight.grad.abs().max().item())


@pytest.mark.parametrize("kind", ["binary", "grey"])
def test_the_tolerance_is_kept(kind):
    cell = random_cell((48, 48), 0.8, 12, kind)
    reference = permeability(cell, tolerance=EXACT)
    for tolerance in (1e-2, 1e-4, 1e-6):
        error = (permeability(cell, tolerance=tolerance) - reference).abs().max() / reference.trace()
        assert error < tolerance


def test_single_precision_in_single_precision_out():
    cell = random_cell((16, 16), 0.8, 13)
    flow = permeability(cell.float(), return_fields=True)
    assert {flow.permeability.dtype, flow.velocity.dtype, flow.pressure.dtype} == {torch.float32}
    torch.testing.assert_close(flow.permeability.double(), permeability(cell), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("device", ["cuda"])
def test_on_an_accelerator(device):
    if not torch.cuda.is_available():
        pytest.skip("needs an accelerator")
    cells = torch.stack([random_cell((16, 18), 0.8, seed, "mixed") for seed in range(3)])
    here, there = cells.clone().requires_grad_(), cells.to(device).requires_grad_()
    results = [permeability(x, 2, tolerance=1e-10) for x in (here, there)]
    for result in results:
        result.square().sum().backward()
    torch.testing.assert_close(results[1].cpu(), results[0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(there.grad.cpu(), here.grad, rtol=1e-4, atol=1e-10)


def test_says_when_it_has_not_converged():
    cell = random_cell((16, 16), 0.8, 14, "grey")
    with pytest.raises(RuntimeError):
        permeability(cell, max_iterations=5)


SOME = torch.full((4, 4), 0.5)


@pytest.mark.parametrize(
    ("cells", "options", "error"),
    [
        (torch.zeros(4, 4), {}, ValueError),
        (torch.stack([SOME, torch.zeros(4, 4)]), {"dimensions": 2}, ValueError),
        (torch.full((4, 4), math.nan), {}, ValueError),
        (SOME + 0.6, {}, ValueError),
        (SOME - 0.6, {}, ValueError),
        (SOME[0], {}, ValueError),
        (SOME[0], {"dimensions": 2}, ValueError),
        (SOME.expand(2, 4, 4, 4), {}, ValueError),
        (torch.zeros(0, 4), {}, ValueError),
        (SOME, {"dimensions": 1}, ValueError),
        (SOME, {"dimensions": 3}, ValueError),
        (SOME, {"voxel": 0.0}, ValueError),
        (SOME, {"voxel": math.inf}, ValueError),
        (SOME, {"drag": -1.0}, ValueError),
        (SOME, {"maximal_drag": 0.0}, ValueError),
        (SOME, {"maximal_drag": math.nan}, ValueError),
        (SOME, {"tolerance": 0.0}, ValueError),
        (SOME, {"max_iterations": 0}, ValueError),
        (SOME > 0, {}, TypeError),
        (SOME.half(), {}, TypeError),
        (SOME.numpy(), {}, TypeError),
    ],
)
def test_bad_input(cells, options, error):
    with pytest.raises(error):
        permeability(cells, **options)
