"""The separable layer as a module: what it refuses, its start values, precision, devices and compilation."""

import copy

import pytest
import torch
from torch import nn

from separable import SeparableLayer
from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian, Perceptron, Table
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.testing import close
from tests.layers.dense import ATOMS, FITTING, INTERACTIONS, build, draw

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
