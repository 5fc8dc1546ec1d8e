"""What a run folder, or the folder of a saved model, holds: read from its files, without building a model."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from separable.records.kinds import RUN, FolderKind, kinds_of, read_settings
from separable.records.measurements import last_of_each
from separable.records.tensors import count_numbers

_CHECKPOINTS = ("best.safetensors", "last.safetensors", "checkpoint.safetensors")
_DEEPEST = 8  # folders below one another that are looked into


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A folder, read.

    Attributes:
        path: the folder.
        kinds: what it is; a run folder that holds a model is both.
        settings: its configuration.
        environment: versions, platform, git state, seed and command, where it is a run.
        lines: of ``metrics.jsonl``.
        parameters: numbers stored in each file of tensors, by file; -1 for one that is damaged.
        files: bytes by name, relative to the folder, those of folders below among them.
        parts: models that a run keeps in folders below its own, by folder.
    """

    path: Path
    kinds: tuple[FolderKind, ...]
    settings: dict[str, Any]
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    parameters: dict[str, int]
    files: dict[str, int]
    parts: dict[str, RunRecord]

    @property
    def name(self) -> str:
        """What it is, in words."""
        return ", ".join(kind.name for kind in self.kinds)

    @property
    def numbers(self) -> int | None:
        """Numbers that the model has, parameters and buffers; None where there is no whole model."""
        wanted = [kind.tensors for kind in self.kinds if kind.tensors]
        counts = [self.parameters.get(name, -1) for name in (*wanted, *_CHECKPOINTS)]
        counts += [part.numbers or -1 for part in self.parts.values()]
        return next((count for count in counts if count >= 0), None)

    @property
    def uses(self) -> tuple[str, ...]:
        """Commands that take this folder."""
        told = [use for kind in self.kinds for use in kind.uses]
        told += [use for part in self.parts.values() for use in part.uses]
        return tuple(dict.fromkeys(use.replace("RUN", str(self.path)) for use in told))

    def last(self) -> dict[str, float]:
        """The last value of every number that was measured."""
        return last_of_each(self.lines)


def read_run(path: str | os.PathLike[str], kinds: Sequence[FolderKind] = ()) -> RunRecord:
    """Read a folder of any kind that the toolkit writes.

    Args:
        path: the folder.
        kinds: more kinds than the library's own, the most special first.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is of no known kind, or its settings are damaged.

    Example:
        >>> import tempfile
        >>> from separable.training import RunFolder
        >>> run = RunFolder(tempfile.mkdtemp(), {"rank": 4}, seed=0)
        >>> run.log(step=1, rmse=0.1)
        >>> read_run(run.path).last()
        {'step': 1, 'rmse': 0.1}
    """
    folder, more = Path(path), tuple(kinds)
    if not folder.is_dir():
        told = "a file" if folder.exists() else "nothing"
        raise FileNotFoundError(f"{folder}: expected the folder of a run or of a saved model, found {told}")
    found = kinds_of(folder, more)
    if not found:
        known = "; ".join(f"{kind.name} ({', '.join(kind.files)})" for kind in (RUN, *more))
        raise ValueError(f"{folder}: expected the folder of a run or of a saved model; known are {known}")
    parts = {
        below.name: read_run(below, more)
        for below in sorted(folder.iterdir())
        if below.is_dir() and not below.is_symlink() and kinds_of(below, more)
    }
    files = dict(_files(folder))
    source = next((kind.settings for kind in (RUN, *found) if kind in found and kind.settings), "")
    return RunRecord(
        folder,
        found,
        read_settings(folder / source) if source else {},
        read_settings(folder / "environment.json") if RUN in found else {},
        metric_lines(folder / "metrics.jsonl"),
        {name: _count(folder / name) for name in files if name.endswith(".safetensors") and "/" not in name},
        files,
        parts,
    )


def metric_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl`` that are whole; none where there is no such file."""
    found: list[dict[str, Any]] = []
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # the last one may have been cut off
                continue
            if isinstance(line, dict):
                found.append(line)
    return found


def find_runs(
    path: str | os.PathLike[str], kinds: Sequence[FolderKind] = ()
) -> list[tuple[Path, tuple[FolderKind, ...]]]:
    """Folders of runs and saved models at and below a path, with what each is; those inside another are part of it.

    Args:
        path: where to look; hidden folders and links are passed by.
        kinds: more kinds than the library's own.

    Example:
        >>> import tempfile
        >>> from separable.training import RunFolder
        >>> folder = Path(tempfile.mkdtemp())
        >>> run = RunFolder(folder / "deep" / "first", {"rank": 4}, seed=0)
        >>> [(found.name, kinds[0].name) for found, kinds in find_runs(folder)]
        [('first', 'run folder')]
    """
    return list(_found(Path(path), tuple(kinds), _DEEPEST))


def _found(folder: Path, kinds: tuple[FolderKind, ...], depth: int) -> Iterator[tuple[Path, tuple[FolderKind, ...]]]:
    here = kinds_of(folder, kinds)
    if here:
        yield folder, here
        return
    try:
        below = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    except OSError:  # not ours to read
        return
    for entry in below if depth else []:
        if not entry.name.startswith("."):
            yield from _found(entry, kinds, depth - 1)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings without nesting; names are joined by a dot.

    Example:
        >>> flattened({"rank": 4, "training": {"steps": 10, "betas": [0.9, 0.95]}})
        {'rank': 4, 'training.steps': 10, 'training.betas': [0.9, 0.95]}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for here, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = Path(here) / name
            if path.is_file() and not name.startswith("."):
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _count(path: Path) -> int:
    try:
        return count_numbers(path)
    except (ValueError, OSError):
        return -1
