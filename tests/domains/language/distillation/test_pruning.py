"""Importances are derivatives by masks, and a pruned model is the masked teacher."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import cross_entropy, silu

from domains.language.distillation.importance import (
    Units,
    full_masks,
    importances,
    masked_logits,
    masked_loss,
)
from domains.language.distillation.pruned_model import load
from domains.language.distillation.pruning import axis_sparsity, choose, masks, prune, reorder
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

VOCABULARY = 41
GENERATED = {"digits": 2, "seed_dim": 6, "heads": 2, "knots": 4, "rank": 24}
KINDS = {
    "table": (("table", {}), ("table", {"tied": True})),
    "untied": (("table", {}), ("table", {"tied": False})),
    "generated": (("generated", {**GENERATED, "frequent": 5}), ("table", {"tied": False})),
    "generated tied": (("generated", GENERATED), ("table", {"tied": True})),
    "leviathan": (("leviathan", GENERATED), ("low_rank", {"rank": 7})),
    "low rank": (("low_rank", {"rank": 24}), ("low_rank", {})),
    "hashed": (("hashed", {"buckets": 9}), ("table", {"tied": False})),
}


def model(kind: str = "untied", key_heads: int | None = None, **sizes) -> LanguageModel:
    (embedding, settings), (head, told) = KINDS[kind]
    sizes = {"width": 32, "layers": 3, "heads": 4, "key_heads": key_heads, "hidden": 40} | sizes
    config = LanguageModelConfig(
        VOCABULARY, TransformerConfig(**sizes), embedding_config(embedding, **settings), head_config(head, **told)
    )
    generator = torch.Generator().manual_seed(0)
    made = LanguageModel(config, generator).double().eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:  # gains of norms: no two alike
                parameter.add_(0.3 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
            elif "transformer" in name:
                parameter.mul_(5.0)
    return made


def batches(count: int = 2):
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randint(VOCABULARY, (2, 7), generator=generator) for _ in range(count)]
    return [(tokens[:, :-1], tokens[:, 1:]) for tokens in drawn]


def by_hand(model: LanguageModel, units: Units, tokens: torch.Tensor) -> torch.Tensor:
    """Logits with masks on activations, written out from the definition, for tables and one key head a query head."""
    config, m = model.config.transformer, units.hidden
    alive = m != 0

    def norm(module, x):
        scale = (x[..., alive].square().mean(-1, keepdim=True) + config.epsilon) ** -0.5
        return torch.where(alive, x * scale * module.weight, 0.0)

    x = model.embedding.weight[tokens] * m
    count = x.shape[1]
    h, heads = config.head_width, config.heads
    place = torch.arange(count, dtype=torch.float64)
    angle = place[:, None] * config.rotary_base ** (-2 * torch.arange(h // 2, dtype=torch.float64) / h)
    turn = torch.polar(torch.ones_like(angle), angle)
    unseen = torch.full((count, count), -math.inf, dtype=torch.float64).triu(1)
    for layer, block in enumerate(model.transformer.blocks):
        q, k, v = (norm(block.attention_norm, x) @ block.attention.projection.weight.T).chunk(3, -1)
        out = []
        for head in range(heads):
            part = slice(head * h, (head + 1) * h)
            q1, k1 = (torch.complex(t[..., part][..., : h // 2], t[..., part][..., h // 2 :]) * turn for t in (q, k))
            scores = (q1[:, :, None] * k1[:, None].conj()).real.sum(-1) / math.sqrt(h)
            out.append(((scores + unseen).softmax(-1) @ v[..., part]) * units.heads[layer, head])
        x = (x + torch.cat(out, -1) @ block.attention.readout.weight.T * m) * m
        gate, value = (norm(block.perceptron_norm, x) @ block.perceptron.expansion.weight.T).chunk(2, -1)
        x = (x + (silu(gate) * value * units.neurons[layer]) @ block.perceptron.readout.weight.T * m) * m
    return norm(model.transformer.norm, x) @ model.head.weight.T


@pytest.mark.parametrize("kind", ["table", "untied"])
def test_importances_are_derivatives_of_a_loss_written_out_by_hand(kind):
    teacher = model(kind)
    found = importances(teacher, batches())
    units = Units(*(each.requires_grad_() for each in full_masks(teacher).tensors))
    sums = [torch.zeros_like(each) for each in units.tensors[:3]]
    for tokens, targets in batches():
        logits = by_hand(teacher, units, tokens)
        torch.testing.assert_close(logits, teacher(tokens), rtol=1e-9, atol=1e-11)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        for total, slope in zip(sums, torch.autograd.grad(loss, units.tensors[:3]), strict=True):
            total += slope.abs()
    for name, total, mine in zip(("heads", "neurons", "hidden"), sums, found.tensors[:3], strict=True):
        wanted = total / (total**2).sum(-1, keepdim=True).sqrt()
        torch.testing.assert_close(mine, wanted, rtol=1e-8, atol=1e-10, msg=name)
    assert found.ranks.shape == (0, 0)


@pytest.mark.parametrize("kind", ["generated", "generated tied", "low rank"])
def test_importances_are_finite_differences_of_masks(kind):
    teacher, step = model(kind, key_heads=2), 1e-5
    found = importances(teacher, batches())
    for name, mine in zip(("heads", "neurons", "hidden", "ranks"), found.tensors, strict=True):
        chosen = [tuple(row) for row in torch.nonzero(torch.ones_like(mine)).tolist()][:: max(1, mine.numel() // 6)]
        slopes = []
        for place in chosen:
            total = 0.0
            for tokens, targets in batches():
                losses = []
                for sign in (1, -1):
                    units = full_masks(teacher)
                    getattr(units, name)[place] += sign * step
                    losses.append(float(masked_loss(teacher, units, tokens, targets)))
                total += abs(losses[0] - losses[1]) / (2 * step)
            slopes.append(total / 2)
        # Rows have a scale of their own: compare ratios within the row of the first.
        row = [i for i, place in enumerate(chosen) if place[:-1] == chosen[0][:-1]]
        assert len(row) > 1, name
        ratios = torch.tensor([slopes[i] for i in row]) / slopes[0]
        mine = torch.tensor(
            [float(found.tensors[("heads", "neurons", "hidden", "ranks").index(name)][chosen[i]]) for i in row]
        )
        torch.testing.assert_close(mine / mine[0], ratios, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key_heads", [None, 2])
def test_the_pruned_model_is_the_masked_teacher(kind, key_heads):
    teacher = model(kind, key_heads)
    ranked = importances(teacher, batches())
    tokens = batches(1)[0][0]
    for sparsity in (0.3, 0.6, 0.9):
        kept = choose(teacher, ranked, sparsity)
        student = prune(teacher, ranked, sparsity)
        wanted = masked_logits(teacher, masks(teacher, kept), tokens)
        torch.testing.assert_close(student(tokens).detach(), wanted, rtol=1e-9, atol=1e-10)
        assert not torch.allclose(wanted, teacher(tokens), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_pruned_is_the_teacher_to_the_bit(kind):
    teacher = model(kind).float()
    student = prune(teacher, importances(teacher, batches()), 0.0)
    assert student.config == teacher.config
    mine, wanted = student.state_dict(), teacher.state_dict()
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)
    tokens = batches(1)[0][0]
    assert torch.equal(student(tokens), teacher(tokens))


@pytest.mark.parametrize("kind", ["untied", "generated tied", "low rank"])
def test_reordered_models_hold_pruned_ones_as_prefixes(kind):
    teacher = model(kind, key_heads=2)
    ranked = importances(teacher, batches())
    tokens = batches(1)[0][0]
    ordered = reorder(teacher, ranked)
    torch.testing.assert_close(ordered(tokens), teacher(tokens), rtol=1e-9, atol=1e-10)
    kept = choose(teacher, ranked, 0.6)
    first = Units(*(torch.zeros_like(each) for each in full_masks(ordered).tensors))
    first.hidden[: len(kept.hidden)] = 1
    for rows, counts in ((first.heads, kept.heads), (first.neurons, kept.neurons), (first.ranks, kept.ranks)):
        for row, each in zip(rows, counts, strict=True):
            row[: len(each)] = 1
    wanted = prune(teacher, ranked, 0.6)(tokens)
    torch.testing.assert_close(masked_logits(ordered, first, tokens), wanted, rtol=1e-9, atol=1e-10)


def test_sizes_are_the_published_ones():
    assert [axis_sparsity(p / 100) for p in (0, 10, 60, 90, 99)] == [0.0, 0.05, 0.37, 0.68, 0.9]
    teacher = model(width=64, heads=4, hidden=160, layers=4)
    ranked = full_masks(teacher)
    for each in ranked.tensors[:3]:
        each.copy_(torch.rand(each.shape, generator=torch.Generator().manual_seed(3)))
    kept = choose(teacher, ranked, 0.6)
    assert len(kept.hidden) == 64 - round(round(0.37 * 64) / 8) * 8
    # Ranked over all layers, then rounded in each.
    cut = ranked.neurons.flatten().sort().values[round(0.37 * 640) - 1]
    wanted = [160 - round(int((row <= cut).sum()) / 8) * 8 for row in ranked.neurons]
    assert [len(each) for each in kept.neurons] == wanted
    assert len(set(wanted)) > 1
    cut = ranked.heads.flatten().sort().values[round(0.37 * 16) - 1]
    assert [len(each) for each in kept.heads] == [int((row > cut).sum()) for row in ranked.heads]
    for sparsity in (0.1, 0.3, 0.5):  # what stays at a higher sparsity stays at a lower one
        more = choose(teacher, ranked, sparsity)
        pairs = zip((*more.heads, *more.neurons, more.hidden), (*kept.heads, *kept.neurons, kept.hidden), strict=True)
        assert all(set(few.tolist()) <= set(many.tolist()) for many, few in pairs)


def test_a_pruned_model_trains_writes_with_a_cache_and_comes_back(tmp_path):
    teacher = model("generated", key_heads=2)
    ranked = importances(teacher, batches())
    ranked.heads[0] *= 0  # the first layer's attention goes as a whole
    ranked.heads[1, 1] *= 1e-3
    student = prune(teacher, ranked, 0.75)
    assert {len(each) for each in choose(teacher, ranked, 0.75).heads} >= {0, 1}
    tokens, targets = batches(1)[0]
    student.save(tmp_path)
    back = load(tmp_path).eval()
    assert torch.equal(back(tokens), student(tokens))
    assert back.config == student.config
    with pytest.raises(ValueError):
        LanguageModel.load(tmp_path)  # the library knows nothing of it, and says so
    cache = student.cache(len(tokens), tokens.shape[1])
    parts = [
        student(tokens[:, :4], cache=cache),
        student(tokens[:, 4:5], cache=cache),
        student(tokens[:, 5:], cache=cache),
    ]
    torch.testing.assert_close(torch.cat(parts, 1), student(tokens).detach(), rtol=1e-9, atol=1e-10)
    student.train().loss(tokens, targets).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    teacher.save(tmp_path / "whole")
    assert torch.equal(load(tmp_path / "whole")(tokens), teacher(tokens))


def test_what_cannot_be_pruned_is_refused():
    teacher = model()
    ranked = importances(teacher, batches())
    for sparsity in (-0.1, 1.0):
        with pytest.raises(ValueError):
            prune(teacher, ranked, sparsity)
    with pytest.raises(ValueError):
        prune(model(width=16), ranked, 0.5)  # importances of another
    with pytest.raises(ValueError):
        importances(teacher, [])
    with pytest.raises(ValueError):
        importances(prune(teacher, ranked, 0.6), batches())
    with pytest.raises(ValueError):
        prune(model(width=8), importances(model(width=8), batches()), 0.99)
    config = dataclasses.replace(teacher.config, head=head_config("hierarchical"))
    other = LanguageModel(config).double()
    with pytest.raises(ValueError):
        prune(other, importances(other, batches()), 0.5)
