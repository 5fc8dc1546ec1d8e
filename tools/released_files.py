"""Small files of every kind that this version writes, and what it reads from them; run it when a version is released.

Usage: python tools/released_files.py. They go into tests/packaging/files_of_VERSION.zip, a folder a kind, each with the
numbers and texts that are read from it, of long arrays some; later versions have to read the same.
"""

import io
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
CONTENT = "content.npz"
SOME = 64  # values of a long array
# Names of tests.reliability.readers. What other programs write too has its standard, and needs no old copies.
KINDS = (
    "layer",
    "posterior",
    "solution",
    "surrogate",
    "language model",
    "checkpoint",
    "run folder",
    "byte pairs",
    "tokens",
    "stored logits",
    "pruned model",
    "student",
    "what a model of facts knows",
    "facts in lines",
    "facts in HDF5",
    "conversations",
    "set of flows",
    "forecaster by noise",
    "forecaster without noise",
    "forecaster by tokens",
    "forecaster by innovations",
    "frames to start from",
    "cells",
    "designer",
    "stress decoder",
    "cleaner",
    "policy",
    "checkpoint of a policy",
    "controller",
    "flights",
)


def told(value: Any) -> list[np.ndarray[Any, Any]]:
    """What can be compared of a value of containers: the shape of each array in it, and some of its values."""
    found = []
    for leaf in leaves(value):
        found += [np.asarray(leaf.shape), leaf.reshape(-1)[:: max(1, leaf.size // SOME)]]
    return found


def leaves(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Arrays of numbers and of characters that a value of containers has in it, in order."""
    if isinstance(value, torch.Tensor):
        value = value.detach().float() if value.dtype == torch.bfloat16 else value.detach()
        yield value.numpy()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield np.asarray(str(key))
            yield from leaves(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, np.ndarray | np.generic | int | float | str):
        array = np.asarray(value)
        yield array.astype(str) if array.dtype == object else array
    elif isinstance(value, bytes):
        yield np.frombuffer(value, np.uint8)
    elif value is not None:
        raise TypeError(f"expected arrays, numbers and texts, got {type(value)}")


def main() -> None:
    """Write the file of this version."""
    sys.path.insert(0, str(ROOT))
    from tests.reliability.readers import READERS
    from tools.public_names import version

    archive = ROOT / "tests" / "packaging" / f"files_of_{version()}.zip"
    readers = {reader.name: reader for reader in READERS}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written, tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            place = Path(folder, kind)
            place.mkdir()
            readers[kind].make(place)
            for file in sorted(place.rglob("*")):
                if file.is_file():
                    written.writestr(str(file.relative_to(folder)), file.read_bytes())
            content = io.BytesIO()
            np.savez_compressed(content, *told(readers[kind].read(place)))
            written.writestr(f"{kind}/{CONTENT}", content.getvalue())
    print(f"{archive.name}: {len(KINDS)} kinds, {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
