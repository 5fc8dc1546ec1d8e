"""Sizes of the tensors in a safetensors file, from its header alone: 8 bytes of length N, and N bytes of JSON."""

import json
import math
import os
from pathlib import Path

_LONGEST = 100_000_000  # bytes of a header, as the format has it
# Where a checkpoint keeps the model beside the optimiser.
_MODEL = ("model/", "model.", "network.")


def tensor_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without reading a tensor.

    Args:
        path: a safetensors file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is cut off, or of another format.

    Example:
        >>> import tempfile, numpy, safetensors.numpy
        >>> file = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> safetensors.numpy.save_file({"weight": numpy.zeros((2, 3))}, file)
        >>> tensor_shapes(file)
        {'weight': (2, 3)}
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST):
            raise ValueError(f"{path}: expected a safetensors file, got one that is cut off or of another format")
        text = file.read(length)
    try:
        entries = json.loads(text)
        described = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        ends = [int(entry["data_offsets"][1]) for entry in described.values()]
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in described.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as problem:
        raise ValueError(f"{path}: expected the header of a safetensors file, got something else") from problem
    if max(ends, default=0) != size - 8 - length:
        raise ValueError(f"{path}: expected {max(ends, default=0)} bytes of tensors, got {size - 8 - length}")
    return shapes


def count_numbers(path: str | os.PathLike[str]) -> int:
    """Numbers that a model has in a safetensors file, parameters and buffers; of a checkpoint those of its model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut off, or of another format.

    Example:
        >>> import tempfile, numpy, safetensors.numpy
        >>> file = Path(tempfile.mkdtemp()) / "last.safetensors"
        >>> kept = {"model/weight": numpy.zeros((2, 3)), "optimiser/weight/exp_avg": numpy.zeros((2, 3))}
        >>> safetensors.numpy.save_file(kept, file)
        >>> count_numbers(file)
        6
    """
    shapes = tensor_shapes(path)
    others = any(name.startswith(("optimiser/", "optimiser.")) for name in shapes)
    kept = [shape for name, shape in shapes.items() if not others or name.startswith(_MODEL)]
    return sum(math.prod(shape) for shape in kept)
