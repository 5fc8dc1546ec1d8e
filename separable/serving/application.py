"""The HTTP side: addresses, limits and messages; what is computed is computed by `separable.serving.workers`.

======================  ==============================================================================
``GET /``               the page; its other files are below ``/page/``
``GET /health``         whether there are processes to answer
``GET /describe``       coordinates or fields with names, units and ranges, uncertainty, limits
``GET /openapi.json``   all of this, and every operation, in OpenAPI
``POST /<operation>``   a question, as JSON or as an ``.npy`` array; answered as JSON or, where the
                        header ``Accept`` asks for ``application/x-npy``, as an array
======================  ==============================================================================

No part of a request names a file: the page is read once, before the first request. A refusal is JSON, ``{"detail":
message}``: 413 too large, 415 another type, 422 does not fit, 503 busy, 504 too long.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from separable.serving.served import JSON, NPY, Refused, Served
from separable.serving.workers import Busy, Failed, TooLong, Workers

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Args:
        body: Largest body, in bytes.
        seconds: Longest computation, in seconds; it is also the longest wait for a free process, and
            for the body to arrive.
        processes: Number of requests that are computed at the same time.
        waiting: Number of requests that may be under way at all; more are answered 503 at once.
    """

    body: int = 8_000_000
    seconds: float = 20.0
    processes: int = 2
    waiting: int = 32

    def __post_init__(self) -> None:
        for name in ("body", "seconds", "processes", "waiting"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)}")


class _Turned(Exception):
    """A request that is answered with a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def application(load: Callable[[], Served], limits: Limits | None = None, hosts: Sequence[str] = LOOPBACK) -> FastAPI:
    """The application, ready to answer; its processes end when it is shut down.

    Args:
        load: Gives what is served; it is called in every process, so it is a function of a module or a
            `functools.partial` of one.
        limits: Of requests.
        hosts: Names under which it may be addressed; others are refused, so that no page of another site can reach it
            under a name of its own. ``"*"`` allows all.

    Raises:
        RuntimeError: What is to be served could not be loaded; the message says why.
    """
    limits = limits or Limits()
    workers = Workers(load, limits.processes, limits.seconds)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    # The pages of FastAPI that show the OpenAPI load scripts from elsewhere; ours loads nothing.
    title = str(workers.told.description.get("title", "separable"))
    app = FastAPI(title=title, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.workers, app.state.limits, app.state.under_way = workers, limits, 0
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_exception_handler(_Turned, _turned)
    _add_reading(app, workers, limits)
    for name, told in workers.told.operations.items():
        _add_operation(app, name, told)
    return app


async def _turned(request: Request, turned: Exception) -> JSONResponse:
    assert isinstance(turned, _Turned)
    again = {"Retry-After": "1"} if turned.status == 503 else {}
    return JSONResponse({"detail": turned.message}, turned.status, headers={**_HEADERS, **again})


def _add_reading(app: FastAPI, workers: Workers, limits: Limits) -> None:
    page = workers.told.page

    def shown(name: str) -> Response:
        return Response(page[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return shown("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in page:  # a key of a dictionary, never a path
            raise _Turned(404, "no such part of the page")
        return shown(name)

    @app.get("/health", summary="Whether there are processes to answer")
    async def health() -> dict[str, Any]:
        ready = workers.ready
        return {"status": "ok" if ready else "none ready", "processes": ready, "free": workers.free}

    @app.get("/describe", summary="What is served: names, units, ranges, uncertainty, limits")
    async def describe() -> dict[str, Any]:
        told = {"body": limits.body, "seconds": limits.seconds, "processes": limits.processes}
        return {**workers.told.description, "request_limits": told, "operations": sorted(workers.told.operations)}


def _add_operation(app: FastAPI, name: str, told: dict[str, Any]) -> None:
    workers: Workers = app.state.workers
    limits: Limits = app.state.limits

    async def answered(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != JSON and (media != NPY or told["field"] is None):
            raise _Turned(415, f"content-type: expected {_understood(told)}, got {media[:60] or 'none'}")
        wanted = _wanted(request.headers.get("accept", ""))
        if app.state.under_way >= limits.waiting:
            raise _Turned(503, f"{limits.waiting} requests are under way; ask again")
        app.state.under_way += 1
        try:
            body = await _body(request, limits)
            query = dict(request.query_params)
            found = await run_in_threadpool(workers.ask, name, media, query, body, wanted)
        except Refused as refused:
            raise _Turned(422, str(refused)) from refused
        except Busy as busy:
            raise _Turned(503, str(busy)) from busy
        except TooLong as late:
            raise _Turned(504, str(late)) from late
        except Failed as failed:
            raise _Turned(500, str(failed)) from failed
        finally:
            app.state.under_way -= 1
        return Response(found, media_type=wanted, headers=_HEADERS)

    app.add_api_route(
        f"/{name}",
        answered,
        methods=["POST"],
        name=name,
        summary=told["summary"],
        description=_text(told),
        response_class=JSONResponse,
        responses=_responses(told),
        openapi_extra={"requestBody": {"required": True, "content": _bodies(told)}, "parameters": _parameters(told)},
    )


def _wanted(accepted: str) -> str:
    """The type of answer that a client would rather have; JSON where it does not say."""
    liking = dict.fromkeys((JSON, NPY), 0.0)
    for part in accepted.lower().split(","):
        media, *options = (text.strip() for text in part.split(";"))
        if media in liking:
            share = next((text[2:] for text in options if text.startswith("q=")), "1")
            with contextlib.suppress(ValueError):
                liking[media] = float(share)
    return NPY if liking[NPY] > 0 and liking[NPY] >= liking[JSON] else JSON


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, refused as soon as it is known to be too large or too slow."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > limits.body:
        raise _Turned(413, f"body: at most {limits.body} bytes, got {announced[:20]}")

    async def read() -> bytes:
        held = bytearray()
        async for part in request.stream():
            held += part
            if len(held) > limits.body:
                raise _Turned(413, f"body: at most {limits.body} bytes, got more")
        return bytes(held)

    try:
        return await asyncio.wait_for(read(), limits.seconds)
    except (TimeoutError, asyncio.TimeoutError) as late:  # one and the same since Python 3.11
        raise _Turned(408, f"body: not here after {limits.seconds:g} s") from late


# OpenAPI


def _understood(told: dict[str, Any]) -> str:
    return JSON if told["field"] is None else f"{JSON} or {NPY}"


def _text(told: dict[str, Any]) -> str:
    lines = [f"- `{field}`: {meaning}" for field, meaning in told["answers"].items()]
    text = "The answer holds\n\n" + "\n".join(lines) + f"\n\nAs `{NPY}`: {told['array']}."
    if told["field"] is not None:
        text += f" A body of that type is the array `{told['field']}`; the other fields stand in the address."
    return text


def _bodies(told: dict[str, Any]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {JSON: {"schema": told["request"]}} | ({} if told["field"] is None else {NPY: binary})


def _parameters(told: dict[str, Any]) -> list[dict[str, Any]]:
    if told["field"] is None:
        return []
    properties = {name: schema for name, schema in told["request"]["properties"].items() if name != told["field"]}
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": f"with a body of type {NPY}"}
        for name, schema in properties.items()
    ]


def _responses(told: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    fields = {name: {"description": meaning} for name, meaning in told["answers"].items()}
    content = {
        JSON: {"schema": {"type": "object", "properties": fields}},
        NPY: {"schema": {"type": "string", "format": "binary", "description": told["array"]}},
    }
    refusal = {JSON: {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}}
    reasons = {
        408: "the body was not there in time",
        413: "the body is too large",
        415: "the body is of a type that is not understood",
        422: "the request does not fit; the message names what and why",
        500: "the computation failed; the message says how",
        503: "all processes are at work",
        504: "the computation exceeded the limit of time and was ended",
    }
    found: dict[int | str, dict[str, Any]] = {200: {"description": told["array"], "content": content}}
    for status, reason in reasons.items():
        found[status] = {"description": reason, "content": refusal}
    return found
