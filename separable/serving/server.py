"""Listening: an application on an address, until it is told to stop or for the length of a ``with``."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from separable.serving.application import LOOPBACK, Limits, application
from separable.serving.served import Served

_LONGEST_HEAD = 16_384  # bytes of the head of a request


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: The address is taken, or is none of this machine's; the message says so.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(128)  # who comes early waits
    except OSError as refused:
        taken.close()
        raise OSError(refused.errno, f"cannot listen on {host} port {port}: {refused.strerror}") from refused
    return taken


def address_of(taken: socket.socket) -> str:
    """The address of a socket as a browser writes it."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def hosts_of(host: str) -> tuple[str, ...]:
    """Names that requests may use: those of this machine alone, unless it listens elsewhere."""
    return LOOPBACK if host in ("127.0.0.1", "::1", "localhost") else ("*",)


def server_of(app: FastAPI) -> uvicorn.Server:
    """A server that is quiet, and holds on to no slow or silent connection."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        http="h11",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def served(load: Callable[[], Served], limits: Limits | None = None) -> Iterator[str]:
    """The address of a server on a free port of this machine, which stops at the end of the ``with``.

    Args:
        load: See `application`.
        limits: Of requests.

    Raises:
        RuntimeError: What is to be served could not be loaded.
    """
    app = application(load, limits)
    taken = listening("127.0.0.1", 0)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield address_of(taken)
    finally:
        server.should_exit = True
        thread.join()
        taken.close()
