"""Serve a surrogate over HTTP: fit a few measurements, keep the fit in a folder, start a server and ask it.

The measurements are of how far a steel beam of square section, held at one end, bends under a load at the other:
``4 F L^3 / (E a^4)``, each with an error of two per cent. On the command line the server is ``separable serve FOLDER``,
which also shows a page with sliders.
"""

import functools
import json
import tempfile
import urllib.request

import numpy as np

import separable
from separable.serving import Surrogate
from separable.serving.application import Limits
from separable.serving.served_surrogate import load_surrogate
from separable.serving.server import served

RANGES = [(50.0, 500.0), (0.5, 1.5), (20.0, 40.0)]


def bending(x: np.ndarray) -> np.ndarray:
    """Millimetres for load (N), length (m) and thickness (mm) ``(N, 3)``."""
    load, length, thickness = x.T
    return 1000 * 4 * load * length**3 / (2.1e11 * (thickness / 1000) ** 4)


def ask(address: str, question: str, **request: object) -> dict[str, list]:
    """One question as JSON, from any program that speaks HTTP."""
    body = json.dumps(request).encode()
    sent = urllib.request.Request(f"{address}/{question}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=60) as reply:
        return json.load(reply)


def main() -> None:
    """Fit, keep, serve, ask."""
    random = np.random.default_rng(0)
    lower, upper = np.transpose(RANGES)
    x = lower + random.random((60, 3)) * (upper - lower)
    measured = bending(x) * np.exp(0.02 * random.standard_normal(60))
    posterior = separable.condition(x, measured, domain=RANGES, links=["log"])
    names, units = ["load", "length", "thickness"], ["N", "m", "mm"]
    surrogate = Surrogate.of(posterior, names=names, units=units, value="bending", value_unit="mm")

    with tempfile.TemporaryDirectory() as folder:
        surrogate.save(folder)  # safetensors and JSON
        with served(functools.partial(load_surrogate, folder), Limits(processes=1, seconds=60)) as address:
            print("a page with sliders and a server at", address)
            told = ask(address, "evaluate", points=[[200.0, 1.0, 30.0]], coverage=0.9)
            low, high = told["lower"][0][0], told["upper"][0][0]
            print(f"200 N, 1 m, 30 mm: {told['values'][0][0]:.2f} mm, with 90 % probability {low:.2f} to {high:.2f} mm")
            print(f"by the formula: {bending(np.array([[200.0, 1.0, 30.0]]))[0]:.2f} mm")
            found = ask(address, "inverse", target=3.0, fixed={"load": 200.0}, solutions=4)
            for _, length, thickness in found["inputs"]:
                print(f"3 mm under 200 N: {length:.2f} m of {thickness:.1f} mm")
            assert found["reachable"]


if __name__ == "__main__":  # the server's processes import this file
    main()
