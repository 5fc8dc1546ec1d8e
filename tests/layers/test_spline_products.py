"""Products of spline sums against the formula in numpy, coordinate by coordinate."""

import numpy as np
import pytest
import torch

from separable.layers.spline_products import plain_products, spline_products

# Heads, coordinates, kernels, rank, points.
SIZES = [(2, 5, 4, 3, 7), (1, 1, 2, 1, 1), (2, 8, 5, 2, 4), (1, 7, 3, 4, 5)]


def drawn(heads, coordinates, kernels, rank, points, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    position = torch.rand(heads, coordinates, points, dtype=dtype, generator=generator)
    return position, torch.randn(heads, coordinates, kernels, rank, dtype=dtype, generator=generator)


def published(position, deltas):
    """The formula, one product at a time."""
    heads, _, kernels, rank = deltas.shape
    products = np.ones((heads, position.shape[-1], rank))
    for head, coordinate, point in np.ndindex(position.shape):
        u = np.abs(position[head, coordinate, point] * (kernels - 1) - np.arange(kernels))
        phi = np.where(u < 0.5, 0.75 - u**2, np.where(u < 1.5, 0.5 * (1.5 - u) ** 2, 0.0))
        products[head, point] *= phi / phi.sum() @ (1 + deltas[head, coordinate])
    return products


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("rows", [3, 100])
def test_values(sizes, rows):
    position, deltas = drawn(*sizes)
    expected = published(position.numpy(), deltas.numpy())
    np.testing.assert_allclose(spline_products(position, deltas, rows).numpy(), expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(plain_products(position, deltas).numpy(), expected, rtol=1e-10, atol=1e-13)


def test_values_at_ends_and_between_kernels():
    kernels = 5
    position = torch.tensor([0.0, 0.125, 0.25, 0.5, 0.874999, 0.875, 1.0], dtype=torch.float64)[None, None]
    deltas = torch.randn(1, 1, kernels, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = published(position.numpy(), deltas.numpy())
    np.testing.assert_allclose(spline_products(position, deltas, 4).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_first_and_second_derivatives(sizes):
    inputs = [t.requires_grad_() for t in drawn(*sizes)]
    assert torch.autograd.gradcheck(lambda *values: spline_products(*values, 3), inputs)
    assert torch.autograd.gradgradcheck(lambda *values: spline_products(*values, 3), inputs)


def test_gradient_where_factors_are_zero():
    """With two factors zero every gradient is zero, with one the others' product: nothing is divided."""
    position = torch.full((1, 3, 1), 0.5, dtype=torch.float64)
    deltas = torch.tensor([[-1.0], [1.0], [2.0]], dtype=torch.float64)[None, :, None].expand(1, 3, 3, 1).clone()
    deltas.requires_grad_()
    products = spline_products(position, deltas, 8)
    assert products.item() == 0
    (by_deltas,) = torch.autograd.grad(products.sum(), deltas)
    weights = torch.tensor([0.125, 0.75, 0.125], dtype=torch.float64)
    torch.testing.assert_close(by_deltas[0, 0, :, 0], 6 * weights)
    torch.testing.assert_close(by_deltas[0, 1:], torch.zeros(2, 3, 1, dtype=torch.float64))


def test_transforms_and_compiled_code_take_the_formula():
    position, deltas = drawn(2, 4, 5, 3, 6)
    slope = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for t in (position, deltas):
        t.requires_grad_()
    expected = torch.autograd.grad(spline_products(position, deltas, 4), (position, deltas), slope)
    found = torch.func.vjp(lambda *values: spline_products(*values, 4), position.detach(), deltas.detach())[1](slope)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    position, deltas = (t.to(dtype) for t in drawn(2, 64, 8, 4, 9, torch.float32))
    deltas = deltas * 0.1
    found = spline_products(position, deltas, 4)
    assert found.dtype == dtype
    expected = published(position.double().numpy(), deltas.double().numpy())
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=2 * torch.finfo(dtype).eps)
    with torch.autocast("cpu", torch.bfloat16):
        kept = spline_products(position.float(), deltas.float(), 4)
    assert kept.dtype == torch.float32
    np.testing.assert_allclose(kept.double().numpy(), expected, rtol=1e-4)
