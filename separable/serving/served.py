"""What can be served: something that describes itself and answers a few operations, each a request and an answer.

A request is a pydantic model; a body is either its JSON, or a numpy ``.npy`` file that fills one of its fields, the
others then standing in the query string. All parsing happens here, in the worker process that also computes.
"""

import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

JSON, NPY = "application/json", "application/x-npy"
_LONGEST_HEADER = 4096  # of an .npy file
_NOT_FINITE = "the answer is not finite: the request lies where the function has no value"


class Refused(ValueError):
    """A request that cannot be answered; the message names what is wrong with it."""


class Request(BaseModel):
    """What is asked: finite numbers, nothing that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Answer:
    """What is told: as JSON, and as one array.

    Args:
        content: Plain data and arrays.
        array: What an ``.npy`` answer holds.
    """

    content: Mapping[str, Any]
    array: NDArray[Any]


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked.

    Args:
        summary: In one sentence.
        request: The model of its JSON body.
        field: The field that an ``.npy`` body fills; None where only JSON is understood.
        answers: The fields of the answer, each with its meaning and shape.
        array: Shape and meaning of an ``.npy`` answer.
        run: The computation.
    """

    summary: str
    request: type[Request]
    field: str | None
    answers: Mapping[str, str]
    array: str
    run: Callable[[Any], Answer]


class Served(ABC):
    """Something that is served; its subclasses are final."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it is, as plain data: ``kind``, coordinates or fields with names, units and ranges, and the limits."""

    @abstractmethod
    def operations(self) -> Mapping[str, Operation]:
        """What can be asked, by the name in the address."""

    @abstractmethod
    def page(self) -> Mapping[str, bytes]:
        """The files of its page by name; ``index.html`` is shown first."""


def packaged(package: str, *names: str) -> dict[str, bytes]:
    """Files of the folder ``page`` of a package, by name."""
    folder = resources.files(package) / "page"
    return {name: (folder / name).read_bytes() for name in names}


def answer(operation: Operation, media: str, query: Mapping[str, str], body: bytes, wanted: str) -> bytes:
    """Answer one request.

    Args:
        operation: What is asked.
        media: Type of the body, `JSON` or `NPY`.
        query: Of the address; read only with an ``.npy`` body.
        body: As it came.
        wanted: Type of the answer.

    Raises:
        Refused: Something does not fit; the message names it.
    """
    request = _from_json(operation, body) if media == JSON else _from_npy(operation, query, body)
    try:
        found = operation.run(request)
    except (ValueError, FloatingPointError) as refused:  # what the library says of numbers that do not fit
        raise Refused(str(refused)) from refused
    if wanted == NPY:
        if not np.isfinite(found.array).all():
            raise Refused(_NOT_FINITE)
        written = io.BytesIO()
        np.save(written, found.array, allow_pickle=False)
        return written.getvalue()
    plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in found.content.items()}
    try:
        return json.dumps(plain, allow_nan=False).encode()
    except ValueError as problem:
        raise Refused(_NOT_FINITE) from problem


def rectangular(name: str, nested: Any, dimensions: int) -> NDArray[np.float64]:
    """Nested lists of numbers as an array of so many axes; an array stays what it is.

    Raises:
        Refused: Lists are of different lengths, or it has other axes.

    Example:
        >>> rectangular("points", [[1.0, 2.0], [3.0, 4.0]], 2).shape
        (2, 2)
    """
    if not isinstance(nested, np.ndarray):
        _shape(name, nested)
    found = np.asarray(nested, dtype=np.float64)
    if found.ndim != dimensions:
        raise Refused(f"{name}: expected {dimensions} axes, got shape {found.shape}")
    return found


def _shape(name: str, nested: list[Any]) -> tuple[int, ...]:
    """The shape of nested lists; refused where parts differ."""
    if not nested or not isinstance(nested[0], list):
        return (len(nested),)
    shapes = [_shape(f"{name}[{place}]", part) for place, part in enumerate(nested)]
    for place, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise Refused(f"{name}[{place}]: has shape {shape}, {name}[0] has {shapes[0]}")
    return (len(nested), *shapes[0])


def _from_json(operation: Operation, body: bytes) -> Request:
    try:
        return operation.request.model_validate_json(body)
    except ValidationError as wrong:
        raise Refused(_first(wrong)) from wrong


def _from_npy(operation: Operation, query: Mapping[str, str], body: bytes) -> Request:
    if operation.field is None:
        raise Refused("expected a JSON body: this operation takes no array")
    if operation.field in query:
        raise Refused(f"{operation.field}: is the body, and not part of the address")
    array = read_npy(operation.field, body)
    try:
        # The address holds text, so numbers in it are read; the array takes the place of an empty list.
        request = operation.request.model_validate({operation.field: [], **query}, strict=False)
    except ValidationError as wrong:
        raise Refused(_first(wrong)) from wrong
    return request.model_copy(update={operation.field: array})


def _first(wrong: ValidationError) -> str:
    """The first thing that pydantic found, in our form."""
    error = wrong.errors(include_url=False, include_input=True, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    told = error["msg"][:1].lower() + error["msg"][1:]
    given = repr(error["input"]) if isinstance(error["input"], str | int | float | bool) and place else ""
    return f"{place or 'body'}: {told}" + (f", got {given[:60]}" if given else "")


def read_npy(name: str, body: bytes) -> NDArray[np.float64]:
    """The array of finite numbers in an ``.npy`` file; nothing is unpickled and nothing allocated before it is checked.

    Raises:
        Refused: It is something else, or holds something else.

    Example:
        >>> file = io.BytesIO()
        >>> np.save(file, np.arange(3))
        >>> read_npy("points", file.getvalue())
        array([0., 1., 2.])
    """
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except Exception as damage:  # whatever a hostile header makes of the parser: it has run nothing
        raise Refused(f"{name}: expected an .npy file of numbers, got something else ({damage!s:.80})") from damage
    if dtype.kind not in "fiu" or dtype.hasobject:
        raise Refused(f"{name}: expected real numbers, got dtype {dtype!s:.40}")
    held, wanted = len(body) - stream.tell(), math.prod(shape) * dtype.itemsize
    if held != wanted or min(shape, default=0) < 0:
        raise Refused(f"{name}: shape {shape} of {dtype} takes {wanted} bytes, the body holds {held}")
    stream.seek(0)
    stored = np.load(stream, allow_pickle=False, max_header_size=_LONGEST_HEADER)
    array: NDArray[np.float64] = stored.astype(np.float64)
    if not (fine := np.isfinite(array)).all():
        place = tuple(np.argwhere(~fine)[0].tolist())
        raise Refused(f"{name}{list(place)}: is {array[place]}")
    return array
