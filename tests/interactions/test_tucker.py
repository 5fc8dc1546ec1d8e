"""Tucker interactions against a loop over every entry of the core."""

import itertools

import numpy as np
import pytest

from separable.interactions import Tucker
from separable.testing import InteractionCase, InteractionContract


class TestTucker(InteractionContract):
    family = Tucker
    cases = (
        InteractionCase(Tucker(rank=2), 1, 1),
        InteractionCase(Tucker(rank=1), 3, 2),
        InteractionCase(Tucker(rank=(2, 3)), 2, 2),
        InteractionCase(Tucker(rank=3), 3, 1),
        InteractionCase(Tucker(rank=(1, 3, 2, 2)), 4, 3),
        InteractionCase(Tucker(rank=2), 5, 1),
    )
    traced = (cases[4],)
    large = tuple(InteractionCase(Tucker(rank=rank), d, 2) for rank, d in itertools.product((2, 4), (2, 5)))
    bad_fields = (
        {"rank": 0},
        {"rank": 2.5},
        {"rank": True},
        {"rank": (2, 0)},
        {"rank": (2, 1.5)},
        {"rank": "22"},
    )
    bad_sizes = (
        InteractionCase(Tucker(rank=(2, 3)), 3, 1),
        InteractionCase(Tucker(rank=()), 1, 1),
        InteractionCase(Tucker(rank=2), 30, 1),
    )

    def evaluate(self, case, factors, core, units):
        total = np.zeros(case.outputs)
        for entry in itertools.product(*map(range, core.shape[:-1])):
            total += core[entry] * np.prod([p[a] for p, a in zip(factors, entry, strict=True)])
        return total


def test_the_size_of_the_core_is_limited_before_it_is_made():
    with pytest.raises(ValueError):
        Tucker(rank=10).core_shape(8, 1)
