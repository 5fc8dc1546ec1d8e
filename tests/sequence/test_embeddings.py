"""Token embeddings against slow evaluations of their formulas, and their lookup in evaluation against themselves."""

import copy
import json

import numpy as np
import pytest
import torch

from separable.layers import LeviathanEmbedding
from separable.sequence.embeddings import (
    EMBEDDINGS,
    GeneratedEmbeddingConfig,
    HashedEmbeddingConfig,
    LeviathanEmbeddingConfig,
    LowRankEmbeddingConfig,
    TableEmbeddingConfig,
    TensorTrainEmbeddingConfig,
    embedding_config,
)

TINY = {"seed_dim": 5, "heads": 2, "knots": 4, "rank": 3}
CONFIGS = [
    TableEmbeddingConfig(deviation=0.5),
    LowRankEmbeddingConfig(rank=3),
    TensorTrainEmbeddingConfig(rank=2),
    HashedEmbeddingConfig(buckets=7),
    LeviathanEmbeddingConfig(**TINY),
    GeneratedEmbeddingConfig(**TINY),
    GeneratedEmbeddingConfig(**TINY, frequent=4),
]
V, WIDTH = 23, 6


def build(config, seed=0):
    module = config.build(V, WIDTH, torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        for parameter in module.parameters():  # away from the start: gains, residuals and signs matter
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)), alpha=0.3)
    return module


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def config(request):
    return request.param


@pytest.fixture
def module(config):
    return build(config)


def test_every_kind_is_tried():
    assert {config.kind for config in CONFIGS} == set(EMBEDDINGS)


def test_settings_are_plain_data(config):
    assert embedding_config(**json.loads(json.dumps(config.settings()))) == config


def test_lookup_is_a_row_of_the_table(module):
    tokens = torch.tensor([[22, 0, 5], [5, 5, 1]], dtype=torch.int32)
    found = module(tokens)
    assert found.shape == (2, 3, WIDTH)
    assert found.requires_grad
    torch.testing.assert_close(found, module.table()[tokens.long()], rtol=1e-12, atol=1e-12)
    assert len(np.unique(module.table().detach().numpy().round(9), axis=0)) == V


def test_low_rank_is_a_product_of_two_matrices():
    module = build(LowRankEmbeddingConfig(rank=3))
    assert module.n_parameters == 3 * (V + WIDTH)
    assert np.linalg.matrix_rank(module.table().detach().numpy()) == 3


def test_hashed_formula():
    module = build(HashedEmbeddingConfig(buckets=7, hashes=3, seed=5))
    assert module.n_parameters == 7 * WIDTH + 3 * V
    buckets, importances = module.buckets.tolist(), module.importances.tolist()
    for token in range(V):
        expected = np.zeros(WIDTH)
        for q in range(3):
            place = (int(module.factors[q]) * token + int(module.offsets[q])) % (2**31 - 1) % 7
            expected += importances[token][q] * np.array(buckets[place])
        found = module(torch.tensor([token]))[0].detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    other = HashedEmbeddingConfig(buckets=7, hashes=3, seed=6).build(V, WIDTH)
    tokens = torch.arange(V)
    assert not torch.equal(other.hashed(tokens), module.hashed(tokens))
    spread = HashedEmbeddingConfig(buckets=64, hashes=1).build(64_000, 1).hashed(torch.arange(64_000))
    assert spread.flatten().bincount(minlength=64).min() > 700  # of 1000 on average


def test_published_leviathan_has_the_published_start():
    sizes = {"digits": 3, **TINY}
    ours = LeviathanEmbeddingConfig(**TINY).build(V, WIDTH, torch.Generator().manual_seed(3))
    published = LeviathanEmbedding(V, WIDTH, **sizes, generator=torch.Generator().manual_seed(3))
    tokens = torch.arange(V)
    assert torch.equal(ours(tokens), published(tokens))
    defaults = LeviathanEmbeddingConfig()
    assert (defaults.digits, defaults.seed_dim, defaults.heads, defaults.knots, defaults.rank) == (3, 128, 8, 16, 64)


def test_generated_follows_the_order_and_adds_a_residual():
    module = build(GeneratedEmbeddingConfig(**TINY, frequent=2))
    counts, order = torch.arange(V), torch.randperm(V, generator=torch.Generator().manual_seed(1))
    module.assign(counts, order)
    plain = LeviathanEmbedding(V, WIDTH, digits=2, **TINY, normalise=True).double()
    plain.load_state_dict(module.generator.state_dict())
    table = module.table().detach()
    for place, token in enumerate(order.tolist()):
        expected = plain(torch.tensor([place]))[0].detach()
        if token >= V - 2:  # the two most frequent, the most frequent first
            expected = expected + module.residual[V - 1 - token].detach()
        torch.testing.assert_close(table[token], expected, rtol=1e-10, atol=1e-12)
    start = GeneratedEmbeddingConfig(**TINY, frequent=8).build(500, 64, torch.Generator().manual_seed(0)).table()
    torch.testing.assert_close(start.square().mean(1), torch.ones(500), rtol=1e-3, atol=0)


@pytest.mark.parametrize("deviation", [0.02, 0.7])
@pytest.mark.parametrize(
    "kind", [TableEmbeddingConfig, LowRankEmbeddingConfig, TensorTrainEmbeddingConfig, HashedEmbeddingConfig]
)
def test_start_deviation(kind, deviation):
    table = kind(deviation=deviation).build(3000, 64, torch.Generator().manual_seed(0)).table()
    assert table.std().item() == pytest.approx(deviation, rel=0.1)


def test_kept_vectors_are_those_computed(module):
    tokens = torch.tensor([[3, 3], [7, 0]])
    expected, table = module(tokens).detach(), module.table().detach()
    module.eval()
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(module(tokens), expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(module.table(), table, rtol=1e-12, atol=1e-13)
    assert module(tokens).requires_grad  # where gradients are wanted they are there


def test_kept_vectors_are_computed_once(config, monkeypatch):
    if config.kind == "table":
        return
    module, computed = build(config).eval(), []
    inner = module._vectors
    monkeypatch.setattr(module, "_vectors", lambda tokens: computed.extend(tokens.tolist()) or inner(tokens))
    with torch.no_grad():
        for tokens in ([1, 2, 2], [2, 3], [1, 3]):
            module(torch.tensor(tokens))
        assert computed == [1, 2, 3]
        module.table()
    assert sorted(computed) == list(range(V))


def test_a_kept_table_is_looked_up(config, monkeypatch):
    if config.kind == "table":
        return
    module = build(config).eval()
    with torch.no_grad():
        expected = module.table()[torch.tensor([[4, 1]])]
        monkeypatch.setattr(module, "_vectors", None)
        torch.testing.assert_close(module(torch.tensor([[4, 1]])), expected, rtol=0, atol=0)
        for wrong in ([-1], [V]):
            with pytest.raises(IndexError):
                module(torch.tensor(wrong))
        with pytest.raises(TypeError):
            module(torch.tensor([1.0]))


def test_tokens_are_checked_before_a_vector_is_kept(module):
    module.eval()
    with torch.no_grad():
        assert module(torch.zeros(0, dtype=torch.long)).shape == (0, WIDTH)
        for wrong in ([-1], [V]):
            with pytest.raises(IndexError):
                module(torch.tensor(wrong))
        with torch.inference_mode():
            twin = copy.deepcopy(module)  # whose tensors do not count their changes
            torch.testing.assert_close(twin(torch.tensor([1])), module._vectors(torch.tensor([1])), rtol=0, atol=1e-12)


def test_kept_vectors_go_when_the_mode_is_set(module):
    tokens = torch.arange(V)
    module.eval()
    with torch.no_grad():
        module(tokens)
        for parameter in module.parameters():
            parameter.data.mul_(1.5)  # as where processes gather parameters: no trace of a change
        expected = module._vectors(tokens)
        torch.testing.assert_close(module.train().eval()(tokens), expected, rtol=1e-12, atol=1e-13)


def test_vectors_kept_in_inference_mode_serve_outside_it(module):
    module.eval()
    expected = module(torch.arange(6)).detach()
    for inference, tokens in ((True, [0, 1]), (False, [2]), (True, [1, 3]), (False, [4, 5]), (True, [0, 5])):
        with torch.inference_mode() if inference else torch.no_grad():
            torch.testing.assert_close(module(torch.tensor(tokens)), expected[tokens])


@pytest.mark.parametrize("change", ["data", "fused"])
def test_vectors_that_were_kept_between_a_gradient_and_its_step_go(module, change):
    """Neither counts as a change of the parameters for torch."""
    module.eval()
    tokens = torch.arange(V)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        module(tokens).square().sum().backward()
        with torch.no_grad():
            module(tokens)  # kept again, after the gradient
        if change == "fused":
            optimiser.step()
        else:
            for parameter in module.parameters():
                parameter.data.mul_(0.9).add_(0.01)
        with torch.no_grad():
            torch.testing.assert_close(module(tokens), module._vectors(tokens))


@pytest.mark.parametrize("change", ["optimiser", "fused", "load", "in place", "order", "dtype"])
def test_kept_vectors_go_when_parameters_change(module, change):
    tokens = torch.arange(V)
    module.eval()
    with torch.no_grad():
        before = module(tokens).clone()
    if change in ("optimiser", "fused"):
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, fused=change == "fused")
        module(tokens).sum().backward()
        optimiser.step()
    elif change == "load":
        state = {k: v + 0.5 if v.is_floating_point() else v for k, v in module.state_dict().items()}
        module.load_state_dict(state)
    elif change == "in place":
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.5)
    elif change == "order":
        module.assign(torch.ones(V), tokens.flip(0))
    else:
        module.float()
    expected = module(tokens).detach()
    with torch.no_grad():
        after = module(tokens)
    assert after.dtype == expected.dtype
    torch.testing.assert_close(after, expected, rtol=1e-6, atol=1e-6)
    if change in ("optimiser", "fused", "load", "in place"):
        assert (after - before).abs().max() > 1e-3


def test_copies_keep_their_own_vectors(module):
    module.eval()
    with torch.no_grad():
        module.table()
        twin = copy.deepcopy(module)
        for parameter in twin.parameters():
            parameter.add_(0.5)
        tokens = torch.arange(V)
        torch.testing.assert_close(twin(tokens), twin._vectors(tokens), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(module(tokens), module._vectors(tokens), rtol=1e-12, atol=1e-13)
    assert not any("kept" in name for name in module.state_dict())


def test_tokens_are_checked(module):
    for wrong in ([-1], [V]):
        with pytest.raises(IndexError):
            module(torch.tensor(wrong))
    with pytest.raises(TypeError):
        module(torch.tensor([1.0]))


def test_settings_are_checked():
    with pytest.raises(ValueError):
        embedding_config("no such kind")
    with pytest.raises(ValueError):
        embedding_config("table", rank=3)
    for wrong in ({"buckets": 0}, {"hashes": 0}):
        with pytest.raises(ValueError):
            HashedEmbeddingConfig(**wrong)
    with pytest.raises(ValueError):
        TableEmbeddingConfig(deviation=0.0)
    with pytest.raises(ValueError):
        GeneratedEmbeddingConfig(frequent=V + 1).build(V, WIDTH)
    with pytest.raises(ValueError):
        TableEmbeddingConfig().build(0, WIDTH)
