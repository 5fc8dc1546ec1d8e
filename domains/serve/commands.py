"""The verb `separable serve`, which is a plain function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from domains.command.folders import resolved
from separable.serving.application import Limits, application
from separable.serving.served import Served
from separable.serving.served_surrogate import load_surrogate
from separable.serving.server import address_of, hosts_of, listening, server_of

_LIMITS = Limits()


def serve(
    run: Path, /, host: str = "127.0.0.1", port: int = 8000, data: Path | None = None, limits: Limits = _LIMITS
) -> None:
    """Answer questions about a fitted surrogate or a forecaster over HTTP, with a page to try it; Ctrl-C ends it.

    Args:
        run: a folder that a Surrogate, layer, posterior, solution or forecaster was saved in, a run that left one, or
            the name of a forecaster that ships.
        host: the address to listen on; the default is reached from this machine only.
        port: 0 takes a free one.
        data: for a forecaster, a file of flows whose first frames are offered as starts.
        limits: of requests.
    """
    load = loader_of(run, data)
    with listening(host, port) as taken:  # before anything is loaded: a taken port is known at once
        print(f"loading {run}", flush=True)
        app = application(load, limits, hosts_of(host))
        print(f"{run}: {app.title} at {address_of(taken)} (Ctrl-C ends it)", flush=True)
        server_of(app).run(sockets=[taken])


def loader_of(run: Path, data: Path | None = None) -> Callable[[], Served]:
    """What loads a folder to be served, by what lies in it; a name of a trained model that ships is its folder.

    Raises:
        FileNotFoundError: nothing that can be served lies there.
        ValueError: ``data`` is given for what is no forecaster.
    """
    run = resolved(run)
    if (run / "forecaster.json").exists():
        from domains.turbulence.serving import load_served_forecaster  # which needs more than a surrogate does

        return functools.partial(load_served_forecaster, run.absolute(), None if data is None else data.absolute())
    if data is not None:
        raise ValueError(f"data: {run} holds no forecaster, which is what starts are for")
    if not any((run / name).exists() for name in ("surrogate.json", "solution.json", "posterior.json", "config.json")):
        raise FileNotFoundError(f"{run}: expected a saved surrogate, layer, posterior, solution or forecaster")
    return functools.partial(load_surrogate, run.absolute())
