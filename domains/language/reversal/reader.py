"""Facts of the user's own, from CSV, JSONL or HDF5, refused with line numbers where they cannot be learnt from."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domains.language.reversal.facts import Fact, FactSet, both_ways, check_facts
from separable.files import refusing
from separable.hdf5 import open_hdf5

_NEEDED = ("head", "relation", "tail")


def read_facts(path: str | os.PathLike[str], inverses: Mapping[str, str] | None = None) -> FactSet:
    r"""Read facts.

    Args:
        path: ``.csv`` with a line of column names, ``.jsonl`` with an object a line, or ``.h5`` as of `FactSet.save`.
            Columns or keys: head, relation, tail; optional inverse (of the relation) and part (train or test; train
            where it is missing); in ``.jsonl`` also other_inverses, an object, of relations without facts. Spaces round
            names and repeated ones inside are dropped.
        inverses: of relations, beside those in the file; one way is enough.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line cannot be read, or the facts cannot be learnt from, see `FactSet`; with the line numbers.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "facts.csv"
        >>> _ = file.write_text("head,relation,tail\nAda Lind,wife,Bo Ek\n")
        >>> read_facts(file, {"wife": "husband"}).train
        (Fact(head='Ada Lind', relation='wife', tail='Bo Ek'),)
    """
    path = Path(path)
    if path.suffix == ".h5":
        return _read_hdf5(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"path: expected a name ending in .csv, .jsonl or .h5, got {path.name!r}")
    with refusing(path, "a table in UTF-8"):
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _jsonl_rows(path))
    known = both_ways(inverses or {})
    facts = []
    for place, row in rows:
        fact = Fact(*(_name(place, row, name) for name in _NEEDED))
        part = row.get("part") or "train"
        if part not in ("train", "test"):
            raise ValueError(f"{place}: expected part train or test, got {part!r}")
        for relation, inverse in _inverses(place, row, fact.relation):
            for one, other in ((relation, inverse), (inverse, relation)):
                if known.setdefault(one, other) != other:
                    raise ValueError(f"{place}: expected {known[one]!r} as inverse of {one!r} as before, got {other!r}")
        facts.append((place, fact, part))
    if not facts:
        raise ValueError(f"{path}: expected facts, got none")
    check_facts(facts, known)
    parts = {part: tuple(fact for _, fact, its in facts if its == part) for part in ("train", "test")}
    return FactSet(parts["train"], parts["test"], known)


def _inverses(place: str, row: Mapping[str, Any], relation: str) -> Iterator[tuple[str, str]]:
    """Relations with the inverses that a row tells: of its own, and of those without facts."""
    if row.get("inverse"):
        yield relation, _name(place, row, "inverse")
    others = row.get("other_inverses") or {}
    if not isinstance(others, dict):
        raise ValueError(f"{place}: expected relations with their inverses as other_inverses, got {others!r}")
    for name in others:
        yield " ".join(name.split()), _name(place, others, name)


def _name(place: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: expected a text as {name}, got {value!r}")
    return " ".join(value.split())


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True, strict=True)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}:1: expected columns {', '.join(_NEEDED)}, got {', '.join(reader.fieldnames or ())}"
            )
        if twice := sorted({name for name in reader.fieldnames or () if (reader.fieldnames or []).count(name) > 1}):
            raise ValueError(f"{path}:1: expected each column once, got {twice[0]!r} twice")
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise ValueError(f"{path}:{reader.reader.line_num}: expected values as CSV; {error}") from None
            if row is None:
                return
            place = f"{path}:{reader.line_num}"
            if None in row:
                raise ValueError(f"{place}: expected {len(reader.fieldnames or ())} values, got more")
            yield place, row


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: expected a JSON object; {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{place}: expected a JSON object, got a {type(row).__name__}")
            yield place, row


def _read_hdf5(path: Path) -> FactSet:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    with open_hdf5(path, "facts in HDF5") as file:
        entities, relations = (file[name].asstr()[()] for name in ("entities", "relations"))
        inverses = {relations[i]: relations[j] for i, j in enumerate(file["inverses"][()])}
        parts = [
            tuple(Fact(entities[h], relations[r], entities[t]) for h, r, t in file[part][()])
            for part in ("train", "test")
        ]
        return FactSet(parts[0], parts[1], inverses)
