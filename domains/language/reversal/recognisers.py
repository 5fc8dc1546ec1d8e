"""From names to concepts: recognisers that read tokens, a memory with a key for each name, or digits of a name's hash.

A recogniser turns names into addresses once, as whole numbers, and addresses into vectors (n, width) in every step.

Ours, `HashedMemory`, holds H tables of b rows and reads one row of each. A name's digest gives H digits below b::

    concept = H^-1/2  sum_h  V_h[digit_h(name)]                                                      V (H, b, width)

a separable function of order one of H discrete coordinates. Two names share a row of one table with probability 1 / b,
whatever tokens they share, and all rows with b^-H. The parameters, H b width, know no list of names: any text has a
concept from the start, and H b rows serve more than H b names, as H of them have to agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from separable.layers import LeviathanEmbedding
from separable.sequence import Transformer, TransformerConfig
from separable.sequence.product_key_memory import ProductKeyMemory

Memory = Literal["none", "fixed keys", "product keys", "digits", "hashed"]
_UNKNOWN = 0  # the token of words that were not in the list


@dataclasses.dataclass(frozen=True)
class RecogniserConfig:
    """Which recogniser, and its sizes.

    Attributes:
        memory: "none" reads the tokens by a transformer; "fixed keys" is the published memory, a value for each name;
            "product keys" is a product-key memory whose queries are computed from digits of the name's hash, keys
            learned; "digits" is a Leviathan embedding of those digits, without memory; "hashed" is ours.
        layers: of the transformer that reads tokens; with none a name is the sum of its tokens.
        heads: H tables of "hashed", and heads of the transformer and of product keys.
        rows: b of "hashed", and with heads x rows at least the number of values of product keys.
        best: values read by a head of product keys.
        start: standard deviation of the start values of memories and tables.
    """

    memory: Memory = "hashed"
    layers: int = 1
    heads: int = 4
    rows: int = 1024
    best: int = 4
    start: float = 0.1

    def __post_init__(self) -> None:
        if self.memory not in ("none", "fixed keys", "product keys", "digits", "hashed"):
            raise ValueError(f"memory: expected none, fixed keys, product keys, digits or hashed, got {self.memory!r}")
        for name in ("heads", "rows", "best"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.layers < 0 or not self.start > 0:
            raise ValueError(f"layers, start: expected 0 or more, and above 0, got {self.layers} and {self.start}")

    def build(self, names: Sequence[str], width: int, generator: torch.Generator | None = None) -> Recogniser:
        """An untrained recogniser; only "none" and "fixed keys" look at the names."""
        if self.memory == "none":
            return TokenRecogniser(names, width, self, generator)
        if self.memory == "fixed keys":
            return FixedKeyMemory(names, width, self, generator)
        if self.memory == "hashed":
            return HashedMemory(width, self, generator)
        return DigitRecogniser(width, self, generator)


class Recogniser(nn.Module, ABC):
    """What every recogniser can do."""

    @abstractmethod
    def addresses(self, names: Sequence[str]) -> Tensor:
        """Whole numbers ``(n, ...)`` for names.

        Raises:
            ValueError: If a name cannot be read, as it was not in the list.
        """

    @abstractmethod
    def forward(self, addresses: Tensor) -> Tensor:
        """Vectors ``(n, width)``."""

    def stored(self) -> list[nn.Parameter]:
        """The parameters that hold what is known of single names; those are written when a fact is added."""
        return list(self.parameters())


class HashedMemory(Recogniser):
    """The memory of the head of this file.

    Args:
        width: Features of a concept.
        config: Heads H, rows b and the start.
        generator: Of the start values.

    Example:
        >>> memory = HashedMemory(8, RecogniserConfig(heads=4, rows=16))
        >>> memory(memory.addresses(["Ada Lind", "Bo Ek", "a name of any length"])).shape
        torch.Size([3, 8])
        >>> sum(p.numel() for p in memory.parameters())
        512
    """

    def __init__(self, width: int, config: RecogniserConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.rows = config.rows
        self.values = nn.Parameter(torch.empty(config.heads, config.rows, width))
        nn.init.normal_(self.values, std=config.start, generator=generator)

    def addresses(self, names: Sequence[str]) -> Tensor:
        """Digits ``(n, H)`` of the names' digests."""
        return hashed_digits(names, len(self.values), self.rows)

    def forward(self, addresses: Tensor) -> Tensor:
        """Vectors ``(n, width)``."""
        heads = len(self.values)
        rows = addresses + self.rows * torch.arange(heads, device=addresses.device)
        return embedding_bag(rows, self.values.flatten(0, 1), mode="sum") * heads**-0.5


class DigitRecogniser(Recogniser):
    """Digits of a hash through a `LeviathanEmbedding`: as it is, or as the query of a product-key memory.

    The number of parameters does not depend on the names. With memory, its values are what is stored of single names.

    Args:
        width: Features of a concept.
        config: Memory ("digits" or "product keys"), heads, rows, best and start.
        generator: Of the start values.

    Example:
        >>> recogniser = DigitRecogniser(16, RecogniserConfig("product keys", heads=2, rows=32))
        >>> recogniser(recogniser.addresses(["Ada Lind", "Bo Ek"])).shape
        torch.Size([2, 16])
    """

    digits, base = 16, 32

    def __init__(self, width: int, config: RecogniserConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.embedding = LeviathanEmbedding(
            self.base**self.digits,
            width,
            digits=self.digits,
            seed_dim=width,
            heads=config.heads,
            knots=8,
            rank=width,
            output_std=1.0,
            normalise=config.memory == "product keys",
            generator=generator,
        )
        self.memory: ProductKeyMemory | None = None
        if config.memory == "product keys":
            half = 1
            while half * half < config.heads * config.rows:
                half += 1
            self.memory = ProductKeyMemory(width, half, config.heads, min(config.best, half), generator=generator)
            nn.init.normal_(self.memory.values, std=config.start, generator=generator)

    def addresses(self, names: Sequence[str]) -> Tensor:
        """Digits ``(n, 16)`` of the names' digests."""
        return hashed_digits(names, self.digits, self.base)

    def forward(self, addresses: Tensor) -> Tensor:
        """Vectors ``(n, width)``."""
        embedded = self.embedding.of_digits(addresses)
        return embedded if self.memory is None else self.memory(embedded)

    def stored(self) -> list[nn.Parameter]:
        """The values of the memory; without one, all."""
        return list(self.parameters()) if self.memory is None else [self.memory.values]


class TokenRecogniser(Recogniser):
    """Words of a name through a table and a causal transformer; the state at the last word is the concept.

    Source: the recognition module of arXiv:2504.01928 without memory. Deviations: positions are rotary, not left out.

    Args:
        names: From which the words are known; others share one token.
        width: Features of a concept.
        config: Layers, heads and start.
        generator: Of the start values.

    Example:
        >>> recogniser = TokenRecogniser(["Ada Lind", "Bo"], 16, RecogniserConfig("none"))
        >>> recogniser(recogniser.addresses(["Bo Lind", "Bo"])).shape
        torch.Size([2, 16])
    """

    def __init__(
        self, names: Sequence[str], width: int, config: RecogniserConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.words = word_numbers(names)
        self.table = nn.Parameter(torch.empty(len(self.words) + 1, width))
        nn.init.normal_(self.table, std=config.start, generator=generator)
        sizes = TransformerConfig(width=width, layers=config.layers, heads=config.heads) if config.layers else None
        self.transformer = None if sizes is None else Transformer(sizes, generator)

    def addresses(self, names: Sequence[str]) -> Tensor:
        """Numbers of the words ``(n, longest)``, -1 behind the last one."""
        return padded_words(names, self.words)

    def forward(self, addresses: Tensor) -> Tensor:
        """Vectors ``(n, width)``."""
        there = addresses >= 0
        vectors = self.table[addresses.clamp(min=0)]
        if self.transformer is None:
            return (vectors * there[..., None]).sum(1)
        states = self.transformer(vectors)
        last = there.sum(1) - 1
        return states[torch.arange(len(states), device=last.device), last]


class FixedKeyMemory(Recogniser):
    """The published memory: a key and a value for each name, of which only the values learn.

    A name's key is the mean of its words' start vectors, and so is the query; the value of the best key is the concept.
    As one value is read, its softmax weight is one and neither words nor keys get a gradient: so the best key is found
    when names become addresses. Names of the same words in another order have the same key.

    Source: arXiv:2504.01928, "JEPA with memory layers".

    Args:
        names: The list of names, each with a value.
        width: Features of a concept.
        config: Start of the values.
        generator: Of the start values.

    Example:
        >>> memory = FixedKeyMemory(["Ada Lind", "Bo Lind", "Ada Ek"], 16, RecogniserConfig("fixed keys"))
        >>> memory.addresses(["Ada Ek", "Ada Lind"])
        tensor([2, 0])
    """

    words_of_names: Tensor
    keys: Tensor

    def __init__(
        self, names: Sequence[str], width: int, config: RecogniserConfig, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.words = word_numbers(names)
        self.register_buffer("words_of_names", torch.randn(len(self.words) + 1, width, generator=generator))
        self.values = nn.Parameter(torch.empty(len(names), width))
        nn.init.normal_(self.values, std=config.start, generator=generator)
        self.register_buffer("keys", self._means(names))

    def _means(self, names: Sequence[str]) -> Tensor:
        words = padded_words(names, self.words)
        vectors = self.words_of_names[words.clamp(min=0)] * (words >= 0)[..., None]
        return vectors.sum(1) / (words >= 0).sum(1, keepdim=True)

    def addresses(self, names: Sequence[str]) -> Tensor:
        """Number ``(n,)`` of the key that is nearest to each name."""
        parts = [torch.cdist(queries, self.keys).argmin(1) for queries in self._means(names).split(1024)]
        return torch.cat(parts)

    def forward(self, addresses: Tensor) -> Tensor:
        """Vectors ``(n, width)``."""
        return self.values[addresses]


def hashed_digits(names: Sequence[str], digits: int, base: int) -> Tensor:
    """Digits ``(n, digits)`` below a base, of each name's digest: the same on every machine, uniform, independent.

    Example:
        >>> hashed_digits(["Ada Lind", "Ada Lind", "Ada Link"], 4, 256)
        tensor([[  4,  48, 150, 172],
                [  4,  48, 150, 172],
                [155,  38, 135, 159]])
    """
    found = []
    for name in names:
        number = int.from_bytes(hashlib.shake_128(name.encode()).digest(8 * digits), "little")
        row = []
        for _ in range(digits):
            number, rest = divmod(number, 2**64)
            row.append(rest * base >> 64)
        found.append(row)
    return torch.tensor(found, dtype=torch.long).reshape(-1, digits)


def word_numbers(names: Sequence[str]) -> dict[str, int]:
    """A number for every word of some names, from 1 on; 0 is for words that are in none."""
    words = sorted({word for name in names for word in name.split()})
    return {word: number for number, word in enumerate(words, 1)}


def padded_words(names: Sequence[str], words: dict[str, int]) -> Tensor:
    """Numbers of the words of each name ``(n, longest)``, with -1 behind the last one."""
    split = [[words.get(word, _UNKNOWN) for word in name.split()] for name in names]
    longest = max((len(row) for row in split), default=0)
    return torch.tensor([row + [-1] * (longest - len(row)) for row in split], dtype=torch.long).reshape(-1, longest)
