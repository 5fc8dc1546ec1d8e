"""Element matrices against Gauss quadrature of the shape functions, and the way between nodes and voxels."""

import itertools

import numpy as np
import pytest
import torch

from domains.microstructure.voxel_elements import (
    affine_corners,
    centre_gradient,
    corners,
    element_matrix,
    stencil_symbol,
    to_elements,
    to_nodes,
)


def shape_gradients(point):
    """Gradients (2^d, d) of the multilinear shape functions at a point of the unit voxel, one product at a time."""
    d = len(point)
    gradients = np.zeros((2**d, d))
    for row, corner in enumerate(itertools.product((0, 1), repeat=d)):
        for a in range(d):
            value = 1.0
            for b in range(d):
                hat = point[b] if corner[b] else 1 - point[b]
                value *= (1.0 if corner[b] else -1.0) if a == b else hat
            gradients[row, a] = value
    return gradients


def quadrature(modulus):
    """Element matrix by 2^d Gauss points, which is exact for products of linear functions."""
    c, d = modulus.shape[:2]
    total = np.zeros((c * 2**d, c * 2**d))
    for point in itertools.product((0.5 - 12**-0.5, 0.5 + 12**-0.5), repeat=d):
        gradients = shape_gradients(point)
        strain = np.zeros((c, d, 2**d, c))
        for i in range(c):
            strain[i, :, :, i] = gradients.T
        flat = strain.reshape(c * d, -1)
        total += flat.T @ modulus.reshape(c * d, c * d) @ flat / 2**d
    return total


def random_modulus(c, d, seed=0):
    factor = np.random.default_rng(seed).standard_normal((c * d, c * d))
    return (factor @ factor.T).reshape(c, d, c, d)


@pytest.mark.parametrize(("c", "d"), [(1, 2), (1, 3), (2, 2), (3, 3)])
def test_element_matrix_is_the_integral(c, d):
    modulus = random_modulus(c, d)
    np.testing.assert_allclose(element_matrix(modulus).numpy(), quadrature(modulus), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_conductivity_has_no_zero_modes_but_the_constant(d):
    values = torch.linalg.eigvalsh(element_matrix(np.eye(d)[None, :, None, :]))
    assert abs(values[0]) < 1e-14
    assert values[1] > 0.05


@pytest.mark.parametrize(("c", "d"), [(1, 2), (1, 3), (2, 2), (3, 3)])
def test_an_affine_field_has_its_gradient_and_its_energy(c, d):
    modulus = random_modulus(c, d, 1)
    gradients = np.random.default_rng(2).standard_normal((4, c, d))
    nodal = affine_corners(gradients)
    np.testing.assert_allclose(nodal @ centre_gradient(c, d).T, gradients.reshape(4, -1), atol=1e-13)
    energy = np.einsum("lia,iajb,ljb->l", gradients, modulus, gradients)
    np.testing.assert_allclose(torch.einsum("lm,mn,ln->l", nodal, element_matrix(modulus), nodal), energy, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3), (3, 4, 5), (2, 2, 2)])
def test_corner_values_are_those_of_the_next_nodes(shape):
    field = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    elements = to_elements(field, len(shape)).unflatten(-1, shape)
    for row, corner in enumerate(corners(len(shape))):
        for voxel in itertools.product(*(range(n) for n in shape)):
            node = tuple((v + o) % n for v, o, n in zip(voxel, corner, shape, strict=True))
            assert torch.equal(elements[(slice(2 * row, 2 * row + 2), *voxel)], field[(slice(None), *node)])


@pytest.mark.parametrize("shape", [(4, 5), (2, 2), (3, 4, 5)])
def test_gathering_is_the_adjoint_of_spreading(shape):
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    values = torch.randn(2 * 2 ** len(shape), field[0].numel(), dtype=torch.float64, generator=generator)
    ours = (to_elements(field, len(shape)) * values).sum()
    torch.testing.assert_close(ours, (field * to_nodes(values, shape)).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("c", "shape"), [(1, (4, 6)), (1, (5, 7)), (2, (4, 5)), (3, (4, 3, 6)), (3, (5, 4, 3))])
def test_symbol_applies_the_operator_of_a_uniform_grid(c, shape):
    d = len(shape)
    one = np.eye(d)
    modulus = one[None, :, None, :]
    if c == d:
        modulus = (
            0.7 * np.einsum("ia,jb->iajb", one, one)
            + np.einsum("ij,ab->iajb", one, one)
            + np.einsum("ib,aj->iajb", one, one)
        )
    element = element_matrix(modulus)
    field = torch.randn(c, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direct = to_nodes(element @ to_elements(field, d), shape)
    axes = tuple(range(-d, 0))
    symbol = stencil_symbol(element, shape, c).to(torch.complex128)
    waves = torch.einsum("ij...,j...->i...", symbol, torch.fft.rfftn(field, dim=axes))
    torch.testing.assert_close(torch.fft.irfftn(waves, s=shape, dim=axes), direct, rtol=0, atol=1e-12)
