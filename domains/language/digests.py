"""What a run reads, by its content: two files or models of one name are told apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn


def digest_of_model(model: nn.Module) -> str:
    """SHA-256 of the names and bytes of a model's parameters and buffers, on any device."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def digest_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "facts.csv"
        >>> _ = file.write_text("head,relation,tail")
        >>> digest_of_file(file)[:8]
        'de0f14cc'
    """
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(2**20):
            found.update(piece)
    return found.hexdigest()
