"""The separable layer against its dense tensor, and that against a loop over subsets, atoms and terms."""

import copy
import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from separable import SeparableLayer
from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian, Perceptron, Table
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.layers import LearnedCoordinates
from separable.testing import close

# Problems as data: every family, alone and together, on domains of their own.
ATOMS = {
    "splines": [BSpline(intervals=3, degree=2, domain=(-1.0, 1.0))] * 3,
    "splines on three domains": [BSpline(intervals=3, degree=2, domain=(0.0, s)) for s in (1.0, 2.0, 500.0)],
    "smooth": [Chebyshev(degree=3, domain=(-2.0, 1.0)), Fourier(modes=2, domain=(0.0, 6.0)), BSpline(intervals=2)],
    "discrete": [BSpline(intervals=2, degree=1), Table(3), Chebyshev(degree=2), Table(3)],
    "learned": [Perceptron(functions=3, width=4), BSpline(intervals=2), Perceptron(functions=3, width=4)],
    "knots": [BSpline(knots=(0.0, 0.2, 1.0)), BSpline(knots=(0.0, 0.4, 2.0)), BSpline(intervals=4, periodic=True)],
    "one": [Chebyshev(degree=4)],
}
BUMPS = [Gaussian(centres=4), Gaussian(centres=3, width=1.5, domain=(0.0, 3.0)), BSpline(intervals=2)]
INTERACTIONS = {
    "product": CanonicalPolyadic(rank=3),
    "additive": CanonicalPolyadic(rank=3, order=1),
    "quadratic": CanonicalPolyadic(rank=2, order=2),
    "cubic": CanonicalPolyadic(rank=2, order=3),
    "tucker": Tucker(rank=2),
    "train": TensorTrain(rank=2),
    "chain of products": TensorTrain(rank=1),
}
FITTING = [
    (atoms, name)
    for (atoms, family), (name, interaction) in itertools.product(ATOMS.items(), INTERACTIONS.items())
    if (getattr(interaction, "order", None) or 1) <= len(family)
]


def build(atoms, interaction, outputs=2, **others):
    generator = torch.Generator().manual_seed(4)
    layer = SeparableLayer(
        len(atoms), outputs, atoms=atoms, interaction=interaction, generator=generator, dtype=torch.float64, **others
    )
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.normal_(generator=generator)
    return layer.requires_grad_(True)


def draw(atoms, *batch, seed=0):
    rng = np.random.default_rng(seed)
    columns = []
    for atom in atoms:
        a, b = atom.domain
        t = rng.integers(0, atom.size, batch).astype(float) if atom.discrete else a + (b - a) * rng.random(batch)
        columns.append(t)
    return torch.from_numpy(np.stack(columns, axis=-1))


def bases(layer, x, orders=None):
    """Atom values of every coordinate, from the atoms alone."""
    orders = orders or [0] * layer.n_coordinates
    return [atom(x[..., j], orders[j], layer.expansion.parameters_of(j)).detach() for j, atom in enumerate(layer.atoms)]


def contracted(tensor, vectors):
    """``sum_a T_(a_1 .. a_D, o) prod_j v_(j,a_j)`` for rows ``v_j (n, K_j)``, with one einsum."""
    letters = "abcdefgh"[: len(vectors)]
    return torch.einsum(f"{letters}o,{','.join('n' + c for c in letters)}->no", tensor.detach(), *vectors)


def subsets(layer, factors, units=None):
    """Independent outputs ``(n, O)`` from factor values ``(n, Q_j)``, by the definition, in numpy loops."""
    core, interaction = layer.core.detach().numpy(), layer.interaction
    factors = [f.detach().numpy() for f in factors]
    coordinates, n, outputs = range(len(factors)), len(factors[0]), core.shape[-1]
    units = [1.0] * len(factors) if units is None else units
    total = np.zeros((n, outputs))
    if isinstance(interaction, CanonicalPolyadic):
        sizes = [len(factors)] if interaction.order is None else range(1, interaction.order + 1)
        for subset in (s for size in sizes for s in itertools.combinations(coordinates, size)):
            values = [factors[j] if j in subset else np.full_like(factors[j], units[j]) for j in coordinates]
            total += np.prod(values, axis=0) @ core
    elif isinstance(interaction, Tucker):
        for entry in itertools.product(*map(range, core.shape[:-1])):
            total += np.prod([f[:, a] for f, a in zip(factors, entry, strict=True)], axis=0)[:, None] * core[entry]
    else:
        for i in range(n):
            row = np.ones((1, 1))
            for f in factors:
                row = row @ f[i].reshape(row.shape[1], -1)
            total[i] = (row @ core)[0]
    return torch.from_numpy(total)


def bias_of(layer):
    return 0.0 if layer.bias is None else layer.bias.detach()


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
    finer = layer.refined(**changes)
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


# Errors


def test_construction_refused():
    atom, interaction = BSpline(), CanonicalPolyadic()
    for arguments in (
        {"in_features": 0},
        {"out_features": 0},
        {"atoms": [atom]},
        {"atoms": [atom, "spline"]},
        {"atoms": [atom] * 3},
        {"interaction": "product"},
        {"interaction": CanonicalPolyadic(order=3)},
        {"interaction": Tucker(rank=(2, 2, 2))},
    ):
        with pytest.raises(ValueError):
            SeparableLayer(
                **{"in_features": 2, "out_features": 1, "atoms": atom, "interaction": interaction, **arguments}
            )


def test_wrong_inputs_refused():
    layer = build(ATOMS["splines"], CanonicalPolyadic(rank=2))
    x = draw(layer.atoms, 4)
    for wrong in (x[:, :2], x[0, 0], torch.zeros(4, 4, dtype=torch.float64), x.T[:, :4][:0].T):
        for call in (layer, layer.jacobian, lambda t: layer.derivative(t, (0, 0, 1)), lambda t: layer.averaged(t, [0])):
            with pytest.raises(ValueError):
                call(wrong)
    for dtype in (torch.float32, torch.float16, torch.int64):
        for call in (layer, lambda t: layer.derivative(t, (0, 0, 1)), lambda t: layer.on_grid([t[:, 0]] * 3)):
            with pytest.raises(TypeError):
                call(x.to(dtype))
    for orders in ((1, 0), (0, 0, 0, 1), (-1, 0, 0)):
        with pytest.raises(ValueError):
            layer.derivative(x, orders)
    for axes in ([x[:, 0]] * 2, [x[:, 0], x[:, 0], x], [x[0, 0]] * 3):
        with pytest.raises(ValueError):
            layer.on_grid(axes)
    for over in ([3], [-1], [0, 9]):
        with pytest.raises(ValueError):
            layer.averaged(x, over)
    for box in (([0.0] * 2, None), (None, [1.0] * 4), ([0.0, 0.0, -9.0], None), ([0.5] * 3, [0.6, 0.4, 0.7])):
        with pytest.raises(ValueError):
            layer.integral(*box)


# Start values


@pytest.mark.parametrize("coordinates", [128, 1000])
@pytest.mark.parametrize(
    "atom", [BSpline(), Fourier(modes=16), Chebyshev(degree=12), Gaussian(), Perceptron(4, 8), Table(6)], ids=repr
)
@pytest.mark.parametrize("interaction", [CanonicalPolyadic(4), CanonicalPolyadic(4, order=2), TensorTrain(3)], ids=repr)
def test_start_neither_overflows_nor_vanishes(coordinates, atom, interaction):
    if isinstance(atom, Perceptron):
        coordinates = coordinates // 8
    layer = SeparableLayer(
        coordinates, 2, atoms=atom, interaction=interaction, generator=torch.Generator().manual_seed(0)
    )
    x = draw([atom] * coordinates, 32).float().requires_grad_(not atom.discrete)
    outputs = layer(x)
    sizes = [p.square().mean().sqrt() for p in torch.autograd.grad(outputs.sum(), list(layer.parameters()))]
    outputs = outputs.detach()
    assert 0.01 < float(outputs.square().mean().sqrt()) < 100
    assert float(outputs.abs().median()) > 1e-3
    assert all(1e-5 < float(s) < 1e4 for s in sizes)


def test_start_values_are_the_stated_ones():
    """Factors near their mean with the stated spread, whatever the family; the same again from the same generator."""
    for atom in (
        BSpline(intervals=20),
        Fourier(modes=9),
        Chebyshev(degree=9),
        Table(7),
        Gaussian(centres=20, width=1.5),
    ):
        draws = [
            SeparableLayer(4, 1, atoms=atom, interaction=CanonicalPolyadic(rank=500), dtype=torch.float64,
                           generator=torch.Generator().manual_seed(3))
            for _ in range(2)
        ]  # fmt: skip
        assert all(torch.equal(p, q) for p, q in zip(draws[0].parameters(), draws[1].parameters(), strict=True))
        x = draw([atom] * 4, 300)
        factors = draws[0].expansion.factors(x).detach()
        assert float(factors.mean()) == pytest.approx(1.0, abs=0.02)
        assert float(factors.std()) == pytest.approx(0.5, rel=0.05)


def test_construction_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    for atoms in ATOMS.values():
        build(atoms, CanonicalPolyadic(rank=2))
    assert torch.equal(torch.get_rng_state(), before)


# Precision, devices and compilation


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)])
@pytest.mark.parametrize("interaction", ["product", "additive", "quadratic", "tucker", "train"])
@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_lower_precision(dtype, tolerance, interaction, scale):
    if dtype == torch.float16 and scale > 6e4:
        scale = 4e4  # beyond half the range of float16 the coordinates themselves overflow
    atoms = [BSpline(intervals=3, domain=(0.0, scale)), BSpline(intervals=3), Chebyshev(degree=3)]
    layer = build(atoms, INTERACTIONS[interaction])
    x = draw(atoms, 20).to(dtype)
    rounded = copy.deepcopy(layer).to(dtype)
    reference = copy.deepcopy(rounded).double()  # the same coefficients
    outputs = rounded(x)
    assert outputs.dtype == dtype
    close(outputs, reference(x.double()), tolerance)
    outputs.float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in rounded.parameters())


@pytest.mark.parametrize("interaction", ["product", "additive"])
def test_autocast(interaction):
    layer = build(ATOMS["splines"], INTERACTIONS[interaction]).float()
    x = draw(layer.atoms, 10).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close(layer(x), layer(x).double(), 1e-6)
        close(layer(x), layer.double()(x.double()), 5e-2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize(
    ("atoms", "interaction"),
    [("splines on three domains", "product"), ("splines", "additive"), ("knots", "quadratic"), ("smooth", "tucker"),
     ("learned", "train")],
)  # fmt: skip
def test_compiles_in_one_graph(atoms, interaction):
    torch._dynamo.reset()
    layer = build(ATOMS[atoms], INTERACTIONS[interaction])
    x = draw(layer.atoms, 8)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    close(compiled(x), layer(x))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    found = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    for f, e in zip(found, expected, strict=True):
        close(f, e)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_compiles_to_code():
    """Once with the code generator, forward and backward."""
    torch._dynamo.reset()
    layer = build(ATOMS["splines"], CanonicalPolyadic(rank=3)).float()
    x = draw(layer.atoms, 8).float()
    outputs, expected = torch.compile(layer, fullgraph=True)(x), layer(x)
    close(outputs, expected, 1e-5)
    (found,) = torch.autograd.grad(outputs.square().sum(), layer.core)
    close(found, torch.autograd.grad(expected.square().sum(), layer.core)[0], 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    for atoms, interaction in FITTING:
        layer = build(ATOMS[atoms], INTERACTIONS[interaction])
        x = draw(layer.atoms, 9)
        other = copy.deepcopy(layer).cuda()
        assert other(x.cuda()).is_cuda
        close(other(x.cuda()).cpu(), layer(x))
        close(other.integral().cpu(), layer.integral())
        close(other.jacobian(x.cuda()).cpu(), layer.jacobian(x))
        close(other.on_grid([c.cuda() for c in x.T]).cpu(), layer.on_grid(list(x.T)))


def test_stands_in_a_model():
    generator = torch.Generator().manual_seed(0)
    layer = SeparableLayer(3, 4, atoms=BSpline(intervals=4), interaction=CanonicalPolyadic(4), generator=generator)
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 1))
    x = torch.rand(256, 3, generator=generator)
    y = (x[:, :1] * x[:, 1:2] + torch.sin(3 * x[:, 2:])).detach()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


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
