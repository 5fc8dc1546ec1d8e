"""Gaussian bumps against scipy.stats and Hermite polynomials of numpy, and the error function."""

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import erf

from separable.atoms import Gaussian
from separable.testing import AtomContract, close


class TestGaussian(AtomContract):
    family = Gaussian
    instances = (
        Gaussian(centres=2),
        Gaussian(centres=5, width=1.5, domain=(-2.0, 3.0), outside="constant"),
        Gaussian(),
        Gaussian(centres=4, width=0.6, domain=(1.0, 2.0), outside="periodic"),
        Gaussian(centres=4, width=2, domain=(1.0, 2.0), outside="error"),
    )
    refinements = (
        (Gaussian(centres=5), {"centres": 5}),
        (Gaussian(centres=5, outside="error"), {"width": 1.0}),
    )
    refusals = (
        (Gaussian(centres=5), {"centres": 9}),  # bumps of another width: not contained
        (Gaussian(centres=5), {"width": 2.0}),
        (Gaussian(centres=5), {"centres": 1}),
    )
    bad_fields = (
        {"centres": 1},
        {"width": 0.0},
        {"width": -1.0},
        {"width": float("nan")},
        {"width": "wide"},
        {"domain": (2.0, 1.0)},
        {"outside": "zero"},
    )
    constant_tolerance = 0.2  # two bumps hold a constant roughly; see the test below for more of them
    tolerance = 1e-10

    def evaluate(self, atom, x, order):
        a, b = atom.domain
        centres = np.linspace(a, b, atom.centres)
        sigma = atom.width * (b - a) / (atom.centres - 1)
        z = (x[:, None] - centres) / sigma
        hermite = np.polynomial.HermiteE.basis(order)(z)
        return (-1 / sigma) ** order * hermite * np.exp(-(z**2) / 2)


def test_integrals_are_error_functions():
    atom = Gaussian(centres=6, width=1.3, domain=(-1.0, 2.0))
    centres, sigma = np.linspace(-1, 2, 6), 1.3 * 3 / 5
    for lower, upper in ((-1.0, 2.0), (0.2, 0.9)):
        primitive = [np.sqrt(np.pi / 2) * sigma * erf((t - centres) / sigma / 2**0.5) for t in (lower, upper)]
        close(atom.integral(lower, upper), primitive[1] - primitive[0], 1e-12)
    product = quad(lambda x: np.exp(-(((x - centres[1]) / sigma) ** 2 + ((x - centres[4]) / sigma) ** 2) / 2), -1, 2)
    close(atom.gram()[1, 4], np.array(product[0]), 1e-12)


def test_the_constant_is_approximated_and_its_measure_exact():
    atom = Gaussian(centres=12, width=1.5)
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert float((atom(x) @ atom.ones() - 1).abs().max()) < 1e-2
    assert atom.measure() == 1.0
