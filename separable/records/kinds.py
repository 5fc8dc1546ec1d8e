"""What a folder that the toolkit wrote is, told by the files in it and by entries of its settings."""

import dataclasses
import json
from pathlib import Path
from typing import Any

_LARGEST = 64_000_000  # bytes of a settings file; ours have some thousand


@dataclasses.dataclass(frozen=True)
class FolderKind:
    """A kind of folder.

    Attributes:
        name: what such a folder is, for people.
        files: that it holds, all of them.
        settings: which of them holds its settings, JSON.
        entries: that the settings hold, all of them; dots lead into nested ones.
        says: an entry of the settings and what it is, where that tells the kind from others.
        tensors: which of the files holds the parameters.
        uses: commands for such a folder, with ``RUN`` in its place.
    """

    name: str
    files: tuple[str, ...]
    settings: str = ""
    entries: tuple[str, ...] = ()
    says: tuple[tuple[str, str], ...] = ()
    tensors: str = ""
    uses: tuple[str, ...] = ()

    def fits(self, folder: Path) -> bool:
        """Whether a folder is of this kind; settings that cannot be read are of no kind that asks for an entry."""
        if not all((folder / name).is_file() for name in self.files):
            return False
        if not (self.entries or self.says):
            return True
        try:
            settings = read_settings(folder / self.settings)
        except (ValueError, OSError):
            return False
        held = all(_entry(settings, name) is not None for name in self.entries)
        return held and all(_entry(settings, name) == value for name, value in self.says)


RUN = FolderKind("run folder", ("config.json", "environment.json"), "config.json")
LIBRARY_KINDS = (
    FolderKind(
        "surrogate with names, units and ranges",
        ("surrogate.json", "config.json", "model.safetensors"),
        "surrogate.json",
        tensors="model.safetensors",
    ),
    FolderKind(
        "solution of an equation",
        ("solution.json", "config.json", "model.safetensors"),
        "solution.json",
        ("names",),
        tensors="model.safetensors",
    ),
    FolderKind(
        "separable layer",
        ("config.json", "model.safetensors"),
        "config.json",
        ("sha256", "layer"),
        tensors="model.safetensors",
    ),
    FolderKind(
        "language model",
        ("config.json", "model.safetensors"),
        "config.json",
        ("transformer",),
        (("kind", "LanguageModel"),),
        "model.safetensors",
    ),
    FolderKind(
        "posterior of a surrogate that says how sure it is",
        ("posterior.json", "posterior.safetensors"),
        "posterior.json",
    ),
)


def kinds_of(folder: Path, kinds: tuple[FolderKind, ...] = ()) -> tuple[FolderKind, ...]:
    """The kinds that a folder is of: at most one of those given, then of the library's, and whether it is a run.

    Args:
        folder: to look into; folders below it are not.
        kinds: more of them, the most special first.
    """
    special = next((kind for kind in (*kinds, *LIBRARY_KINDS) if kind.fits(folder)), None)
    return tuple(kind for kind in (special, RUN if RUN.fits(folder) else None) if kind is not None)


def read_settings(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is something else, cut off or far too large; the file is named.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"{path}: expected settings, got a file of {size / 1e6:.0f} MB")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: expected settings in JSON; {problem}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected an object, got a {type(found).__name__}")
    return found


def _entry(settings: dict[str, Any], name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
