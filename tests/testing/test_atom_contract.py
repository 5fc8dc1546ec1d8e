"""The contract of atoms refuses atoms that are wrong in one place only."""

import dataclasses

import pytest
import torch

from separable.atoms import BSpline, Perceptron
from separable.testing import AtomContract


class SplineContract(AtomContract):
    family = BSpline

    def evaluate(self, atom, x, order):
        sound = BSpline(atom.intervals, atom.degree, atom.domain, periodic=atom.periodic)
        return sound(torch.from_numpy(x), order).numpy()


class PerceptronContract(AtomContract):
    family = Perceptron

    def evaluate(self, atom, x, order):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ZeroAtKnots(BSpline):
    def _inside(self, x, derivative, parameters):
        inner = torch.tensor(self.breakpoints[1:-1], dtype=x.dtype)
        return super()._inside(x, derivative, parameters) * ~torch.isin(x, inner)[..., None]


@dataclasses.dataclass(frozen=True)
class OpenCircle(BSpline):
    def _inside(self, x, derivative, parameters):
        return super()._inside(x, derivative, parameters) * (x < self.domain[1])[..., None]


@dataclasses.dataclass(frozen=True)
class WholePieces(BSpline):
    """Limits within one piece are carried to its ends."""

    def integral(self, lower=None, upper=None, parameters=()):
        a, b = self._limits(lower, upper)
        for start, end in zip(self.breakpoints[:-1], self.breakpoints[1:], strict=True):
            if start < a and b < end:
                a, b = start, end
        return super().integral(a, b, parameters)


@dataclasses.dataclass(frozen=True)
class SometimesWrong(BSpline):
    """One value in 400, where there are that many."""

    def _inside(self, x, derivative, parameters):
        values = super()._inside(x, derivative, parameters)
        if x.numel() >= 400:
            values = values.clone()
            values[::400] += 0.1
        return values


SMALL = Perceptron(functions=2, width=3, depth=1)
START = SMALL.initial_parameters(torch.Generator().manual_seed(7))


@dataclasses.dataclass(frozen=True)
class SharedStart(Perceptron):
    def initial_parameters(self, generator=None):
        return START


@pytest.mark.parametrize(
    ("contract", "atom", "test", "sound"),
    [
        (SplineContract, ZeroAtKnots(4, 3), "test_breakpoints", BSpline(4, 3)),
        (SplineContract, OpenCircle(6, 3, periodic=True), "test_ends_of_the_domain", BSpline(6, 3, periodic=True)),
        (SplineContract, WholePieces(4, 3), "test_integrals", BSpline(4, 3)),
        (SplineContract, SometimesWrong(4, 3), "test_many_points", BSpline(4, 3)),
        (PerceptronContract, SharedStart(2, 3, 1), "test_gradients_of_own_parameters", SMALL),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_wrong_atom_is_refused(contract, atom, test, sound):
    getattr(contract(), test)(sound)
    with pytest.raises(AssertionError):
        getattr(contract(), test)(atom)
