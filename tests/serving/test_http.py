"""Questions over HTTP: the answers are those of the library, and whatever does not fit is refused by name."""

import concurrent.futures
import errno
import functools
import io
import json
import multiprocessing
import socket
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("httpx2" if sys.version_info >= (3, 11) else "httpx")
from fastapi.testclient import TestClient

import separable
from separable import SeparableLayer
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.serving import Surrogate
from separable.serving.application import Limits, application
from separable.serving.served import Refused, answer
from separable.serving.served_surrogate import ServedSurrogate, load_surrogate
from separable.serving.server import served
from separable.serving.workers import Busy, Failed, Told, TooLong, Workers
from tests.serving.hostile import hostile_arrays, hostile_json, npy
from tests.serving.odd_served import Odd, load_nothing, load_unless, load_watched

JSON, NPY = "application/json", "application/x-npy"
BODY = 200_000


@pytest.fixture(scope="module")
def surrogate():
    x = torch.rand(25, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    posterior = separable.condition(x, torch.exp(x[:, 0]) * (1 + x[:, 1]), links=["log"], domain=[(0, 1), (0, 1)])
    return Surrogate.of(posterior, names=["a", "b"], units=["m", "s"], value="drag", value_unit="N")


@pytest.fixture(scope="module")
def client(surrogate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrogate")
    surrogate.save(folder)
    app = application(
        functools.partial(load_watched, load_surrogate, folder), Limits(body=BODY, seconds=60.0, processes=2)
    )
    with TestClient(app, base_url="http://localhost") as found:
        yield found


@pytest.fixture(scope="module")
def odd():
    app = application(Odd, Limits(seconds=2.5, processes=1, waiting=2))
    with TestClient(app, base_url="http://localhost") as found:
        yield found


def sent(client, content, media=JSON, operation="evaluate", **headers):
    return client.post("/" + operation, content=content, headers={"content-type": media, **headers})


POINTS = np.random.default_rng(0).random((7, 2))


def test_it_describes_itself(client, surrogate):
    told = client.get("/describe").json()
    assert told["kind"] == "surrogate"
    assert told["values"] == [{"name": "drag", "unit": "N"}]
    assert told["coordinates"] == [
        {"name": name, "unit": unit, "lower": 0.0, "upper": 1.0, "categories": None}
        for name, unit in (("a", "m"), ("b", "s"))
    ]
    assert told["uncertainty"]["kind"] == "interval"
    assert told["request_limits"]["body"] == BODY
    assert told["parameters"] == surrogate.layer.n_parameters
    assert client.get("/health").json()["status"] == "ok"


def test_values_are_those_of_the_surrogate(client, surrogate):
    values, lower, upper = surrogate.evaluate(POINTS, 0.5)
    told = client.post("/evaluate", json={"points": POINTS.tolist(), "coverage": 0.5}).json()
    for name, expected in (("values", values), ("lower", lower), ("upper", upper)):
        np.testing.assert_allclose(told[name], expected, rtol=1e-9)
    assert told["inside"] == [True] * 7
    outside = client.post("/evaluate", json={"points": [[0.5, 1.5]]}).json()
    assert outside["inside"] == [False]
    np.testing.assert_allclose(outside["values"], surrogate.evaluate([[0.5, 1.5]])[0], rtol=1e-9)


@pytest.mark.parametrize("form", [np.float64, np.float32, ">f8", "fortran"])
def test_arrays_come_and_go(client, surrogate, form):
    array = np.asfortranarray(POINTS) if form == "fortran" else POINTS.astype(form)
    reply = client.post("/evaluate?coverage=0.5", content=npy(array), headers={"content-type": NPY, "accept": NPY})
    assert reply.headers["content-type"] == NPY
    expected = np.stack(surrogate.evaluate(array.astype(np.float64), 0.5), axis=2)
    np.testing.assert_allclose(np.load(io.BytesIO(reply.content), allow_pickle=False), expected, rtol=1e-9)
    assert sent(client, npy(array), NPY).json()["values"] == pytest.approx(expected[:, :, 0], rel=1e-9)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", JSON),
        (NPY, NPY),
        (f"{NPY};q=0, {JSON}", JSON),
        (f"{JSON}, {NPY};q=0.1", JSON),
        (f"{JSON};q=0.2, {NPY}; q=0.9", NPY),
    ],
)
def test_the_answer_is_of_the_type_that_is_liked_best(client, accept, media):
    assert sent(client, npy(POINTS), NPY, accept=accept).headers["content-type"] == media


def test_slopes_are_those_of_the_surrogate(client, surrogate):
    told = client.post("/gradient", json={"points": POINTS.tolist()}).json()
    np.testing.assert_allclose(told["gradient"], surrogate.gradient(POINTS), rtol=1e-7)


def test_inverses_give_the_wanted_value(client, surrogate):
    asked = {"target": 2.0, "fixed": {"a": 0.25}, "bounds": {"b": [0.1, 0.9]}, "solutions": 3}
    told = client.post("/inverse", json=asked).json()
    assert told["reachable"]
    for place in told["inputs"]:
        assert place[0] == 0.25
        np.testing.assert_allclose(surrogate.evaluate([place])[0], 2.0, rtol=1e-5)
        np.testing.assert_allclose(place[1], 2.0 / np.exp(0.25) - 1, rtol=1e-2)
    assert not client.post("/inverse", json={"target": 1e6}).json()["reachable"]


@pytest.mark.parametrize(
    ("operation", "body", "offender"),
    [
        ("evaluate", {"points": [[0.5]]}, "points"),
        ("evaluate", {"points": [[0.5, 0.5], [0.5]]}, "points[1]"),
        ("evaluate", {"points": [[0.5, "1"]]}, "points[0][1]"),
        ("evaluate", {"points": [[0.5, None]]}, "points[0][1]"),
        ("evaluate", {"points": [[0.5, True]]}, "points[0][1]"),
        ("evaluate", {"points": [[[0.5]]]}, "points[0][0]"),
        ("evaluate", {"points": []}, "points"),
        ("evaluate", {"points": "/etc/passwd"}, "points"),
        ("evaluate", {"points": {"file": "/etc/passwd"}}, "points"),
        ("evaluate", {}, "points"),
        ("evaluate", {"points": [[0.5, 0.5]], "coverage": 2}, "coverage"),
        ("evaluate", {"points": [[0.5, 0.5]], "folder": "/etc"}, "folder"),
        ("gradient", {"points": [[0.5, 0.5]], "coverage": 0.5}, "coverage"),
        ("inverse", {"target": "2"}, "target"),
        ("inverse", {"target": [1.0, 2.0]}, "target"),
        ("inverse", {"target": -1.0}, "target"),
        ("inverse", {"target": 2.0, "fixed": {"../../etc/passwd": 1.0}}, "passwd"),
        ("inverse", {"target": 2.0, "fixed": {"a": 7.0}}, "fixed"),
        ("inverse", {"target": 2.0, "bounds": {"a": [1.0, 0.0]}}, "bounds.a"),
        ("inverse", {"target": 2.0, "bounds": {"a": [0.0]}}, "bounds.a"),
        ("inverse", {"target": 2.0, "solutions": 10**9}, "solutions"),
        ("inverse", {"target": 2.0, "solutions": 2.5}, "solutions"),
        ("inverse", {"target": 2.0, "seed": -1}, "seed"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(client, operation, body, offender):
    reply = client.post("/" + operation, json=body)
    assert reply.status_code == 422
    assert offender in reply.json()["detail"]


@pytest.mark.parametrize("body", hostile_json("points"), ids=range(len(hostile_json("points"))))
def test_hostile_json_is_refused(client, body):
    assert sent(client, body).status_code == 422


def test_hostile_arrays_are_refused(client, tmp_path):
    for number, body in enumerate(hostile_arrays(POINTS, tmp_path / "opened")):
        reply = sent(client, body, NPY)
        assert (number, reply.status_code) == (number, 422)
        assert "points" in reply.json()["detail"]
    assert not (tmp_path / "opened").exists()
    assert sent(client, npy(POINTS), NPY).status_code == 200


def test_an_answer_that_is_not_finite_is_refused_in_both_types():
    layer = SeparableLayer(3, 1, atoms=BSpline(4), interaction=CanonicalPolyadic(rank=2), dtype=torch.float64)
    operation = ServedSurrogate(Surrogate.of(layer)).operations()["evaluate"]
    far = b'{"points": [[1e308, 1e308, 1e308]]}'  # straight lines multiply beyond the largest number
    for wanted in (JSON, NPY):
        with pytest.raises(Refused, match="finite"):
            answer(operation, JSON, {}, far, wanted)
        assert answer(operation, JSON, {}, b'{"points": [[0.5, 0.5, 0.5]]}', wanted)


def test_the_address_of_an_array_is_checked_as_well(client):
    for query in ("coverage=2", "coverage=x", "path=/etc/passwd", "points=1", "coverage=nan"):
        reply = client.post("/evaluate?" + query, content=npy(POINTS), headers={"content-type": NPY})
        assert (query, reply.status_code) == (query, 422)


def test_large_bodies_are_refused_announced_or_not(client):
    assert sent(client, b"0" * (BODY + 1)).status_code == 413
    assert (
        client.post("/evaluate", content=(b"0" * 10_000 for _ in range(30)), headers={"content-type": JSON}).status_code
        == 413
    )
    assert sent(client, b"0" * BODY).status_code == 422


def test_other_types_are_refused(client):
    body = json.dumps({"points": POINTS.tolist()})
    for media in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/x-pickle"):
        assert sent(client, body, media).status_code == 415
    assert sent(client, npy(POINTS), NPY, "inverse").status_code == 415
    assert sent(client, body, JSON + "; charset=utf-8").status_code == 200


def test_no_address_leads_to_a_file(client):
    for address in (
        "/page/../pyproject.toml",
        "/page/..%2f..%2fpyproject.toml",
        "/page/%2e%2e/served.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/page.css%00",
        "/page/served.py",
        "/pyproject.toml",
        "/docs",
        "/static/x",
    ):
        assert (address, client.get(address).status_code) == (address, 404)


def test_another_name_of_the_host_is_refused(client):
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400
    for name in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert (name, client.get("/health", headers={"host": name}).status_code) == (name, 200)


def test_two_requests_at_once_give_what_each_gives_alone(client):
    bodies = [{"points": (POINTS * scale).tolist()} for scale in np.linspace(0.1, 1.0, 8)]
    alone = [client.post("/evaluate", json=body).json() for body in bodies]
    while client.get("/health").json()["free"] < 2:
        time.sleep(0.05)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda body: client.post("/evaluate", json=body).json(), bodies))
    assert together == alone


def test_openapi_tells_all_operations(client):
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == {"/health", "/describe", "/evaluate", "/gradient", "/inverse"}
    for name in ("evaluate", "gradient", "inverse"):
        operation = told["paths"]["/" + name]["post"]
        assert {"200", "413", "415", "422", "503", "504"} <= set(operation["responses"])
        assert JSON in operation["requestBody"]["content"]
    schema = told["paths"]["/evaluate"]["post"]["requestBody"]["content"][JSON]["schema"]
    assert set(schema["properties"]) == {"points", "coverage"}


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("/", "/page/page.css", "/page/surrogate.js"):
        text = client.get(name).text.replace("http://www.w3.org/2000/svg", "")
        assert text
        assert "http:" not in text
        assert "https:" not in text


# Limits of time, with what sleeps, fails and dies


def test_a_computation_beyond_the_limit_is_ended_and_the_next_one_answered(odd):
    begun = time.perf_counter()
    assert odd.post("/sleep", json={"seconds": 600.0}).status_code == 504
    assert time.perf_counter() - begun < 60
    assert odd.get("/health").status_code == 200
    deadline = time.perf_counter() + 60
    while (reply := odd.post("/sleep", json={"seconds": 0.0})).status_code == 503 and time.perf_counter() < deadline:
        assert reply.headers["retry-after"]
    assert reply.json() == {"seconds": 0.0}


def test_a_process_that_dies_is_replaced_and_errors_tell_nothing_of_the_inside(odd):
    reply = odd.post("/fail", json={})
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert odd.post("/die", json={}).status_code == 500
    deadline = time.perf_counter() + 60
    while (status := odd.post("/sleep", json={}).status_code) == 503 and time.perf_counter() < deadline:
        pass
    assert status == 200


def test_processes_that_cannot_start_are_missed_and_tried_again(tmp_path):
    broken = tmp_path / "broken"
    app = application(functools.partial(load_unless, str(broken)), Limits(seconds=0.5, processes=1))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/health").json() == {"status": "ok", "processes": 1, "free": 1}
        broken.touch()
        assert client.post("/die", json={}).status_code == 500
        assert client.get("/health").json() == {"status": "none ready", "processes": 0, "free": 0}
        time.sleep(4.0)  # longer than three attempts a second apart
        assert client.post("/sleep", json={}).status_code == 503
        broken.unlink()
        deadline = time.perf_counter() + 60
        while client.get("/health").json()["status"] != "ok" and time.perf_counter() < deadline:
            time.sleep(0.1)
        assert client.post("/sleep", json={}).status_code == 200


def test_processes_that_the_system_refuses_are_missed_and_tried_again(monkeypatch):
    told, ends, refused = Told({}, {}, {}), [], []

    class Context:
        """Pipes and processes that the system may refuse; a process is ready at once."""

        def Pipe(self):
            if "pipe" in refused:
                refused.remove("pipe")
                raise OSError(errno.EMFILE, "too many open files")
            ends.append(multiprocessing.Pipe())
            return ends[-1]

        def Process(self, target, args, daemon):
            return Process(args[0])

    class Process:
        def __init__(self, connection):
            self.connection = connection

        def start(self):
            if "process" in refused:
                refused.remove("process")
                raise BlockingIOError(errno.EAGAIN, "no more processes")
            self.connection.send(("ready", told))

        def kill(self):
            pass

        join = kill

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context())
    workers = Workers(Odd, 1, 1.0)
    monkeypatch.setattr(workers._closed, "wait", lambda seconds: False)
    refused += ["pipe", "process"]
    workers._add()
    assert (refused, workers.ready, workers.free) == ([], 2, 2)
    assert [(ours.closed, theirs.closed) for ours, theirs in ends] == [(False, True), (True, True), (False, True)]
    workers.close()


def test_a_busy_pool_says_so():
    workers = Workers(Odd, 1, 60.0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(workers.ask, "sleep", JSON, {}, b'{"seconds": 1.0}', JSON)
        while workers.free:
            time.sleep(0.01)
        workers.seconds = 0.05
        with pytest.raises(Busy):
            workers.ask("sleep", JSON, {}, b"{}", JSON)
        assert json.loads(first.result()) == {"seconds": 1.0}
    with pytest.raises(TooLong):
        workers.ask("sleep", JSON, {}, b'{"seconds": 60.0}', JSON)
    workers.close()
    with pytest.raises((Busy, Failed)):
        workers.ask("sleep", JSON, {}, b"{}", JSON)


def test_what_cannot_be_loaded_is_said():
    with pytest.raises(RuntimeError, match="nothing to load"):
        Workers(load_nothing, 1, 1.0)
    for wrong in ({"body": 0}, {"seconds": -1.0}, {"processes": 0}, {"waiting": 0}, {"seconds": float("nan")}):
        with pytest.raises(ValueError):
            Limits(**wrong)


def test_silent_and_endless_connections_are_closed():
    with served(Odd, Limits(seconds=1.0, processes=1)) as address:
        place = urlsplit(address)

        def answered(sent):
            with socket.create_connection((place.hostname, place.port), timeout=30) as line:
                line.sendall(sent)
                return line.recv(100)

        start = b"POST /sleep HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        assert b" 408 " in answered(start + b"Content-Length: 100\r\n\r\n{")
        assert b" 413 " in answered(start + b"Content-Length: 99999999999\r\n\r\n{")
        assert b" 400 " in answered(start + b"X: " + b"y" * 100_000)
        assert b" 400 " in answered(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b" 200 " in answered(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert place.hostname == "127.0.0.1"
