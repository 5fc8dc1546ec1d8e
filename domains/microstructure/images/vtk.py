"""Image data of VTK: the legacy format (structured points, .vtk) and XML image data (.vti), read and written.

A cell is written as cell data, one unsigned byte a voxel, x fastest. Read are scalars or fields on cells or points (a
point is then a voxel), text or binary; of XML also inline, appended and compressed data (zlib, lzma). Format: "VTK File
Formats", The VTK User's Guide, chapter 19. Voxels must be cubes.
"""

import base64
import lzma
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from separable.files import refusing

_LEGACY = {
    "bit": "u1", "unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4",
    "int": "i4", "unsigned_long": "u8", "long": "i8", "vtktypeint64": "i8", "vtktypeuint64": "u8", "float": "f4",
    "double": "f8",
}  # fmt: skip
_XML = {
    "Int8": "i1", "UInt8": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4", "UInt32": "u4", "Int64": "i8",
    "UInt64": "u8", "Float32": "f4", "Float64": "f8",
}  # fmt: skip
_Found = dict[str, tuple[bool, Callable[[], NDArray[Any]]]]  # name: on cells?, values


def read_vtk(path: Path, dataset: str | None = None) -> NDArray[Any]:
    """The values ``(n_x, n_y)`` or ``(n_x, n_y, n_z)`` of one scalar array.

    Args:
        path: A .vtk (legacy) or .vti file.
        dataset: Name of the array; needed where there are several.

    Raises:
        ValueError: If the file is not image data with cubic voxels, or has not the one array asked for.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cell.vti"
        >>> write_vtk(np.eye(3), path)
        >>> read_vtk(path).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    with refusing(path, "image data of VTK"):
        return _read(path, dataset)


def _read(path: Path, dataset: str | None) -> NDArray[Any]:
    content = path.read_bytes()
    points, spacing, found = (_xml if path.suffix.lower() == ".vti" else _legacy)(path, content)
    if not found:
        raise ValueError(f"{path}: has no scalar array")
    if dataset is None and len(found) > 1:
        raise ValueError(f"{path}: has the arrays {', '.join(found)}; name one as dataset")
    name = next(iter(found)) if dataset is None else dataset
    if name not in found:
        raise ValueError(f"{path}: has the arrays {', '.join(found)}, got dataset={dataset!r}")
    on_cells, load = found[name]
    shape = tuple(max(n - 1, 1) if on_cells else n for n in points)
    long = [abs(h) for h, n in zip(spacing, shape, strict=True) if n > 1]
    if long and max(long) - min(long) > 1e-6 * max(long):
        raise ValueError(f"{path}: voxels are cubes, got the spacing {spacing}; resample the image")
    values = load()
    if values.size != shape[0] * shape[1] * shape[2]:
        raise ValueError(f"{path}: {name} has {values.size} numbers for a grid of {shape}")
    grid = values.reshape(shape, order="F")
    return grid[:, :, 0] if shape[2] == 1 else grid


def write_vtk(cell: NDArray[Any], path: Path, voxel_size: float = 1.0, form: str = ".vti") -> None:
    """Write a cell as the array ``phase`` on cells.

    Args:
        cell: ``(n_x, n_y)`` or ``(n_x, n_y, n_z)``, 0 and 1.
        path: The file.
        voxel_size: Edge of a voxel, any unit.
        form: ``.vti`` or ``.vtk`` (legacy).

    Example:
        >>> import tempfile
        >>> write_vtk(np.eye(3), Path(tempfile.mkdtemp()) / "cell.vtk", form=".vtk")
    """
    data = cell.astype(np.uint8).reshape(-1, order="F").tobytes()
    shape = cell.shape if cell.ndim == 3 else (*cell.shape, 0)  # two axes: a flat grid of one layer of points
    if form == ".vtk":
        head = (
            "# vtk DataFile Version 3.0\nperiodic two-phase cell\nBINARY\nDATASET STRUCTURED_POINTS\n"
            f"DIMENSIONS {' '.join(str(n + 1) for n in shape)}\nORIGIN 0 0 0\n"
            f"SPACING {voxel_size} {voxel_size} {voxel_size}\nCELL_DATA {len(data)}\n"
            "SCALARS phase unsigned_char 1\nLOOKUP_TABLE default\n"
        )
        path.write_bytes(head.encode() + data + b"\n")
        return
    packed = zlib.compress(data)
    header = struct.pack("<4Q", 1, len(data), 0, len(packed))
    extent = " ".join(f"0 {n}" for n in shape)
    path.write_text(
        '<?xml version="1.0"?>\n'
        '<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64" '
        'compressor="vtkZLibDataCompressor">\n'
        f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="{voxel_size} {voxel_size} {voxel_size}">\n'
        f'<Piece Extent="{extent}">\n<CellData Scalars="phase">\n'
        '<DataArray type="UInt8" Name="phase" format="binary">\n'
        f"{base64.b64encode(header).decode()}{base64.b64encode(packed).decode()}\n"
        "</DataArray>\n</CellData>\n</Piece>\n</ImageData>\n</VTKFile>\n",
        encoding="ascii",
    )


def _legacy(path: Path, content: bytes) -> tuple[tuple[int, ...], tuple[float, ...], _Found]:
    lines = content.split(b"\n", 3)
    if len(lines) < 4 or not lines[0].startswith(b"# vtk DataFile"):
        raise ValueError(f"{path}: does not start as a legacy VTK file")
    text = lines[2].strip().upper() == b"ASCII"
    at = len(content) - len(lines[3])
    points: tuple[int, ...] = ()
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    found: _Found = {}
    on_cells, count = True, 0

    def line() -> list[str]:
        nonlocal at
        end = content.find(b"\n", at)
        end = len(content) if end < 0 else end
        words = content[at:end].decode("latin-1").split()
        at = end + 1
        return words

    def numbers(kind: str, amount: int) -> Callable[[], NDArray[Any]]:
        nonlocal at
        if kind.lower() not in _LEGACY or (kind == "bit" and not text):
            raise ValueError(f"{path}: numbers of type {kind} are not read")
        start = at
        if text:
            words = re.compile(rb"\s*\S+")
            for _ in range(amount):
                word = words.match(content, at)
                if word is None:
                    raise ValueError(f"{path}: ends before the {amount} numbers that it states")
                at = word.end()
            part, dtype = content[start:at], np.dtype(_LEGACY[kind.lower()])
            return lambda: np.array(part.split()).astype(np.float64).astype(dtype)
        dtype = np.dtype(">" + _LEGACY[kind.lower()])
        at += amount * dtype.itemsize
        if at > len(content):
            raise ValueError(f"{path}: ends before the {amount} numbers that it states")
        return lambda: np.frombuffer(content, dtype, amount, start).astype(dtype.newbyteorder("="))

    while at < len(content):
        words = line()
        key = words[0].upper() if words else ""
        if key == "DATASET" and words[1].upper() != "STRUCTURED_POINTS":
            raise ValueError(f"{path}: expected the data set STRUCTURED_POINTS, got {words[1]}")
        elif key == "DIMENSIONS":
            points = tuple(int(w) for w in words[1:4])
        elif key in ("SPACING", "ASPECT_RATIO"):
            spacing = tuple(float(w) for w in words[1:4])
        elif key in ("POINT_DATA", "CELL_DATA"):
            on_cells, count = key == "CELL_DATA", int(words[1])
        elif key == "SCALARS":
            width = int(words[3]) if len(words) > 3 else 1
            before = at
            if (line() or [""])[0].upper() != "LOOKUP_TABLE":
                at = before
            load = numbers(words[2], count * width)
            if width == 1:
                found[words[1]] = on_cells, load
        elif key == "FIELD":
            for _ in range(int(words[2])):
                array = line()
                while at < len(content) and (not array or array[0] == "METADATA"):
                    while array:  # what is told of the array before ends with a blank line
                        array = line()
                    array = line()
                load = numbers(array[3], int(array[1]) * int(array[2]))
                if int(array[1]) == 1 and int(array[2]) == count > 0:
                    found[array[0]] = on_cells, load
        elif key == "LOOKUP_TABLE":
            numbers("unsigned_char" if not text else "float", 4 * int(words[2]))
        elif key in ("VECTORS", "NORMALS"):
            numbers(words[2], 3 * count)
        elif key == "METADATA":
            while line():
                pass
        elif key not in ("", "DATASET", "ORIGIN"):
            raise ValueError(f"{path}: {key} is not read; keep the scalars only")
    if len(points) != 3:
        raise ValueError(f"{path}: states no DIMENSIONS")
    return points, spacing, found


def _xml(path: Path, content: bytes) -> tuple[tuple[int, ...], tuple[float, ...], _Found]:
    appended = b""
    opening = re.search(rb"<AppendedData[^>]*>\s*_", content)
    if opening:
        end = content.rindex(b"</AppendedData>")
        appended = content[opening.end() : end]
        content = content[: opening.end()] + content[end:]
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: is not XML: {error}") from error
    image = root.find("ImageData")
    if root.tag != "VTKFile" or image is None:
        raise ValueError(f"{path}: expected a VTKFile of ImageData, got {root.tag} of {root.get('type')}")
    pieces = image.findall("Piece")
    if len(pieces) != 1:
        raise ValueError(f"{path}: expected one Piece, got {len(pieces)}")
    extent = [int(w) for w in (pieces[0].get("Extent") or image.get("WholeExtent") or "").split()]
    if len(extent) != 6:
        raise ValueError(f"{path}: states no extent")
    points = tuple(extent[2 * k + 1] - extent[2 * k] + 1 for k in range(3))
    spacing = tuple(float(w) for w in (image.get("Spacing") or "1 1 1").split())
    order = "<" if root.get("byte_order", "LittleEndian") == "LittleEndian" else ">"
    word = np.dtype(order + _XML[root.get("header_type", "UInt32")])
    compressor = root.get("compressor")
    in_base64 = (element := root.find("AppendedData")) is not None and element.get("encoding", "base64") == "base64"
    found: _Found = {}
    for place in ("CellData", "PointData"):
        for array in pieces[0].iterfind(f"{place}/DataArray"):
            if array.get("NumberOfComponents", "1") != "1" or array.get("type") not in _XML:
                continue
            dtype = np.dtype(order + _XML[str(array.get("type"))])

            def load(array: ElementTree.Element = array, dtype: np.dtype[Any] = dtype) -> NDArray[Any]:
                form = array.get("format", "ascii")
                if form == "ascii":
                    return np.array((array.text or "").split()).astype(np.float64).astype(dtype)
                data = (
                    (array.text or "").strip().encode() if form == "binary" else appended[int(array.get("offset", 0)) :]
                )
                most = dtype.itemsize * math.prod(points)
                raw = _unpacked(path, data, word, compressor, form == "binary" or in_base64, most)
                return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))

            found[array.get("Name", f"array {len(found)}")] = place == "CellData", load
    return points, spacing, found


def _unpacked(
    path: Path, data: bytes, word: np.dtype[Any], compressor: str | None, in_base64: bool, most: int
) -> bytes:
    """The bytes of one array, no more than ``most``: its header says how many; compressed ones come in blocks."""

    def head(count: int) -> NDArray[Any]:
        size = count * word.itemsize
        raw = base64.b64decode(data[: 4 * -(-size // 3)]) if in_base64 else data[:size]
        return np.frombuffer(raw, word, count).astype(np.int64)

    if not compressor:
        size = int(head(1)[0])
        if not in_base64:
            return data[word.itemsize : word.itemsize + size]
        return base64.b64decode(data[: 4 * -(-(word.itemsize + size) // 3)])[word.itemsize :]
    known: dict[str, Callable[[], Any]] = {
        "vtkZLibDataCompressor": zlib.decompressobj,
        "vtkLZMADataCompressor": lzma.LZMADecompressor,
    }
    if compressor not in known:
        raise ValueError(f"{path}: compression by {compressor} is not read; write it with zlib or none")
    blocks = int(head(1)[0])
    sizes = head(3 + blocks)[3:]
    header = (3 + blocks) * word.itemsize
    total = int(sizes.sum())
    if in_base64:
        start = 4 * -(-header // 3)
        packed = base64.b64decode(data[start : start + 4 * -(-total // 3)])
    else:
        packed = data[header : header + total]
    ends = np.cumsum(sizes)
    parts: list[bytes] = []
    for size, end in zip(sizes, ends, strict=True):
        decompressor = known[compressor]()
        # One byte more than there should be, by which too many are seen.
        parts.append(decompressor.decompress(packed[end - size : end], most + 1))
        most -= len(parts[-1])
        if most < 0 or not decompressor.eof:
            raise ValueError(f"{path}: a block is cut off, or holds more than the grid that the file states")
    return b"".join(parts)
