"""Language models whose layers have sizes of their own: what pruning leaves.

A `separable.sequence.LanguageModel` whose config is a `PrunedTransformerConfig`: the width of the residual stream and
that of a head no longer hang together, and each layer has its own number of key heads and neurons; a branch without
any adds nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from domains.language.train import MODEL
from separable.files import filled, read_json, read_tensors, refusing
from separable.sequence import Cache, LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.attention import GroupedQueryAttention
from separable.sequence.embeddings import embedding_config
from separable.sequence.gated_perceptron import GatedPerceptron
from separable.sequence.heads import head_config
from separable.sequence.transformer import Block


@dataclasses.dataclass(frozen=True)
class PrunedTransformerConfig(TransformerConfig):
    """Sizes of a pruned transformer; heads, key_heads and hidden are the greatest of any layer.

    Attributes:
        features: of a head.
        layer_key_heads: key heads of each layer, 0 for a layer without attention.
        layer_hidden: neurons of each layer's gated perceptron, 0 for a layer without.
    """

    features: int = 32
    layer_key_heads: tuple[int, ...] = ()
    layer_hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("layer_key_heads", "layer_hidden"):
            sizes = tuple(getattr(self, name))
            object.__setattr__(self, name, sizes)  # a list in JSON
            if len(sizes) != self.layers or min(sizes) < 0:
                raise ValueError(f"PrunedTransformerConfig: {name} are {self.layers} numbers from 0, got {sizes}")
        if self.key_heads is None or self.heads % self.key_heads or max(self.layer_key_heads) > self.key_heads:
            raise ValueError(
                f"PrunedTransformerConfig: key_heads divides heads={self.heads} and is the most of any layer, "
                f"got {self.key_heads} and {self.layer_key_heads}"
            )
        if self.features < 2 or self.features % 2:
            raise ValueError(f"PrunedTransformerConfig: features are even and positive, got {self.features}")
        if self.width < 1:
            raise ValueError(f"PrunedTransformerConfig: width is positive, got {self.width}")
        if not (self.rotary_base > 1 and self.epsilon > 0 and 0 <= self.dropout < 1):
            raise ValueError(
                "PrunedTransformerConfig: rotary_base is above 1, epsilon positive, dropout in [0, 1), got "
                f"{self.rotary_base}, {self.epsilon}, {self.dropout}"
            )

    @property
    def head_width(self) -> int:
        """Features of a head."""
        return self.features


class NarrowAttention(nn.Module):
    """Attention with fewer key heads than other layers, in a cache that has room for theirs.

    Args:
        attention: What is computed.
    """

    def __init__(self, attention: GroupedQueryAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """See `GroupedQueryAttention.forward`."""
        narrow = None if cache is None else _NarrowCache(cache, self.attention.key_heads)
        return self.attention(x, angles, mask, narrow, layer)


class NoBranch(nn.Module):
    """A branch that adds nothing."""

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Zeros of the shape of x."""
        return torch.zeros_like(x)


class _NarrowCache:
    """A layer's view of a cache: as many of its key heads as the layer has."""

    def __init__(self, cache: Cache, key_heads: int) -> None:
        self.cache, self.key_heads = cache, key_heads

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        missing = (0, 0, 0, 0, 0, self.cache.keys.shape[2] - self.key_heads)
        whole = self.cache.append(layer, nn.functional.pad(keys, missing), nn.functional.pad(values, missing))
        return whole[0][:, : self.key_heads], whole[1][:, : self.key_heads]


def build(config: LanguageModelConfig) -> LanguageModel:
    """A model of untrained weights, its layers of the sizes that the config gives each.

    Example:
        >>> sizes = PrunedTransformerConfig(
        ...     24, 2, heads=3, key_heads=3, hidden=40, features=16, layer_key_heads=(3, 1), layer_hidden=(0, 40)
        ... )
        >>> model = build(LanguageModelConfig(50, sizes))
        >>> model(torch.randint(50, (1, 5))).shape
        torch.Size([1, 5, 50])
    """
    with torch.random.fork_rng(devices=[]):
        model = LanguageModel(config)
        sizes = config.transformer
        if isinstance(sizes, PrunedTransformerConfig):
            layers = zip(model.transformer.blocks, sizes.layer_key_heads, sizes.layer_hidden, strict=True)
            for block, key_heads, hidden in layers:
                _resize(cast(Block, block), sizes, key_heads, hidden)
    return model


def _resize(block: Block, sizes: PrunedTransformerConfig, key_heads: int, hidden: int) -> None:
    most, width = sizes.key_heads or sizes.heads, sizes.width
    if key_heads:
        heads = key_heads * (sizes.heads // most)
        attention = GroupedQueryAttention(heads * sizes.features, heads, key_heads, sizes.dropout)
        attention.projection = nn.Linear(width, (heads + 2 * key_heads) * sizes.features, bias=False)
        attention.readout = nn.Linear(heads * sizes.features, width, bias=False)
        # In the place of modules of other classes with the same call.
        block.attention = attention if key_heads == most else NarrowAttention(attention)  # type: ignore[assignment]
    else:
        block.attention_norm, block.attention = nn.Identity(), NoBranch()  # type: ignore[assignment]
    if hidden:
        block.perceptron = GatedPerceptron(width, hidden)
    else:
        block.perceptron_norm, block.perceptron = nn.Identity(), NoBranch()  # type: ignore[assignment]


def load(folder: str | Path, device: torch.device | str = "cpu") -> LanguageModel:
    """Read a model that `LanguageModel.save` wrote, pruned or not.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If it holds another kind, or a file that is cut off or does not fit.
    """
    folder = Path(folder)
    file = folder / "config.json"
    described = read_json(file, "the settings of a language model") if file.is_file() else {}
    transformer = described.get("transformer")
    if not isinstance(transformer, dict) or "layer_hidden" not in transformer:
        return LanguageModel.load(folder, device)  # which says what is wrong, if anything is
    tensors = read_tensors(folder / "model.safetensors", "the parameters of a language model")
    with refusing(folder, "a saved model"):
        config = LanguageModelConfig(
            described["vocabulary"],
            PrunedTransformerConfig(**transformer),
            embedding_config(**described["embedding"]),
            head_config(**described["head"]),
        )
        kind = next(value.dtype for value in tensors.values() if value.is_floating_point())
    return filled(folder, described, lambda: build(config).to(kind), tensors).to(device)


def model_folder(run: str | Path) -> Path:
    """Where a run folder has its finished model, or the folder itself."""
    inside = Path(run) / MODEL
    return inside if inside.is_dir() else Path(run)


def trained_context(run: str | Path) -> int | None:
    """Tokens of a window of the training, if a run folder's settings tell: of a config, or of one that they hold.

    The folder of a run's model is asked for by its run.
    """
    folder = Path(run)
    file = (folder.parent if folder.name == MODEL else folder) / "config.json"
    settings = read_json(file, "the settings of a run", finite=False) if file.is_file() else {}
    configs = (settings, settings.get("config"), settings.get("teacher"))
    return next((told["context"] for told in configs if isinstance(told, dict) and "context" in told), None)
