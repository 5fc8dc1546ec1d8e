r"""The surface of one phase as a closed triangle mesh, and binary STL of it.

The surface is that of the voxels themselves, closed at the faces of the cell, so the volume inside is that of the
phase. Two voxels that meet along an edge only would share that edge between four triangles, which slicers refuse. There
the surface is opened: the edge gets one middle point for each of the two voxels, drawn by ``notch`` into it along both
free directions, and every edge belongs to exactly two triangles again. An opened edge costs notch / 3 of a voxel's
volume. Voxels that meet at a corner only share that point and no edge.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.microstructure.cells.grid import Array

NOTCH = 0.01


def surface(solid: NDArray[np.bool_], notch: float = NOTCH) -> Array:
    """Triangles ``(T, 3, 3)`` round the solid voxels, corners counter-clockwise seen from outside; in voxels.

    Args:
        solid: ``(n_1, n_2, n_3)``.
        notch: Depth by which edges between two voxels are opened, voxels; see the top of the file.

    Raises:
        ValueError: If there is no solid voxel, or not three axes.

    Example:
        >>> surface(np.ones((1, 1, 1), dtype=bool)).shape
        (12, 3, 3)
    """
    if solid.ndim != 3 or not solid.any():
        raise ValueError(f"surface: expected three axes and a solid voxel, got {int(solid.sum())} in {solid.shape}")
    full = np.pad(solid, 1)
    opened = [_opened_edges(full, axis) for axis in range(3)]
    pieces = []
    for axis in range(3):
        # u, v follow the axis cyclically, so that u x v points along it.
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            beyond = np.roll(full, -1 if side else 1, axis)
            voxels = np.argwhere(full & ~beyond)  # in the padded array; its voxel p fills [p - 1, p] of the cell
            if len(voxels) == 0:
                continue
            corner = voxels.copy()
            corner[:, axis] += side
            around = [(0, 0), (1, 0), (1, 1), (0, 1)] if side else [(0, 0), (0, 1), (1, 1), (1, 0)]
            corners = np.repeat(corner[:, None], 4, axis=1)
            for k, (du, dv) in enumerate(around):
                corners[:, k, u] += du
                corners[:, k, v] += dv
            # Edge k leads from corner k to the next; along which axis, from which lower end.
            flags = np.zeros((len(voxels), 4), dtype=bool)
            for k in range(4):
                lower = np.minimum(corners[:, k], corners[:, (k + 1) % 4])
                along = u if around[k][0] != around[(k + 1) % 4][0] else v
                flags[:, k] = opened[along][tuple(lower.T)]
            plain = ~flags.any(axis=1)
            quads = corners[plain].astype(np.float64)
            pieces += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
            quads, owner, flags = corners[~plain].astype(np.float64), voxels[~plain] + 0.5, flags[~plain]
            centre = quads.mean(axis=1)
            for k in range(4):
                start, end, split = quads[:, k], quads[:, (k + 1) % 4], flags[:, k]
                middle = (start + end) / 2
                inwards = np.sign(owner - middle)  # zero along the edge, one inwards along the other two axes
                middle = middle + notch * inwards
                pieces.append(np.stack([start, end, centre], axis=1)[~split])
                pieces.append(np.stack([start, middle, centre], axis=1)[split])
                pieces.append(np.stack([middle, end, centre], axis=1)[split])
    return np.concatenate(pieces) - 1.0


def _opened_edges(full: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Where the lattice edge from a point along an axis has two solid voxels, diagonally across."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    a = full  # the voxel above the point in u and v; point p is the lower corner of voxel p
    b, c = np.roll(full, 1, u), np.roll(full, 1, v)
    d = np.roll(b, 1, v)
    return np.asarray((a & d & ~b & ~c) | (b & c & ~a & ~d))


def write_stl(
    solid: NDArray[np.bool_], path: Path, voxel_size: float = 1.0, thickness: float = 1.0, notch: float = NOTCH
) -> None:
    """Write the closed surface as binary STL; a cell of two axes is extruded along z.

    Args:
        solid: ``(n_1, n_2)`` or ``(n_1, n_2, n_3)``.
        path: The file.
        voxel_size: Edge of a voxel; STL has no unit, printers take millimetres.
        thickness: Height of an extruded cell, voxels.
        notch: As for `surface`.

    Raises:
        ValueError: If there is no solid voxel.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.stl"
        >>> write_stl(np.eye(3, dtype=bool), path)
        >>> read_stl(path).shape[1:]
        (3, 3)
    """
    triangles = surface(solid[:, :, None] if solid.ndim == 2 else solid, notch)
    if solid.ndim == 2:
        triangles = triangles * np.array([1.0, 1.0, thickness])
    corners = (triangles * voxel_size).astype("<f4")
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    records = np.zeros(len(corners), dtype=_RECORD)
    records["normal"] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    records["corners"] = corners
    path.write_bytes(b"surface of a two-phase cell".ljust(80) + struct.pack("<I", len(records)) + records.tobytes())


def read_stl(path: Path) -> NDArray[Any]:
    """Triangles ``(T, 3, 3)`` of a binary STL, float32.

    Raises:
        ValueError: If the length of the file is not that of the triangles it states.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.stl"
        >>> write_stl(np.ones((2, 2, 2), dtype=bool), path)
        >>> len(read_stl(path))
        48
    """
    content = path.read_bytes()
    count = struct.unpack_from("<I", content, 80)[0] if len(content) >= 84 else -1
    if len(content) != 84 + count * _RECORD.itemsize:
        raise ValueError(f"{path}: is no binary STL: {len(content)} bytes for {count} triangles")
    return np.asarray(np.frombuffer(content, _RECORD, count, 84)["corners"])


_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
