"""A TIFF written by hand, for what writers of TIFF do not write."""

import struct
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def plain_tiff(path: Path, rows: NDArray[Any], tags: dict[int, int]) -> None:
    """One uncompressed strip, written by hand: ``rows`` with the tags of TIFF that are given beside the needed ones."""
    entries = {256: rows.shape[1], 257: rows.shape[0], 258: 8 * rows.itemsize, 259: 1, 273: 8, 277: 1}
    entries |= {278: rows.shape[0], 279: rows.nbytes} | tags
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + rows.nbytes)
    path.write_bytes(head + rows.tobytes() + struct.pack("<H", len(entries)) + listed + bytes(4))
