"""The library and its models on a GPU, or a pretended one: values, slopes and trainings are those of the CPU."""

import copy

import pytest
import torch

import separable
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import Material, effective_stiffness
from domains.microstructure.permeability import permeability
from separable.layers.embedding import SeparableEmbedding
from separable.layers.linear import SeparableLinear
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import EMBEDDINGS, embedding_config
from separable.sequence.heads import HEADS, head_config
from separable.training import ShuffledRows, TrainingConfig, run_training
from tests.layers.dense import ATOMS, INTERACTIONS, build, draw
from tests.pretended_device import assert_as_on_the_cpu, some_device

SIZES = {
    "low_rank": {"rank": 3},
    "tensor_train": {"rank": 3},
    "hashed": {"buckets": 8},
    "leviathan": {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4},
    "generated": {"seed_dim": 8, "heads": 2, "knots": 4, "rank": 4, "frequent": 5},
}
HEAD_SIZES = {
    "hierarchical": {"rank": 5},
    "product_mixture": {"rank": 2},
    "low_rank": {"rank": 3},
    "adaptive": {"division": 2.0},
}
VOCABULARY = 40


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def told(layer, x):
    """A value and the slopes of all parameters and of the input."""
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    layer.zero_grad()
    value = layer(x)
    (
        value * torch.linspace(1, 2, value.numel(), dtype=value.dtype, device=value.device).view_as(value)
    ).sum().backward()
    slopes = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    return [value.detach(), *slopes, *([x.grad] if x.is_floating_point() else [])]


def assert_alike(layer, x):
    expected = told(layer, x)
    with some_device() as device:
        there = copy.deepcopy(layer).to(device)
        found = told(there, x.to(device))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.device == device
            assert_as_on_the_cpu(one, other, 1e-6, 1e-8)


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("atoms", ["splines", "smooth", "discrete", "learned", "knots"])
def test_a_separable_layer(atoms, interaction):
    layer = build(ATOMS[atoms], INTERACTIONS[interaction])
    assert_alike(layer, draw(layer.atoms, 20))


@pytest.mark.parametrize("interaction", ["product", "quadratic", "train"])
def test_derivatives_grids_and_integrals(interaction):
    layer = build(ATOMS["splines"], INTERACTIONS[interaction])
    x = draw(layer.atoms, 7)

    def found(layer, x):
        return layer.derivative(x, (1, 0, 1)), layer.on_grid([x[:, 0], x[:, 1], x[:, 2]]), layer.integral()

    expected = found(layer, x)
    with some_device() as device:
        for one, other in zip(found(copy.deepcopy(layer).to(device), x.to(device)), expected, strict=True):
            assert one.device == device
            assert_as_on_the_cpu(one, other.detach(), 1e-6, 1e-8)


@pytest.mark.parametrize("interaction", ["product", "additive", "train"])
def test_a_fit_in_closed_form(interaction):
    x = torch.rand(300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:]

    def fitted(device):
        layer = build(ATOMS["splines"], INTERACTIONS[interaction], outputs=1).to(device)
        separable.fit(layer, x.to(device), y.to(device), max_steps=5, rank_growth=False)
        return layer(x.to(device)).detach()

    expected = fitted("cpu")
    with some_device() as device:
        found = fitted(device)
        assert found.device == device
        assert_as_on_the_cpu(found, expected, 1e-3, 1e-4)


@pytest.mark.parametrize("kind", ["canonical_polyadic", "tucker", "tensor_train"])
def test_factorised_weights(kind):
    linear = SeparableLinear(12, 10, factorisation=kind, rank=3, generator=torch.Generator().manual_seed(0)).double()
    assert_alike(linear, normal(5, 12))
    embedding = SeparableEmbedding(30, 8, factorisation=kind, rank=3).double()
    assert_alike(embedding, torch.arange(30))


@pytest.mark.parametrize("kind", ["canonical_polyadic", "tucker", "tensor_train"])
def test_a_weight_is_factorised_where_it_lies(kind):
    dense = torch.nn.Linear(12, 10).double()
    zeros = copy.deepcopy(dense)
    torch.nn.init.zeros_(zeros.weight)
    with some_device() as device:
        for given in (dense, zeros):
            there = copy.deepcopy(given).to(device)
            found = SeparableLinear.from_linear(there, factorisation=kind, rank=3)
            expected = SeparableLinear.from_linear(given, factorisation=kind, rank=3)
            x = normal(4, 12)
            made = found(x.to(device))
            assert made.device == device
            assert_as_on_the_cpu(made.detach(), expected(x).detach(), 1e-3, 1e-4)


def language_model(embedding, head):
    config = LanguageModelConfig(
        VOCABULARY,
        TransformerConfig(width=8, layers=2, heads=2),
        embedding_config(embedding, **SIZES.get(embedding, {})),
        head_config(head, **HEAD_SIZES.get(head, {})),
    )
    model = LanguageModel(config, torch.Generator().manual_seed(0))
    order = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(3))
    for part in (model.embedding, model.head):
        if hasattr(part, "assign"):
            part.assign(torch.arange(VOCABULARY).flip(0), order)
    return model


@pytest.mark.parametrize(
    ("embedding", "head"),
    [*((kind, "table") for kind in EMBEDDINGS), *(("generated", kind) for kind in HEADS if kind != "table")],
)
def test_a_language_model_is_trained_saved_and_continues_a_text(embedding, head, tmp_path):
    if head == "low_rank":
        embedding = "low_rank"  # whose factors it has
    text = torch.randint(VOCABULARY, (40, 13), generator=torch.Generator().manual_seed(2))
    config = TrainingConfig(steps=4, batch=4, rate=1e-3, warm_up=1)

    def trained(device):
        model = language_model(embedding, head)
        rows = ShuffledRows(len(text), lambda places: (text[places, :-1], text[places, 1:]))
        run_training(model, lambda m, batch: m.loss(*batch), rows, config, device=device, progress=False)
        with torch.no_grad():
            logits = model(text[:3, :-1].to(device))
            return model, logits, model.loss(text[:, :-1].to(device), text[:, 1:].to(device))

    _, expected, loss = trained("cpu")
    with some_device() as device:
        model, found, there = trained(device)
        assert {found.device, there.device} == {device}
        assert_as_on_the_cpu(found, expected, 5e-2, 5e-3)
        assert_as_on_the_cpu(there, loss, 1e-3, 1e-4)
        model.save(tmp_path)
        again = LanguageModel.load(tmp_path)
        torch.testing.assert_close(again(text[:3, :-1]), found.cpu(), rtol=1e-3, atol=1e-4)
        pieces = list(model.generate(text[:1, :3].to(device), steps=4, temperature=0.0))
        torch.testing.assert_close(
            torch.stack([piece.flatten() for piece in pieces]).cpu(),
            torch.stack([p.flatten() for p in again.generate(text[:1, :3], steps=4, temperature=0.0)]),
        )


MATERIALS = Material(1.0, 0.25), Material(10.0, 0.3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_properties_of_cells(dimensions):
    cells = (normal(2, *[8] * dimensions, seed=4) > 0).double()
    cells[:, :2] = 0  # a way through

    def found(cells):
        flow = permeability(cells, dimensions)
        return effective_conductivity(cells, (1.0, 10.0)), effective_stiffness(cells, MATERIALS), flow

    expected = found(cells)
    with some_device() as device:
        for one, other in zip(found(cells.to(device)), expected, strict=True):
            assert one.device == device
            assert_as_on_the_cpu(one, other, 1e-4, 1e-8)
