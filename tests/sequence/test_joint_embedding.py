"""The objective is a cross-entropy among the concepts of the batch, and the norms are what they are called."""

import pytest
import torch
from torch import nn

from separable.sequence.joint_embedding import ConceptNorm, JointEmbedding


def made(kind="unit", scale=3.0, other=False):
    torch.manual_seed(0)
    predictor = nn.Sequential(nn.Flatten(), nn.Linear(12, 6))
    target = nn.Embedding(9, 6) if other else None
    return JointEmbedding(nn.Embedding(9, 6), predictor, ConceptNorm(6, kind, scale), target).double()


def normed(x, kind):
    if kind == "unit":
        return x / x.square().sum(-1, keepdim=True).sqrt()
    if kind == "variance":
        return x / x.square().mean(-1, keepdim=True).sqrt()
    centred = x - x.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("kind", ["unit", "variance", "affine"])
@pytest.mark.parametrize("other", [False, True])
def test_the_loss_is_the_sum_written_out(kind, other):
    model = made(kind, other=other)
    patches = torch.tensor([8, 1, 4, 5])
    context, target = torch.tensor([[0, 1], [2, 0], [3, 3]]), torch.tensor([2, 3, 1])
    concepts = normed(model.recogniser.weight[patches], kind)
    targets = normed(model.target_recogniser.weight[patches], kind) if other else concepts
    scale = 3.0 if kind == "unit" else 1.0
    total = 0.0
    for pair, right in zip(context, target, strict=True):
        q = normed(model.predictor[1](torch.cat([concepts[pair[0]], concepts[pair[1]]])), kind)
        chances = torch.stack([scale * q @ c for c in targets]).exp()
        total = total - (chances[right] / chances.sum()).log()
    assert float(model.loss(patches, context, target).detach()) == pytest.approx(float(total.detach()) / 3, rel=1e-4)


def test_negatives_are_those_of_the_mask():
    model = made()
    patches, context, target = torch.arange(4), torch.tensor([[0, 1]]), torch.tensor([2])
    scores = model.scores(patches, context)[0]
    mask = torch.tensor([True, False, True, False])
    expected = scores[mask].logsumexp(0) - scores[2]
    assert torch.allclose(model.loss(patches, context, target, mask), expected)
    alone = model.loss(patches, context, target, torch.tensor([False, False, True, False]))
    assert float(alone.detach()) == pytest.approx(0.0)


def test_gradients_reach_context_and_target_alike():
    model = made()
    model.loss(torch.tensor([0, 1, 2]), torch.tensor([[0, 1]]), torch.tensor([2])).backward()
    moved = model.recogniser.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [True] * 3 + [False] * 6


def test_wrong_input_is_refused():
    with pytest.raises(ValueError):
        ConceptNorm(4, "batch")
    with pytest.raises(ValueError):
        ConceptNorm(4, scale=0.0)
    with pytest.raises(ValueError):
        made().loss(torch.arange(3), torch.tensor([[0, 1]]), torch.tensor([1, 2]))
