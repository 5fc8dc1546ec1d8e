"""Cosines against complex exponentials."""

import numpy as np
from cosine import Cosine

from separable.testing import AtomContract


class TestCosine(AtomContract):
    family = Cosine
    instances = (
        Cosine(terms=1),
        Cosine(),
        Cosine(terms=5, domain=(-2.0, 3.0), outside="linear"),
        Cosine(terms=3, domain=(1.0, 4.0), outside="error"),
    )
    refinements = (
        (Cosine(terms=1), {"terms": 4}),
        (Cosine(terms=8, domain=(-2.0, 3.0)), {"terms": 20}),
    )
    refusals = ((Cosine(terms=8), {"terms": 7}),)
    bad_fields = ({"terms": 0}, {"terms": 1.5}, {"domain": (1.0, 0.0)}, {"outside": "nothing"})
    tolerance = 1e-10

    def evaluate(self, atom, x, order):
        a, b = atom.domain
        rate = 1j * np.pi * np.arange(atom.size) / (b - a)
        return np.real(rate**order * np.exp(rate * (x - a)[:, None]))
