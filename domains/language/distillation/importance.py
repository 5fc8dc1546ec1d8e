"""How much a model's loss depends on each unit that pruning can take: ``mean over batches of |dL / d mask|``.

Masks are numbers, all one, that multiply what the units put out. For L layers, K key heads with their query heads,
F neurons of the gated perceptrons, ``width`` features of the residual stream and R products of the embedding:

    heads    (L, K)      the outputs of the query heads of a key head
    neurons  (L, F)      silu(gate) * value
    hidden   (width,)    one vector for all layers: token vectors, what each branch adds, and each sum of the stream
    ranks    (G, R)      the products of a generated or low-rank embedding, G of them side by side

Root-mean-square norms count only features whose mask is not zero, so a model with masks of zeros and ones is the
pruned model. Normalisation: heads, neurons and ranks have unit length in each row, hidden as a whole.

Source: Zhang et al., the law of capacity gap (2023, arXiv:2311.07052) and its published code, of which the ranks are
our addition. The absolute value is taken of a batch's gradient, not of an example's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from separable.layers.factorised.canonical_polyadic import CanonicalPolyadicMatrix
from separable.sequence import LanguageModel
from separable.sequence.attention import GroupedQueryAttention
from separable.sequence.embeddings import FactorisedEmbedding, GeneratedEmbedding, PublishedLeviathan, TokenEmbedding
from separable.sequence.normalisation import RootMeanSquareNorm
from separable.sequence.rotary import rotary_angles
from separable.sequence.transformer import Block
from separable.training.modes import evaluation_mode

_SMALL = 1e-17  # added to lengths, as published


@dataclasses.dataclass(frozen=True)
class Units:
    """A number for each unit of a model: its mask, or its importance.

    Attributes:
        heads: of the key heads, ``(L, K)``.
        neurons: of the gated perceptrons, ``(L, F)``.
        hidden: of the residual stream's features, ``(width,)``.
        ranks: of the embedding's products, ``(G, R)``; ``(0, 0)`` for embeddings without.
    """

    heads: Tensor
    neurons: Tensor
    hidden: Tensor
    ranks: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Heads, neurons, hidden, ranks."""
        return self.heads, self.neurons, self.hidden, self.ranks

    def normalised(self) -> Units:
        """With rows of unit length.

        Example:
            >>> ones = Units(torch.ones(2, 4), torch.ones(2, 9), torch.ones(16), torch.ones(0, 0))
            >>> [float(each.flatten()[0]) for each in ones.normalised().tensors[:3]]
            [0.5, 0.3333333432674408, 0.25]
        """
        return Units(*(each / (torch.linalg.vector_norm(each, dim=-1, keepdim=True) + _SMALL) for each in self.tensors))


def full_masks(model: LanguageModel) -> Units:
    """Masks of ones, in the type and on the device of the model.

    Raises:
        ValueError: If the model was pruned to layers of different sizes before.

    Example:
        >>> full_masks(LanguageModel()).neurons.shape
        torch.Size([4, 344])
    """
    config, like = model.config.transformer, model.transformer.norm.weight
    if not all(
        isinstance(block.attention, GroupedQueryAttention)
        and block.attention.key_heads == (config.key_heads or config.heads)
        and block.perceptron.readout.in_features == config.hidden_width
        for block in layers_of(model)
    ):
        raise ValueError("full_masks: expected a model whose layers have one size, got one that was pruned before")
    rank = rank_parameter(model.embedding)
    groups = (0, 0) if rank is None else (rank[1].shape[:2] if rank[1].ndim == 3 else (1, rank[1].shape[1]))
    return Units(
        like.new_ones(config.layers, config.key_heads or config.heads),
        like.new_ones(config.layers, config.hidden_width),
        like.new_ones(config.width),
        like.new_ones(*groups),
    )


def rank_parameter(embedding: TokenEmbedding) -> tuple[str, Tensor] | None:
    """The parameter that weighs an embedding's products, and its name: ``(G, R, width)`` or ``(width, R)``."""
    if isinstance(embedding, GeneratedEmbedding | PublishedLeviathan):
        return "generator.readout", embedding.generator.readout
    if isinstance(embedding, FactorisedEmbedding) and isinstance(embedding.factors.matrix, CanonicalPolyadicMatrix):
        return "factors.matrix.column_factors.0", embedding.factors.matrix.column_factors[0]
    return None


def layers_of(model: LanguageModel) -> list[Block]:
    """The model's layers."""
    return [cast(Block, block) for block in model.transformer.blocks]


def importances(model: LanguageModel, batches: Iterable[tuple[Tensor, Tensor]]) -> Units:
    """Mean of ``|dL / d mask|`` over batches, at masks of one, normalised; dropout is off.

    Args:
        model: Whose units are ranked.
        batches: Tokens and targets ``(B, T)`` each, on the model's device.

    Raises:
        ValueError: If there are no batches, or as of `full_masks`.

    Example:
        >>> from separable.sequence import LanguageModelConfig, TransformerConfig
        >>> model = LanguageModel(LanguageModelConfig(50, TransformerConfig(width=16, layers=2, heads=2)))
        >>> tokens = torch.randint(50, (4, 9))
        >>> importances(model, [(tokens[:, :-1], tokens[:, 1:])]).heads.shape
        torch.Size([2, 2])
    """
    masks = Units(*(each.requires_grad_() for each in full_masks(model).tensors))
    wanted = [each for each in masks.tensors if each.numel()]
    sums, count = [torch.zeros_like(each) for each in wanted], 0
    for tokens, targets in batches:

        def slopes(tokens: Tensor = tokens, targets: Tensor = targets) -> tuple[Tensor, ...]:
            # Inside, as what is recomputed in the backward pass has to find the masks in place.
            return torch.autograd.grad(_loss(model, masks, tokens, targets), wanted)

        for total, slope in zip(sums, _with_masks(model, masks, slopes), strict=True):
            total += slope.abs()
        count += 1
    if not count:
        raise ValueError("importances: expected at least one batch, got none")
    found = [total / count for total in sums]
    if len(found) < 4:
        found.append(masks.ranks.detach())
    return Units(*found).normalised()


def masked_loss(model: LanguageModel, masks: Units, tokens: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of targets ``(B, T)`` after tokens ``(B, T)`` with masks in place, in nats, no gradient."""
    return _with_masks(model, masks, lambda: _loss(model, masks, tokens, targets).detach())


def masked_logits(model: LanguageModel, masks: Units, tokens: Tensor) -> Tensor:
    """Logits ``(B, T, V)`` of a model with masks in place, without gradient.

    Example:
        >>> model, tokens = LanguageModel().eval(), torch.randint(256, (2, 8))
        >>> torch.allclose(masked_logits(model, full_masks(model), tokens), model(tokens), atol=1e-5)
        True
    """

    def logits() -> Tensor:
        hidden = _hidden(model, masks, tokens)
        return model.head.logits(hidden.flatten(0, 1)).detach().view(*tokens.shape, -1)

    return _with_masks(model, masks, logits)


class _Holder(nn.Module):
    """Runs a computation while `functional_call` has parameters replaced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def _with_masks(model: LanguageModel, masks: Units, compute: Callable[[], Any]) -> Any:
    """What a computation gives while the masks of heads, neurons and ranks are multiplied into what they weigh.

    A head's output, or a neuron's, goes through one map and no further, so a mask on it is one on that map's columns.
    """
    config = model.config.transformer
    per_head = config.head_width * (config.heads // masks.heads.shape[1])
    replaced = {}
    layers = zip(layers_of(model), masks.heads, masks.neurons, strict=True)
    for layer, (block, heads, neurons) in enumerate(layers):
        name = f"model.transformer.blocks.{layer}"
        replaced[f"{name}.attention.readout.weight"] = block.attention.readout.weight * heads.repeat_interleave(
            per_head
        )
        replaced[f"{name}.perceptron.readout.weight"] = block.perceptron.readout.weight * neurons
    rank = rank_parameter(model.embedding)
    if rank is not None:
        name, weight = rank
        scaled = weight * (masks.ranks[..., None] if weight.ndim == 3 else masks.ranks)
        norm = model.embedding.generator.norm if isinstance(model.embedding, GeneratedEmbedding) else None
        if norm is not None:  # its mean square is to run over the features that are left
            alive = (masks.hidden != 0).to(weight.dtype)
            share = alive.mean().sqrt()
            scaled = scaled * alive / share
            replaced["model.embedding.generator.norm.weight"] = norm.weight * share
        replaced[f"model.embedding.{name}"] = scaled
    # An embedding keeps vectors when there is no gradient, and these have masks in them.
    with evaluation_mode(model), torch.enable_grad():
        return functional_call(_Holder(model), replaced, (compute,))


def _loss(model: LanguageModel, masks: Units, tokens: Tensor, targets: Tensor) -> Tensor:
    hidden = _hidden(model, masks, tokens).flatten(0, 1)
    weights = hidden.new_full((len(hidden),), 1 / len(hidden))
    return model.head.weighted_loss(hidden, targets.flatten().long(), weights)


def _hidden(model: LanguageModel, masks: Units, tokens: Tensor) -> Tensor:
    """The transformer's pass with the mask of the residual stream."""
    config, hidden = model.config.transformer, masks.hidden
    x = model.embedding(tokens) * hidden
    angles = rotary_angles(0, x.shape[1], config.head_width, config.rotary_base, device=x.device, dtype=x.dtype)
    for block in layers_of(model):
        added = block.attention(_normed(block.attention_norm, x, hidden), angles) * hidden
        x = (x + added) * hidden
        added = block.perceptron(_normed(block.perceptron_norm, x, hidden)) * hidden
        x = (x + added) * hidden
    return _normed(model.transformer.norm, x, hidden)


def _normed(norm: RootMeanSquareNorm, x: Tensor, hidden: Tensor) -> Tensor:
    alive = (hidden != 0).to(x.dtype)
    mean_square = (x * alive).square().sum(-1, keepdim=True) / alive.sum()
    return x * alive * (mean_square + norm.epsilon).rsqrt() * norm.weight
