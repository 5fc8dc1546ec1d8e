"""The solver against sparse finite elements assembled and factorised on their own, and its contract."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import splu

from domains.microstructure.homogenisation import NotConverged, homogenise
from domains.microstructure.voxel_elements import affine_corners, element_matrix

GAUSS = (0.5 - 12**-0.5, 0.5 + 12**-0.5)


def strain_matrices(d, c):
    """Gradient (c d) of a field in a voxel from its nodal values, at each Gauss point."""
    found = []
    for point in itertools.product(GAUSS, repeat=d):
        matrix = np.zeros((c * d, c * 2**d))
        for node, corner in enumerate(itertools.product((0, 1), repeat=d)):
            for a in range(d):
                slope = 1.0 if corner[a] else -1.0
                for b in range(d):
                    if b != a:
                        slope *= point[b] if corner[b] else 1 - point[b]
                for i in range(c):
                    matrix[i * d + a, c * node + i] = slope
        found.append(matrix)
    return found


def assembled(moduli):
    """Stiffness (sparse), load vectors and mean modulus of a periodic grid with one modulus (cd, cd) per voxel."""
    d = moduli.ndim - 2
    shape, size = moduli.shape[:d], moduli.shape[-1]
    c = size // d
    strains = strain_matrices(d, c)
    number = np.arange(np.prod(shape)).reshape(shape)
    rows, columns, values = [], [], []
    load = np.zeros((c * number.size, size))
    for voxel in itertools.product(*(range(n) for n in shape)):
        nodes = [
            number[tuple((v + o) % n for v, o, n in zip(voxel, corner, shape, strict=True))]
            for corner in itertools.product((0, 1), repeat=d)
        ]
        unknowns = np.array([c * node + i for node in nodes for i in range(c)])
        element = sum(b.T @ moduli[voxel] @ b for b in strains) / len(strains)
        rows.append(np.repeat(unknowns, len(unknowns)))
        columns.append(np.tile(unknowns, len(unknowns)))
        values.append(element.ravel())
        np.add.at(load, unknowns, sum(b.T @ moduli[voxel] for b in strains) / len(strains))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    stiffness = sparse.coo_matrix(entries, shape=(c * number.size,) * 2).tocsc()
    return stiffness, load, moduli.reshape(-1, size, size).mean(0)


def solved_directly(moduli, gradients):
    """Effective tensor for the mean gradients (L, c, d): one node is held, the factorisation does the rest."""
    stiffness, load, mean = assembled(moduli)
    d = moduli.ndim - 2
    c = moduli.shape[-1] // d
    flat = gradients.reshape(len(gradients), -1)
    forces = load @ flat.T
    inner = splu(stiffness[c:, c:].tocsc()).solve(-forces[c:])
    voxels = np.prod(moduli.shape[:d])
    return flat @ mean @ flat.T + forces[c:].T @ inner / voxels


def random_problem(d, c, phases, seed, grid=None):
    rng = np.random.default_rng(seed)
    shape = grid or ((6, 5) if d == 2 else (4, 3, 5))
    one = np.eye(d)
    moduli = []
    for k in np.linspace(1.0, 12.0, phases):
        if c == 1:
            moduli.append(k * np.eye(d))
        else:
            shear = np.einsum("ij,ab->iajb", one, one) + np.einsum("ib,aj->iajb", one, one)
            tensor = k * (rng.uniform(0.2, 2) * np.einsum("ia,jb->iajb", one, one) + rng.uniform(0.5, 1.5) * shear)
            moduli.append(tensor.reshape(c * d, c * d))
    shares = rng.dirichlet(np.ones(phases), size=shape)
    gradients = np.eye(c * d).reshape(-1, c, d)
    if c == d:  # a mean rotation costs nothing, so only symmetric gradients
        gradients = np.stack([(g + g.T) / 2 for k, g in enumerate(gradients) if k // d <= k % d])
    local = np.einsum("...p,pij->...ij", shares, np.array(moduli))
    elements = torch.stack([element_matrix(m.reshape(c, d, c, d)) for m in moduli])
    return torch.from_numpy(np.moveaxis(shares, -1, 0))[None], elements, gradients, local


@pytest.mark.parametrize(("d", "c", "phases"), [(2, 1, 2), (2, 2, 2), (3, 1, 2), (3, 3, 2), (2, 2, 3), (3, 3, 1)])
def test_matches_a_direct_solve_of_the_same_elements(d, c, phases):
    shares, elements, gradients, local = random_problem(d, c, phases, seed=d * c)
    found = homogenise(shares, elements, affine_corners(gradients), tolerance=1e-9)
    expected = solved_directly(local, gradients)
    np.testing.assert_allclose(found.effective[0], expected, rtol=0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize(("d", "c"), [(2, 1), (2, 2), (3, 3)])
def test_the_fluctuation_is_in_equilibrium(d, c):
    shares, elements, gradients, local = random_problem(d, c, 2, seed=7)
    found = homogenise(shares, elements, affine_corners(gradients), tolerance=1e-10)
    stiffness, load, _ = assembled(local)
    forces = load @ gradients.reshape(len(gradients), -1).T
    nodal = found.fluctuation[0].movedim(1, -1).reshape(len(gradients), -1).numpy().T
    assert np.abs(stiffness @ nodal + forces).max() < 1e-8 * np.abs(forces).max()
    assert found.fluctuation.mean(tuple(range(3, 3 + d))).abs().max() < 1e-12


def test_the_error_of_the_tensor_is_the_square_of_the_tolerance():
    shares, elements, gradients, local = random_problem(2, 2, 2, seed=3, grid=(12, 12))
    shares = shares.round()
    local = np.einsum("p...,pij->...ij", shares[0].numpy(), local_moduli(elements))
    expected = solved_directly(local, gradients)
    for tolerance in (1e-1, 1e-2, 1e-3):
        found = homogenise(shares, elements, affine_corners(gradients), tolerance=tolerance).effective[0].numpy()
        excess = np.linalg.eigvalsh(found - expected)
        assert excess[-1] <= 5 * tolerance**2 * np.abs(expected).max()
        assert excess[0] >= -1e-10 * np.abs(expected).max()  # an approximate minimum is never below the minimum


def local_moduli(elements):
    """Moduli (P, 4, 4) back from element matrices of the plane: energies of affine fields, by polarisation."""
    nodal = affine_corners(np.eye(4).reshape(4, 2, 2))
    return np.stack([(nodal @ element @ nodal.T).numpy() for element in elements])


def test_iterations_do_not_grow_with_the_grid():
    counts = []
    for n in (16, 64):
        layers = torch.zeros(1, n, n, dtype=torch.float64)
        layers[:, : n // 2, : n // 2] = 1
        unit = element_matrix(np.eye(2)[None, :, None, :])
        loads = affine_corners(np.eye(2)[:, None, :])
        shares = torch.stack([1 - layers, layers], 1)
        counts.append(homogenise(shares, torch.stack([unit, 100 * unit]), loads).iterations)
    assert counts[1] <= counts[0] + 6


def test_too_few_iterations_are_an_error():
    shares, elements, gradients, _ = random_problem(2, 1, 2, seed=0)
    needed = homogenise(shares, elements, affine_corners(gradients)).iterations
    assert homogenise(shares, elements, affine_corners(gradients), max_iterations=needed).iterations == needed
    with pytest.raises(NotConverged):
        homogenise(shares, elements, affine_corners(gradients), max_iterations=needed - 1)


def test_a_uniform_cell_needs_no_iterations_to_speak_of():
    unit = element_matrix(np.eye(3)[None, :, None, :])
    shares = torch.full((1, 2, 4, 4, 4), 0.5, dtype=torch.float64)
    found = homogenise(shares, torch.stack([unit, 3 * unit]), affine_corners(np.eye(3)[:, None, :]))
    torch.testing.assert_close(found.effective[0], 2 * torch.eye(3, dtype=torch.float64))
    assert found.iterations <= 1


def test_batches_larger_than_the_working_set_are_solved_alike(monkeypatch):
    from domains.microstructure import homogenisation

    shares, elements, gradients, _ = random_problem(2, 2, 2, seed=5, grid=(8, 8))
    batch = torch.cat([shares, shares.flip(2), shares.flip(3), shares.mT])
    whole = homogenise(batch, elements, affine_corners(gradients))
    monkeypatch.setattr(homogenisation, "_CPU_WORKING_SET", 1)
    pieces = homogenise(batch, elements, affine_corners(gradients))
    torch.testing.assert_close(pieces.effective, whole.effective, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pieces.fluctuation, whole.fluctuation, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("d", "c"), [(2, 1), (2, 2), (3, 1), (3, 3)])
def test_gradient_in_the_shares(d, c):
    grid = (3, 4) if d == 2 else (2, 3, 2)
    shares, elements, gradients, _ = random_problem(d, c, 2, seed=11, grid=grid)
    loads = affine_corners(gradients)

    def effective(shares):
        return homogenise(shares, elements, loads, tolerance=1e-11).effective

    assert torch.autograd.gradcheck(
        effective, shares.requires_grad_(), eps=1e-5, atol=1e-7, rtol=1e-6, fast_mode=d == 3
    )
