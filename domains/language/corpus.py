"""Text as documents, from files or from the installed Python, each for training, validation or test.

A *source* is ``standard_library`` (the sources of Python's standard library, cleaned), ``docstrings`` (its
documentation strings), a ``.txt``, ``.jsonl`` or ``.parquet`` file, or a folder with such files. A text file is one
document; a row of the other two is one.

Which part a document belongs to depends on a hash of its text, so files never straddle parts and copies of a document
fall into the same one. A source that is a single text file, or a folder with no other, would have one part only; it is
cut by position instead: first training, then validation, then test, each from the start of a line.
"""

from __future__ import annotations

import codecs
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domains.language.standard_library import documentation, sources
from separable.files import refusing

PARTS = ("train", "validation", "test")
BUILT_IN = {"standard_library": sources, "docstrings": documentation}
_FORMATS = (".txt", ".jsonl", ".parquet")
_PIECE = 2**20  # characters of a text file that are held at a time
_ROWS = 256  # of a table, likewise
_PAGES = 2**26  # bytes of a table that are unpacked at a time without a question
_PACKED = 100  # times that text may be packed in what is more


@dataclasses.dataclass(frozen=True)
class Document:
    """A document, or a piece of a long one.

    Attributes:
        name: of the file, with the row where there are rows.
        text: what it says.
        part: train, validation or test.
        ends: whether the document ends with this piece.
    """

    name: str
    text: str
    part: str
    ends: bool = True


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """Where text comes from and how it is split.

    Attributes:
        source: standard_library, docstrings, a file (.txt, .jsonl, .parquet) or a folder of files.
        field: of a row that holds the text, in .jsonl and .parquet.
        encoding: of .txt and .jsonl files.
        validation: share of the documents for validation; of the bytes, where the source has a single text file.
        test: share for the test.
    """

    source: str = "standard_library"
    field: str = "text"
    encoding: str = "utf-8"
    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError(
                f"validation, test: expected shares that leave some for training, got {self.validation} and {self.test}"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding: expected one that Python knows, got {self.encoding!r}") from None


def documents(config: CorpusConfig) -> Iterator[Document]:
    """The documents in an order that depends on the source alone; at most one file's row or piece is in memory.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: it holds no text; bytes that are not of the encoding; a row that is not JSON, lacks the field, or
            has half a surrogate pair in it; a column of a table that is packed a hundred times smaller than its more
            than 64 MiB. The message names the file, and the line where there is one.

    Example:
        >>> found = next(documents(CorpusConfig("docstrings")))
        >>> found.name, found.part in PARTS
        ('__future__.py', True)
    """
    empty = True
    for document in _read(config):
        if document.text:
            empty = False
            yield document
    if empty:
        raise ValueError(f"corpus: expected text in {config.source}, found none")


def part_of(text: str, config: CorpusConfig) -> str:
    """The part of a document with this text.

    Example:
        >>> part_of("the same text", CorpusConfig()) == part_of("the same text", CorpusConfig())
        True
    """
    return _part_of(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), config)


def _part_of(digest: bytes, config: CorpusConfig) -> str:
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < config.test:
        return "test"
    return "validation" if place < config.test + config.validation else "train"


def files_of(source: str) -> list[Path]:
    """The files of a source that is not built in, in the order in which they are read.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: it is of another format, or a folder without files of ours.
    """
    place = Path(source)
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if _kind(path) in _FORMATS and path.is_file())
        if not files:
            raise ValueError(f"corpus: expected files that end in {', '.join(_FORMATS)} in {place}, found none")
        return files
    if not place.is_file():
        known = ", ".join(BUILT_IN)
        raise FileNotFoundError(f"corpus: expected {known}, a file or a folder, got {source!r}")
    if _kind(place) not in _FORMATS:
        raise ValueError(f"corpus: expected a file that ends in {', '.join(_FORMATS)}, got {place.name!r}")
    return [place]


def _read(config: CorpusConfig) -> Iterator[Document]:
    if config.source in BUILT_IN:
        for name, text in BUILT_IN[config.source]():
            yield Document(name, text, part_of(text, config))
        return
    files = files_of(config.source)
    for file in files:
        if _kind(file) == ".txt":
            yield from _cut_text(file, config) if len(files) == 1 else _whole_text(file, config)
        else:
            for line, text in _json_rows(file, config) if _kind(file) == ".jsonl" else _table_rows(file, config):
                yield Document(f"{file}:{line}", text, part_of(text, config))


def _kind(file: Path) -> str:
    return file.suffix.lower()


def _lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends; refuses bytes that are not of the encoding, with the line they are in."""
    try:
        with file.open(encoding=encoding, newline="") as stream:
            yield from enumerate(stream, 1)
    except UnicodeError as error:
        # Files are decoded in blocks, so the line has to be looked for.
        raise ValueError(
            f"{file}, line {_bad_line(file, encoding)}: expected {encoding}, got other bytes ({error}); "
            f"name its encoding, such as --encoding latin-1"
        ) from None


def _bad_line(file: Path, encoding: str) -> int:
    """The line with the first bytes that are not of an encoding, which may have several bytes for the end of a line."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 1
    with file.open("rb") as stream:
        while piece := stream.read(2**16):
            try:
                before = decoder.getstate()
                lines += decoder.decode(piece).count("\n")
            except UnicodeError:
                decoder.setstate(before)
                for place in range(len(piece)):
                    try:
                        lines += decoder.decode(piece[place : place + 1]).count("\n")
                    except UnicodeError:
                        break
                break
    return lines


def _whole_text(file: Path, config: CorpusConfig) -> Iterator[Document]:
    """One document; its part needs all of it, so it is read twice if it is long."""
    pieces = _pieces(file, config.encoding)
    first = next(pieces, "")
    second = next(pieces, None)
    if second is None:
        yield Document(str(file), first, part_of(first, config))
        return
    digest = hashlib.sha256()
    for piece in _pieces(file, config.encoding):
        digest.update(piece.encode("utf-8"))
    part = _part_of(digest.digest(), config)
    held = None
    for piece in _pieces(file, config.encoding):
        if held is not None:
            yield Document(str(file), held, part, ends=False)
        held = piece
    yield Document(str(file), held or "", part)


def _pieces(file: Path, encoding: str) -> Iterator[str]:
    """Runs of lines; a line that is very long is cut."""
    held: list[str] = []
    size = 0
    for _, line in _lines(file, encoding):
        for start in range(0, len(line), _PIECE):
            held.append(line[start : start + _PIECE])
            size += len(held[-1])
            if size >= _PIECE:
                yield "".join(held)
                held, size = [], 0
    if held:
        yield "".join(held)


def _cut_text(file: Path, config: CorpusConfig) -> Iterator[Document]:
    """A single text file, cut into the three parts by the place in it where a line begins."""
    total, encoder = file.stat().st_size, codecs.getincrementalencoder(config.encoding)()  # a mark of bytes comes once
    ends = dict(zip(PARTS, (1 - config.validation - config.test, 1 - config.test, 1), strict=True))
    # Rounding, or a mark that the encoding adds and the file lacks, must not give a line to a part without a share.
    last = PARTS[2] if config.test else PARTS[1] if config.validation else PARTS[0]
    held: list[str] = []
    part, place, size = PARTS[0], 0, 0
    for _, line in _lines(file, config.encoding):
        share = place / total  # which is positive, as there is a line
        wanted = next((name for name, end in ends.items() if share < end), last)
        if wanted != part or size >= _PIECE:
            if held:
                yield Document(str(file), "".join(held), part, ends=wanted != part)
            held, size, part = [], 0, wanted
        held.append(line)
        size += len(line)
        place += len(encoder.encode(line))
    if held:
        yield Document(str(file), "".join(held), part)


def _json_rows(file: Path, config: CorpusConfig) -> Iterator[tuple[int, str]]:
    for number, line in _lines(file, config.encoding):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}, line {number}: expected JSON, got {line.strip()[:40]!r} ({error})") from None
        yield number, _text_of(row, config.field, f"{file}, line {number}")


def _table_rows(file: Path, config: CorpusConfig) -> Iterator[tuple[int, str]]:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ImportError(f"{file}: parquet files need pyarrow: pip install pyarrow") from None
    with refusing(file, "a parquet file"):
        table = pyarrow.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if config.field not in names:
            raise ValueError(f"{file}: expected the field {config.field!r}, got {', '.join(names)}")
        _refuse_bomb(file, table.metadata, config.field)
        number = 0
        for batch in table.iter_batches(_ROWS, columns=[config.field]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield number, _text_of({config.field: value}, config.field, f"{file}, row {number}")


def _refuse_bomb(file: Path, told: Any, field: str) -> None:
    """No text is packed a hundred times smaller; what claims to be would fill the memory with a page of it."""
    # A column for each leaf, so that structures in other fields count as several.
    places = itertools.product(range(told.num_row_groups), range(told.num_columns))
    for chunk in (told.row_group(group).column(column) for group, column in places):
        packed, whole = chunk.total_compressed_size, chunk.total_uncompressed_size
        if chunk.path_in_schema == field and whole > max(_PAGES, _PACKED * packed):
            raise ValueError(f"{file}: expected text, got {packed} bytes that expand to {whole}")


def _text_of(row: Any, field: str, place: str) -> str:
    if not isinstance(row, dict) or field not in row:
        found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{place}: expected the field {field!r}, got {found}")
    if not isinstance(row[field], str):
        raise ValueError(f"{place}: expected text in the field {field!r}, got {type(row[field]).__name__}")
    text: str = row[field]
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell what UTF-8 has no bytes for
        raise ValueError(
            f"{place}: expected Unicode in the field {field!r}, got half a surrogate pair at character {error.start}"
        ) from None
    return text
