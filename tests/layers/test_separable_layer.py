"""The separable layer against its dense tensor, and that against a loop over subsets, atoms and terms."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from separable import SeparableLayer
from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian, Perceptron, Table
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.layers import LearnedCoordinates
from separable.testing import close
from tests.layers.dense import ATOMS, BUMPS, FITTING, INTERACTIONS, bases, bias_of, build, contracted, draw, subsets


@pytest.fixture(params=FITTING, ids=lambda p: f"{p[0]}, {p[1]}")
def layer(request):
    atoms, interaction = request.param
    return build(ATOMS[atoms], INTERACTIONS[interaction])


def test_values_are_those_of_the_dense_tensor(layer):
    x = draw(layer.atoms, 12)
    factors = [b @ layer.expansion.coefficient(j) for j, b in enumerate(bases(layer, x))]
    expected = subsets(layer, factors) + bias_of(layer)
    close(layer(x), expected)
    tensor = layer.dense()
    assert tensor.shape == (*(atom.size for atom in layer.atoms), 2)
    close(contracted(tensor, bases(layer, x)) + bias_of(layer), expected)


def test_derivatives_are_those_of_the_dense_tensor(layer):
    x = draw(layer.atoms, 5)
    tensor = layer.dense()
    for orders in itertools.product((0, 1, 2), repeat=layer.n_coordinates):
        if any(order and atom.discrete for order, atom in zip(orders, layer.atoms, strict=True)):
            with pytest.raises(ValueError):
                layer.derivative(x, orders)
            continue
        expected = contracted(tensor, bases(layer, x, orders))
        close(layer.derivative(x, orders), expected if any(orders) else expected + bias_of(layer), 1e-8)


def test_jacobian_is_that_of_automatic_differentiation(layer):
    x = draw(layer.atoms, 4)
    jacobian = layer.jacobian(x)
    if not any(atom.discrete for atom in layer.atoms):
        close(jacobian, torch.func.vmap(torch.func.jacrev(layer))(x), 1e-8)
    else:
        inputs = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(inputs)[:, 1].sum(), inputs)
        close(jacobian[:, 1], slope, 1e-8)


def test_integrals_are_those_of_the_dense_tensor(layer):
    tensor = layer.dense()
    lower = [0.0 if a.discrete else a.domain[0] + 0.3 * (a.domain[1] - a.domain[0]) for a in layer.atoms]
    upper = [1.0 if a.discrete else a.domain[0] + 0.8 * (a.domain[1] - a.domain[0]) for a in layer.atoms]
    for box in ((None, None), (lower, None), (None, upper), (lower, upper)):
        vectors, volume = [], 1.0
        for j, atom in enumerate(layer.atoms):
            a, b = ((atom.domain[e] if ends is None else ends[j]) for e, ends in enumerate(box))
            vectors.append(atom.integral(a, b, layer.expansion.parameters_of(j)).detach()[None])
            volume *= b - a + (1 if atom.discrete else 0)
        close(layer.integral(*box), contracted(tensor, vectors)[0] + volume * bias_of(layer), 1e-9)


def test_integral_is_a_sum_over_the_box():
    """Brute force, with no formula in common: a midpoint rule in three coordinates, and categories added up."""
    layer = build([Chebyshev(degree=2), Fourier(modes=1), Table(2)], CanonicalPolyadic(rank=2, order=2))
    n = 60
    midpoints = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    grid = torch.cartesian_prod(midpoints, midpoints, torch.arange(2, dtype=torch.float64))
    close(layer.integral(), layer(grid).sum(0) / n**2, 1e-3)
    close(layer.averaged(grid[:1], (0, 1, 2))[0], layer(grid).mean(0), 1e-3)


def test_averages_are_those_of_the_dense_tensor(layer):
    x = draw(layer.atoms, 4)
    for size in range(layer.n_coordinates + 1):
        for over in itertools.combinations(range(layer.n_coordinates), size):
            vectors = bases(layer, x)
            hidden = x.clone()
            for j in over:
                atom = layer.atoms[j]
                mean = atom.integral(parameters=layer.expansion.parameters_of(j)) / atom.measure()
                vectors[j] = mean.detach().expand(4, -1)
                hidden[:, j] = float("nan")  # not read
            close(layer.averaged(hidden, over), contracted(layer.dense(), vectors) + bias_of(layer), 1e-9)


def test_grid_is_the_layer_at_its_points(layer):
    axes = [draw([atom], 2 + j, seed=j)[:, 0] for j, atom in enumerate(layer.atoms)]
    grid = layer.on_grid(axes)
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    assert grid.shape == (*points.shape[:-1], 2)
    close(grid, layer(points))


def test_shapes_of_a_batch(layer):
    x = draw(layer.atoms, 6)
    expected = layer(x)
    for shape in ((), (0,), (6,), (2, 3), (3, 0, 2), (1, 6, 1)):
        part = x[: math.prod(shape)].reshape(*shape, layer.in_features)
        outputs = layer(part)
        assert outputs.shape == (*shape, 2)
        close(outputs.reshape(-1, 2), expected[: math.prod(shape)])
        assert layer.jacobian(part).shape == (*shape, 2, layer.in_features)
        assert layer.derivative(part, [0] * layer.in_features).shape == (*shape, 2)
        assert layer.averaged(part, [0]).shape == (*shape, 2)
    strided = draw(layer.atoms, 12)[::2]
    close(layer(strided), layer(strided.contiguous()))


def test_gradients_of_parameters_and_inputs(layer):
    if layer.n_parameters > 50 or any(atom.discrete for atom in layer.atoms):
        return
    x = draw(layer.atoms, 2).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *values), atol=1e-4)
    assert torch.autograd.gradgradcheck(function, (x, *values), atol=1e-4)


def test_function_transforms(layer):
    if any(atom.discrete for atom in layer.atoms):  # their policy here reads the data
        return
    x = draw(layer.atoms, 4)
    close(torch.func.vmap(layer)(x), layer(x))
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def one(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,))

    by_row = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(parameters, x)["core"]
    weight = torch.autograd.functional.jacobian(lambda core: one({**parameters, "core": core}, x), parameters["core"])
    close(by_row, weight)


def test_bumps_hold_the_definition_without_a_constant():
    """Gaussian bumps hold no exact constant: what a subset leaves out is still one, its slope 0, its integral b - a."""
    x = draw(BUMPS, 6)
    for interaction in INTERACTIONS.values():
        layer = build(BUMPS, interaction)
        for orders in ((0, 0, 0), (1, 0, 0), (0, 2, 1)):
            factors = [b @ layer.expansion.coefficient(j) for j, b in enumerate(bases(layer, x, orders))]
            expected = subsets(layer, factors, [float(order == 0) for order in orders])
            close(layer.derivative(x, orders), expected if any(orders) else expected + bias_of(layer))
        integrals = [a.integral()[None] @ layer.expansion.coefficient(j) for j, a in enumerate(BUMPS)]
        expected = subsets(layer, integrals, [1.0, 3.0, 1.0])[0] + 3 * bias_of(layer)
        close(layer.integral(), expected)
        close(layer(x), layer.derivative(x, (0, 0, 0)))


# Outside the domain


@pytest.mark.parametrize("policy", ["linear", "constant", "periodic"])
@pytest.mark.parametrize("domains", [((0.0, 1.0),) * 3, ((0.0, 1.0), (-2.0, 5.0), (10.0, 300.0))])
def test_policies_hold_for_groups_of_coordinates(policy, domains):
    atoms = [BSpline(intervals=3, degree=2, domain=domain, outside=policy) for domain in domains]
    layer = build(atoms, CanonicalPolyadic(rank=2))
    x = draw(atoms, 7) * 40 - 300
    factors = [b @ layer.expansion.coefficient(j) for j, b in enumerate(bases(layer, x))]
    close(layer(x), subsets(layer, factors) + bias_of(layer), 1e-8)
    assert torch.isfinite(layer(x * 1e6)).all()
    assert bool((layer(x) != bias_of(layer)).any())


def test_a_refused_coordinate_is_named_in_its_own_unit():
    atoms = [BSpline(domain=(0.0, s), outside="error") for s in (1.0, 200.0)]
    layer = build(atoms, CanonicalPolyadic(rank=2))
    with pytest.raises(ValueError, match="250"):
        layer(torch.tensor([[0.5, 250.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match="nan"):
        layer(torch.tensor([[0.5, float("nan")]], dtype=torch.float64))
    close(layer(torch.tensor([[1.0, 200.0]], dtype=torch.float64)), layer.on_grid(
        [torch.ones(1, dtype=torch.float64), torch.full((1,), 200.0, dtype=torch.float64)]
    )[0])  # fmt: skip


@pytest.mark.parametrize("interaction", [CanonicalPolyadic(rank=2), CanonicalPolyadic(rank=2, order=1), Tucker(2)])
def test_not_a_number_stays_in_its_row(interaction):
    layer = build(ATOMS["splines"], interaction)
    x = draw(layer.atoms, 3)
    x[1, 2] = float("nan")
    assert layer(x).isnan().all(-1).tolist() == [False, True, False]


# Refinement


REFINEMENTS = [
    ("splines", {"intervals": 6}),
    ("splines on three domains", {"intervals": 9}),
    ("smooth", {"intervals": 4, "modes": 5}),
    ("discrete", {"intervals": 6}),
    ("learned", {"intervals": 4}),
    ("one", {"degree": 7}),
]


@pytest.mark.parametrize("interaction", INTERACTIONS.values(), ids=INTERACTIONS)
@pytest.mark.parametrize(("atoms", "changes"), REFINEMENTS)
def test_refined_is_the_same_function(atoms, changes, interaction):
    if (getattr(interaction, "order", 1) or 1) > len(ATOMS[atoms]):
        return
    layer = build(ATOMS[atoms], interaction)
    before = torch.random.get_rng_state()
    finer = layer.refined(**changes)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert finer.n_parameters > layer.n_parameters
    x = draw(layer.atoms, 20)
    close(finer(x), layer(x), 1e-9)
    close(finer.integral(), layer.integral(), 1e-9)
    if not any(atom.discrete for atom in layer.atoms):
        orders = [1] + [0] * (layer.n_coordinates - 1)
        close(finer.derivative(x, orders), layer.derivative(x, orders), 1e-8)


def test_refining_until_atoms_are_equal_keeps_the_function():
    """Coordinates share a group once their atoms are equal; the learned atom's parameters move to another place."""
    atoms = [BSpline(intervals=2), BSpline(intervals=4), Perceptron(functions=3, width=4)]
    layer = build(atoms, CanonicalPolyadic(rank=2))
    finer = layer.refined(intervals=4)
    assert len(finer.expansion.groups) < len(layer.expansion.groups)
    x = draw(atoms, 10)
    close(finer(x), layer(x))


def test_refinement_refused():
    layer = build([BSpline(intervals=4), Gaussian(centres=4)], CanonicalPolyadic(rank=2))
    wrong = ({"intervals": 7}, {"centres": 8}, {"modes": 3}, {"intervals": 8, "modes": 3}, {"domain": (0.0, 2.0)})
    for changes in wrong:
        with pytest.raises(ValueError):
            layer.refined(**changes)
    with pytest.raises(ValueError):
        build([BSpline(knots=(0.0, 0.3, 1.0))], CanonicalPolyadic(rank=2)).refined(intervals=8)
    with pytest.raises(ValueError):
        build([Perceptron(3)], CanonicalPolyadic(rank=2)).refined(width=8)
    with pytest.raises(ValueError):
        build([Table(3)], CanonicalPolyadic(rank=2)).refined(categories=4)


# Learned coordinates


@pytest.mark.parametrize("squash", ["sigmoid", "tanh", "none"])
@pytest.mark.parametrize("interaction", ["product", "additive", "quadratic", "train"])
def test_learned_coordinates(squash, interaction):
    domain = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "none": (-2.0, 2.0)}[squash]
    coordinates = LearnedCoordinates(5, 3, squash, generator=torch.Generator().manual_seed(1))
    atom = BSpline(intervals=3, domain=domain)
    layer = SeparableLayer(
        5, 2, atoms=atom, interaction=INTERACTIONS[interaction], coordinates=coordinates, dtype=torch.float64,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    assert coordinates.range == (None if squash == "none" else domain)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 5)))
    map_ = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "none": lambda z: z}[squash]
    weight, shift = coordinates.weight.detach().numpy(), coordinates.bias.detach().numpy()
    z = torch.from_numpy(map_(x.numpy() @ weight.T + shift))
    close(coordinates(x), z)
    factors = [atom(z[:, j]) @ layer.expansion.coefficient(j) for j in range(3)]
    close(layer(x), subsets(layer, factors))
    close(layer.jacobian(x), torch.func.vmap(torch.func.jacrev(layer))(x), 1e-8)
    finer = layer.refined(intervals=6)
    close(finer(x), layer(x), 1e-9)
    for refused in (
        lambda: layer.on_grid([x[:, 0]] * 3),
        lambda: layer.integral(),
        lambda: layer.derivative(x, (1, 0, 0)),
        lambda: layer.averaged(x, [0]),
    ):
        with pytest.raises(ValueError):
            refused()


def test_learned_coordinates_refused():
    for arguments in ((0, 2), (2, 0), (2, 2, "relu")):
        with pytest.raises(ValueError):
            LearnedCoordinates(*arguments)
    with pytest.raises(ValueError):
        SeparableLayer(4, 1, atoms=BSpline(), interaction=CanonicalPolyadic(), coordinates=LearnedCoordinates(3, 2))


# Properties


@st.composite
def layers(draw_):
    """A random layer of up to four coordinates and its description."""
    coordinates = draw_(st.integers(1, 4))
    families = st.one_of(
        st.builds(
            BSpline,
            intervals=st.integers(1, 5),
            degree=st.integers(0, 4),
            domain=st.sampled_from([(0.0, 1.0), (-3.0, 0.5), (10.0, 1e4)]),
            outside=st.sampled_from(["linear", "constant", "periodic", "error"]),
        ),
        st.builds(Chebyshev, degree=st.integers(0, 5), domain=st.sampled_from([(0.0, 1.0), (-1.0, 1.0)])),
        st.builds(Fourier, modes=st.integers(0, 3)),
        st.builds(Table, categories=st.integers(1, 4)),
    )
    atoms = draw_(st.lists(families, min_size=coordinates, max_size=coordinates))
    interaction = draw_(
        st.one_of(
            st.builds(
                CanonicalPolyadic, rank=st.integers(1, 4), order=st.one_of(st.none(), st.integers(1, coordinates))
            ),
            st.builds(Tucker, rank=st.integers(1, 3)),
            st.builds(TensorTrain, rank=st.integers(1, 4)),
        )
    )
    outputs, bias = draw_(st.integers(1, 3)), draw_(st.booleans())
    return SimpleNamespace(layer=build(atoms, interaction, outputs, bias=bias), seed=draw_(st.integers(0, 10**6)))


@settings(max_examples=60, deadline=None)
@given(layers())
def test_any_layer_is_its_dense_tensor(case):
    layer = case.layer
    x = draw(layer.atoms, 5, seed=case.seed)
    expected = contracted(layer.dense(), bases(layer, x)) + bias_of(layer)
    close(layer(x), expected, 1e-9)
    close(layer.derivative(x, [0] * layer.n_coordinates), expected, 1e-9)
    grid = layer.on_grid([c[:2] for c in x.T])
    close(grid[(0,) * layer.n_coordinates], expected[0], 1e-9)
    close(grid[(1,) * layer.n_coordinates], expected[1], 1e-9)
    close(layer.averaged(x, range(layer.n_coordinates))[0] * math.prod(a.measure() for a in layer.atoms),
          layer.integral(), 1e-9)  # fmt: skip
    again = SeparableLayer.from_config(json.loads(json.dumps(layer.config())))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), layer(x))


@settings(max_examples=25, deadline=None)
@given(layers(), st.integers(2, 4))
def test_any_spline_layer_is_refined_exactly(case, factor):
    layer = case.layer
    splines = {a.intervals for a in layer.atoms if isinstance(a, BSpline)}
    if len(splines) != 1:
        return
    finer = layer.refined(intervals=factor * splines.pop())
    x = draw(layer.atoms, 5, seed=case.seed)
    close(finer(x), layer(x), 1e-8)
