"""The scheme against integrals and an independent integrator, and its order."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from domains.turbulence.time_stepping import ExponentialRungeKutta, phi_functions


@pytest.mark.parametrize("z", [-1e4, -30.0, -1.0001, -0.9999, -1e-3, -1e-9, 0.0, 0.5, 1.5])
def test_phi_functions_are_their_integrals(z):
    found = phi_functions(torch.tensor(z, dtype=torch.float64), 3)
    assert float(found[0]) == pytest.approx(math.exp(z), rel=1e-14)
    for j in (1, 2, 3):
        points = [max(0.0, 1 + 40 / z)] if z < -40 else None
        exact = quad(
            lambda s, j=j: math.exp((1 - s) * z) * s ** (j - 1) / math.factorial(j - 1),
            0,
            1,
            epsabs=0,
            epsrel=1e-13,
            points=points,
            limit=200,
        )[0]
        assert float(found[j]) == pytest.approx(exact, rel=2e-12)


def problem(dtype=torch.float64, device="cpu"):
    """Three stiff complex unknowns with a nonlinearity that couples them."""
    linear = torch.tensor([-0.5, -5.0, -30.0], dtype=torch.float64)

    def nonlinear(u):
        return torch.stack([1j * u[..., 1] ** 2, u[..., 0] * u[..., 2].conj() + 1, 3 * u[..., 0] ** 2], -1)

    start = torch.tensor([[1.0 + 0.5j, 0.3, 0.2j]], dtype=torch.complex128)
    return linear, nonlinear, start


def integrate(steps, end=1.0):
    linear, nonlinear, u = problem()
    scheme = ExponentialRungeKutta(linear, nonlinear, end / steps)
    for _ in range(steps):
        u = scheme(u)
    return u


def test_it_is_of_order_four_and_agrees_with_an_independent_integrator():
    linear, nonlinear, start = problem()

    def slope(t, u):
        return linear.numpy() * u + nonlinear(torch.from_numpy(u)).numpy()

    exact = solve_ivp(slope, (0, 1), start[0].numpy(), method="BDF", rtol=1e-11, atol=1e-12).y[:, -1]
    errors = [np.abs(integrate(steps)[0].numpy() - exact).max() for steps in (40, 80, 160)]
    assert errors[-1] < 1e-7
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert min(orders) > 3.6


def test_a_steady_source_is_exact_at_any_step():
    linear = torch.tensor([-2.0, -300.0], dtype=torch.float64)
    source = torch.tensor([[1.0 + 0j, 4.0 - 2j]], dtype=torch.complex128)
    scheme = ExponentialRungeKutta(linear, lambda u: source.expand_as(u), 0.7)
    start = torch.tensor([[0.3 + 0j, 1j]], dtype=torch.complex128)
    settled = -source / linear
    exact = settled + (start - settled) * torch.exp(0.7 * linear)
    assert torch.allclose(scheme(start), exact, rtol=1e-13)
