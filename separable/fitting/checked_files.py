"""Facts and tensors in two files of one name, ``.json`` and ``.safetensors``, that belong together by a checksum.

Nothing in them can be executed. An existing pair is replaced when both new files are complete; a pair of which only one
was replaced, by a machine that stopped between the two, is refused when it is read.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from separable.atomic_files import write_together
from separable.files import plain_tensors, read_json, refusing

_VERSION = 1


def write_checked(
    folder: str | os.PathLike[str], name: str, facts: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Write ``name.safetensors`` and ``name.json`` into a folder, which is made where there is none.

    Args:
        folder: The folder.
        name: Of the pair.
        facts: Plain data.
        tensors: By name.
    """
    stored = safetensors.torch.save(plain_tensors(tensors))
    plain = json.loads(json.dumps(facts))
    described = {"version": _VERSION, "sha256": _digest(plain, stored), "facts": plain}
    text = json.dumps(described, indent=2).encode()
    write_together(folder, {f"{name}.json": text, f"{name}.safetensors": stored})


def read_checked(folder: str | os.PathLike[str], name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors that `write_checked` wrote.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, the two do not belong together, or another version wrote them.

    Example:
        >>> import tempfile, torch
        >>> folder = tempfile.mkdtemp()
        >>> write_checked(folder, "pair", {"a": 1}, {"b": torch.zeros(2)})
        >>> read_checked(folder, "pair")
        ({'a': 1}, {'b': tensor([0., 0.])})
    """
    folder = Path(folder)
    with refusing(folder / f"{name}.json", "a file that belongs to the .safetensors of its name"):
        described = read_json(folder / f"{name}.json")
        stored = (folder / f"{name}.safetensors").read_bytes()
        if described["version"] != _VERSION:
            raise ValueError(f"it has format version {described['version']}, this library reads {_VERSION}")
        facts: dict[str, Any] = described["facts"]
        if described["sha256"] != _digest(facts, stored):
            raise ValueError("its checksum does not agree with its content")
        return facts, safetensors.torch.load(stored)


def _digest(facts: Mapping[str, Any], stored: bytes) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + stored).hexdigest()
