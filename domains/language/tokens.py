"""Tokens read from disk by memory map, and windows of them in a seeded order that goes on exactly where it was.

Documents lie one after another with their ends between; a window of context T holds T + 1 tokens, the last T of which
are the targets of the first T. In each epoch the windows begin at another offset, so that over the epochs a token is
seen at every place of a window.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.language.tokenisers import Tokeniser, digest_in, load_tokeniser
from separable.files import member, read_json, refusing

Array = np.ndarray[Any, Any]
_ORDER = 2  # of windows; the first left the last ones out
_CHECKED = 2**30  # bytes of a part up to which its checksums are worked out when it is opened


class Tokens:
    """What `write_tokens` left in a folder.

    Args:
        folder: with the index.

    Raises:
        FileNotFoundError: there are no tokens in the folder, or they are not finished.
        ValueError: its tokeniser is another one, or a file is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        file = self.folder / "index.json"
        if not file.is_file():
            unfinished = (self.folder / "writing.json").is_file()
            told = "its writing was cut off: tokenize it again to go on" if unfinished else "there is no index.json"
            raise FileNotFoundError(f"{self.folder}: expected a folder of tokens, but {told}")
        with refusing(file, "an index of tokens"):
            self.index = read_json(file, "an index of tokens")
            self.vocabulary, self.end = int(self.index["vocabulary"]), int(self.index["end"])
            self.type = np.dtype(self.index["type"])
            if self.type.kind != "u" or not 0 <= self.end < self.vocabulary:
                raise ValueError(f"ids up to {self.vocabulary} as {self.type}, end {self.end}")
            self._parts = {name: dict(told) for name, told in self.index["parts"].items()}
            self._sums = {name: str(self.index[name]) for name in ("tokeniser", "counts", "lengths")}
        self.digest = digest_in(self.folder)
        if self.digest != self._sums["tokeniser"]:
            raise ValueError(
                f"{self.folder}: expected the tokeniser that wrote these tokens, {self._sums['tokeniser']}, "
                f"got {self.digest}"
            )

    @functools.cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser that wrote the tokens; training does without it."""
        return load_tokeniser(self.folder)

    @functools.cached_property
    def corpus(self) -> str:
        """A digest of all tokens and of their division into shards, wherever the folder lies."""
        digests = {name: [shard["sha256"] for shard in part["shards"]] for name, part in self.index["parts"].items()}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def part(self, name: str) -> TokenPart:
        """The tokens of train, validation or test.

        Raises:
            ValueError: there is no such part, or a shard is missing, cut off or changed.
        """
        if name not in self._parts:
            raise ValueError(f"{self.folder}: expected the parts {', '.join(self._parts)}, got {name!r}")
        with refusing(self.folder / "index.json", "an index of tokens"):
            return TokenPart(self.folder, self._parts[name], self.type, self.vocabulary)

    def counts(self) -> Array:
        """How often each id occurs in the training part, ``(V,)``."""
        return self._numbers("counts")

    def lengths(self) -> Array:
        """Bytes that each id stands for, ``(V,)``."""
        return self._numbers("lengths")

    def _numbers(self, name: str) -> Array:
        content = (self.folder / f"{name}.bin").read_bytes()
        if hashlib.sha256(content).hexdigest() != self._sums[name] or len(content) != 8 * self.vocabulary:
            raise ValueError(f"{self.folder / name}.bin: expected the {name} that were written, got others (checksum)")
        return np.frombuffer(content, "<u8").astype(np.int64)

    def ranks(self) -> Array:
        """Place of each id by frequency in the training part, ``(V,)``: 0 for the most frequent."""
        ranks = np.empty(self.vocabulary, np.int64)
        ranks[np.argsort(-self.counts(), kind="stable")] = np.arange(self.vocabulary)
        return ranks

    def check_model(self, vocabulary: int) -> None:
        """Refuse a model that does not know all ids.

        Raises:
            ValueError: it knows fewer.
        """
        if vocabulary < self.vocabulary:
            raise ValueError(f"vocabulary: expected a model of at least {self.vocabulary} tokens, got {vocabulary}")


class TokenPart:
    """The tokens of one part, as if they were one array.

    Attributes:
        bytes: of text that they stand for.
        documents: how many there are.
    """

    def __init__(self, folder: Path, told: Mapping[str, Any], kind: np.dtype[Any], vocabulary: int) -> None:
        self.bytes, self.documents = int(told["bytes"]), int(told["documents"])
        self._shards: list[Array] = []
        for shard in told["shards"]:
            self._shards.append(
                _opened(member(folder, shard["file"]), shard, kind, told["tokens"] * kind.itemsize <= _CHECKED)
            )
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> Array:
        """Tokens ``start`` to ``stop``, as int64."""
        pieces = []
        shard = int(np.searchsorted(self._starts, start, "right")) - 1
        while start < stop:
            first = int(self._starts[shard])
            piece = self._shards[shard][start - first : stop - first]
            pieces.append(piece)
            start += len(piece)
            shard += 1
        found = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.int64), *pieces])
        found = found.astype(np.int64)
        if len(found) and int(found.max()) >= self.vocabulary:
            raise ValueError(
                f"tokens: expected ids below {self.vocabulary}, got {int(found.max())}; a shard is damaged"
            )
        return found

    def windows(self, starts: Array, context: int) -> tuple[Tensor, Tensor]:
        """Tokens and targets ``(B, T)`` of windows that begin at some places."""
        held = torch.from_numpy(np.stack([self.read(int(start), int(start) + context + 1) for start in starts]))
        return held[:, :-1], held[:, 1:]


class WindowStream:
    """Windows of a part in a random order for a training, see `separable.training.BatchStream`.

    Args:
        part: the tokens.
        context: targets T of a window.
        seed: of the order, which depends on nothing else.

    Raises:
        ValueError: the part is shorter than a window.
    """

    def __init__(self, part: TokenPart, context: int, seed: int = 0) -> None:
        if context < 1:
            raise ValueError(f"context: expected at least 1, got {context}")
        if len(part) < context + 1:
            raise ValueError(f"tokens: expected at least {context + 1}, a window and its target, got {len(part)}")
        self.part, self.context, self.seed = part, context, seed
        # As many windows in each epoch, wherever they begin: offsets go as far as what is left over.
        self.windows = max(1, (len(part) - context) // context)
        self._go(0, 0)

    def _go(self, epoch: int, position: int) -> None:
        self.epoch, self.position = epoch, position
        random = np.random.default_rng([self.seed, epoch])
        spare = len(self.part) - 1 - self.windows * self.context
        offset = int(random.integers(0, spare + 1))
        self._order = offset + self.context * random.permutation(self.windows)

    def draw(self, size: int) -> Array:
        """Places where the next windows begin."""
        parts, missing = [], size
        while missing > 0:
            if self.position == self.windows:
                self._go(self.epoch + 1, 0)
            part = self._order[self.position : self.position + missing]
            self.position += len(part)
            missing -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def load(self, places: Array) -> tuple[Tensor, Tensor]:
        """Tokens and targets ``(B, T)``."""
        return self.part.windows(places, self.context)

    def state(self) -> dict[str, Any]:
        """What the order depends on, epoch and position."""
        order = {"tokens": len(self.part), "context": self.context, "seed": self.seed, "order": _ORDER}
        return {**order, "epoch": self.epoch, "position": self.position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where a stream over the same tokens was.

        Raises:
            ValueError: it was one over others, with another context or seed.
        """
        mine = self.state()
        for name in ("tokens", "context", "seed", "order"):
            if state.get(name) != mine[name]:
                raise ValueError(f"checkpoint: expected a training with {name} {mine[name]}, got {state.get(name)}")
        self._go(int(state["epoch"]), int(state["position"]))


def _opened(file: Path, shard: Mapping[str, Any], kind: np.dtype[Any], checked: bool) -> Array:
    if not file.is_file():
        raise ValueError(f"{file}: expected a shard of {shard['tokens']} tokens, but there is none")
    size = file.stat().st_size
    if size != shard["tokens"] * kind.itemsize:
        raise ValueError(f"{file}: expected {shard['tokens'] * kind.itemsize} bytes, got {size}; it was cut off")
    held = np.memmap(file, kind, "r")
    if checked and hashlib.sha256(held.data).hexdigest() != shard["sha256"]:
        raise ValueError(f"{file}: expected the bytes that were written, got others (checksum); it is damaged")
    return held
