"""The sample is what its configuration makes, and what its card says."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from domains.turbulence.data import FlowDataConfig
from domains.turbulence.diagnostics import budgets, correlation, energy
from domains.turbulence.readers import read_flow
from domains.turbulence.simulate import simulate

FOLDER = Path(__file__).parents[2] / "datasets" / "kolmogorov_flow"


@pytest.fixture(scope="module")
def data():
    return read_flow(FOLDER / "sample.h5")  # compares the checksums


def test_the_sample_is_small_whole_and_of_the_stated_configuration(data):
    assert (FOLDER / "sample.h5").stat().st_size <= 1_500_000
    config = runpy.run_path(str(FOLDER / "generate.py"))["CONFIG"]
    settings = data.attributes["config"]
    assert FlowDataConfig(**{**vars(config)}) == config
    assert data.fields.shape == (config.trajectories, config.frames, *config.size)
    assert settings["flow"] == {
        "kind": "KolmogorovFlow",
        "viscosity": 0.01,
        "drag": 0.1,
        "forcing_mode": 4,
        "forcing_amplitude": 1.0,
    }
    assert data.time_step == config.spacing == 1.0


def test_frames_follow_from_one_another_by_the_solver(data):
    """From a stored frame, which float32 rounded, the next one; chaos makes more of it later."""
    config = runpy.run_path(str(FOLDER / "generate.py"))["CONFIG"]
    start = data.load()[:, 10].double()
    later = simulate(config.flow, data.grid, start, [1.0], step=config.step).fields[:, 0]
    assert torch.allclose(later.float(), data.load()[:, 11], atol=1e-3)


def test_what_the_card_says_of_it(data):
    fields = data.load()
    assert float(correlation(fields[:, :-1], fields[:, 1:]).mean()) == pytest.approx(0.64, abs=0.005)
    departures = fields - fields.mean((0, 1))
    assert float(correlation(departures[:, :-1], departures[:, 1:]).mean()) == pytest.approx(0.57, abs=0.005)
    assert float(energy(fields, data.grid).mean()) == pytest.approx(0.63, abs=0.005)
    config = runpy.run_path(str(FOLDER / "generate.py"))["CONFIG"]
    budget = budgets(config.flow, fields, data.grid)[0]
    terms = [float(term.mean()) for term in (budget.injection, budget.viscous, budget.drag)]
    assert terms == pytest.approx([0.254, 0.130, 0.126], abs=1e-3)


def test_the_code_of_the_card_runs(monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
