"""Results of long trainings, each kept under its description: a benchmark that was cut off goes on where it was."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def kept_path(folder: Path, description: str) -> Path:
    """Where the result of what is described is kept."""
    return folder / f"{hashlib.sha256(description.encode()).hexdigest()[:20]}.json"


def kept(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result that lies there, or what is computed now and laid there whole."""
    if not path.exists():
        found = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found))
        temporary.replace(path)
    content: dict[str, Any] = json.loads(path.read_text())
    return content
