"""Tensor trains against products of matrices that are filled entry by entry."""

import itertools

import numpy as np

from separable.interactions import TensorTrain
from separable.testing import InteractionCase, InteractionContract


class TestTensorTrain(InteractionContract):
    family = TensorTrain
    cases = (
        InteractionCase(TensorTrain(rank=2), 1, 1),
        InteractionCase(TensorTrain(rank=3), 1, 5),
        InteractionCase(TensorTrain(rank=1), 3, 2),
        InteractionCase(TensorTrain(rank=3), 2, 1),
        InteractionCase(TensorTrain(rank=2), 4, 3),
        InteractionCase(TensorTrain(rank=4), 5, 2),
    )
    traced = (cases[4],)
    large = tuple(InteractionCase(TensorTrain(r), d, o) for r, d, o in itertools.product((1, 4), (128, 1000), (1, 3)))
    bad_fields = (
        {"rank": 0},
        {"rank": 1.5},
        {"rank": True},
        {"rank": (2, 2)},
    )

    def evaluate(self, case, factors, core, units):
        row = np.ones(1)
        for j, p in enumerate(factors):
            columns = min(case.interaction.rank, case.outputs) if j == case.coordinates - 1 else case.interaction.rank
            matrix = np.array([[p[i * columns + k] for k in range(columns)] for i in range(len(row))])
            row = row @ matrix
        return row @ core
