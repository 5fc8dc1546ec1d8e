"""A forecaster behind HTTP gives the forecasts that it gives by itself."""

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from domains.turbulence.baselines.persistence import Persistence
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.serving import ServedForecaster, load_served_forecaster
from separable.files import write_tensors
from separable.serving.application import Limits, application
from separable.serving.served import NPY, Refused, answer
from tests.serving.hostile import hostile_arrays, hostile_json, npy
from tests.serving.odd_served import load_watched

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "domains" / "turbulence" / "trained" / "kolmogorov_flow"
SAMPLE = ROOT / "datasets" / "kolmogorov_flow" / "sample.h5"


@pytest.fixture(scope="module")
def client():
    load = functools.partial(load_watched, load_served_forecaster, SHIPPED)
    with TestClient(application(load, Limits(seconds=60.0, processes=1)), base_url="http://localhost") as found:
        yield found


@pytest.fixture(scope="module")
def frames():
    return read_flow(SAMPLE).fields.read(0, 3, 4).astype(np.float32)


def test_the_forecast_is_that_of_the_forecaster(client, frames):
    expected = load_forecaster(SHIPPED).forecast(frames, members=3, steps=2, seed=5).vorticity.values
    asked = {"history": frames.tolist(), "members": 3, "steps": 2, "seed": 5}
    told = client.post("/forecast", json=asked).json()
    np.testing.assert_allclose(told["field"], expected, rtol=1e-4, atol=1e-4)
    assert told["periods"] == [1.0, 2.0]
    headers = {"content-type": NPY, "accept": NPY}
    reply = client.post("/forecast?members=3&steps=2&seed=5", content=npy(frames), headers=headers)
    field = np.load(io.BytesIO(reply.content), allow_pickle=False)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(field[0] - field[1]).max() > 1e-3  # members differ


def test_times_since_a_date_are_told_as_lengths_of_time():
    units = {"field": "1", "length": "1", "time": "hours since 2000-01-01"}
    description = FlowDescription("w", "w", units, 1.0, (8, 8), (1.0, 1.0))
    served = ServedForecaster(Persistence(description), np.zeros((0, 1, 8, 8), np.float32))
    assert served.describe()["time_unit"] == "hours"


def test_it_describes_itself_and_gives_starts(client):
    told = client.get("/describe").json()
    assert (told["kind"], told["history"], told["time_step"], told["starts"]) == ("forecaster", 1, 1.0, 4)
    assert [c["points"] for c in told["coordinates"]] == [32, 32]
    assert told["uncertainty"]["kind"] == "ensemble"
    sample = read_flow(SAMPLE)
    for number, trajectory in enumerate((0, 2, 4, 6)):
        frames = client.post("/start", json={"number": number}).json()["frames"]
        np.testing.assert_array_equal(np.float32(frames), sample.fields.read(trajectory, 20, 21))
    assert client.post("/start", json={"number": 4}).status_code == 422


def test_what_does_not_fit_is_refused_by_name(client, frames):
    good = frames.tolist()
    bad = [row[:] for row in good[0]]
    bad[3] = bad[3][:-1]
    for asked, offender in (
        ({"history": []}, "history"),
        ({"history": good[0]}, "history"),
        ({"history": good * 2}, "history"),
        ({"history": [bad]}, "history[0][3]"),
        ({"history": good, "members": 0}, "members"),
        ({"history": good, "members": 10**6}, "members"),
        ({"history": good, "steps": 10**6}, "steps"),
        ({"history": good, "members": 32, "steps": 200}, "steps"),
        ({"history": good, "data": "/etc/passwd"}, "data"),
        ({"history": "sample.h5"}, "history"),
        ({"history": [[[1e300] * 32] * 32]}, "history"),
    ):
        reply = client.post("/forecast", json=asked)
        assert (offender, reply.status_code) == (offender, 422)
        assert offender in reply.json()["detail"]
    broken = frames.copy()
    broken[0, 2, 1] = np.nan
    reply = client.post("/forecast", content=npy(broken), headers={"content-type": NPY})
    assert reply.status_code == 422
    assert "history[0, 2, 1]" in reply.json()["detail"]


def test_hostile_bodies_are_refused_and_open_no_file(client, frames, tmp_path):
    for media, bodies in (
        ("application/json", hostile_json("history")),
        (NPY, hostile_arrays(frames, tmp_path / "opened")),
    ):
        for number, body in enumerate(bodies):
            reply = client.post("/forecast", content=body, headers={"content-type": media})
            assert (media, number, reply.status_code) == (media, number, 422)
    assert not (tmp_path / "opened").exists()
    assert client.post("/forecast?steps=1", content=npy(frames), headers={"content-type": NPY}).status_code == 200


def test_the_page_is_there(client):
    assert "forecaster.js" in client.get("/").text
    assert client.get("/page/forecaster.js").status_code == 200
    assert client.get("/page/surrogate.js").status_code == 404


def test_flows_in_one_dimension_and_other_sources_of_starts(tmp_path):
    line = FlowDescription("u", "velocity", {"field": "m/s", "length": "m", "time": "s"}, 0.5, (8,), (2.0,))
    served = ServedForecaster(Persistence(line), np.zeros((0, 1, 8), np.float32))
    asked = '{"history": [[1, 2, 3, 4, 5, 6, 7, 8]], "members": 2, "steps": 3}'
    field = np.load(io.BytesIO(answer(served.operations()["forecast"], "application/json", {}, asked.encode(), NPY)))
    np.testing.assert_array_equal(field, np.broadcast_to(np.arange(1.0, 9.0), (2, 3, 8)))
    assert [c["name"] for c in served.describe()["coordinates"]] == ["x"]
    with pytest.raises(Refused):
        answer(served.operations()["start"], "application/json", {}, b"{}", NPY)

    given = load_served_forecaster(SHIPPED, SAMPLE)
    np.testing.assert_array_equal(given.starts, read_flow(SAMPLE).load()[:, :1].numpy())
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(1, 2, 12, 12)))
    config = NoiseForecasterConfig(history=3, channels=2, products=1, blocks=1, modes=(5, 5), waves=())
    description = FlowDescription.of(read_flow(tmp_path / "few.npy"))
    config.made(description, FrameStatistics(0.0, 1.0, 0.5)).save(tmp_path / "longer")
    with pytest.raises(ValueError, match="3 frames"):
        load_served_forecaster(tmp_path / "longer", tmp_path / "few.npy")
    load_forecaster(SHIPPED).save(tmp_path)
    assert load_served_forecaster(tmp_path).describe()["starts"] == 0
    write_tensors(tmp_path / "starts.safetensors", {"frames": torch.zeros(2, 1, 16, 16)})
    with pytest.raises(ValueError):
        load_served_forecaster(tmp_path)
    with pytest.raises(ValueError):
        load_served_forecaster(SHIPPED, tmp_path / "starts.safetensors")
