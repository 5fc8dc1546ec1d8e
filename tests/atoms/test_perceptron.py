"""The perceptron of one coordinate against a loop in numpy and derivatives by automatic differentiation."""

import numpy as np
import pytest
import torch

from separable.atoms import Perceptron
from separable.testing import AtomContract


class TestPerceptron(AtomContract):
    family = Perceptron
    instances = (
        Perceptron(functions=2, width=1, depth=1),
        Perceptron(functions=4, width=5, domain=(-2.0, 3.0), outside="constant"),
        Perceptron(functions=3, width=4, depth=3, domain=(1.0, 2.0), outside="periodic"),
        Perceptron(functions=3, width=4, depth=1, domain=(1.0, 2.0), outside="error"),
    )
    refusals = ((instances[0], {"functions": 8}), (instances[1], {"functions": 8}), (instances[0], {}))
    bad_fields = (
        {"functions": 1},
        {"width": 0},
        {"depth": 0},
        {"depth": 1.0},
        {"domain": (1.0, 1.0)},
        {"outside": "zero"},
    )
    tolerance = 1e-9  # of the quadrature; values are exact to rounding

    def evaluate(self, atom, x, order):
        """Layer by layer in torch; derivatives by repeated reverse mode instead of Taylor coefficients."""
        *hidden, weight, bias = self.parameters(atom)
        a, b = atom.domain
        t = torch.from_numpy(np.asarray(x)).requires_grad_()
        values = [torch.ones_like(t) + 0 * t]
        signal = [2 * (t - a) / (b - a) - 1]
        for w, c in zip(hidden[::2], hidden[1::2], strict=True):
            signal = [torch.tanh(sum(s * w[i, k] for i, s in enumerate(signal)) + c[k]) for k in range(len(c))]
        values += [sum(s * weight[i, k] for i, s in enumerate(signal)) + bias[k] for k in range(len(bias))]
        for _ in range(order):
            values = [torch.autograd.grad(v.sum(), t, create_graph=True)[0] + 0 * t for v in values]
        return torch.stack(values, dim=-1).detach().numpy()


def test_parameters_are_required():
    atom = Perceptron(functions=3)
    with pytest.raises(ValueError):
        atom(torch.rand(3))
    with pytest.raises(ValueError):
        atom.integral()
    with pytest.raises(ValueError):
        atom.gram()


def test_start_values_repeat_and_leave_the_global_generator_alone():
    atom = Perceptron(functions=3)
    before = torch.get_rng_state()
    first, second = (atom.initial_parameters(torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))
    assert torch.equal(before, torch.get_rng_state())
