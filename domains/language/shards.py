"""Tokens on disk: written once in bounded memory, an interrupted writing goes on where it was.

::

    tokenizer.json         the tokeniser
    index.json             what the files hold: type, vocabulary, tokeniser, and of each part its shards with checksums
    train-00000.bin ..     ids, little-endian uint16, or uint32 where the vocabulary needs it; likewise the other parts
    counts.bin             how often each id occurs in the training part, little-endian uint64
    lengths.bin            bytes that each id stands for, likewise

Each document is followed by the end-of-document id. While it is written, ``writing.json`` says how many documents are
done; it is renamed into place after the files that it speaks of, so a writing that was killed at any moment goes on
to the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from domains.language.corpus import BUILT_IN, PARTS, CorpusConfig, Document, documents, files_of
from domains.language.tokenisers import BytePairTokeniser, ByteTokeniser, Tokeniser, load_tokeniser
from separable.atomic_files import replacing
from separable.files import member, read_json, refusing
from separable.training.run_lock import sole_user

Array = np.ndarray[Any, Any]
_TOGETHER, _CHARACTERS = 64, 2**21  # documents that are encoded at a time, and the length at which fewer are enough


@dataclasses.dataclass(frozen=True)
class TokenizeConfig:
    """How a corpus becomes tokens.

    Attributes:
        corpus: where the text comes from and how it is split.
        vocabulary: number of ids; 257 for bytes, more for byte pairs.
        training_text: characters, in millions, that byte pairs are learned from, of the training part.
        shard: tokens in a file.
    """

    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    vocabulary: int = 257
    training_text: float = 100.0
    shard: int = 2**25

    def __post_init__(self) -> None:
        if self.vocabulary < 257:
            raise ValueError(f"vocabulary: expected at least 257, the bytes and an end, got {self.vocabulary}")
        if not self.training_text > 0 or self.shard < 1:
            raise ValueError(
                f"training_text, shard: expected numbers above 0, got {self.training_text} and {self.shard}"
            )


def write_tokens(
    folder: str | Path, config: TokenizeConfig, tokeniser: Tokeniser | None = None, progress: bool = True
) -> Path:
    """Tokenise a corpus into a folder; returns the folder. Finished work is left as it is, unfinished work goes on.

    Args:
        folder: for the files.
        config: what to tokenise and how.
        tokeniser: to use; by default one is made as the config says, or read from an unfinished folder.
        progress: whether to count documents on the screen.

    Raises:
        ValueError: the corpus has faults (see `documents`), or no training text; the folder holds other tokens, or
            those of other files: by names and sizes, so that a change that keeps both is not seen; what was written
            is damaged.
        OSError: there is no space or no permission; what is finished stays, and the same call goes on from there.
        RuntimeError: another process writes into this folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described, files = _described(config, tokeniser), _listed(config.corpus)
    for name in ("index.json", "writing.json"):
        if (folder / name).exists():
            kept = read_json(folder / name, "the state of a writing of tokens")
            if kept.get("made_from") != described:
                raise ValueError(f"{folder}: expected no tokens of another kind, got {kept.get('made_from')}")
            if None not in (files, kept.get("files")) and kept["files"] != files:  # older ones do not tell
                told = (
                    f"expected tokens of the files in {config.corpus.source}, got those of others, or of less in them"
                )
                raise ValueError(f"{folder}: {told}; choose another folder, or remove this one")
            if name == "index.json":
                return folder
    with sole_user(folder):
        if (folder / "writing.json").exists():
            tokeniser = load_tokeniser(folder)
        else:
            tokeniser = tokeniser or _made(config)
            tokeniser.save(folder)
        writing = _Writing(folder, tokeniser, {"made_from": described, "files": files}, config.shard)
        waiting = itertools.islice(documents(config.corpus), writing.done, None)
        with tqdm(waiting, initial=writing.done, disable=not progress, unit=" documents") as bar:
            for together in _groups(bar):
                for document, tokens in zip(together, tokeniser.encode_batch([d.text for d in together]), strict=True):
                    writing.add(document, tokens)
        writing.finish()
    return folder


class _Writing:
    """Tokens that wait for a full shard, and what is on disk."""

    def __init__(self, folder: Path, tokeniser: Tokeniser, origin: dict[str, Any], shard: int) -> None:
        self.folder, self.tokeniser, self.origin, self.shard = folder, tokeniser, origin, shard
        self.type = np.dtype("<u2" if tokeniser.vocabulary <= 2**16 else "<u4")
        self.counts = np.zeros(tokeniser.vocabulary, "<u8")
        self.done = 0
        self.parts: dict[str, dict[str, Any]] = {
            p: {"documents": 0, "tokens": 0, "bytes": 0, "shards": []} for p in PARTS
        }
        self.waiting: dict[str, list[Array]] = {part: [] for part in PARTS}
        self.held = dict.fromkeys(PARTS, 0)  # tokens that wait
        journal = folder / "writing.json"
        if journal.exists():
            with refusing(journal, "the state of a writing of tokens"):
                self._restore(read_json(journal))

    def _restore(self, kept: dict[str, Any]) -> None:
        """Go to where a writing was cut off; what it wrote is compared with what it says of it."""
        whole = {name: kept[name] for name in ("done", "parts", "waiting", "rest", "counts")}
        if hashlib.sha256(json.dumps(whole).encode()).hexdigest() != kept["sha256"]:
            raise ValueError("its checksum does not agree with its content")
        self.done, self.parts = kept["done"], kept["parts"]
        held = {}
        for name in ("rest", "counts"):
            file = member(self.folder, kept[name]["file"])
            held[name] = file.read_bytes()
            if hashlib.sha256(held[name]).hexdigest() != kept[name]["sha256"]:
                raise ValueError(f"{file}: expected the bytes that were written, got others (checksum)")
        rest = np.frombuffer(held["rest"], self.type)
        for part in PARTS:
            count = kept["waiting"][part]
            self.waiting[part], rest = [rest[:count]], rest[count:]
            self.held[part] = count
        self.counts = np.frombuffer(held["counts"], "<u8").copy()
        self._tidy([kept[name]["file"] for name in held])

    def add(self, document: Document, tokens: Array) -> None:
        """Take in one document; write what fills shards."""
        if document.ends:
            tokens = np.append(tokens, self.tokeniser.end)
        told = self.parts[document.part]
        told["tokens"] += len(tokens)
        told["bytes"] += len(document.text.encode())
        told["documents"] += document.ends
        if document.part == "train":
            self.counts += np.bincount(tokens, minlength=len(self.counts)).astype("<u8")
        self.waiting[document.part].append(tokens.astype(self.type))
        self.held[document.part] += len(tokens)
        self.done += 1
        if self.held[document.part] >= self.shard:
            joined = np.concatenate(self.waiting[document.part])
            while len(joined) >= self.shard:
                self._write_shard(document.part, joined[: self.shard])
                joined = joined[self.shard :]
            self.waiting[document.part], self.held[document.part] = [joined], len(joined)
            self._keep()

    def finish(self) -> None:
        """Write what is left, and the index."""
        for part in PARTS:
            if any(map(len, self.waiting[part])):
                self._write_shard(part, np.concatenate(self.waiting[part]))
        if not self.parts["train"]["tokens"]:
            raise ValueError("corpus: expected text for training, got none; ask for smaller shares for the other parts")
        lengths = self.tokeniser.lengths.astype("<u8")
        for name, numbers in (("counts", self.counts), ("lengths", lengths)):
            self._write(f"{name}.bin", numbers.tobytes())
        index = {
            **self.origin,
            "vocabulary": self.tokeniser.vocabulary,
            "end": self.tokeniser.end,
            "tokeniser": self.tokeniser.digest,
            "type": self.type.str,
            "counts": hashlib.sha256(self.counts.tobytes()).hexdigest(),
            "lengths": hashlib.sha256(lengths.tobytes()).hexdigest(),
            "parts": self.parts,
        }
        self._write("index.json", json.dumps(index, indent=2).encode())
        (self.folder / "writing.json").unlink(missing_ok=True)
        self._tidy([])

    def _write_shard(self, part: str, tokens: Array) -> None:
        shards = self.parts[part]["shards"]
        content = tokens.astype(self.type).tobytes()
        name = f"{part}-{len(shards):05d}.bin"
        self._write(name, content)
        shards.append({"file": name, "tokens": len(tokens), "sha256": hashlib.sha256(content).hexdigest()})

    def _keep(self) -> None:
        rest = [np.concatenate([np.empty(0, self.type), *self.waiting[part]]) for part in PARTS]
        waiting = {part: len(tokens) for part, tokens in zip(PARTS, rest, strict=True)}
        kept: dict[str, Any] = {"done": self.done, "parts": self.parts, "waiting": waiting}
        for name, content in (("rest", np.concatenate(rest).tobytes()), ("counts", self.counts.tobytes())):
            kept[name] = {"file": f"writing-{self.done}.{name}", "sha256": hashlib.sha256(content).hexdigest()}
            self._write(kept[name]["file"], content)
        kept["sha256"] = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
        self._write("writing.json", json.dumps({**self.origin, **kept}).encode())
        self._tidy([kept[name]["file"] for name in ("rest", "counts")])

    def _tidy(self, kept: Sequence[str]) -> None:
        for file in self.folder.glob("writing-*"):
            if file.name not in kept:
                file.unlink()

    def _write(self, name: str, content: bytes) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)


def _described(config: TokenizeConfig, tokeniser: Tokeniser | None) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return {**settings, "tokeniser": tokeniser.digest if tokeniser else "made"}


def _listed(config: CorpusConfig) -> str | None:
    """A digest of the names and sizes of a source's files; None for what is built in, or is there no longer."""
    root = Path(config.source)
    if config.source in BUILT_IN or not root.exists():
        return None
    listed = [[file.relative_to(root).as_posix(), file.stat().st_size] for file in files_of(config.source)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _made(config: TokenizeConfig) -> Tokeniser:
    if config.vocabulary == ByteTokeniser.vocabulary:
        return ByteTokeniser()

    def training_text() -> Iterator[str]:
        left = config.training_text * 1e6
        for document in documents(config.corpus):
            if document.part == "train":
                yield document.text
                left -= len(document.text)
            if left <= 0:
                return

    return BytePairTokeniser.trained(training_text(), config.vocabulary)


def _groups(items: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    characters = 0
    for item in items:
        group.append(item)
        characters += len(item.text)
        if len(group) == _TOGETHER or characters >= _CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
