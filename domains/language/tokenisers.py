"""Tokenisers: from text to ids and back to the same text, whatever it is.

``bytes``    the 256 bytes of UTF-8, and one id for the end of a document
``bpe``      byte pairs, merged by how frequent they are (Sennrich et al., 2016) over bytes (Radford et al., 2019), by
             the `tokenizers` package; its file is ``tokenizer.json`` in that package's own format

Every id but the end of a document stands for some bytes, so losses in nats a token become bits a byte.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from separable.files import refusing

END = "<|end|>"
_FILE = "tokenizer.json"
_RUN = re.compile(r"\S{2000}|\s{2000}")
_BYTES = {"kind": "bytes", "end": 256}


class Tokeniser(abc.ABC):
    """What every tokeniser has."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> int:
        """Number of ids, the end of a document among them."""

    @property
    @abc.abstractmethod
    def end(self) -> int:
        """The id of the end of a document, which stands for no bytes."""

    @abc.abstractmethod
    def encode_batch(self, texts: list[str]) -> list[np.ndarray[Any, Any]]:
        """The ids of each text, as uint32, without ends of documents."""

    @abc.abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The bytes that an id stands for.

        Raises:
            IndexError: there is no such id.
        """

    @abc.abstractmethod
    def settings(self) -> str:
        """The content of its file."""

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """The ids of a text.

        Raises:
            ValueError: the text holds half a surrogate pair, which no UTF-8 has.
        """
        return self.encode_batch([text])[0]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of some ids; ends of documents say nothing, bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes(int(token)) for token in tokens).decode("utf-8", "replace")

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of ids as they come, never half a character.

        Example:
            >>> list(ByteTokeniser().stream(ByteTokeniser().encode("né")))
            ['n', 'é']
        """
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            text = decoder.decode(self.token_bytes(int(token)))
            if text:
                yield text
        rest = decoder.decode(b"", final=True)
        if rest:
            yield rest

    @functools.cached_property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Number of bytes of each id, ``(V,)``."""
        return np.array([len(self.token_bytes(token)) for token in range(self.vocabulary)], np.int64)

    @functools.cached_property
    def digest(self) -> str:
        """A hash that tells it from others."""
        return _digest(self.settings())

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{_FILE}"
        temporary.write_text(self.settings(), encoding="utf-8")
        temporary.replace(folder / _FILE)


class ByteTokeniser(Tokeniser):
    """Bytes of UTF-8 as ids.

    Example:
        >>> ByteTokeniser().encode("né").tolist()
        [110, 195, 169]
    """

    vocabulary = 257
    end = 256

    def encode_batch(self, texts: list[str]) -> list[np.ndarray[Any, Any]]:
        """See `Tokeniser`."""
        return [np.frombuffer(_utf8(text), np.uint8).astype(np.uint32) for text in texts]

    def token_bytes(self, token: int) -> bytes:
        """See `Tokeniser`."""
        if not 0 <= token <= self.end:
            raise IndexError(f"tokens: expected 0 .. {self.end}, got {token}")
        return b"" if token == self.end else bytes([token])

    def settings(self) -> str:
        """See `Tokeniser`."""
        return json.dumps(_BYTES)


def _cut(text: str) -> list[str]:
    """A text where runs without a break have at most so many characters: time to learn grows with their square."""
    ends = [found.end() for found in _RUN.finditer(text)]
    return [text[start:end] for start, end in itertools.pairwise([0, *ends, len(text)])]


class BytePairTokeniser(Tokeniser):
    """Merged pairs of bytes.

    Args:
        settings: Content of a ``tokenizer.json`` that `trained` made.

    Raises:
        ValueError: That is something else.
    """

    def __init__(self, settings: str) -> None:
        tokenizers = _tokenizers()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(settings)
        except BaseException as error:  # of that package: Exception, or where its Rust gives up PanicException
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise ValueError(f"tokeniser: expected the content of a {_FILE}; {error}") from None
        end = self._tokenizer.token_to_id(END)
        if end is None:
            raise ValueError(f"tokeniser: expected a token {END}, found none")
        self._end, self._size = end, self._tokenizer.get_vocab_size()
        known = {*_ALPHABET.values()}
        for token in range(self._size):
            name = self._tokenizer.id_to_token(token)
            if name is None or (token != end and not known.issuperset(name)):
                raise ValueError(f"tokeniser: expected bytes as the token {token}, got {name!r}")

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> BytePairTokeniser:
        """Learn the merges from texts, which are read once.

        Args:
            texts: What to learn from; all their different words are held in memory.
            vocabulary: Number of ids, at least 257.

        Raises:
            ValueError: The vocabulary is too small, or larger than the texts have pairs for.

        Example:
            >>> tokeniser = BytePairTokeniser.trained(["low lower lowest"] * 3, 260)
            >>> [tokeniser.token_bytes(token) for token in tokeniser.encode("low 😀")][:2]
            [b'low', b' ']
        """
        tokenizers = _tokenizers()
        if vocabulary < 257:
            raise ValueError(f"vocabulary: expected at least 257, the bytes and an end, got {vocabulary}")
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END],
            initial_alphabet=sorted(_ALPHABET.values()),
            show_progress=False,
        )
        tokenizer.train_from_iterator((part for text in texts for part in _cut(text)), trainer)
        if tokenizer.get_vocab_size() != vocabulary:
            raise ValueError(
                f"vocabulary: expected at most {tokenizer.get_vocab_size()}, which is what this text "
                f"has pairs for, got {vocabulary}"
            )
        return cls(tokenizer.to_str())

    @property
    def vocabulary(self) -> int:
        """See `Tokeniser`."""
        return self._size

    @property
    def end(self) -> int:
        """See `Tokeniser`."""
        return self._end

    def encode_batch(self, texts: list[str]) -> list[np.ndarray[Any, Any]]:
        """See `Tokeniser`."""
        for text in texts:
            _utf8(text)
        # Text that spells the end of a document is text: it is cut where it would be taken for one.
        pieces = [piece for text in texts for piece in _harmless(text)]
        found = self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        ids = iter(np.array(encoding.ids, np.uint32) for encoding in found)
        return [np.concatenate([next(ids) for _ in _harmless(text)]) for text in texts]

    def token_bytes(self, token: int) -> bytes:
        """See `Tokeniser`."""
        return self._contents[token] if token >= 0 else self._contents[len(self._contents)]

    @functools.cached_property
    def _contents(self) -> list[bytes]:
        letters = {letter: byte for byte, letter in _ALPHABET.items()}
        names = [self._tokenizer.id_to_token(token) for token in range(self._size)]
        return [b"" if name == END else bytes(letters[letter] for letter in name) for name in names]

    def settings(self) -> str:
        """See `Tokeniser`."""
        content: str = self._tokenizer.to_str()
        return content


def load_tokeniser(folder: str | Path) -> Tokeniser:
    """Read what `Tokeniser.save` wrote.

    Raises:
        FileNotFoundError: there is no tokeniser in the folder.
        ValueError: its file is damaged.
    """
    content = _content(folder)
    if content == json.dumps(_BYTES):
        return ByteTokeniser()
    try:
        return BytePairTokeniser(content)
    except ValueError as error:
        raise ValueError(f"{Path(folder) / _FILE}: {error}") from None


def digest_in(folder: str | Path) -> str:
    """The digest of the tokeniser in a folder, without the package that it may need.

    Raises:
        FileNotFoundError: there is none.
    """
    return _digest(_content(folder))


def _digest(settings: str) -> str:
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _content(folder: str | Path) -> str:
    file = Path(folder) / _FILE
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: expected a tokeniser, but there is no {_FILE}")
    with refusing(file, "a tokeniser"):
        return file.read_text(encoding="utf-8")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"text: expected Unicode, got half a surrogate pair at character {error.start}") from None


def _harmless(text: str) -> list[str]:
    """The text in pieces, none of which holds the name of the end of a document."""
    first, *others = text.split(END)
    pieces = [first]
    for other in others:
        pieces[-1] += END[:1]
        pieces.append(END[1:] + other)
    return pieces


def byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones are themselves, the others follow from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_ALPHABET = byte_letters()


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise ImportError("byte pairs need tokenizers: pip install 'separable[language]'") from None
    return tokenizers
