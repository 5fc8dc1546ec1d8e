"""An evaluation: which starts, what is compared, the report in both dimensions; moving pictures."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from domains.turbulence.animation import animate_forecast
from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.evaluate import EvaluateConfig, evaluate, evaluation_report, reference_of
from domains.turbulence.evaluation_pictures import draw_spectra
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.readers import read_flow
from separable.training import RunFolder
from tests.domains.films import frames_of

matplotlib.use("Agg")


class Jitter(Forecaster):
    """The last frame with something added at every point."""

    def __init__(self, description, history=1):
        self.description, self.history = description, history

    def advance(self, frames, generators):
        drawn = np.stack([g.standard_normal(tuple(frames.shape[2:]), dtype=np.float32) for g in generators])
        return 0.9 * frames[:, -1] + 0.4 * torch.from_numpy(drawn)


def waves(samples, frames, *grid):
    """Fields that are never the same twice, with something at every resolved wave number."""
    return np.random.default_rng(0).normal(size=(samples, frames, *grid)).astype(np.float32)


@pytest.fixture
def plane():
    return read_flow(waves(4, 9, 12, 12), spacing=2 * math.pi / 12, time_step=0.5)


def test_the_starts_are_spread_over_the_samples_that_were_asked_for(plane):
    forecaster = Persistence(FlowDescription.of(plane))
    found = evaluate(
        forecaster, plane, [1, 3], EvaluateConfig(leads=3, starts=2, steps=0), ensemble=False, progress=False
    )
    own, still = found.scores["forecast"], found.scores["persistence"]
    assert own.trajectories.tolist() == [1, 1, 3, 3]
    assert torch.equal(own.crps, still.crps)
    frames = plane.load()
    # 9 frames hold 6 windows of one known frame and three leads: the first starts at frame 0, the last at frame 5.
    expected = [
        (frames[s, at + lead] - frames[s, at]).abs().mean() for s in (1, 3) for at in (0, 5) for lead in (1, 2, 3)
    ]
    scale = float(frames.double().std())
    assert own.crps.flatten().tolist() == pytest.approx([float(e) / scale for e in expected], rel=1e-5)
    assert found.climate is None
    assert found.leads == (1, 2)
    assert found.rows()[0]["CRPS of persistence"] == pytest.approx(float(own.crps[:, 0].mean()))
    # Of white noise: 1 / sqrt(pi) for draws from the same distribution, less for one in 36 draws that is the truth.
    assert found.rows()[0]["CRPS of climate"] == pytest.approx(35 / 36 / math.pi**0.5, rel=0.1)


@pytest.mark.parametrize("steps", [0, 20])
def test_spectra_are_drawn_over_the_wave_numbers_of_the_box(steps):
    line = read_flow(waves(3, 5, 24), spacing=64.0 / 24, time_step=0.5)
    config = EvaluateConfig(members=2, leads=2, starts=1, steps=steps)
    found = evaluate(Jitter(FlowDescription.of(line)), line, [0, 1, 2], config, progress=False)
    figure = draw_spectra(
        found.scores["forecast"], found.wave_numbers, found.truth_spectrum, found.leads, found.climate
    )
    for axes in figure.axes[:2]:
        np.testing.assert_allclose(axes.lines[0].get_xdata(), 2 * math.pi / 64.0 * np.arange(1, 8))


def test_more_leads_than_there_are_frames_are_fewer(plane):
    forecaster = Jitter(FlowDescription.of(plane), history=3)
    found = evaluate(forecaster, plane, [0], EvaluateConfig(members=3, leads=50, starts=5, steps=20), progress=False)
    assert found.scores["forecast"].crps.shape == (1, 6)
    assert found.climate.steps == 20
    assert found.rows()[0]["spread/skill"] == f"{float(found.scores['forecast'].spread_over_skill()[0]):.3f}"
    short = read_flow(waves(2, 3, 12, 12), spacing=2 * math.pi / 12, time_step=0.5)
    with pytest.raises(ValueError, match="frames"):
        evaluate(forecaster, short, [0], progress=False)
    with pytest.raises(ValueError, match="between two frames"):
        evaluate(forecaster, read_flow(waves(2, 9, 12, 12), spacing=2 * math.pi / 12, time_step=1.0), [0])
    with pytest.raises(ValueError, match="members"):
        EvaluateConfig(members=0)


@pytest.mark.parametrize("grid", [(12, 12), (24,)])
def test_a_report_has_its_pictures_in_one_and_two_dimensions(grid, tmp_path):
    data = read_flow(waves(4, 9, *grid), spacing=2 * math.pi / grid[-1], time_step=0.5)
    run = RunFolder(tmp_path, {}, 0)
    config = EvaluateConfig(members=4, leads=5, steps=30)
    report = evaluation_report(Jitter(FlowDescription.of(data)), data, [2, 3], run, config, progress=False)
    page = report.read_text()
    assert page.count("data:image/png") == 4
    assert page.count("data:image/gif") == 1
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"scores.png", "maps.png", "ranks.png", "spectra.png", "forecast.gif"}
    rows = run.metrics()
    assert [row.get("lead") for row in rows] == [1, 2, 5, None]
    assert rows[-1]["lost"] in range(3)


@pytest.mark.parametrize("grid", [(8, 12), (24,)])
def test_a_film_has_a_picture_for_each_frame(grid, tmp_path):
    units = {"field": "1/s", "length": "m", "time": "s"}
    description = FlowDescription("w", "vorticity", units, 0.5, grid, (1.0,) * len(grid))
    truth, members = waves(1, 4, *grid)[0], waves(5, 3, *grid)
    truth[2:] = np.nan  # not known
    path = animate_forecast(truth, members, description, tmp_path / "film.gif", frames_per_second=10)
    with Image.open(path) as film:
        assert film.n_frames == 4
        assert film.info["duration"] == 100
        first = np.asarray(film.convert("RGB")).astype(int)
        film.seek(3)
        last = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(first - last).mean() > 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]
    with pytest.raises(ValueError, match="gif"):
        animate_forecast(truth, members, description, tmp_path / "film.png")
    with pytest.raises(ValueError, match="members"):
        animate_forecast(truth, members[:1], description, tmp_path / "film.gif")
    pytest.importorskip("imageio_ffmpeg")
    frames = frames_of(animate_forecast(truth, members, description, tmp_path / "film.mp4"))
    assert len(frames) == 4
    assert np.abs(frames[0] - np.resize(first, frames[0].shape)).mean() < 12


def test_the_reference_is_of_all_frames_however_many_samples_there_are():
    fields = np.zeros((2500, 10, 4), np.float32) + np.arange(10, dtype=np.float32)[:, None]
    reference = reference_of(read_flow(fields, periodic=True))
    assert len(reference) <= 2000
    assert np.bincount(reference[:, 0].long().numpy(), minlength=10).min() > 120  # of each time as many, about
