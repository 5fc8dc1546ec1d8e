"""Copies of a file as they come out of crashes, bad disks and bad hands."""

import contextlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
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
    made = {
        ".json": _of_json,
        ".jsonl": _of_lines,
        ".yaml": _of_yaml,
        ".safetensors": _of_safetensors,
        ".npy": _of_npy,
        ".npz": _of_npz,
        ".h5": _of_hdf5,
        ".nc": _of_hdf5,
        ".parquet": _of_parquet,
    }.get(suffix)
    if made:
        found = list(made(content, marker))
        for place in sorted(rng.permutation(len(found))[: 4 * amount].tolist()):
            yield found[place]


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


def plain_variants(value: Any) -> Iterator[tuple[str, Any]]:
    """Plain data with one value of another type, size or intent, or missing."""
    others = [None, True, -1, 0, 2.5, float("nan"), HUGE, "text", "../../outside", "/etc/passwd", [], {}, [HUGE]]
    for path in _places(value):
        if not path:
            continue
        for other in (*others, ...):
            copy = json.loads(json.dumps(value))
            inner = copy
            for key in path[:-1]:
                inner = inner[key]
            if other is ...:
                del inner[path[-1]]
            elif type(inner[path[-1]]) is type(other) and inner[path[-1]] == other:
                continue
            else:
                inner[path[-1]] = other
            yield f"{'/'.join(map(str, path))} {'missing' if other is ... else f'= {other!r}'}", copy


def _of_json(content: bytes, marker: Path) -> Iterator[Damage]:
    for told, changed in plain_variants(json.loads(content)):
        yield Damage(told, json.dumps(changed, indent=2).encode())


def _of_lines(content: bytes, marker: Path) -> Iterator[Damage]:
    first, *others = content.splitlines()
    for told, changed in plain_variants(json.loads(first)):
        yield Damage(f"line 1: {told}", b"\n".join([json.dumps(changed).encode(), *others]))


def _of_yaml(content: bytes, marker: Path) -> Iterator[Damage]:
    bomb = b"a0: &a0 [1, 1]\n" + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b"*a%d, " % (n - 1) * 9) for n in range(1, 30))
    yield Damage("a bomb of anchors", bomb + content)
    yield Damage("runs code", content + f"more: !!python/object/apply:pathlib.Path.touch [{marker}]\n".encode())
    yield Damage("nested deep", content + b"more: " + b"[" * 5000)
    yield Damage("every name twice", content + content)
    yield Damage("two documents", content + b"---\n" + content)
    yield Damage("a tab", content + b"\tmore: 1\n")
    for line in content.splitlines():
        name = line.partition(b":")[0]
        for other in (b"", b".nan", b"1e999", b"text", b"[1, 2]", b"{a: 1}", b"../../outside"):
            yield Damage(f"{name.decode().strip()} = {other.decode()}", content.replace(line, name + b": " + other))


def _of_safetensors(content: bytes, marker: Path) -> Iterator[Damage]:
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]

    def packed(changed: Any) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + rest

    for told, changed in plain_variants(header):
        yield Damage(f"header: {told}", packed(changed))
    for key, text in header.get("__metadata__", {}).items():
        with contextlib.suppress(ValueError):
            for told, changed in plain_variants(json.loads(text)):
                metadata = {**header["__metadata__"], key: json.dumps(changed)}
                yield Damage(f"metadata {key}: {told}", packed({**header, "__metadata__": metadata}))
    for name, told in header.items():
        if name != "__metadata__":
            begin, end = told["data_offsets"]
            # All ones is a NaN of every floating type.
            yield Damage(
                f"{name}: not numbers", content[: 8 + size] + rest[:begin] + b"\xff" * (end - begin) + rest[end:]
            )
            fewer = {n: t for n, t in header.items() if n != name}
            yield Damage(f"{name}: under another name", packed({**fewer, f"{name}x": told}))


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _npy_header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


def _of_npy(content: bytes, marker: Path) -> Iterator[Damage]:
    array = np.load(io.BytesIO(content))
    yield Damage("10^12 numbers", _npy_header((HUGE,)))
    yield Damage("10^12 numbers in two axes", _npy_header((10**6, 10**6)))
    yield Damage("10^12 numbers in four axes", _npy_header((1000,) * 4))
    yield Damage("no numbers", _npy_header((0, 5, 8, 8)))
    yield Damage("objects", _npy(np.array([[Marker(marker)] * 3] * 3, object)))
    yield Damage("texts", _npy(array.astype(str)))
    yield Damage("complex", _npy(array.astype(complex)))
    yield Damage("not a number", _npy(np.full(array.shape, np.nan)))
    yield Damage("infinite", _npy(np.full(array.shape, np.inf)))


def _zip(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return stream.getvalue()


def _of_npz(content: bytes, marker: Path) -> Iterator[Damage]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    bomb = _npy(np.zeros(2**29, np.uint8))
    for name in entries:
        yield Damage(f"{name} missing", _zip({n: v for n, v in entries.items() if n != name}))
        yield Damage(f"{name} of objects", _zip(entries | {name: _npy(np.array([Marker(marker)], object))}))
        yield Damage(f"{name} of 10^12 numbers", _zip(entries | {name: _npy_header((HUGE,), "<f4")}))
        yield Damage(f"{name} not a number", _zip(entries | {name: _npy(np.full(3, np.nan, np.float32))}))
        yield Damage(f"{name} no array", _zip(entries | {name: b"text"}))
    yield Damage("a bomb", _zip(entries | {"bomb.npy": bomb}))
    if "description.npy" in entries:
        described = json.loads(np.load(io.BytesIO(entries["description.npy"])).tobytes())
        for told, changed in plain_variants(described):
            text = np.frombuffer(json.dumps(changed).encode(), np.uint8)
            yield Damage(f"description: {told}", _zip(entries | {"description.npy": _npy(text)}))


def _of_hdf5(content: bytes, marker: Path) -> Iterator[Damage]:
    """With one data set or attribute missing, of another kind or size, or pointing out of the file."""
    import h5py

    if not content.startswith(b"\x89HDF"):
        return
    outside = marker.with_name("outside.h5")
    with h5py.File(io.BytesIO(content), "r") as file:
        found: list[tuple[str, bool]] = []
        file.visititems(lambda name, item: found.append((name, isinstance(item, h5py.Dataset))))
        attributes = [("/", name) for name in file.attrs]
        for place, _ in found:
            attributes += [(place, name) for name in file[place].attrs if name.isascii()]
        named = {place: (file[place].shape, file[place].dtype) for place, is_data in found if is_data}
    reserved = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")

    def changed(told: str, change: Any) -> Iterator[Damage]:
        stream = io.BytesIO(content)
        try:
            with h5py.File(stream, "r+") as file:
                change(file)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError):
            return  # not something that HDF5 can write
        yield Damage(told, stream.getvalue())

    def replaced(place: str, make: Any) -> Any:
        def change(file: Any) -> None:
            del file[place]
            make(file)

        return change

    for place, is_data in found:
        yield from changed(f"{place} missing", lambda file, p=place: file.pop(p))
        yield from changed(f"{place} a text", replaced(place, lambda file, p=place: file.__setitem__(p, "text")))
        link = h5py.ExternalLink(str(outside), "/secret")
        yield from changed(
            f"{place} in another file", replaced(place, lambda file, p=place, x=link: file.__setitem__(p, x))
        )
        soft = h5py.SoftLink(f"/{place}")
        yield from changed(f"{place} a circle", replaced(place, lambda file, p=place, x=soft: file.__setitem__(p, x)))
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
            make = lambda file, p=place, s=size, k=kind, o=options: file.create_dataset(p, s, k, **o)  # noqa: E731
            yield from changed(f"{place} {told}", replaced(place, make))
        if kind.kind == "f":
            yield from changed(f"{place} not a number", lambda file, p=place: file[p].__setitem__(..., np.nan))
        if kind.kind in "iu":
            yield from changed(
                f"{place} largest", lambda file, p=place, k=kind: file[p].__setitem__(..., np.iinfo(k).max)
            )
        raw = lambda file, p=place, s=shape: file.create_dataset(p, s, "u1", external=str(outside))  # noqa: E731
        yield from changed(f"{place} raw bytes of another file", replaced(place, raw))
    for place, name in attributes:
        if name in reserved:
            continue
        yield from changed(f"{place}@{name} missing", lambda file, p=place, n=name: file[p].attrs.__delitem__(n))
        for other in ("text", -1, HUGE, np.nan, np.zeros(3), b"\xff\xfe"):
            yield from changed(
                f"{place}@{name} = {other!r}", lambda file, p=place, n=name, o=other: file[p].attrs.__setitem__(n, o)
            )
        with h5py.File(io.BytesIO(content), "r") as file:
            value = file[place].attrs[name]
        if isinstance(value, str) and value.startswith("{"):
            for told, plain in plain_variants(json.loads(value)):
                text = json.dumps(plain)
                yield from changed(
                    f"{place}@{name}: {told}", lambda file, p=place, n=name, t=text: file[p].attrs.__setitem__(n, t)
                )


def _of_parquet(content: bytes, marker: Path) -> Iterator[Damage]:
    """With one column missing, of another type, or of texts that take far more memory than the file has bytes."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(content))

    def written(changed: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        pyarrow.parquet.write_table(changed, stream, **options)
        return stream.getvalue()

    yield Damage("no rows", written(table.slice(0, 0)))
    for place, name in enumerate(table.column_names):
        rows = table.num_rows
        yield Damage(f"{name} missing", written(table.drop_columns([name])))
        for told, values in {
            "of nothing": pyarrow.nulls(rows),
            "of numbers": pyarrow.array([1.5] * rows),
            "of lists": pyarrow.array([["text"]] * rows),
            "of structures": pyarrow.array([{"text": "text"}] * rows),
            "of bytes": pyarrow.array([b"\xff\xfe"] * rows),
            "of words": pyarrow.array(["text"] * rows).dictionary_encode(),
            "no Unicode": pyarrow.array([b"\xff\xfe"] * rows).view(pyarrow.string()),
        }.items():
            yield Damage(f"{name} {told}", written(table.set_column(place, name, values)))
        yield Damage(f"{name} twice", written(table.append_column(name, table[name])))
        if table[name].type == pyarrow.string():
            bomb = pyarrow.array([" " * 2**27] + ["text"] * (rows - 1))
            yield Damage(f"{name} a bomb", written(table.set_column(place, name, bomb), compression="zstd"))
