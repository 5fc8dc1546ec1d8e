"""What every interaction fulfils."""

# ruff: noqa: D102 - a test's name is its sentence

import abc
import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from separable import interactions
from separable.interactions import Interaction
from separable.testing.comparison import COMPILER, Array, close


@dataclasses.dataclass(frozen=True)
class InteractionCase:
    """An interaction with the sizes it is tested at.

    Args:
        interaction: The interaction.
        coordinates: Number D of coordinates.
        outputs: Number O of outputs.
    """

    interaction: Interaction
    coordinates: int
    outputs: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of factor functions."""
        return self.interaction.widths(self.coordinates, self.outputs)

    def draw(self, *batch: int, seed: int = 0) -> tuple[list[Tensor], Tensor]:
        """Random factors ``(*batch, Q_j)`` and a random core."""
        generator = torch.Generator().manual_seed(seed)
        factors = [torch.randn(*batch, q, dtype=torch.float64, generator=generator) for q in self.widths]
        shape = self.interaction.core_shape(self.coordinates, self.outputs)
        return factors, torch.randn(shape, dtype=torch.float64, generator=generator)


class InteractionContract(abc.ABC):
    """What is asked of every interaction.

    Attributes:
        family: The class.
        cases: Interactions and sizes to test.
        traced: The cases that are compiled, which is slow.
        large: Interactions and sizes at which the start values must neither overflow nor vanish.
        bad_fields: Fields that the constructor must refuse.
        bad_sizes: Interactions and sizes that `Interaction.widths` must refuse.
    """

    family: ClassVar[type[Interaction]]
    cases: ClassVar[Sequence[InteractionCase]]
    traced: ClassVar[Sequence[InteractionCase]]
    large: ClassVar[Sequence[InteractionCase]]
    bad_fields: ClassVar[Sequence[dict[str, Any]]] = ()
    bad_sizes: ClassVar[Sequence[InteractionCase]] = ()

    @abc.abstractmethod
    def evaluate(self, case: InteractionCase, factors: list[Array], core: Array, units: Sequence[float]) -> Array:
        """Independent outputs ``(O,)`` at one point, from factor values ``(Q_j,)``."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each case, or for each large case, bad size or set of bad fields."""
        for name, values in (
            ("case", self.cases),
            ("traced_case", self.traced),
            ("large_case", self.large),
            ("bad_size", self.bad_sizes),
            ("fields", self.bad_fields),
        ):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=repr)

    def reference(
        self, case: InteractionCase, factors: list[Tensor], core: Tensor, units: Sequence[float] | None = None
    ) -> Array:
        """Independent outputs ``(n, O)``, one row after the other."""
        rows = range(len(factors[0]))
        units = [1.0] * case.coordinates if units is None else units
        values = [self.evaluate(case, [p[i].numpy() for p in factors], core.numpy(), units) for i in rows]
        return np.array(values).reshape(len(factors[0]), case.outputs)

    def units(self, case: InteractionCase) -> list[list[float]]:
        """Units of a derivative, of an integral, and of both."""
        rng = np.random.default_rng(3)
        lengths = (0.5 + rng.random(case.coordinates)).tolist()
        first = [0.0, *[1.0] * (case.coordinates - 1)]
        return [lengths, first, [0.0] * case.coordinates, [*lengths[:-1], 0.0]]

    # The contract

    def test_outputs(self, case: InteractionCase) -> None:
        factors, core = case.draw(6)
        close(case.interaction.contract(factors, core), self.reference(case, factors, core))
        features = case.interaction.features(factors)
        close(features @ core.reshape(-1, case.outputs), self.reference(case, factors, core))

    def test_units(self, case: InteractionCase) -> None:
        factors, core = case.draw(3)
        for units in self.units(case):
            close(case.interaction.contract(factors, core, units), self.reference(case, factors, core, units))

    def test_batch_shapes(self, case: InteractionCase) -> None:
        for batch in ((), (0,), (2, 3), (2, 0)):
            factors, core = case.draw(*batch)
            outputs = case.interaction.contract(factors, core)
            assert outputs.shape == (*batch, case.outputs)
            flat = [p.reshape(outputs[..., 0].numel(), p.shape[-1]) for p in factors]
            close(outputs.reshape(-1, case.outputs), self.reference(case, flat, core))
            for j in range(case.coordinates):
                weight, offset = case.interaction.environment(factors, core, j)
                assert weight.shape == (*batch, case.widths[j], case.outputs)
                assert offset.shape == (*batch, case.outputs)

    def test_environment(self, case: InteractionCase) -> None:
        """F = offset + p . weight, for every coordinate and every value of its factor, which is not read."""
        factors, core = case.draw(4)
        other, _ = case.draw(4, seed=1)
        for units in (None, *self.units(case)):
            for j in range(case.coordinates):
                hidden = [torch.full_like(p, torch.nan) if i == j else p for i, p in enumerate(factors)]
                weight, offset = case.interaction.environment(hidden, core, j, units)
                for p in (factors[j], other[j], torch.zeros_like(factors[j])):
                    expected = self.reference(case, [*factors[:j], p, *factors[j + 1 :]], core, units)
                    close(offset + torch.einsum("nq,nqo->no", p, weight), expected)

    def test_sweep(self, case: InteractionCase) -> None:
        """A pass equals fresh environments after every replacement, and is refused out of its order."""
        factors, core = case.draw(4)
        new, _ = case.draw(4, seed=1)
        sweep, current = case.interaction.sweep(factors, core), list(factors)
        for j in range(case.coordinates):
            for other in {j - 1, j + 1}:
                with pytest.raises(ValueError):
                    sweep.environment(other)
                with pytest.raises(ValueError):
                    sweep.replace(other, factors[j])
            weight, offset = sweep.environment(j)
            fresh = case.interaction.environment(current, core, j)
            close(weight, fresh[0])
            close(offset, fresh[1])
            close(offset + torch.einsum("nq,nqo->no", current[j], weight), self.reference(case, current, core))
            current[j] = new[j]
            sweep.replace(j, new[j])

    def test_grid(self, case: InteractionCase) -> None:
        sizes = [2 + j % 2 for j in range(case.coordinates)]
        generator = torch.Generator().manual_seed(5)
        axes = [
            torch.randn(n, q, dtype=torch.float64, generator=generator) for n, q in zip(sizes, case.widths, strict=True)
        ]
        _, core = case.draw(1)
        grid = case.interaction.on_grid(axes, core)
        assert grid.shape == (*sizes, case.outputs)
        points = list(itertools.product(*map(range, sizes)))
        at = [torch.stack([axes[j][point[j]] for point in points]) for j in range(case.coordinates)]
        close(grid.reshape(-1, case.outputs), self.reference(case, at, core))
        empty = case.interaction.on_grid([axes[0][:0], *axes[1:]], core)
        assert empty.shape == (0, *sizes[1:], case.outputs)

    def test_gradients(self, case: InteractionCase) -> None:
        if case.coordinates > 4:
            return
        factors, core = case.draw(2)
        zeroed = [p * (torch.arange(p.numel()).reshape(p.shape) % 2) for p in factors]  # half of the entries zero
        zeroed[0] = torch.zeros_like(zeroed[0])
        for start in (factors, zeroed):
            inputs = [p.clone().requires_grad_() for p in (*start, core)]

            def function(*args: Tensor) -> Tensor:
                return case.interaction.contract(args[:-1], args[-1])

            assert torch.autograd.gradcheck(function, inputs)
            assert torch.autograd.gradgradcheck(function, inputs)
            slopes = torch.autograd.grad(function(*inputs)[:, 0].sum(), inputs)
            for j in range(case.coordinates):
                weight, _ = case.interaction.environment(start, core, j)
                close(slopes[j], weight[..., 0])

    def test_function_transforms(self, case: InteractionCase) -> None:
        factors, core = case.draw(3)
        names = tuple(range(case.coordinates))

        def function(*p: Tensor) -> Tensor:
            return case.interaction.contract(p, core)

        close(torch.func.vmap(function)(*factors), function(*factors))
        jacobians = torch.func.vmap(torch.func.jacrev(function, argnums=names))(*factors)
        for j in names:
            weight, _ = case.interaction.environment(factors, core, j)
            close(jacobians[j], weight.mT)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
    def test_compiles_in_one_graph(self, traced_case: InteractionCase) -> None:
        torch._dynamo.reset()
        case = traced_case
        factors, core = case.draw(3)
        compiled = torch.compile(case.interaction.contract, backend=COMPILER, fullgraph=True)
        close(compiled(factors, core), case.interaction.contract(factors, core))

    def test_start_values_have_the_stated_shapes(self, case: InteractionCase) -> None:
        for j, width in enumerate(case.widths):
            mean, spread = case.interaction.initial_factor(j, case.coordinates, case.outputs)
            assert mean.shape == (width,)
            assert mean.dtype == torch.float64
            assert spread > 0
        core = case.interaction.initial_core(case.coordinates, case.outputs, torch.Generator().manual_seed(0))
        assert core.shape == case.interaction.core_shape(case.coordinates, case.outputs)
        again = case.interaction.initial_core(case.coordinates, case.outputs, torch.Generator().manual_seed(0))
        assert torch.equal(core, again)
        again += 1  # two layers never share their start values
        assert not (core == again).any()

    def test_start_neither_overflows_nor_vanishes(self, large_case: InteractionCase) -> None:
        case, n = large_case, 64
        generator = torch.Generator().manual_seed(11)
        factors = []
        for j, width in enumerate(case.widths):
            mean, spread = case.interaction.initial_factor(j, case.coordinates, case.outputs)
            noise = torch.randn(n, width, dtype=torch.float64, generator=generator)
            factors.append((mean + spread * noise).float().requires_grad_())
        core = case.interaction.initial_core(case.coordinates, case.outputs, generator).float().requires_grad_()
        outputs = case.interaction.contract(factors, core)
        slopes = torch.autograd.grad(outputs.sum(), [*factors, core])
        outputs = outputs.detach()
        assert 0.02 < float(outputs.square().mean().sqrt()) < 50
        assert float(outputs.abs().median()) > 1e-3
        sizes = torch.stack([s.square().mean().sqrt() for s in slopes])
        assert torch.isfinite(sizes).all()
        assert float(sizes.max()) < 1e3
        assert float(sizes.min()) > 1e-4

    def test_single_precision(self, case: InteractionCase) -> None:
        factors, core = case.draw(4)
        outputs = case.interaction.contract([p.float() for p in factors], core.float())
        assert outputs.dtype == torch.float32
        close(outputs, self.reference(case, factors, core), 1e-5)

    def test_rescaling_keeps_the_function(self, case: InteractionCase) -> None:
        factors, core = case.draw(4)
        expected = self.reference(case, factors, core)
        generator = torch.Generator().manual_seed(2)
        for j, width in enumerate(case.widths):
            norms = torch.rand(width, dtype=torch.float64, generator=generator) + 0.5
            for sizes in (norms, torch.zeros_like(norms)):
                divisors, scaled = case.interaction.rescale(sizes, core)
                close(
                    case.interaction.contract([*factors[:j], factors[j] / divisors, *factors[j + 1 :]], scaled),
                    expected,
                )

    def test_growing_the_rank_keeps_the_function(self, case: InteractionCase) -> None:
        stages = case.interaction.ranks()
        assert stages[-1] == case.interaction
        for stage in stages:
            smaller = dataclasses.replace(case, interaction=stage)
            factors, core = smaller.draw(4)
            fresh, _ = case.draw(4, seed=3)
            before = torch.from_numpy(self.reference(smaller, factors, core))
            changes = []
            for noise in (0.0, 1e-4, 1e-2):
                generator = torch.Generator().manual_seed(0)
                larger = stage.grown(factors, core, case.interaction, fresh, noise, generator)
                changes.append(float((case.interaction.contract(*larger) - before).abs().max() / before.abs().max()))
            assert changes[0] < 1e-10
            # New terms are found through what the noise adds, which vanishes with it (in a chain, by its square).
            assert changes[1] <= 0.02 * changes[2] + 1e-10
            assert (changes[2] > 1e-6) == (smaller.widths != case.widths)

    def test_is_a_value(self, case: InteractionCase) -> None:
        stored = json.loads(json.dumps(case.interaction.config()))
        copy = interactions.from_config(stored)
        assert isinstance(copy, self.family)
        assert copy == case.interaction
        assert hash(copy) == hash(case.interaction)
        with pytest.raises(dataclasses.FrozenInstanceError):
            case.interaction.rank = 5  # type: ignore[attr-defined]
        for wrong in ({**stored, "no_such_field": 1}, {**stored, "family": "Nothing"}, {**stored, "rank": 0}):
            with pytest.raises(ValueError):
                interactions.from_config(wrong)

    def test_bad_fields(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            self.family(**fields)

    def test_bad_sizes(self, bad_size: InteractionCase) -> None:
        with pytest.raises(ValueError):
            bad_size.interaction.widths(bad_size.coordinates, bad_size.outputs)
