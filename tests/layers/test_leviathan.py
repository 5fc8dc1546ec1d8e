"""LeviathanEmbedding against an independent numpy evaluation of the published formula."""

import numpy as np
import pytest
import torch

from separable.layers.leviathan import LeviathanEmbedding

SMALL = {"digits": 3, "seed_dim": 5, "heads": 2, "knots": 4, "rank": 3}


def published(index, layer, guard=1e-9):
    """The formula for one token, head by head, in float64; by default with the published guard against zeros."""
    books, projections, gains, shifts, deltas, readout = (
        p.detach().double().numpy()
        for p in (layer.codebooks, layer.projections, layer.gains, layer.shifts, layer.deltas, layer.readout)
    )
    digits, base, _ = books.shape
    place, remaining = [], int(index)
    for _ in range(digits):
        place.append(remaining % base)
        remaining //= base
    assert remaining == 0
    z = sum(books[q][place[digits - 1 - q]] for q in range(digits))  # most significant digit first
    embedding = np.zeros(readout.shape[-1])
    for head in range(len(projections)):
        h = projections[head] @ z
        h = (h - h.mean()) / np.sqrt(h.var() + 1e-5) * gains[head] + shifts[head]
        t = 1 / (1 + np.exp(-h / 2))
        n_knots = deltas.shape[2]
        u = np.abs(t[:, None] - np.linspace(0, 1, n_knots)) * (n_knots - 1)
        phi = np.where(u < 0.5, 0.75 - u**2, np.where(u < 1.5, 0.5 * (1.5 - u) ** 2, 0.0))
        basis = phi / phi.sum(1, keepdims=True)
        p = np.einsum("dg,dgr->dr", basis, 1 + deltas[head])
        modes = np.where((p < 0).sum(0) % 2, -1, 1) * np.exp(np.log(np.abs(p) + guard).sum(0))
        embedding += modes @ readout[head]
    return embedding


@pytest.fixture
def layer():
    generator = torch.Generator().manual_seed(0)
    layer = LeviathanEmbedding(100, 6, **SMALL, generator=generator, dtype=torch.float64)
    with torch.no_grad():  # away from the start, so that signs, gains and the norm's epsilon matter
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def test_formula_for_every_token(layer):
    expected = np.stack([published(i, layer, guard=0.0) for i in range(100)])
    guarded = np.stack([published(i, layer) for i in range(100)])
    np.testing.assert_allclose(layer.table().numpy(), guarded, rtol=1e-6, atol=1e-6)
    assert len(np.unique(expected.round(12), axis=0)) == 100
    np.testing.assert_allclose(layer.table().numpy(), expected, rtol=1e-9, atol=1e-12)
    index = torch.tensor([[99, 3, 3], [0, 57, 99]], dtype=torch.int32)
    np.testing.assert_allclose(layer(index).detach().numpy(), expected[index.numpy()], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("features", [2048, 512])
def test_published_parameter_count(features):
    with torch.device("meta"):
        layer = LeviathanEmbedding(200_376, features)
    assert layer.base == 59
    assert layer.n_parameters == {2048: 2_252_928, 512: 1_466_496}[features]


@pytest.mark.parametrize(
    ("count", "digits", "base"), [(27, 3, 3), (28, 3, 4), (1, 3, 1), (125, 3, 5), (10, 1, 10), (2**40, 2, 2**20)]
)
def test_base_is_the_least_that_reaches_every_token(count, digits, base):
    with torch.device("meta"):
        layer = LeviathanEmbedding(count, 2, digits=digits, seed_dim=2, heads=1, knots=2, rank=1)
    assert layer.base == base


def test_chunks_change_neither_values_nor_gradients(layer):
    index = torch.arange(100).repeat(2)
    weight = torch.randn(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for chunk_size in (256, 7):
        layer.chunk_size = chunk_size
        layer.zero_grad()
        values = layer(index)
        (values * weight).sum().backward()
        results.append([values.detach(), *(p.grad.clone() for p in layer.parameters())])
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-10, atol=1e-12)


def test_gradient_of_the_embedding(layer):
    index = torch.tensor([3, 3, 98])
    names = [name for name, _ in layer.named_parameters()]

    def evaluate(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (index,))

    # The product's kinks (a factor through zero) lie away from these parameters.
    assert torch.autograd.gradcheck(evaluate, tuple(p.detach().requires_grad_() for p in layer.parameters()))


def test_only_distinct_tokens_are_evaluated(layer, monkeypatch):
    evaluated = []
    inner = layer._readout_of
    monkeypatch.setattr(layer, "_readout_of", lambda index: evaluated.append(len(index)) or inner(index))
    layer(torch.tensor([5] * 50 + [6] * 50))
    assert sum(evaluated) == 2


def test_start_values():
    layer = LeviathanEmbedding(50_000, 64, generator=torch.Generator().manual_seed(2))
    deviations = [
        (layer.codebooks, 0.02),
        (layer.projections, 0.02),
        (layer.deltas, 0.1),
        (layer.readout, 0.02 / 8**0.5),
    ]
    for parameter, deviation in deviations:
        tolerance = 5 * deviation / parameter.numel() ** 0.5
        assert abs(parameter.std() - deviation) < tolerance
        assert abs(parameter.mean()) < tolerance
    assert (layer.gains == 1).all()
    assert (layer.shifts == 0).all()


def test_output_std_and_normalise():
    generator = torch.Generator().manual_seed(3)
    sizes = {"seed_dim": 32, "heads": 4, "knots": 8, "rank": 16, "generator": generator}
    scaled = LeviathanEmbedding(5000, 64, **sizes, output_std=1.0).table()
    assert abs(scaled.square().mean().sqrt() - 1) < 0.05
    normalised = LeviathanEmbedding(5000, 64, **sizes, normalise=True).table()
    torch.testing.assert_close(normalised.square().mean(-1).sqrt(), torch.ones(5000), rtol=1e-3, atol=0)


def test_frozen_is_the_same_lookup(layer):
    index = torch.randint(0, 100, (4, 5))
    frozen = layer.frozen()
    torch.testing.assert_close(frozen(index), layer(index).detach(), rtol=1e-10, atol=1e-12)
    assert not frozen.weight.requires_grad


def test_indices_are_checked(layer):
    for wrong in ([-1], [100]):
        with pytest.raises(IndexError):
            layer(torch.tensor(wrong))
    with pytest.raises(TypeError):
        layer(torch.tensor([1.0]))
    assert layer(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, 6)


@pytest.mark.parametrize("name", ["num_embeddings", "embedding_dim", "digits", "heads", "knots", "rank", "chunk_size"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError):
        LeviathanEmbedding(**{"num_embeddings": 10, "embedding_dim": 4, name: 0})


def test_digits_name_the_same_tokens_and_more_than_indices_can(layer):
    base = layer.base
    index = torch.tensor([0, 7, 57, 99])
    digits = torch.stack([index // base**2, index // base % base, index % base], -1)
    np.testing.assert_allclose(layer.of_digits(digits).detach(), layer(index).detach(), rtol=1e-12)
    sizes = {name: size for name, size in SMALL.items() if name != "digits"}
    many = LeviathanEmbedding(8**40, 6, 40, **sizes, output_std=0.5, generator=torch.Generator().manual_seed(0))
    assert many.base == 8
    drawn = torch.randint(8, (30, 40), generator=torch.Generator().manual_seed(1))
    found = many.of_digits(drawn.reshape(5, 6, 40)).detach()
    assert found.shape == (5, 6, 6)
    assert 0.2 < float(found.square().mean().sqrt()) < 1.0
    seeds = sum(book[column] for book, column in zip(many.codebooks, drawn.unbind(1), strict=True))
    assert len(seeds.unique(dim=0)) == 30
    with pytest.raises(ValueError, match="of_digits"):
        many(torch.tensor([1]))
    with pytest.raises(ValueError, match="of_digits"):
        many.table()
    for wrong in (torch.zeros(2, 39, dtype=torch.long), torch.zeros(2, 40), torch.full((2, 40), 8)):
        with pytest.raises(ValueError, match="digit"):
            many.of_digits(wrong)
