"""Fourier atoms against complex exponentials, and their integrals against scipy.integrate.quad."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from separable.atoms import Fourier
from separable.testing import AtomContract, close


class TestFourier(AtomContract):
    family = Fourier
    instances = (
        Fourier(modes=0),
        Fourier(modes=1, domain=(-1.0, 1.0), outside="linear"),
        Fourier(),
        Fourier(modes=9, domain=(0.0, 2 * np.pi)),
        Fourier(modes=2, domain=(0.0, 360.0), outside="error"),
        Fourier(modes=2, outside="constant"),
    )
    refinements = (
        (Fourier(modes=0), {"modes": 2}),
        (Fourier(modes=4, domain=(-1.0, 1.0)), {"modes": 11}),
        (Fourier(modes=4, outside="linear"), {"modes": 4}),
        (Fourier(modes=2, outside="error"), {"modes": 3}),
    )
    refusals = (
        (Fourier(modes=4), {"modes": 3}),
        (Fourier(modes=4), {"modes": -1}),
    )
    bad_fields = (
        {"modes": -1},
        {"modes": 2.0},
        {"domain": (0.0, 0.0)},
        {"outside": "no"},
    )

    def evaluate(self, atom, x, order):
        a, b = atom.domain
        omega = 2 * np.pi * np.arange(1, atom.modes + 1) / (b - a)
        wave = (1j * omega) ** order * np.exp(1j * omega * (x - a)[:, None])
        constant = np.full((len(x), 1), float(order == 0))
        return np.concatenate([constant, wave.real, wave.imag], axis=1)


def test_integrals_and_gram_matrix_in_closed_form():
    atom = Fourier(modes=3, domain=(-1.0, 4.0))
    close(atom.integral(), [5.0, *[0.0] * 6])
    close(atom.gram(), np.diag([5.0, *[2.5] * 6]))
    frequency = 2 * np.pi / 5 * np.array([0, 1, 2, 3, 1, 2, 3])
    close(atom.gram(1), np.diag(2.5 * frequency**2))
    for k in range(atom.size):

        def function(x, k=k):
            return float(atom(torch.tensor(x, dtype=torch.float64))[k])

        assert float(atom.integral(-0.3, 2.9)[k]) == pytest.approx(quad(function, -0.3, 2.9)[0], abs=1e-10)


def test_many_modes_integrate_exactly():
    atom = Fourier(modes=64)
    close(atom.gram(), np.diag([1.0, *[0.5] * 128]))
