"""Copies of a file as they come out of crashes, bad disks and bad hands."""

import contextlib
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HUGE = 10**12  # elements; no test machine holds that many
FOREIGN: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(4096),
    "noise": np.random.default_rng(0).bytes(4096),
    "line ends": b"\n" * 300,
    "half a surrogate": b'{"a": "\xed\xa0\x80"}\n',
    "JSON list": b"[]",
    "JSON null": b"null\n",
    "JSON number": b"1" * 5000,
    "JSON depth": b"[" * 200_000,
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(2048),
    "netCDF": b"CDF\x01" + bytes(64),
    "parquet": b"PAR1" + bytes(32) + b"PAR1",
    "safetensors of 2^62 bytes": struct.pack("<Q", 2**62) + b"{}" + bytes(64),
}


@dataclass(frozen=True)
class Damage:
    """One damaged copy: what was done to the file, and what came of it."""

    kind: str
    content: bytes
    bits: bool = False  # whether bits were changed where a checksum would notice


# What would be done to a file, and what makes the copy if it is chosen; None is not something the format can hold.
Variant = tuple[str, Callable[[], bytes | None]]


class Marker:
    """What a hostile pickle runs: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def damages(content: bytes, suffix: str, marker: Path, amount: int, seed: int) -> Iterator[Damage]:
    """Copies of a file, about 6 to 10 times ``amount`` of them, the same for the same seed."""
    rng = np.random.default_rng(seed)
    yield from _foreign(marker, amount, rng)
    for length in sorted({0, len(content) - 1, *rng.integers(0, len(content), amount).tolist()}):
        if 0 <= length < len(content):
            yield Damage(f"cut after {length} of {len(content)} bytes", content[:length])
    for number in range(2 * amount):
        reach = len(content) if number % 2 else min(len(content), 512)  # as many in the head as in the rest
        place, bit = int(rng.integers(reach)), int(rng.integers(8))
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        yield Damage(f"bit {bit} of byte {place} flipped", bytes(changed), bits=True)
    for number in range(2 * amount):
        place, size = int(rng.integers(len(content))), int(rng.integers(1, 600))
        block = content[place : place + size]
        told, instead = (("lost", b""), ("zero", bytes(len(block))), ("twice", 2 * block))[number % 3]
        yield Damage(f"{len(block)} bytes from {place} {told}", content[:place] + instead + content[place + size :])
    variants = {
        ".json": _of_json,
        ".jsonl": _of_lines,
        ".yaml": _of_yaml,
        ".safetensors": _of_safetensors,
        ".npy": _of_npy,
        ".npz": _of_npz,
        ".tif": _of_tif,
        ".h5": _of_hdf5,
        ".nc": _of_hdf5,
        ".parquet": _of_parquet,
    }.get(suffix)
    if variants:
        found = list(variants(content, marker))
        for place in sorted(rng.permutation(len(found))[: 4 * amount].tolist()):
            kind, make = found[place]
            made = make()
            if made is not None:
                yield Damage(kind, made)


def _foreign(marker: Path, amount: int, rng: np.random.Generator) -> Iterator[Damage]:
    chosen = {
        **FOREIGN,
        "pickle": pickle.dumps(Marker(marker)),
        "npy of objects": _npy(np.array([Marker(marker)], object)),
        "npy of 10^12 numbers": _npy_header((HUGE,)),
        "zip bomb": _zip({"a.npy": _npy(np.zeros(2**25, np.uint8)), "../../outside.npy": b""}),
    }
    names = sorted(chosen)
    for place in sorted(rng.permutation(len(names))[:amount].tolist()):
        yield Damage(f"is {names[place]}", chosen[names[place]])


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every value in plain data; of a long list only to its first entries."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(3, len(value))):
            yield from _places(value[index], (*path, index))


def plain_variants(value: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Plain data with one value of another type, size or intent, or missing."""
    others = [None, True, -1, 0, 2.5, float("nan"), HUGE, "text", "../../outside", "/etc/passwd", [], {}, [HUGE]]
    for path in _places(value):
        if not path:
            continue
        here = value
        for key in path:
            here = here[key]
        for other in (*others, ...):
            if type(here) is type(other) and here == other:
                continue
            told = f"{'/'.join(map(str, path))} {'missing' if other is ... else f'= {other!r}'}"
            yield told, partial(_replaced, value, path, other)


def _replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if other is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = other
    return copy


def _of_json(content: bytes, marker: Path) -> Iterator[Variant]:
    for told, change in plain_variants(json.loads(content)):
        yield told, lambda change=change: json.dumps(change(), indent=2).encode()


def _of_lines(content: bytes, marker: Path) -> Iterator[Variant]:
    first, *others = content.splitlines()
    for told, change in plain_variants(json.loads(first)):
        yield f"line 1: {told}", lambda change=change: b"\n".join([json.dumps(change()).encode(), *others])


def _of_yaml(content: bytes, marker: Path) -> Iterator[Variant]:
    bomb = b"a0: &a0 [1, 1]\n" + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b"*a%d, " % (n - 1) * 9) for n in range(1, 30))
    code = f"more: !!python/object/apply:pathlib.Path.touch [{marker}]\n".encode()
    changed = {
        "a bomb of anchors": bomb + content,
        "runs code": content + code,
        "nested deep": content + b"more: " + b"[" * 5000,
        "every name twice": content + content,
        "two documents": content + b"---\n" + content,
        "a tab": content + b"\tmore: 1\n",
    }
    for line in content.splitlines():
        name = line.partition(b":")[0]
        for other in (b"", b".nan", b"1e999", b"text", b"[1, 2]", b"{a: 1}", b"../../outside"):
            told = f"{name.decode().strip()} = {other.decode()}"
            changed[told] = content.replace(line, name + b": " + other)
    for told, text in changed.items():
        yield told, lambda text=text: text


def _of_safetensors(content: bytes, marker: Path) -> Iterator[Variant]:
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]

    def packed(changed: Any) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + rest

    def described(key: str, change: Callable[[], Any]) -> bytes:
        metadata = {**header["__metadata__"], key: json.dumps(change())}
        return packed({**header, "__metadata__": metadata})

    def not_numbers(begin: int, end: int) -> bytes:
        # All ones is a NaN of every floating type.
        return content[: 8 + size] + rest[:begin] + b"\xff" * (end - begin) + rest[end:]

    def renamed(name: str) -> bytes:
        fewer = {n: told for n, told in header.items() if n != name}
        return packed({**fewer, f"{name}x": header[name]})

    for told, change in plain_variants(header):
        yield f"header: {told}", lambda change=change: packed(change())
    for key, text in header.get("__metadata__", {}).items():
        with contextlib.suppress(ValueError):
            for told, change in plain_variants(json.loads(text)):
                yield f"metadata {key}: {told}", partial(described, key, change)
    for name, told in header.items():
        if name != "__metadata__":
            yield f"{name}: not numbers", partial(not_numbers, *told["data_offsets"])
            yield f"{name}: under another name", partial(renamed, name)


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _npy_header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


def _of_npy(content: bytes, marker: Path) -> Iterator[Variant]:
    array = np.load(io.BytesIO(content))
    yield "10^12 numbers", partial(_npy_header, (HUGE,))
    yield "10^12 numbers in two axes", partial(_npy_header, (10**6, 10**6))
    yield "10^12 numbers in four axes", partial(_npy_header, (1000,) * 4)
    yield "no numbers", partial(_npy_header, (0, 5, 8, 8))
    yield "objects", lambda: _npy(np.array([[Marker(marker)] * 3] * 3, object))
    yield "texts", lambda: _npy(array.astype(str))
    yield "complex", lambda: _npy(array.astype(complex))
    yield "not a number", lambda: _npy(np.full(array.shape, np.nan))
    yield "infinite", lambda: _npy(np.full(array.shape, np.inf))


def _zip(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return stream.getvalue()


def _of_npz(content: bytes, marker: Path) -> Iterator[Variant]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        entries = {name: file.read(name) for name in file.namelist()}

    def holding(name: str, make: Callable[[], bytes]) -> bytes:
        return _zip(entries | {name: make()})

    def described(change: Callable[[], Any]) -> bytes:
        return _npy(np.frombuffer(json.dumps(change()).encode(), np.uint8))

    for name in entries:
        yield f"{name} missing", lambda name=name: _zip({n: v for n, v in entries.items() if n != name})
        for told, make in {
            "of objects": lambda: _npy(np.array([Marker(marker)], object)),
            "of 10^12 numbers": partial(_npy_header, (HUGE,), "<f4"),
            "not a number": lambda: _npy(np.full(3, np.nan, np.float32)),
            "no array": lambda: b"text",
        }.items():
            yield f"{name} {told}", partial(holding, name, make)
    yield "a bomb", partial(holding, "bomb.npy", lambda: _npy(np.zeros(2**29, np.uint8)))
    if "description.npy" in entries:
        for told, change in plain_variants(json.loads(np.load(io.BytesIO(entries["description.npy"])).tobytes())):
            yield f"description: {told}", partial(holding, "description.npy", partial(described, change))


def tif_of_one_strip(pages: int, width: int, height: int, rows: int | None = None, circle: bool = False) -> bytes:
    """A TIFF whose pages are all the same strip, half black and half white.

    Args:
        pages: their number; each costs 114 bytes.
        width: of a page.
        height: of a page.
        rows: of the strip, if it holds others than the pages say.
        circle: whether the last page is followed by the first.
    """
    held = width * (height if rows is None else rows)
    strip = zlib.compress(bytes(held // 2) + b"\xff" * (held - held // 2), 9)
    strip += b"\0" * (len(strip) % 2)
    start = 8 + len(strip)
    # Width, height, bits, deflate, black is 0, where the strip is, samples, rows of a strip, bytes of the strip.
    told = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in told.items())
    size = 2 + len(entries) + 4
    following = [start + (page + 1) * size for page in range(pages - 1)] + [start if circle else 0]
    parts = [struct.pack("<H", len(told)) + entries + struct.pack("<I", place) for place in following]
    return struct.pack("<2sHI", b"II", 42, start) + strip + b"".join(parts)


def _of_tif(content: bytes, marker: Path) -> Iterator[Variant]:
    yield "100 pages of one strip", partial(tif_of_one_strip, 100, 2000, 2000)
    yield "pages in a circle", partial(tif_of_one_strip, 2, 12, 12, circle=True)
    yield "a page of 10^10 pixels", partial(tif_of_one_strip, 1, 10**5, 10**5, rows=1)
    yield "pages longer than their strip", partial(tif_of_one_strip, 12, 12, 12, rows=5)


def _of_hdf5(content: bytes, marker: Path) -> Iterator[Variant]:
    """With one data set or attribute missing, of another kind or size, or pointing out of the file."""
    import h5py

    if not content.startswith(b"\x89HDF"):
        return
    outside = marker.with_name("outside.h5")
    reserved = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")
    with h5py.File(io.BytesIO(content), "r") as file:
        found: list[tuple[str, bool]] = []
        file.visititems(lambda name, item: found.append((name, isinstance(item, h5py.Dataset))))
        attributes = {("/", name): value for name, value in file.attrs.items()}
        for place, _ in found:
            told = file[place].attrs
            attributes |= {(place, name): told[name] for name in told if name.isascii() and name not in reserved}
        named = {place: (file[place].shape, file[place].dtype) for place, is_data in found if is_data}

    def changed(change: Callable[[Any], object]) -> bytes | None:
        stream = io.BytesIO(content)
        try:
            with h5py.File(stream, "r+") as file:
                change(file)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError):
            return None  # not something that HDF5 can write
        return stream.getvalue()

    def removed(place: str) -> bytes | None:
        return changed(lambda file: file.pop(place))

    def replaced(place: str, other: Any) -> bytes | None:
        def change(file: Any) -> None:
            del file[place]
            file[place] = other

        return changed(change)

    def remade(place: str, *shape_and_kind: Any, **options: Any) -> bytes | None:
        def change(file: Any) -> None:
            del file[place]
            file.create_dataset(place, *shape_and_kind, **options)

        return changed(change)

    def filled(place: str, value: Any) -> bytes | None:
        return changed(lambda file: file[place].__setitem__(..., value))

    def told_otherwise(place: str, name: str, value: Any) -> bytes | None:
        return changed(lambda file: file[place].attrs.__setitem__(name, value))

    def not_told(place: str, name: str) -> bytes | None:
        return changed(lambda file: file[place].attrs.__delitem__(name))

    for place, is_data in found:
        yield f"{place} missing", partial(removed, place)
        yield f"{place} a text", partial(replaced, place, "text")
        yield f"{place} in another file", partial(replaced, place, h5py.ExternalLink(str(outside), "/secret"))
        yield f"{place} a circle", partial(replaced, place, h5py.SoftLink(f"/{place}"))
        if not is_data:
            continue
        shape, kind = named[place]
        huge = (HUGE, *shape[1:]) if shape else (HUGE,)
        for told, size in (
            ("10^12 rows", huge),
            ("no rows", (0, *shape[1:])),
            ("a number", ()),
            ("an axis more", (*shape, 1)),
        ):
            options = {"chunks": (1, *shape[1:]), "compression": "gzip"} if HUGE in size and 0 not in shape else {}
            yield f"{place} {told}", partial(remade, place, size, kind, **options)
        if kind.kind == "f":
            yield f"{place} not a number", partial(filled, place, np.nan)
        if kind.kind in "iu":
            yield f"{place} largest", partial(filled, place, np.iinfo(kind).max)
        yield f"{place} raw bytes of another file", partial(remade, place, shape, "u1", external=str(outside))
    for (place, name), value in attributes.items():
        yield f"{place}@{name} missing", partial(not_told, place, name)
        for other in ("text", -1, HUGE, np.nan, np.zeros(3), b"\xff\xfe"):
            yield f"{place}@{name} = {other!r}", partial(told_otherwise, place, name, other)
        if isinstance(value, str) and value.startswith("{"):
            for told, change in plain_variants(json.loads(value)):
                yield (
                    f"{place}@{name}: {told}",
                    lambda place=place, name=name, change=change: told_otherwise(place, name, json.dumps(change())),
                )


def _of_parquet(content: bytes, marker: Path) -> Iterator[Variant]:
    """With one column missing, of another type, or of texts that take far more memory than the file has bytes."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(content))
    rows = table.num_rows

    def written(changed: Any) -> bytes:
        stream = io.BytesIO()
        pyarrow.parquet.write_table(changed, stream, compression="zstd")
        return stream.getvalue()

    def holding(place: int, make: Callable[[], Any]) -> bytes:
        return written(table.set_column(place, table.column_names[place], make()))

    yield "no rows", lambda: written(table.slice(0, 0))
    for place, name in enumerate(table.column_names):
        yield f"{name} missing", lambda name=name: written(table.drop_columns([name]))
        yield f"{name} twice", lambda name=name: written(table.append_column(name, table[name]))
        for told, make in {
            "of nothing": lambda: pyarrow.nulls(rows),
            "of numbers": lambda: pyarrow.array([1.5] * rows),
            "of lists": lambda: pyarrow.array([["text"]] * rows),
            "of structures": lambda: pyarrow.array([{"text": "text"}] * rows),
            "of bytes": lambda: pyarrow.array([b"\xff\xfe"] * rows),
            "of words": lambda: pyarrow.array(["text"] * rows).dictionary_encode(),
            "no Unicode": lambda: pyarrow.array([b"\xff\xfe"] * rows).view(pyarrow.string()),
            "a bomb": lambda: pyarrow.array([" " * 2**28] + ["text"] * (rows - 1)),
        }.items():
            yield f"{name} {told}", partial(holding, place, make)
