"""A decoder of the LLaMA kind: layers of causal attention and a gated perceptron round a residual stream.

For positions x (B, T, width), in each of L layers::

    x = x + attention(norm(x))
    x = x + (silu(norm(x) Wg) * (norm(x) Wu)) Wd               Wg, Wu (width, hidden), Wd (hidden, width)

with root-mean-square norms, rotary positions and no biases; a last norm gives the output.

Source: Touvron et al., LLaMA (2023, arXiv:2302.13971), section 2.2. Start values are GPT-2's: normal with deviation
0.02, divided by ``sqrt(2 L)`` for the two maps that end in the residual stream. Prefixes that see one another both ways
are those of Raffel et al., T5 (2019, arXiv:1910.10683), section 3.2.1.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from separable.sequence.attention import GroupedQueryAttention, seen_by
from separable.sequence.cache import Cache
from separable.sequence.gated_perceptron import GatedPerceptron
from separable.sequence.normalisation import RootMeanSquareNorm
from separable.sequence.rotary import rotary_angles

START_DEVIATION = 0.02


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a transformer.

    Attributes:
        width: features of a position.
        layers: number L of layers.
        heads: query heads of a layer; the width is a multiple of twice their number, as rotations take pairs.
        key_heads: key heads of a layer, a divisor of heads; by default as many, fewer for grouped-query attention.
        hidden: width of the gated perceptron; by default 8/3 of the width, rounded up to a multiple of 8.
        rotary_base: base of the rotary positions; greater for longer sequences.
        epsilon: added to mean squares in the norms.
        dropout: share of attention weights and of what a branch adds that training drops.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    key_heads: int | None = None
    hidden: int | None = None
    rotary_base: float = 10000.0
    epsilon: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "key_heads", "hidden"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, bool) or size < 1):
                raise ValueError(f"TransformerConfig: {name} is positive, got {size}")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"TransformerConfig: width is a multiple of twice the heads, got {self.width} and {self.heads} heads"
            )
        if self.heads % (self.key_heads or self.heads):
            raise ValueError(f"TransformerConfig: key_heads divides heads={self.heads}, got {self.key_heads}")
        if not self.rotary_base > 1:
            raise ValueError(f"TransformerConfig: rotary_base is above 1, got {self.rotary_base}")
        if not self.epsilon > 0:
            raise ValueError(f"TransformerConfig: epsilon is positive, got {self.epsilon}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"TransformerConfig: dropout lies in [0, 1), got {self.dropout}")

    @property
    def head_width(self) -> int:
        """Features of a head."""
        return self.width // self.heads

    @property
    def hidden_width(self) -> int:
        """Width of the gated perceptron, with the default filled in."""
        return self.hidden or -(-8 * self.width // 24) * 8


class Block(nn.Module):
    """One layer: attention and the gated perceptron, each behind a norm and beside the residual stream.

    Args:
        config: Sizes.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RootMeanSquareNorm(config.width, config.epsilon)
        self.attention = GroupedQueryAttention(
            config.width, config.heads, config.key_heads or config.heads, config.dropout
        )
        self.perceptron_norm = RootMeanSquareNorm(config.width, config.epsilon)
        self.perceptron = GatedPerceptron(config.width, config.hidden_width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None, layer: int
    ) -> Tensor:
        """``(B, T, width)`` to the same; arguments as of `GroupedQueryAttention`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), angles, mask, cache, layer))
        return x + self.dropout(self.perceptron(self.perceptron_norm(x)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """The decoder of the head of this file, from vectors to vectors: what goes in and comes out is the caller's.

    Args:
        config: Sizes; by default those of `TransformerConfig`.
        generator: Source of random numbers for the start values.

    Example:
        >>> transformer = Transformer(TransformerConfig(width=32, layers=2))
        >>> x = torch.randn(3, 10, 32)
        >>> transformer(x).shape, transformer(x, prefix=4).shape
        (torch.Size([3, 10, 32]), torch.Size([3, 10, 32]))
        >>> cache = transformer.cache(batch=3, length=16)
        >>> begun, next = transformer(x[:, :9], cache=cache), transformer(x[:, 9:], cache=cache)
        >>> torch.allclose(next, transformer(x)[:, 9:], atol=1e-5), cache.length
        (True, 10)
    """

    def __init__(self, config: TransformerConfig | None = None, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config or TransformerConfig()
        self.blocks = nn.ModuleList(Block(self.config) for _ in range(self.config.layers))
        self.norm = RootMeanSquareNorm(self.config.width, self.config.epsilon)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                ends_in_stream = name.endswith("readout.weight")
                deviation = START_DEVIATION * ((2 * self.config.layers) ** -0.5 if ends_in_stream else 1.0)
                nn.init.normal_(parameter, std=deviation, generator=generator)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def cache(self, batch: int, length: int) -> Cache:
        """Room for the keys and values of ``length`` positions of ``batch`` sequences, on this model's device."""
        config, like = self.config, self.norm.weight
        key_heads = config.key_heads or config.heads
        return Cache(config.layers, batch, key_heads, length, config.head_width, device=like.device, dtype=like.dtype)

    def forward(self, x: Tensor, *, prefix: int | Tensor = 0, cache: Cache | None = None) -> Tensor:
        """Outputs ``(B, T, width)``, normed.

        Args:
            x: ``(B, T, width)``.
            prefix: Number of first positions that see one another both ways, one for all sequences or ``(B,)``; all
                later positions see themselves and what came before.
            cache: From `cache`: the T positions follow those in it and are added to it. A prefix goes in as a whole
                with the first positions. No gradient passes through a cache, so with one the outputs carry none.

        Raises:
            ValueError: If the shape is not (B, T, width), the prefix does not fit, or the cache is full. (A prefix
                that is a tensor is read for this; compiled code leaves that out.)
        """
        if x.ndim != 3 or x.shape[-1] != self.config.width:
            raise ValueError(f"Transformer: expected inputs (B, T, {self.config.width}), got {tuple(x.shape)}")
        if cache is None:
            return self._forward(x, prefix, None)
        cache.require(x.shape[0], x.shape[1])
        with torch.no_grad():
            return self._forward(x, prefix, cache)

    def _forward(self, x: Tensor, prefix: int | Tensor, cache: Cache | None) -> Tensor:
        start, count, config = 0 if cache is None else cache.length, x.shape[1], self.config
        check_prefix(prefix, x.shape[0], start, count)
        mask = seen_by(start, count, prefix, x.device)
        angles = rotary_angles(start, count, config.head_width, config.rotary_base, device=x.device, dtype=x.dtype)
        # Autocast may have narrowed the vectors; sums along the blocks stay in full precision.
        x = x.to(self.norm.weight.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, angles, mask, cache, layer)
        if cache is not None:
            cache.advance(count)
        return self.norm(x)  # type: ignore[no-any-return]


def check_prefix(prefix: int | Tensor, batch: int, start: int, count: int) -> None:
    """Refuse a prefix that does not fit ``count`` positions of ``batch`` sequences after ``start`` others."""
    if isinstance(prefix, Tensor):
        if prefix.shape != (batch,) or prefix.dtype.is_floating_point or prefix.dtype == torch.bool:
            raise ValueError(
                f"Transformer: prefix is a whole number or ({batch},) of them, got {tuple(prefix.shape)} {prefix.dtype}"
            )
        if torch.compiler.is_compiling() or not batch:
            return
        least, most = int(prefix.min()), int(prefix.max())
    else:
        least = most = prefix
    if least < 0 or most > start + count:
        wrong = least if least < 0 else most
        raise ValueError(f"Transformer: prefix lies in 0 .. {start + count}, the number of positions, got {wrong}")
    if start and most > start:
        raise ValueError(
            f"Transformer: the prefix of {most} goes in as a whole with the first positions, "
            f"but the cache holds {start} already"
        )
