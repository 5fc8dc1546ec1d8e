"""The two pages in a real browser: a person moves a slider, asks for an inverse, and forecasts a flow.

The browser is Chromium, told what to do over HTTP by its ChromeDriver (the W3C WebDriver protocol).
"""

import contextlib
import functools
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi")
import separable
from domains.turbulence.serving import load_served_forecaster
from separable.serving import Surrogate
from separable.serving.application import Limits
from separable.serving.served_surrogate import load_surrogate
from separable.serving.server import served
from separable.training import Report

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    DRIVER is None or CHROMIUM is None, reason="there is no Chromium with its ChromeDriver on this machine"
)
FORECASTER = Path(__file__).parents[3] / "domains" / "turbulence" / "trained" / "kolmogorov_flow"
LIMITS = Limits(seconds=60.0, processes=1)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LEFT, RIGHT = "\ue012", "\ue014"  # the keys in the protocol


class Browser:
    """One window."""

    def __init__(self, port, profile):
        self.driver = f"http://127.0.0.1:{port}"
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", "--window-size=420,900"], "binary": CHROMIUM}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        session = self.told("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = "/session/" + session["sessionId"]

    def told(self, method, path, body=None):
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.driver + self.session + path, content, method=method)
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)["value"]

    def open(self, address):
        self.told("POST", "/url", {"url": address})

    def run(self, script):
        return self.told("POST", "/execute/sync", {"script": script, "args": []})

    def _element(self, selector):
        return next(iter(self.told("POST", "/element", {"using": "css selector", "value": selector}).values()))

    def press(self, selector, keys):
        self.told("POST", f"/element/{self._element(selector)}/value", {"text": keys})

    def click(self, selector):
        self.told("POST", f"/element/{self._element(selector)}/click", {})

    def wait(self, script, seconds=60.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.run(script):
                return found
            time.sleep(0.05)
        raise TimeoutError(script)

    def complaints(self):
        return self.told("POST", "/se/log", {"type": "browser"})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [DRIVER, f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/status"):
                break
            time.sleep(0.05)
        found = Browser(port, tmp_path_factory.mktemp("profile"))
        yield found
        found.told("DELETE", "")
        driver.terminate()


def test_a_slider_moves_the_value_and_an_inverse_is_found(browser, tmp_path):
    x = torch.rand(25, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    posterior = separable.condition(x, torch.exp(x[:, 0]) * (1 + x[:, 1]), links=["log"], domain=[(0, 1), (0, 1)])
    surrogate = Surrogate.of(posterior, names=["a", "b"], units=["m", "s"], value="drag", value_unit="N")
    surrogate.save(tmp_path)
    shown = "return Number(document.getElementById('value').dataset.value)"
    with served(functools.partial(load_surrogate, tmp_path), LIMITS) as address:
        browser.open(address)
        browser.wait("return document.getElementById('value').dataset.value")
        assert browser.run(shown) == pytest.approx(surrogate.evaluate([[0.5, 0.5]])[0].item(), rel=1e-6)

        browser.press("#slider0", RIGHT * 100)  # a thousandth of the range each
        place = browser.run("return Number(document.getElementById('number0').value)")
        assert place == pytest.approx(0.6)
        values, lower, upper = surrogate.evaluate([[place, 0.5]])
        browser.wait(shown + f" > {values.item() - 1e-5}")
        assert browser.run(shown) == pytest.approx(values.item(), rel=1e-6)
        told = browser.run("return document.getElementById('uncertainty').textContent")
        assert all(f"{end.item():.4f}"[:5] in told for end in (lower, upper))
        assert browser.run("return document.querySelectorAll('#plot svg .band').length") == 1
        slope = surrogate.gradient([[place, 0.5]])[0, 0, 0]
        told = "Number(document.getElementById('slope0').textContent.split(' ').pop())"
        browser.wait(f"return Math.abs({told} - {slope}) < {1e-4 * abs(slope)}")  # slopes come after the value

        browser.click("#hold1")
        browser.press("#target", "2.0")
        browser.click("#find")
        browser.wait("return !document.getElementById('solutions').hidden")
        browser.click("#solutions button")
        browser.wait("return Math.abs(Number(document.getElementById('value').dataset.value) - 2) < 1e-4")
        assert browser.run("return Number(document.getElementById('number1').value)") == 0.5
        found = browser.run("return Number(document.getElementById('number0').value)")
        assert surrogate.evaluate([[found, 0.5]])[0].item() == pytest.approx(2.0, rel=1e-4)

        wide = "return document.documentElement.scrollWidth <= window.innerWidth"
        assert browser.run(wide)  # nothing hangs over the edge of a phone
        assert browser.complaints() == []


def test_a_report_fits_on_a_phone(browser, tmp_path):
    report = Report("A report " + "w" * 60, "Of much. " * 30)
    report.table([{f"column {number}": 1.5 * number for number in range(30)}])
    report.code("separable " + "--option value " * 30)
    picture = tmp_path / "wide.png"
    Image.new("L", (3000, 200)).save(picture)
    report.picture(picture, "wide")
    report.quote("x" * 500)
    (tmp_path / "report.html").write_text(report.html())
    browser.open((tmp_path / "report.html").as_uri())
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.run("return document.images[0].naturalWidth") == 3000
    assert browser.complaints() == []


def test_a_flow_is_forecast(browser):
    load = functools.partial(load_served_forecaster, FORECASTER)
    served_here = load()
    with served(load, LIMITS) as address:
        browser.open(address)
        browser.wait("return document.querySelectorAll('#past canvas').length")
        browser.run("document.getElementById('members').value = 2; document.getElementById('steps').value = 3")
        browser.click("#go")
        browser.wait("return !document.getElementById('future').hidden")
        assert browser.run("return document.querySelectorAll('#frames canvas').length") == 4  # mean, spread, members
        field = browser.run("return [Array.from(state.forecast.shape), Array.from(state.forecast.data)]")
        expected = served_here.forecaster.forecast(served_here.starts[0], 2, 3).vorticity.values
        assert field[0] == list(expected.shape)
        np.testing.assert_allclose(np.reshape(field[1], expected.shape), expected, rtol=1e-3, atol=1e-3)

        pixels = "return document.querySelectorAll('#frames canvas')[2].toDataURL()"
        before = browser.run(pixels)
        browser.press("#lead", RIGHT * 2)
        assert browser.run("return document.getElementById('time').textContent") == "3"
        assert browser.run(pixels) != before
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints() == []
