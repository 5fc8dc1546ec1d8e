"""Output heads against slow evaluations of their formulas; every distribution adds to one."""

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from separable.sequence.embeddings import LowRankEmbeddingConfig, TableEmbeddingConfig
from separable.sequence.heads import (
    HEADS,
    AdaptiveHeadConfig,
    HierarchicalHeadConfig,
    LowRankHeadConfig,
    ProductMixtureHeadConfig,
    TableHeadConfig,
    head_config,
)

WIDTH = 6
CONFIGS = [
    TableHeadConfig(tied=True),
    TableHeadConfig(tied=False),
    LowRankHeadConfig(rank=3),
    LowRankHeadConfig(),
    HierarchicalHeadConfig(rank=5),
    ProductMixtureHeadConfig(rank=3),
    AdaptiveHeadConfig(shares=(0.3, 0.6), division=2.0),
]


def build(config, vocabulary=23):
    kind = LowRankEmbeddingConfig(rank=3) if config.kind == "low_rank" else TableEmbeddingConfig()
    embedding = kind.build(vocabulary, WIDTH, torch.Generator().manual_seed(0)).double()
    head = config.build(WIDTH, embedding, torch.Generator().manual_seed(1)).double()
    with torch.no_grad():  # away from uniform distributions
        for seed, parameter in enumerate([*embedding.parameters(), *head.parameters()]):
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(2))
    head.assign(torch.arange(vocabulary), order)
    return head, order, embedding


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def config(request):
    return request.param


@pytest.fixture
def hidden():
    return torch.randn(40, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_every_kind_is_tried():
    assert {config.kind for config in CONFIGS} == set(HEADS)


def test_settings_are_plain_data(config):
    assert head_config(**json.loads(json.dumps(config.settings()))) == config


@pytest.mark.parametrize("vocabulary", [23, 25, 20, 21])  # last groups of 3, 5 (full), 5 (full) and 1
def test_probabilities_add_to_one_and_are_those_of_the_loss(config, hidden, vocabulary):
    head, _, _ = build(config, vocabulary)
    logarithms = head.log_probabilities(hidden)
    assert logarithms.shape == (40, vocabulary)
    torch.testing.assert_close(logarithms.exp().sum(1), torch.ones(40, dtype=torch.float64), rtol=1e-12, atol=0)
    targets = torch.arange(40) % vocabulary
    expected = -logarithms.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(head.loss(hidden, targets), expected, rtol=1e-10, atol=1e-12)
    shift = head.logits(hidden) - logarithms
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=1e-9, atol=1e-9)


def test_weighted_loss_and_its_gradient_in_chunks(config, hidden):
    head, _, embedding = build(config)
    targets = torch.arange(40) % 23
    weights = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    hidden.requires_grad_()
    inputs = [hidden, *(head if head.n_parameters else embedding).parameters()]
    expected = (head.loss(hidden, targets) * weights).sum()
    wanted = torch.autograd.grad(3 * expected, inputs)
    for chunk in (7, 40, None):
        found = head.weighted_loss(hidden, targets, weights, chunk)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
        for one, other in zip(torch.autograd.grad(3 * found, inputs), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


def test_hierarchical_formula(hidden):
    head, order, _ = build(HierarchicalHeadConfig(rank=5))
    assert head.n_parameters == 5 * WIDTH + 5 * WIDTH + 5 * 5 + 5 * 5 + 23
    k, a, g, d, s = (
        p.detach().numpy() for p in (head.group_weight, head.projection, head.group_codes, head.member_codes, head.bias)
    )
    for h, found in zip(hidden.numpy(), head.log_probabilities(hidden).detach().numpy(), strict=True):
        groups = log_softmax(k @ h)
        for group in range(5):
            members = [m for m in range(5) if 5 * group + m < 23]
            logits = [sum((a @ h)[r] * g[group, r] * d[m, r] for r in range(5)) + s[5 * group + m] for m in members]
            within = log_softmax(logits)
            for m in members:
                np.testing.assert_allclose(found[order[5 * group + m]], groups[group] + within[m], rtol=1e-9)


def test_product_mixture_formula(hidden):
    head, order, _ = build(ProductMixtureHeadConfig(rank=3))
    p, a, b = (t.detach().numpy() for t in (head.shares, head.group_weight, head.member_weight))
    for h, found in zip(hidden.numpy(), head.log_probabilities(hidden).detach().numpy(), strict=True):
        components = []
        for r in range(3):
            cells = (log_softmax(a[r] @ h)[:, None] + log_softmax(b[r] @ h)).ravel()[:23]
            components.append(log_softmax(p @ h)[r] + cells - logsumexp(cells))
        expected = logsumexp(components, axis=0)
        np.testing.assert_allclose(found[order.numpy()], expected, rtol=1e-9)


def test_adaptive_goes_by_frequency(hidden):
    head, _, _ = build(AdaptiveHeadConfig(shares=(0.3, 0.6), division=2.0))
    expected = head.softmax.log_prob(hidden).flip(1)  # counts rise with the id
    torch.testing.assert_close(head.log_probabilities(hidden), expected, rtol=1e-12, atol=1e-12)


def test_shared_factors_are_the_embedding_itself():
    embedding = LowRankEmbeddingConfig(rank=3).build(23, WIDTH).double()
    head = LowRankHeadConfig().build(WIDTH, embedding)
    hidden = torch.randn(4, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(head.logits(hidden), hidden @ embedding.table().T, rtol=1e-10, atol=1e-12)
    assert head.n_parameters == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_losses_are_at_least_float32(config, hidden, dtype):
    head, _, embedding = build(config)
    targets = torch.arange(40) % 23
    expected = head.loss(hidden, targets)
    embedding.to(dtype)
    low = head.to(dtype).loss(hidden.to(dtype), targets)
    assert low.dtype == torch.float32
    tolerance = 0.15 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(low.double(), expected, rtol=tolerance, atol=tolerance)


def test_settings_are_checked():
    with pytest.raises(ValueError):
        head_config("no such kind")
    with pytest.raises(ValueError):
        head_config("table", rank=3)
    for kind in ("low_rank", "hierarchical", "product_mixture"):
        with pytest.raises(ValueError):
            head_config(kind, rank=0)
    for shares in ((), (0.5, 0.2), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError):
            head_config("adaptive", shares=shares)
    with pytest.raises(ValueError, match="vocabulary of 5"):
        head_config("adaptive").build(WIDTH, TableEmbeddingConfig().build(5, WIDTH))
    table = TableEmbeddingConfig().build(23, WIDTH)
    with pytest.raises(ValueError):
        LowRankHeadConfig().build(WIDTH, table)
    with pytest.raises(ValueError):
        TableHeadConfig().build(WIDTH + 1, table)
    head = HierarchicalHeadConfig().build(WIDTH, table)
    for order in (torch.zeros(23, dtype=torch.long), torch.arange(22)):
        with pytest.raises(ValueError):
            head.assign(torch.ones(23), order)


def test_loss_and_gradients_under_autocast(config, hidden):
    head, _, embedding = build(config)
    head, parameters = head.float(), [*embedding.float().parameters(), *head.parameters()]
    hidden, targets = hidden.float().requires_grad_(), torch.arange(40) % 23
    weights = torch.full((40,), 1 / 40)
    expected = head.weighted_loss(hidden, targets, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (hidden, hidden.bfloat16()):  # hidden vectors are either
            found = head.weighted_loss(given, targets, weights)
            assert found.dtype == torch.float32
            assert found.item() == pytest.approx(expected.item(), rel=0.03)
    found.backward()
    assert all(torch.isfinite(p.grad).all() for p in (hidden, *parameters) if p.grad is not None)
    assert hidden.grad.abs().max() > 0


def test_probabilities_in_half_precision(config, hidden):
    """Of weights in bfloat16, or under autocast: they are float32, sum to one and agree with the loss."""
    head, _, embedding = build(config)
    head, embedding, hidden, targets = head.float(), embedding.float(), hidden.float(), torch.arange(40) % 23
    expected = head.log_probabilities(hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [head.log_probabilities(hidden)]
    embedding.bfloat16()
    head.bfloat16()
    found.append(head.log_probabilities(hidden.bfloat16()))
    torch.testing.assert_close(
        -found[1][range(40), targets], head.loss(hidden.bfloat16(), targets), rtol=1e-5, atol=1e-5
    )
    for logarithms in found:
        assert logarithms.dtype == torch.float32
        torch.testing.assert_close(logarithms.exp().sum(-1), torch.ones(40), rtol=0, atol=1e-5)
        torch.testing.assert_close(logarithms, expected, rtol=0.03, atol=0.15)


def test_gradients_of_weights_in_half_precision_are_near(config):
    """Of many targets, some of them frequent: what each adds to a row is small beside their sum."""
    head, _, embedding = build(config)
    modules = [embedding.bfloat16(), head.bfloat16()] if not head.n_parameters else [head.bfloat16()]
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(8192, WIDTH, generator=generator).bfloat16() + 0.5
    targets = torch.multinomial(1 / torch.arange(1.0, 24.0) ** 2, 8192, True, generator=generator)
    weights = torch.full((8192,), 1 / 8192)
    gradients = []
    for chunk in (256, None):
        parameters = [parameter for module in modules for parameter in module.parameters()]
        loss = head.weighted_loss(hidden, targets, weights, chunk)
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    for module in modules:
        module.double()
    parameters = [parameter for module in modules for parameter in module.parameters()]
    loss = (head.loss(hidden.double(), targets) * weights).sum()
    for place, exact in enumerate(torch.autograd.grad(loss, parameters, allow_unused=True)):
        for found in (each[place] for each in gradients):
            assert (found is None) == (exact is None)
            assert exact is None or float((found.double() - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize("tied", [True, False])
def test_table_loss_of_targets_too_improbable_for_their_type(tied):
    """The first target's logarithm is -2000: its probability is zero in float32, and its loss is not infinite."""
    embedding = TableEmbeddingConfig().build(5, 2, torch.Generator().manual_seed(0))
    head = TableHeadConfig(tied=tied).build(2, embedding)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]]))
    hidden = torch.tensor([[1000.0, 0.0], [1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    targets, weights = torch.tensor([0, 2, 4]), torch.tensor([0.25, 0.5, 1.0])
    found = head.weighted_loss(hidden, targets, weights)
    expected = (torch.nn.functional.cross_entropy(hidden @ head.weight.T, targets, reduction="none") * weights).sum()
    assert expected > 500
    torch.testing.assert_close(found, expected)
    inputs = [hidden, *head.parameters(), *(embedding.parameters() if tied else ())]
    for one, other in zip(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_table_loss_under_autocast_is_near_and_its_gradient_in_the_parameters_type():
    generator = torch.Generator().manual_seed(4)
    head = TableHeadConfig(tied=False, deviation=0.3).build(32, TableEmbeddingConfig().build(200, 32), generator)
    hidden = torch.randn(70, 32, generator=generator).requires_grad_()
    targets, weights = torch.randint(200, (70,), generator=generator), torch.rand(70, generator=generator)
    inputs = (hidden, *head.parameters())
    losses, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(head.weighted_loss(hidden, targets, weights, chunk=32))
        gradients.append(torch.autograd.grad(losses[-1], inputs))
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)
    for plain, mixed in zip(*gradients, strict=True):
        assert mixed.dtype == torch.float32
        assert float((mixed - plain).norm() / plain.norm()) < 0.02


def test_table_loss_in_float16_of_a_target_that_is_improbable_there():
    """Probabilities near 1e-6 have few digits in float16; their logarithms are taken of the logits."""
    head = TableHeadConfig(tied=False).build(2, TableEmbeddingConfig().build(3, 2)).half()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    hidden, targets = torch.tensor([[15.0, 0.0], [0.0, 15.5]]).half(), torch.tensor([0, 1])
    found = head.weighted_loss(hidden, targets, torch.tensor([0.5, 0.5]))
    assert float(found.detach()) == pytest.approx(15.25, abs=1e-3)
