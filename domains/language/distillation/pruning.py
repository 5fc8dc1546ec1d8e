"""Structured pruning of a teacher to a student: heads, neurons, the residual stream and the embedding's products.

To leave out a share p of the parameters, each axis loses the share ``1 - sqrt(1 - p)``, as a matrix has two of them:

    p' = 1 - round(100 sqrt(1 - p)) / 100

The least important heads go first, ranked over all layers together, and so do neurons; features of the residual stream
are the same in all layers. What goes is rounded to a multiple of 8 in every layer, and a branch with fewer than 8
inputs left goes as a whole. Above p' = 0.9 heads stop at 0.9 and ``(p' - 0.9) heads head_width 4 / 3`` more neurons go.

What is kept at a higher sparsity is kept at a lower one, so `reorder`ed models hold each pruned one as a prefix of
every axis. Units stay in the model's order otherwise: at p = 0 the same bits come out.

Source: Zhang et al., the law of capacity gap (2023, arXiv:2311.07052) and its published code. Ours: the head is pruned
to the stream's features (the published pilot scatters them back to a full one, the same function with more numbers),
where head widths are no multiples of 8 whole heads go, and products of generated and low-rank embeddings go by p' too.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from domains.language.distillation.importance import Units, full_masks, rank_parameter
from domains.language.distillation.pruned_model import PrunedTransformerConfig, build
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import FactorisedEmbedding, HashedEmbedding, TableEmbedding, TokenEmbedding
from separable.sequence.heads import LowRankHead, TableHead

MULTIPLE = 8  # of what is pruned, and the fewest inputs of a branch
_MOST_HEADS = 0.9  # share of heads that can go


@dataclasses.dataclass(frozen=True)
class Kept:
    """Which units of a model stay, and in which order.

    Attributes:
        heads: indices of the key heads that stay, of each layer.
        neurons: likewise.
        hidden: indices of features of the residual stream.
        ranks: indices of the embedding's products, of each of its groups.
    """

    heads: tuple[Tensor, ...]
    neurons: tuple[Tensor, ...]
    hidden: Tensor
    ranks: tuple[Tensor, ...]


def axis_sparsity(sparsity: float) -> float:
    """The share p' that each axis loses, to whole percents, for a share p of the parameters.

    Raises:
        ValueError: If p does not lie in [0, 1).

    Example:
        >>> axis_sparsity(0.6)
        0.37
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity: expected a share from 0 to below 1, got {sparsity}")
    return (100 - round(100 * math.sqrt(1 - sparsity))) / 100


def choose(model: LanguageModel, importances: Units, sparsity: float) -> Kept:
    """Which units of a model stay, by their importances; indices in ascending order.

    Args:
        model: To be pruned.
        importances: Of its units, normalised.
        sparsity: Share p of the parameters that goes, before rounding.

    Raises:
        ValueError: If the sparsity does not lie in [0, 1), the importances are another model's, or nothing is left.

    Example:
        >>> model = LanguageModel()
        >>> kept = choose(model, full_masks(model), 0.5)
        >>> len(kept.hidden), [len(each) for each in kept.heads]
        (88, [0, 3, 4, 4])
    """
    share = axis_sparsity(sparsity)
    for name, wanted, given in zip(
        ("heads", "neurons", "hidden", "ranks"), full_masks(model).tensors, importances.tensors, strict=True
    ):
        if wanted.shape != given.shape:
            raise ValueError(f"importances: expected {name} {tuple(wanted.shape)}, got {tuple(given.shape)}")
    config = model.config.transformer
    features = config.head_width
    group = config.heads // importances.heads.shape[1]
    lost_heads = _least(importances.heads, round(min(share, _MOST_HEADS) * importances.heads.numel()))
    more = max(0.0, share - _MOST_HEADS) * config.layers * config.heads * features * 4 / 3
    lost_neurons = _least(importances.neurons, round(share * importances.neurons.numel()) + round(more))
    heads, neurons = [], []
    for each, count in zip(importances.heads, lost_heads, strict=True):
        left = len(each) - _rounded(count * features) // features
        heads.append(_greatest(each, left if left * group * features >= MULTIPLE else 0))
    for each, count in zip(importances.neurons, lost_neurons, strict=True):
        left = max(0, len(each) - _rounded(count))
        neurons.append(_greatest(each, left if left >= MULTIPLE else 0))
    width = config.width - _rounded(round(share * config.width))
    if not width:
        raise ValueError(f"sparsity: {sparsity} leaves no feature of {config.width}; expected less")
    rank = importances.ranks.shape[1]
    rank -= min(_rounded(round(share * rank)), rank - 1) if rank else 0
    if isinstance(model.embedding, FactorisedEmbedding):
        rank = min(rank, width)  # a matrix has no greater one
    return Kept(
        tuple(heads),
        tuple(neurons),
        _greatest(importances.hidden, width),
        tuple(_greatest(each, rank) for each in importances.ranks),
    )


def masks(model: LanguageModel, kept: Kept) -> Units:
    """Masks of one for what stays and zero for what goes."""
    found = full_masks(model)
    for tensor, indices in (
        *zip(found.heads, kept.heads, strict=True),
        *zip(found.neurons, kept.neurons, strict=True),
        (found.hidden, kept.hidden),
        *zip(found.ranks, kept.ranks, strict=True),
    ):
        stay = torch.zeros_like(tensor)
        stay[indices] = 1
        tensor.copy_(stay)
    return found


def prune(model: LanguageModel, importances: Units, sparsity: float) -> LanguageModel:
    """A model of the most important units, its parameters copies of the teacher's; errors as of `choose`, `select`.

    Example:
        >>> model = LanguageModel()
        >>> pruned = prune(model, full_masks(model), 0.5)
        >>> round(pruned.n_parameters / model.n_parameters, 2)
        0.49
    """
    return select(model, choose(model, importances, sparsity))


def parameters_after(model: LanguageModel, importances: Units, sparsity: float) -> int:
    """Parameters of a pruned model that is not made; errors as of `choose`."""
    config = _config(model, choose(model, importances, sparsity))
    with torch.device("meta"):
        return build(config).n_parameters


def reorder(model: LanguageModel, importances: Units) -> LanguageModel:
    """The same function with all units in descending order of importance, so that pruned models are prefixes."""

    def ranked(rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(each.argsort(descending=True, stable=True) for each in rows)

    (hidden,) = ranked(importances.hidden[None])
    return select(
        model, Kept(ranked(importances.heads), ranked(importances.neurons), hidden, ranked(importances.ranks))
    )


def select(model: LanguageModel, kept: Kept) -> LanguageModel:
    """A model of some of another's units, in the order they are given in; in the other's mode, type and device.

    Raises:
        ValueError: If the model was pruned before to layers of different sizes, or its embedding or head is of a kind
            whose features cannot be told apart.
    """
    full_masks(model)
    config = model.config.transformer
    features, key_heads = config.head_width, config.key_heads or config.heads
    group = config.heads // key_heads
    found: dict[str, Tensor] = {}
    state = {name: value.detach() for name, value in model.state_dict().items()}
    hidden = kept.hidden
    for layer, (heads, neurons) in enumerate(zip(kept.heads, kept.neurons, strict=True)):
        name = f"transformer.blocks.{layer}"
        if len(heads):
            inside = "attention.attention" if len(heads) < max(map(len, kept.heads)) else "attention"
            queries = _spread(heads, group * features)
            keys = _spread(heads, features)
            first = config.heads * features
            rows = torch.cat([queries, first + keys, first + key_heads * features + keys])
            found[f"{name}.attention_norm.weight"] = state[f"{name}.attention_norm.weight"][hidden]
            found[f"{name}.{inside}.projection.weight"] = state[f"{name}.attention.projection.weight"][rows][:, hidden]
            found[f"{name}.{inside}.readout.weight"] = state[f"{name}.attention.readout.weight"][hidden][:, queries]
        if len(neurons):
            rows = torch.cat([neurons, config.hidden_width + neurons])
            found[f"{name}.perceptron_norm.weight"] = state[f"{name}.perceptron_norm.weight"][hidden]
            found[f"{name}.perceptron.expansion.weight"] = state[f"{name}.perceptron.expansion.weight"][rows][:, hidden]
            found[f"{name}.perceptron.readout.weight"] = state[f"{name}.perceptron.readout.weight"][hidden][:, neurons]
    found["transformer.norm.weight"] = state["transformer.norm.weight"][hidden]
    axes = {**_embedding_axes(model.embedding), **_head_axes(model)}
    for name, value in state.items():
        if not name.startswith("transformer."):
            found[name] = value.index_select(axes[name], hidden) if name in axes else value
    rank = rank_parameter(model.embedding)
    if rank is not None:
        _cut_ranks(found, rank[1], kept.ranks)
    pruned = build(_config(model, kept)).to(hidden.device)
    pruned.load_state_dict({name: value.clone().contiguous() for name, value in found.items()}, assign=True)
    return pruned.train(model.training)


def _config(model: LanguageModel, kept: Kept) -> LanguageModelConfig:
    """Of the pruned model: a plain one where all layers are alike and the heads' widths make up the stream's."""
    old = model.config.transformer
    group = old.heads // (old.key_heads or old.heads)
    counts, hidden = [len(each) for each in kept.heads], [len(each) for each in kept.neurons]
    most, width = max(1, *counts), len(kept.hidden)
    sizes = {
        "width": width,
        "layers": old.layers,
        "heads": most * group,
        "key_heads": most if group > 1 or old.key_heads else None,
        "hidden": max(1, *hidden),
        "rotary_base": old.rotary_base,
        "epsilon": old.epsilon,
        "dropout": old.dropout,
    }
    alike = len(set(counts)) == len(set(hidden)) == 1 and counts[0] and hidden[0]
    transformer: TransformerConfig
    if alike and width == most * group * old.head_width:
        transformer = TransformerConfig(**sizes)  # type: ignore[arg-type]
        if transformer.hidden_width == old.hidden_width:
            transformer = dataclasses.replace(transformer, hidden=old.hidden)
    else:
        transformer = PrunedTransformerConfig(
            **{**sizes, "key_heads": most},  # type: ignore[arg-type]
            features=old.head_width,
            layer_key_heads=tuple(counts),
            layer_hidden=tuple(hidden),
        )
    embedding = model.config.embedding
    if kept.ranks and len(kept.ranks[0]) != getattr(embedding, "rank", 0):
        embedding = dataclasses.replace(embedding, rank=len(kept.ranks[0]))  # type: ignore[call-arg]
    return dataclasses.replace(model.config, transformer=transformer, embedding=embedding)


def _embedding_axes(embedding: TokenEmbedding) -> dict[str, int]:
    """Which axis of which parameter is that of the features."""
    if isinstance(embedding, TableEmbedding):
        return {"embedding.weight": 1}
    if isinstance(embedding, HashedEmbedding):
        return {"embedding.buckets": 1}
    if rank_parameter(embedding) is None:
        raise ValueError(f"select: features of {type(embedding).__name__} are not columns of its own; expected another")
    if isinstance(embedding, FactorisedEmbedding):
        return {"embedding.factors.matrix.column_factors.0": 0}
    return {"embedding.generator.readout": 2, "embedding.generator.norm.weight": 0, "embedding.residual": 1}


def _head_axes(model: LanguageModel) -> dict[str, int]:
    if isinstance(model.head, TableHead):
        return {"head.own_weight": 1}
    if isinstance(model.head, LowRankHead):
        return {"head.columns": 0}
    raise ValueError(f"select: expected a head of kind table or low_rank, got {type(model.head).__name__}")


def _cut_ranks(found: dict[str, Tensor], weight: Tensor, ranks: tuple[Tensor, ...]) -> None:
    if weight.ndim == 2:
        for name in ("row_factors", "column_factors"):
            name = f"embedding.factors.matrix.{name}.0"
            found[name] = found[name][:, ranks[0]]
        return
    for name, axis in (("deltas", 2), ("readout", 0)):
        pieces = zip(found[f"embedding.generator.{name}"], ranks, strict=True)
        found[f"embedding.generator.{name}"] = torch.stack([piece.index_select(axis, kept) for piece, kept in pieces])


def _least(importances: Tensor, count: int) -> list[int]:
    """How many of the least important units of all rows lie in each row ``(rows, units)``."""
    order = importances.flatten().argsort(stable=True)[:count]
    return torch.bincount(order // importances.shape[1], minlength=len(importances)).tolist()


def _greatest(importances: Tensor, count: int) -> Tensor:
    return importances.argsort(descending=True, stable=True)[:count].sort().values


def _rounded(count: int) -> int:
    return round(count / MULTIPLE) * MULTIPLE


def _spread(units: Tensor, size: int) -> Tensor:
    """Indices of the ``size`` rows that each unit has, one after another."""
    return (units[:, None] * size + torch.arange(size, device=units.device)).flatten()
