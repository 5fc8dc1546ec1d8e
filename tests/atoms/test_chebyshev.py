"""Chebyshev polynomials against numpy.polynomial.chebyshev."""

import numpy as np

from separable.atoms import Chebyshev
from separable.testing import AtomContract


class TestChebyshev(AtomContract):
    family = Chebyshev
    instances = (
        Chebyshev(degree=0),
        Chebyshev(degree=1, domain=(-2.0, 3.0)),
        Chebyshev(degree=2, outside="constant"),
        Chebyshev(),
        Chebyshev(degree=11, domain=(-1.0, 1.0)),
        Chebyshev(degree=4, domain=(1.0, 4.0), outside="error"),
        Chebyshev(degree=3, domain=(1.0, 4.0), outside="periodic"),
    )
    refinements = (
        (Chebyshev(degree=0), {"degree": 3}),
        (Chebyshev(degree=8, domain=(-2.0, 3.0)), {"degree": 20}),
        (Chebyshev(degree=8, outside="constant"), {"degree": 8}),
        (Chebyshev(degree=3, outside="error"), {"degree": 4}),
    )
    refusals = (
        (Chebyshev(degree=8), {"degree": 7}),
        (Chebyshev(degree=8), {"degree": -1}),
    )
    bad_fields = (
        {"degree": -1},
        {"degree": 1.5},
        {"domain": (1.0, 0.0)},
        {"outside": "nothing"},
    )
    tolerance = 1e-10  # relative to the largest derivative, which grows as the square of the degree an order

    def evaluate(self, atom, x, order):
        a, b = atom.domain
        s = (2 * x - a - b) / (b - a)
        columns = []
        for k in range(atom.size):
            polynomial = np.polynomial.Chebyshev.basis(k)
            columns.append((polynomial.deriv(order) if order else polynomial)(s))
        return np.stack(columns, axis=-1) * (2 / (b - a)) ** order
