"""Contracts that every atom and every interaction fulfils: a new family names its cases and an independent evaluation.

A test file subclasses `AtomContract` or `InteractionContract` under a name that pytest collects, and inherits its
tests. This module needs pytest and is imported by tests only.
"""

# ruff: noqa: D102 - a test's name is its sentence

import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from separable import atoms, interactions
from separable.atoms import Atom
from separable.interactions import Interaction

Array = NDArray[np.float64]

# Tracing is checked without the code generator, which takes seconds a case; one layer's test runs that too.
COMPILER = "aot_eager"


def close(actual: Tensor, expected: Tensor | Array, tolerance: float = 1e-10) -> None:
    """Assert equal shapes and values, within a tolerance relative to the largest expected magnitude (at least one)."""
    expected = torch.as_tensor(expected, dtype=torch.float64).detach()
    actual = actual.detach().double()
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert torch.isfinite(expected).all()
    assert torch.isfinite(actual).all()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    error = float((actual - expected).abs().max()) / scale if expected.numel() else 0.0
    assert error <= tolerance, f"relative error {error:.2e} exceeds {tolerance:.0e}"


class AtomContract:
    """What is asked of every atom.

    Attributes:
        instances: Atoms to test.
        refinements: Atoms with changes that must be exact.
        refusals: Atoms with changes that do not contain them and must raise ValueError.
        bad_fields: Fields that the constructor must refuse.
        family: The class.
        policies: Policies outside the domain that the family has.
        traced: Atoms that are compiled, which is slow; by default the first two.
        orders: Highest order of a derivative that is compared.
        constant_tolerance: How well the functions represent the constant one.
        tolerance: Relative accuracy asked of values; derivatives lose one digit an order.
    """

    family: ClassVar[type[Atom]]
    instances: ClassVar[Sequence[Atom]]
    refinements: ClassVar[Sequence[tuple[Atom, dict[str, Any]]]] = ()
    refusals: ClassVar[Sequence[tuple[Atom, dict[str, Any]]]] = ()
    bad_fields: ClassVar[Sequence[dict[str, Any]]] = ()
    policies: ClassVar[Sequence[str]] = ("linear", "constant", "periodic", "error")
    traced: ClassVar[Sequence[Atom]] = ()
    orders: ClassVar[int] = 3
    constant_tolerance: ClassVar[float] = 1e-12
    tolerance: ClassVar[float] = 1e-11

    def evaluate(self, atom: Atom, x: Array, order: int) -> Array:
        """Independent values ``(n, K)`` of a derivative at coordinates ``x (n,)`` inside the domain."""
        raise NotImplementedError

    # Helpers

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each instance, refinement, refusal, policy or set of bad fields that a test asks for."""
        if "atom" in metafunc.fixturenames:
            metafunc.parametrize("atom", self.instances, ids=repr)
        if "traced_atom" in metafunc.fixturenames:
            metafunc.parametrize("traced_atom", self.traced or self.instances[:2], ids=repr)
        if "refinement" in metafunc.fixturenames:
            metafunc.parametrize("refinement", self.refinements, ids=repr)
        if "refusal" in metafunc.fixturenames:
            metafunc.parametrize("refusal", self.refusals, ids=repr)
        if "fields" in metafunc.fixturenames:
            metafunc.parametrize("fields", self.bad_fields, ids=repr)

    def parameters(self, atom: Atom) -> tuple[Tensor, ...]:
        """The functions' own parameters in these tests; empty for fixed families."""
        return atom.initial_parameters(torch.Generator().manual_seed(7))

    def points(self, atom: Atom, n: int = 40) -> Array:
        """Coordinates inside the domain, none of them where a derivative jumps; categories for a discrete atom."""
        a, b = atom.domain
        rng = np.random.default_rng(1)
        if atom.discrete:
            return rng.integers(0, atom.size, n).astype(float)
        return a + (b - a) * rng.random(n)

    def with_policy(self, atom: Atom, policy: str) -> Atom:
        """The same functions with another policy outside the domain."""
        return dataclasses.replace(atom, outside=policy)  # type: ignore[type-var]

    def brute_nodes(self, atom: Atom, lower: float, upper: float) -> tuple[Array, Array]:
        """Nodes and weights of a quadrature far finer than the atom's own."""
        if atom.discrete:
            nodes = np.arange(atom.size, dtype=float)
            nodes = nodes[(nodes >= lower) & (nodes <= upper)]
            return nodes, np.ones_like(nodes)
        inner = [t for t in atom.breakpoints if lower < t < upper]
        ends = np.unique([*np.linspace(lower, upper, 31), *inner])
        nodes, weights = np.polynomial.legendre.leggauss(20)
        half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
        return (middle + half * nodes).ravel(), (half * weights).ravel()

    def values_at(self, atom: Atom, x: Array, order: int = 0) -> Tensor:
        """The atom's own float64 values."""
        return atom(torch.from_numpy(x), order, self.parameters(atom))

    # The contract

    def test_values_and_derivatives(self, atom: Atom) -> None:
        x = self.points(atom)
        for order in range(1 if atom.discrete else self.orders + 1):
            close(self.values_at(atom, x, order), self.evaluate(atom, x, order), self.tolerance * 10**order)

    def test_ends_of_the_domain(self, atom: Atom) -> None:
        if atom.outside == "periodic" and not atom.discrete:
            return  # there the upper end is the lower one, which the test of the policy covers
        ends = np.array(atom.domain)
        close(self.values_at(atom, ends), self.evaluate(atom, ends, 0), self.tolerance)

    def test_size_and_shapes(self, atom: Atom) -> None:
        x = torch.from_numpy(self.points(atom, 6))
        parameters = self.parameters(atom)
        for shape in ((), (0,), (6,), (2, 3), (1, 0, 2)):
            part = x[: int(np.prod(shape))].reshape(shape)
            values = atom(part, 0, parameters)
            assert values.shape == (*shape, atom.size)
            close(values.reshape(-1, atom.size), atom(part.flatten(), 0, parameters))

    def test_ones(self, atom: Atom) -> None:
        x = self.points(atom)
        assert atom.ones().dtype == torch.float64
        close(self.values_at(atom, x) @ atom.ones(), np.ones(len(x)), self.constant_tolerance)

    def test_integrals(self, atom: Atom) -> None:
        (a, b), parameters = atom.domain, self.parameters(atom)
        thirds = a + (b - a) * 0.3, a + (b - a) * 0.85
        boxes = [(None, None), (a, b), thirds, (None, thirds[1]), (thirds[0], None), (thirds[0], thirds[0])]
        for lower, upper in boxes:
            ends = a if lower is None else lower, b if upper is None else upper
            nodes, weights = self.brute_nodes(atom, *ends)
            expected = weights @ self.evaluate(atom, nodes, 0)
            close(atom.integral(lower, upper, parameters), expected, self.tolerance)
            assert atom.measure(lower, upper) == pytest.approx(weights.sum(), rel=1e-13)

    def test_gram_matrices(self, atom: Atom) -> None:
        nodes, weights = self.brute_nodes(atom, *atom.domain)
        parameters = self.parameters(atom)
        if atom.discrete:
            close(atom.gram(), np.eye(atom.size))
            for orders in ((1, 1), (0, 1), (1, None)):
                with pytest.raises(ValueError):
                    atom.gram(*orders)
            return
        values = [self.evaluate(atom, nodes, order) for order in range(3)]
        for first, second in itertools.product(range(3), repeat=2):
            expected = (values[first] * weights[:, None]).T @ values[second]
            close(atom.gram(first, second, parameters), expected, self.tolerance * 10 ** (first + second))
        close(atom.gram(1, parameters=parameters), atom.gram(1, 1, parameters))

    def test_quadrature_covers_the_domain(self, atom: Atom) -> None:
        for points in (None, 5):
            nodes, weights = atom.quadrature(points)
            a, b = atom.domain
            assert nodes.dtype == weights.dtype == torch.float64
            assert ((nodes >= a) & (nodes <= b)).all()
            assert float(weights.sum()) == pytest.approx(atom.measure(), rel=1e-13)

    def test_refinement(self, refinement: tuple[Atom, dict[str, Any]]) -> None:
        atom, changes = refinement
        finer, matrix = atom.refined(**changes)
        assert type(finer) is type(atom)
        assert matrix.dtype == torch.float64
        assert matrix.shape == (finer.size, atom.size)
        assert finer == dataclasses.replace(atom, **changes)  # type: ignore[type-var]
        a, b = atom.domain
        x = self.points(atom)
        if atom.outside != "error":
            x = np.concatenate([x, [a - 0.1 * (b - a), b + 2 * (b - a)]])
        close(self.values_at(finer, x) @ matrix, self.values_at(atom, x), 1e-9)

    def test_refinement_refused(self, refusal: tuple[Atom, dict[str, Any]]) -> None:
        atom, changes = refusal
        with pytest.raises(ValueError):
            atom.refined(**changes)

    def test_refinement_keeps_the_domain(self, atom: Atom) -> None:
        for changes in ({"no_such_field": 1}, {"domain": (-3.0, 9.0)}, {"outside": "never"}):
            with pytest.raises(ValueError):
                atom.refined(**changes)

    def test_outside(self, atom: Atom) -> None:
        a, b = atom.domain
        length = b - a
        beyond = np.array([1e-3 * length, 0.37 * length, 2.31 * length, 1e6])
        x = np.concatenate([a - beyond, b + beyond])
        nearest = np.clip(x, a, b)
        parameters = self.parameters(atom)
        for policy in self.policies:
            changed = self.with_policy(atom, policy)
            if policy == "error":
                self.check_error_policy(changed)
                continue
            if policy == "periodic":
                # The reference wraps as well: at 1e6 the wrapped coordinate itself is known to about 1e-10.
                wrapped = a + np.remainder(x - a, length)
                expected = [self.evaluate(atom, wrapped, m) for m in range(3)]
            else:
                value, slope = self.evaluate(atom, nearest, 0), self.evaluate(atom, nearest, 1)
                zero = np.zeros_like(value)
                if policy == "linear":
                    expected = [value + (x - nearest)[:, None] * slope, slope, zero]
                else:
                    expected = [value, zero, zero]
            for order, reference in enumerate(expected):
                close(changed(torch.from_numpy(x), order, parameters), reference, 1e-7)
                single = changed(torch.from_numpy(x).float(), order, parameters)
                assert torch.isfinite(single).all()

    def check_error_policy(self, atom: Atom) -> None:
        """The policy ``error`` names the offender, accepts both ends, and refuses what is not a number."""
        a, b = atom.domain
        parameters = self.parameters(atom)
        inside = torch.tensor([a, b], dtype=torch.float64)
        close(atom(inside, 0, parameters), self.evaluate(atom, np.array([a, b]), 0), self.tolerance)
        for wrong in (a - 1e6, b + 0.5 * (b - a) + 1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=type(atom).__name__) as caught:
                atom(torch.tensor([a, wrong], dtype=torch.float64), 0, parameters)
            assert f"{wrong:g}" in str(caught.value)

    def test_not_a_number_stays_one(self, atom: Atom) -> None:
        for policy in self.policies:
            if policy != "error" and atom.size > 1:  # a single function may be the constant
                values = self.with_policy(atom, policy)(torch.tensor([float("nan")]), 0, self.parameters(atom))
                assert values.isnan().any()

    def test_dtypes(self, atom: Atom) -> None:
        x = torch.from_numpy(self.points(atom))
        parameters = self.parameters(atom)
        for dtype, tolerance in ((torch.float32, 2e-5), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
            rounded = x.to(dtype)
            if atom.outside == "error":
                rounded = rounded.clamp(*atom.domain)
            for order in (0,) if atom.discrete else (0, 1):
                values = atom(rounded, order, parameters)
                assert values.dtype == dtype
                close(values, atom(rounded.double(), order, parameters), tolerance)

    def test_coordinates_are_floating_point(self, atom: Atom) -> None:
        for x in (torch.tensor([0, 1]), torch.tensor([True]), torch.tensor([1j])):
            with pytest.raises(TypeError):
                atom(x, 0, self.parameters(atom))

    def test_bad_orders_and_limits(self, atom: Atom) -> None:
        a, b = atom.domain
        parameters = self.parameters(atom)
        x = torch.tensor([a], dtype=torch.float64)
        for order in (-1, 1.5):
            with pytest.raises(ValueError):
                atom(x, order, parameters)  # type: ignore[arg-type]
            with pytest.raises(ValueError):
                atom.gram(order, 0, parameters)  # type: ignore[arg-type]
            with pytest.raises(ValueError):
                atom.gram(0, order, parameters)  # type: ignore[arg-type]
        for lower, upper in ((a - 1, b), (a, b + 1), (a, float("nan")), (b, a)):
            if lower == b and a == b:
                continue
            with pytest.raises(ValueError):
                atom.integral(lower, upper, parameters)
            with pytest.raises(ValueError):
                atom.measure(lower, upper)

    def test_bad_fields(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            self.family(**fields)
        with pytest.raises(ValueError):
            atoms.from_config({"family": self.family.__name__, **fields})

    def test_gradients(self, atom: Atom) -> None:
        if atom.discrete:
            assert not atom(torch.zeros(2, requires_grad=True)).requires_grad
            return
        parameters = self.parameters(atom)
        a, b = atom.domain
        points = self.points(atom, 3)
        if atom.outside != "error":
            points = np.concatenate([points, [a - 0.21 * (b - a), b + 0.33 * (b - a)]])
        inputs = torch.from_numpy((points - a) / (b - a)).requires_grad_()  # in units of the domain: one size of step

        def function(t: Tensor, order: int = 0) -> Tensor:
            return atom(a + (b - a) * t, order, parameters) * (b - a) ** order

        for order in (0, 1):
            if function(inputs, order).requires_grad:
                assert torch.autograd.gradcheck(lambda t, m=order: function(t, m), inputs, atol=1e-4, rtol=1e-4)
            else:
                close(self.values_at(atom, self.points(atom), order + 1), np.zeros((40, atom.size)))
        if torch.autograd.grad(function(inputs).sum(), inputs, create_graph=True, allow_unused=True)[0] is not None:
            assert torch.autograd.gradgradcheck(function, inputs, atol=1e-4, rtol=1e-4)

    def test_gradients_of_own_parameters(self, atom: Atom) -> None:
        if not atom.learned:
            assert atom.initial_parameters() == ()
            return
        parameters = [p.requires_grad_() for p in self.parameters(atom)]
        x = torch.from_numpy(self.points(atom, 2))
        assert torch.autograd.gradcheck(lambda *p: atom(x, 1, p), parameters)
        assert torch.autograd.gradgradcheck(lambda *p: atom(x, 0, p), parameters)
        assert torch.autograd.gradcheck(lambda *p: atom.integral(parameters=p), parameters)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from forward mode
    def test_function_transforms(self, atom: Atom) -> None:
        if atom.outside == "error":
            return  # reads the data, which vmap does not allow: stated in the atom's docstring
        x = torch.from_numpy(self.points(atom, 5))
        parameters = self.parameters(atom)

        def function(t: Tensor) -> Tensor:
            return atom(t, 0, parameters)

        close(torch.func.vmap(function)(x), function(x))
        if atom.discrete:
            return
        first = torch.func.vmap(torch.func.jacrev(function))(x)
        second = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(function)))(x)
        close(first, self.evaluate(atom, x.numpy(), 1), self.tolerance * 10)
        close(second, self.evaluate(atom, x.numpy(), 2), self.tolerance * 100)
        slope = torch.func.grad(lambda t: function(t).square().sum())(x[0])
        close(slope, (2 * function(x[0]) * atom(x[0], 1, parameters)).sum())

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
    def test_compiles_in_one_graph(self, traced_atom: Atom) -> None:
        torch._dynamo.reset()
        parameters = self.parameters(traced_atom)
        x = torch.from_numpy(self.points(traced_atom, 5))
        compiled = torch.compile(traced_atom.__call__, backend=COMPILER, fullgraph=True)
        for order in (0,) if traced_atom.discrete else (0, 1, 2):
            close(compiled(x, order, parameters), traced_atom(x, order, parameters))

    def test_inference_mode_leaves_no_trace(self, atom: Atom) -> None:
        parameters = self.parameters(atom)
        x = torch.from_numpy(self.points(atom, 3))
        with torch.inference_mode():
            atom(x, 0, parameters)
        if not atom.discrete:
            x.requires_grad_()
            (slope,) = torch.autograd.grad(atom(x, 0, parameters).sum(), x)
            assert torch.isfinite(slope).all()

    def test_rescaled(self, atom: Atom) -> None:
        if atom.discrete:
            assert atom.rescaled((0.0, 1.0)) == atom
            return
        (a, b), x = atom.domain, self.points(atom)
        other = atom.rescaled((-2.0, 5.0))
        assert other.domain == (-2.0, 5.0)
        close(self.values_at(other, -2 + 7 * (x - a) / (b - a)), self.values_at(atom, x), 1e-9)
        with pytest.raises(ValueError):
            atom.rescaled((1.0, 1.0))

    def test_is_a_value(self, atom: Atom) -> None:
        assert isinstance(atom, self.family)
        stored = json.loads(json.dumps(atom.config()))
        copy = atoms.from_config(stored)
        assert copy == atom
        assert hash(copy) == hash(atom)
        assert copy.config() == atom.config()
        assert {atom: 1}[copy] == 1
        assert all(atom == other or atom.config() != other.config() for other in self.instances)
        with pytest.raises(dataclasses.FrozenInstanceError):
            atom.outside = "error"
        for wrong in ({**stored, "no_such_field": 1}, {**stored, "family": "Nothing"}, {**stored, "outside": "zero"}):
            with pytest.raises(ValueError):
                atoms.from_config(wrong)


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


class InteractionContract:
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

    def evaluate(self, case: InteractionCase, factors: list[Array], core: Array, units: Sequence[float]) -> Array:
        """Independent outputs ``(O,)`` at one point, from factor values ``(Q_j,)``."""
        raise NotImplementedError

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
        """A pass equals fresh environments after every replacement; one without replacements, the first ones."""
        factors, core = case.draw(4)
        new, _ = case.draw(4, seed=1)
        sweep, current = case.interaction.sweep(factors, core), list(factors)
        for j in range(case.coordinates):
            weight, offset = sweep.environment(j)
            fresh = interactions.Sweep(case.interaction, current, core).environment(j)
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
        norms = torch.rand(case.widths[0], dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5
        for sizes in (norms, torch.zeros_like(norms)):
            divisors, scaled = case.interaction.rescale(sizes, core)
            expected = self.reference(case, factors, core)
            close(case.interaction.contract([factors[0] / divisors, *factors[1:]], scaled), expected)

    def test_growing_the_rank_keeps_the_function(self, case: InteractionCase) -> None:
        stages = case.interaction.ranks()
        assert stages[-1] == case.interaction
        for stage in stages:
            smaller = dataclasses.replace(case, interaction=stage)
            factors, core = smaller.draw(4)
            fresh, _ = case.draw(4, seed=3)
            grown = stage.grown(factors, core, case.interaction, fresh, 0.0, torch.Generator().manual_seed(0))
            close(case.interaction.contract(*grown), self.reference(smaller, factors, core))

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
