"""Neighbours against a loop over every term."""

import numpy as np
from neighbours import Neighbours

from separable.testing import InteractionCase, InteractionContract


class TestNeighbours(InteractionContract):
    family = Neighbours
    cases = (
        InteractionCase(Neighbours(rank=2), 1, 1),
        InteractionCase(Neighbours(rank=1), 3, 2),
        InteractionCase(Neighbours(rank=4), 4, 1),
    )
    traced = (cases[1],)
    large = (InteractionCase(Neighbours(rank=3), 2, 2), InteractionCase(Neighbours(rank=32), 30, 1))
    bad_fields = ({"rank": 0}, {"rank": 2.5}, {"rank": True})

    def evaluate(self, case, factors, core, units):
        total = np.zeros(case.outputs)
        for r in range(case.interaction.rank):
            for first in range(case.coordinates):
                for members in {(first,), (first, min(first + 1, case.coordinates - 1))} - {(first, first)}:
                    values = [p[r] if i in members else u for i, (p, u) in enumerate(zip(factors, units, strict=True))]
                    total += np.prod(values) * core[r]
        return total
