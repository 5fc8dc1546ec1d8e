"""`separable serve` loads what a folder holds, listens on loopback, and ends on Ctrl-C."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi")
from domains.command_line import main
from domains.serve.commands import loader_of, serve
from domains.turbulence.serving import load_served_forecaster
from separable import SeparableLayer
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.serving import Surrogate
from separable.serving.served_surrogate import load_surrogate
from separable.serving.server import hosts_of

FORECASTER = Path(__file__).parents[3] / "domains" / "turbulence" / "trained" / "kolmogorov_flow"


@pytest.fixture
def layer():
    return SeparableLayer(2, 1, atoms=BSpline(4), interaction=CanonicalPolyadic(rank=2), dtype=torch.float64)


def test_the_folder_says_what_is_loaded(layer, tmp_path):
    layer.save(tmp_path / "layer")
    Surrogate.of(layer).save(tmp_path / "surrogate")
    assert loader_of(tmp_path / "layer").func is load_surrogate
    assert loader_of(tmp_path / "surrogate").func is load_surrogate
    assert loader_of(FORECASTER).func is load_served_forecaster
    assert loader_of(Path("kolmogorov_flow")).args[0] == FORECASTER  # by the name that `separable list` tells
    with pytest.raises(ValueError):
        loader_of(tmp_path / "layer", data=tmp_path)
    for nothing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError):
            loader_of(nothing)


def test_a_forecaster_without_its_packages_says_what_brings_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ModuleNotFoundError, match=r"separable\[serve,turbulence\]"):
        loader_of(FORECASTER)()


def test_refusals_are_said_before_anything_is_loaded(layer, tmp_path, capsys):
    layer.save(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            serve(tmp_path, port=port)
        assert main(["serve", str(tmp_path), "--port", str(port)]) == 1
    assert str(port) in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "nowhere")]) == 1
    with pytest.raises(OSError):
        serve(tmp_path, host="203.0.113.7", port=0)


def test_other_names_are_refused_only_on_loopback():
    assert "*" not in hosts_of("127.0.0.1")
    assert "*" not in hosts_of("localhost")
    assert hosts_of("0.0.0.0") == ("*",)


def test_the_command_serves_until_it_is_told_to_stop(layer, tmp_path):
    layer.save(tmp_path)
    command = [sys.executable, "-m", "domains.command_line", "serve", str(tmp_path), "--port", "0"]
    started = [*command, "--limits.processes", "1"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = next(line for line in process.stdout if "http://" in line)
            address = told[told.index("http://") :].split()[0]
            assert address.startswith("http://127.0.0.1:")
            body = json.dumps({"points": [[0.25, 0.75]]}).encode()
            request = urllib.request.Request(address + "/evaluate", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                value = json.load(reply)["values"][0][0]
            with torch.no_grad():
                expected = layer(torch.tensor([[0.25, 0.75]], dtype=torch.float64))
            assert value == pytest.approx(expected.item(), rel=1e-9)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) in (0, 130)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
