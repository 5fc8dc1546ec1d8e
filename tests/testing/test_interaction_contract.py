"""The contract of interactions refuses interactions that are wrong in one place only."""

import dataclasses

import numpy as np
import pytest
import torch

from separable.interactions import CanonicalPolyadic, Tucker
from separable.interactions.interaction import Sweep
from separable.testing import InteractionCase, InteractionContract


class ProductContract(InteractionContract):
    family = CanonicalPolyadic

    def evaluate(self, case, factors, core, units):
        return np.prod(factors, axis=0) @ core


class CoreContract(InteractionContract):
    family = Tucker

    def evaluate(self, case, factors, core, units):
        return np.einsum("i,j,ijo->o", *factors, core)


@dataclasses.dataclass(frozen=True)
class RescaledOnce(Tucker):
    """Right for the first coordinate, which has two functions."""

    def rescale(self, norms, core):
        divisors, scaled = super().rescale(norms, core)
        return divisors, scaled if len(norms) == 2 else core


@dataclasses.dataclass(frozen=True)
class LoudGrowth(CanonicalPolyadic):
    def grown(self, coefficients, core, to, fresh, noise, generator):
        return super().grown(coefficients, core, to, fresh, float(noise > 0), generator)


@dataclasses.dataclass(frozen=True)
class SilentGrowth(CanonicalPolyadic):
    def grown(self, coefficients, core, to, fresh, noise, generator):
        return super().grown(coefficients, core, to, fresh, 0.0, generator)


@dataclasses.dataclass(frozen=True)
class SharedCore(CanonicalPolyadic):
    def initial_core(self, coordinates, outputs, generator=None):
        return CORE


class Stale(Sweep):
    """Environments of the start of the pass, asked for in any order."""

    def environment(self, j):
        return self.interaction.environment(self.factors, self.core, j)

    def replace(self, j, factor):
        pass


@dataclasses.dataclass(frozen=True)
class StaleSweep(CanonicalPolyadic):
    def sweep(self, factors, core):
        return Stale(self, factors, core)


CORE = CanonicalPolyadic(3).initial_core(3, 2, torch.Generator().manual_seed(0))


PRODUCT = InteractionCase(CanonicalPolyadic(3), 3, 2)
CORE_OF_TWO = InteractionCase(Tucker((2, 3)), 2, 2)


@pytest.mark.parametrize(
    ("contract", "sound", "wrong", "test"),
    [
        (CoreContract, CORE_OF_TWO, RescaledOnce((2, 3)), "test_rescaling_keeps_the_function"),
        (ProductContract, PRODUCT, LoudGrowth(3), "test_growing_the_rank_keeps_the_function"),
        (ProductContract, PRODUCT, SilentGrowth(3), "test_growing_the_rank_keeps_the_function"),
        (ProductContract, PRODUCT, SharedCore(3), "test_start_values_have_the_stated_shapes"),
        (ProductContract, PRODUCT, StaleSweep(3), "test_sweep"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_wrong_interaction_is_refused(contract, sound, wrong, test):
    getattr(contract(), test)(sound)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(contract(), test)(dataclasses.replace(sound, interaction=wrong))
