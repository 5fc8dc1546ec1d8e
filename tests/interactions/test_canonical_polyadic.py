"""Canonical polyadic interactions against sums over subsets from itertools.combinations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from separable.interactions import CanonicalPolyadic
from separable.testing import InteractionCase, InteractionContract, close


class TestCanonicalPolyadic(InteractionContract):
    family = CanonicalPolyadic
    cases = (
        InteractionCase(CanonicalPolyadic(rank=1), 1, 1),
        InteractionCase(CanonicalPolyadic(rank=1, order=1), 1, 2),
        InteractionCase(CanonicalPolyadic(rank=3), 2, 1),
        InteractionCase(CanonicalPolyadic(rank=3), 5, 2),
        InteractionCase(CanonicalPolyadic(rank=2, order=1), 4, 2),
        InteractionCase(CanonicalPolyadic(rank=3, order=2), 3, 1),
        InteractionCase(CanonicalPolyadic(rank=2, order=3), 4, 2),
        InteractionCase(CanonicalPolyadic(rank=2, order=4), 4, 1),
        InteractionCase(CanonicalPolyadic(rank=2, order=2), 7, 1),
        InteractionCase(CanonicalPolyadic(rank=1, order=5), 7, 1),
    )
    traced = (
        cases[3],
        cases[6],
    )
    large = tuple(
        InteractionCase(CanonicalPolyadic(rank=rank, order=order), coordinates, 2)
        for rank, order, coordinates in itertools.product((1, 16), (None, 1, 2, 3), (128, 1000))
    )
    bad_fields = (
        {"rank": 0},
        {"rank": 1.5},
        {"rank": True},
        {"rank": -2},
        {"order": 0},
        {"order": 2.0},
        {"order": "2"},
    )
    bad_sizes = (InteractionCase(CanonicalPolyadic(order=4), 3, 1),)

    def evaluate(self, case, factors, core, units):
        coordinates, order = range(case.coordinates), case.interaction.order
        features = np.zeros(case.interaction.rank)
        sizes = [case.coordinates] if order is None else range(1, order + 1)
        for size in sizes:
            for subset in itertools.combinations(coordinates, size):
                product = np.ones(case.interaction.rank)
                for j in coordinates:
                    product = product * (factors[j] if j in subset else units[j])
                features += product
        return features @ core


def test_one_tensor_of_factors_is_the_list_of_them():
    for interaction in (CanonicalPolyadic(3), CanonicalPolyadic(3, order=2)):
        factors, core = InteractionCase(interaction, 4, 2).draw(5)
        close(interaction.contract(torch.stack(factors, dim=-2), core), interaction.contract(factors, core))


def test_order_d_is_the_product_of_one_plus_factors_less_one():
    case = InteractionCase(CanonicalPolyadic(rank=3, order=5), 5, 2)
    factors, core = case.draw(4)
    features = torch.stack(factors).add(1).prod(0) - 1
    close(case.interaction.contract(factors, core), features @ core)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-3, 3), min_size=1, max_size=9),
    order=st.integers(1, 9),
)
def test_elementary_symmetric_polynomials(values, order):
    order = min(order, len(values))
    factors = [torch.tensor([[v]], dtype=torch.float64) for v in values]
    expected = sum(math.prod(s) for k in range(1, order + 1) for s in itertools.combinations(values, k))
    magnitude = math.prod(1 + abs(v) for v in values)
    found = CanonicalPolyadic(rank=1, order=order).contract(factors, torch.ones(1, 1, dtype=torch.float64))
    assert abs(float(found) - expected) <= 1e-12 * magnitude
    grown = CanonicalPolyadic(rank=1, order=order).sweep(factors, torch.ones(1, 1, dtype=torch.float64))
    weight, offset = grown.environment(0)
    assert abs(float(offset + values[0] * weight) - expected) <= 1e-12 * magnitude


@pytest.mark.parametrize("order", [None, 1, 2, 3])
def test_zero_factors_have_exact_gradients(order):
    """Where two factors are zero every slope of the full product vanishes but stays a number; with one, one is left."""
    interaction = CanonicalPolyadic(rank=1, order=order)
    core = torch.ones(1, 1, dtype=torch.float64)
    for zeros in (1, 2, 128):
        values = torch.linspace(0.9, 1.1, 128, dtype=torch.float64)
        values[:zeros] = 0
        values.requires_grad_()
        factors = list(values.reshape(128, 1, 1).unbind(0))
        (slope,) = torch.autograd.grad(interaction.contract(factors, core).sum(), values)
        plain = values.detach().numpy()
        for j in (0, 1, 127):
            others = np.delete(plain, j)
            if order is None:
                expected = others.prod()
            else:  # e_0 + .. + e_(k-1) of the others, from the coefficients of their polynomial
                polynomial = np.array([1.0])
                for p in others:
                    polynomial = np.convolve(polynomial, [1.0, p])[:order]
                expected = polynomial.sum()
            assert float(slope[j]) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_work_grows_linearly_with_order_and_coordinates():
    """O(D k R): 2000 coordinates at order 3, where the sum over subsets would have 10^9 terms."""
    factors = [torch.full((1, 1), 0.01, dtype=torch.float64) for _ in range(2000)]
    found = CanonicalPolyadic(rank=1, order=3).contract(factors, torch.ones(1, 1, dtype=torch.float64))
    assert float(found) == pytest.approx(sum(math.comb(2000, k) * 0.01**k for k in (1, 2, 3)), rel=1e-12)
