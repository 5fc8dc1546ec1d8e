"""What every atom fulfils."""

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

from separable import atoms
from separable.atoms import Atom
from separable.testing.comparison import COMPILER, Array, close


class AtomContract(abc.ABC):
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

    @abc.abstractmethod
    def evaluate(self, atom: Atom, x: Array, order: int) -> Array:
        """Independent values ``(n, K)`` of a derivative at coordinates ``x (n,)`` inside the domain."""

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

    def test_many_points(self, atom: Atom) -> None:
        x = self.points(atom, 5000)
        close(self.values_at(atom, x), self.evaluate(atom, x, 0), self.tolerance)

    def test_ends_of_the_domain(self, atom: Atom) -> None:
        ends = np.array(atom.domain)
        close(self.values_at(atom, ends), self.evaluate(atom, ends, 0), self.tolerance)

    def test_breakpoints(self, atom: Atom) -> None:
        """Where two pieces meet, values and slopes are those of one of them."""
        if atom.discrete:
            return
        (a, b), at = atom.domain, np.array(atom.breakpoints)
        step = 1e-9 * (b - a)
        for order in (0, 1):
            found = self.values_at(atom, at, order).detach().numpy()
            sides = [self.evaluate(atom, np.clip(at + side, a, b), order) for side in (-step, step)]
            error = np.minimum(*(np.abs(found - side) for side in sides)).max()
            assert error <= 1e-5 * max(1.0, np.abs(sides).max())

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
        if not atom.discrete:  # within one piece, and in one with its upper end
            start, end = sorted(set(atom.breakpoints))[-2:]
            inside = start + 0.2 * (end - start), start + 0.7 * (end - start)
            boxes += [inside, (inside[0], end)]
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
        first, second = self.parameters(atom), self.parameters(atom)
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one, other)
            other += 1  # two layers never share their start values
            assert not (one == other).any()
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
