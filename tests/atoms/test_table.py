"""The table of a discrete coordinate against rows of the identity."""

import numpy as np
import pytest
import torch

from separable.atoms import Table
from separable.testing import AtomContract, close


class TestTable(AtomContract):
    family = Table
    policies = ("constant", "periodic", "error")
    instances = (
        Table(1),
        Table(2, outside="constant"),
        Table(5),
        Table(5, outside="periodic"),
    )
    traced = (
        instances[1],
        instances[3],
    )
    refusals = (
        (Table(3), {"categories": 4}),
        (Table(3), {"categories": 2}),
    )
    bad_fields = (
        {"categories": 0},
        {"categories": 2.5},
        {"categories": 3, "outside": "linear"},
    )

    def evaluate(self, atom, x, order):
        assert order == 0
        return np.eye(atom.size)[np.rint(x).astype(int)]

    def test_outside(self, atom):
        k = atom.size
        x = torch.tensor([-1e6, -k - 1.0, -1.0, 0.0, k - 1.0, k, 2.0 * k + 1, 1e6], dtype=torch.float64)
        rows = torch.eye(k, dtype=torch.float64)
        close(self.with_policy(atom, "constant")(x), rows[x.clamp(0, k - 1).long()])
        close(self.with_policy(atom, "periodic")(x), rows[x.long() % k])
        self.check_error_policy(self.with_policy(atom, "error"))

    def test_no_derivative(self, atom):
        for order in (1, 2):
            with pytest.raises(ValueError):
                atom(torch.zeros(2), order)


def test_indices_are_rounded():
    close(Table(4, outside="constant")(torch.tensor([0.4, 1.6, 2.9])), np.eye(4)[[0, 2, 3]])


def test_an_infinite_index_is_no_category_where_it_is_wrapped():
    for index in (float("inf"), -float("inf"), float("nan")):
        assert Table(4, outside="periodic")(torch.tensor([index, 5.0])).isnan().any(1).tolist() == [True, False]
    ends = Table(4, outside="constant")(torch.tensor([-float("inf"), float("inf")]))
    close(ends, np.eye(4)[[0, 3]])


def test_integral_is_a_sum_over_categories():
    atom = Table(5)
    close(atom.integral(), np.ones(5))
    close(atom.integral(1, 3), [0, 1, 1, 1, 0])
    assert atom.measure() == 5
    assert atom.measure(1.0, 3.0) == 3
