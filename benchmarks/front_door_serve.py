"""Front door, serve: thousands of hostile requests to a served surrogate, and how long good ones take.

Good bodies are cut, flipped, spliced with fragments that have broken other servers, and sent to every address under
every type, over real connections. The process that computes ends at once if it opens a file that is not Python's own.
"""

import collections
import functools
import http.client
import io
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

import separable
from benchmarks import record
from benchmarks.trial import usual
from separable.problems import OTL_CIRCUIT
from separable.serving import Surrogate
from separable.serving.application import Limits
from separable.serving.served import Served
from separable.serving.server import served

REQUESTS, REPETITIONS = usual((3000, 40), trial=(100, 2))
JSON, NPY = "application/json", "application/x-npy"
TYPES = (
    JSON,
    NPY,
    "",
    "text/plain",
    "application/x-pickle",
    "multipart/form-data; boundary=x",
    JSON + "; charset=utf-16",
)
FRAGMENTS = (
    b"NaN", b"Infinity", b"1e999", b"-0", b"null", b"true", b'"../../etc/passwd"', b"[" * 3000, b"{" * 3000, b"\x00",
    b"\xff\xfe", b"9" * 5000, b'"\\ud800"', b"__import__('os')", b"'descr': '|O'", b"'shape': (99999999999, 2)",
    b"%2e%2e%2f", pickle.dumps(os.getcwd), b"\x93NUMPY", b"PK\x03\x04", b"'fortran_order': True",
)  # fmt: skip
ADDRESSES = ("/evaluate", "/gradient", "/inverse", "/page/", "/page/page.css", "/", "/describe", "/etc/passwd")
ANSWERS = {200, 307, 400, 404, 405, 413, 415, 422}


def watched(folder: str) -> Served:
    """The surrogate, in a process that ends when it opens a file."""
    from separable.serving.served_surrogate import load_surrogate

    found = load_surrogate(folder)
    own = (sys.prefix, sys.base_prefix, "/proc", "/sys", os.path.dirname(separable.__file__))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        # A number is a file that is open already, as one that is compiled is when it is written.
        if event == "open" and not (isinstance(arguments[0], int) or str(arguments[0]).startswith(own)):
            os._exit(1)

    sys.addaudithook(watch)
    return found


def npy(array: Any) -> bytes:
    """An array as a file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hostile(body: bytes, random: np.random.Generator) -> bytes:
    """A body with one to four things wrong with it."""
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(0, len(body) + 1))
        kind = random.integers(4)
        if kind == 0:
            body = body[:place]
        elif kind == 1 and body:
            flipped = bytearray(body)
            flipped[place % len(body)] ^= 1 << int(random.integers(8))
            body = bytes(flipped)
        elif kind == 2:
            body = body[:place] + random.bytes(int(random.integers(1, 40))) + body[place:]
        else:
            body = body[:place] + FRAGMENTS[random.integers(len(FRAGMENTS))] + body[place + int(random.integers(9)) :]
    return body


def ask(address: str, path: str, body: bytes, media: str = JSON, method: str = "POST") -> tuple[int, bytes]:
    """Status and answer, over a connection of its own."""
    place = urlsplit(address)
    line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    line.request(method, path, body, {"Content-Type": media} if media else {})
    reply = line.getresponse()
    content = reply.read()
    line.close()
    return reply.status, content


def attack(address: str, good: list[tuple[str, bytes]], random: np.random.Generator) -> collections.Counter[int]:
    """Statuses of the hostile requests."""
    counts: collections.Counter[int] = collections.Counter()
    for _ in range(REQUESTS):
        media, body = good[random.integers(len(good))]
        path = ADDRESSES[random.choice(len(ADDRESSES), p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])]
        if random.random() < 0.3:
            path += "?coverage=" + quote(FRAGMENTS[random.integers(len(FRAGMENTS))][:200])
        if random.random() < 0.1:
            path += quote(FRAGMENTS[random.integers(len(FRAGMENTS))][:200])
        if random.random() < 0.2:
            media = TYPES[random.integers(len(TYPES))]
        method = "GET" if random.random() < 0.1 else "POST"
        counts[ask(address, path, hostile(body, random), media, method)[0]] += 1
    return counts


def milliseconds(address: str, path: str, body: bytes, media: str, times: int) -> dict[str, Any]:
    """How long good requests take."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        status, _ = ask(address, path, body, media)
        taken.append(1e3 * (time.perf_counter() - begun))
        assert status == 200
    return {"median": statistics.median(taken), "95 % below": float(np.quantile(taken, 0.95))}


def main() -> None:
    """Attack, measure and record."""
    random = np.random.default_rng(0)
    x, voltage = OTL_CIRCUIT.sample(60, space_filling=True)
    posterior = separable.condition(x, voltage, domain=OTL_CIRCUIT.ranges)
    names = OTL_CIRCUIT.inputs
    one, thousand = OTL_CIRCUIT.sample(1, seed=1)[0].numpy(), OTL_CIRCUIT.sample(1000, seed=2)[0].numpy()
    first = json.dumps({"points": one.tolist(), "coverage": 0.9}).encode()
    inverse = json.dumps({"target": 5.0, "fixed": {names[0]: 100.0}, "solutions": 4}).encode()
    good = [(JSON, first), (JSON, inverse), (NPY, npy(one)), (NPY, npy(thousand[:20]))]
    with tempfile.TemporaryDirectory() as folder:
        Surrogate.of(posterior, names=names, units=OTL_CIRCUIT.units, value=OTL_CIRCUIT.output).save(folder)
        with served(functools.partial(watched, folder), Limits(processes=1, seconds=60.0)) as address:
            before = ask(address, "/evaluate", first)
            counts = attack(address, good, random)
            after = ask(address, "/evaluate", first)
            times = [
                {"question": name, **milliseconds(address, path, body, media, repetitions)}
                for name, path, body, media, repetitions in (
                    ("value and interval at 1 point, JSON", "/evaluate", first, JSON, REPETITIONS),
                    ("values and intervals at 1000 points, npy", "/evaluate", npy(thousand), NPY, REPETITIONS),
                    ("slopes at 1 point, JSON", "/gradient", json.dumps({"points": one.tolist()}).encode(), JSON, 10),
                    ("four inverses, JSON", "/inverse", inverse, JSON, 5),
                )
            ]
    failed = sum(count for status, count in counts.items() if status not in ANSWERS)
    unchanged = before == after and before[0] == 200
    told = ", ".join(f"{count} of status {status}" for status, count in sorted(counts.items()))
    record.write(
        "front_door",
        "serve",
        claim=f"of {REQUESTS} hostile requests to a served surrogate {failed} end a process, open a file or fail; "
        f"the answer afterwards is {'the same to the bit' if unchanged else 'ANOTHER'}",
        measured=[
            {"question": "hostile requests", "answers": told, "median ms": None, "95 % below, ms": None},
            *(
                {"question": t["question"], "answers": "", "median ms": t["median"], "95 % below, ms": t["95 % below"]}
                for t in times
            ),
        ],
        target="every hostile request is answered or refused with its reason; none is answered 5xx",
        holds=failed == 0 and unchanged,
        baselines="none: a limit of our own; the times are with other measurements running on both cores",
        command="python -m benchmarks.front_door_serve",
        seeds=[0],
        spread="one seed of the attack; times over repetitions as shown",
    )


if __name__ == "__main__":
    main()
