"""The command as a user types it."""

import json
import os
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.command_line import main
from domains.turbulence.commands import unseen_samples
from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.forecaster import FlowDescription, Forecaster
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from separable.training.run_lock import sole_user

SMALL = ["--config.trajectories", "3", "--config.frames", "4", "--config.spin-up", "1", "--processes", "1"]


def test_a_data_set_is_made_and_left_alone_the_second_time(tmp_path, capsys):
    command = ["turbulence", "generate", str(tmp_path / "flow"), "--config.size", "16", "16", *SMALL]
    assert main(command) == 0
    assert "3 trajectories of 4 frames" in capsys.readouterr().out
    before = [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "flow").iterdir()]
    assert main(command) == 0
    assert before == [(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "flow").iterdir()]
    assert main([*command, "--config.seed", "1"]) == 1
    assert read_flow(tmp_path / "flow").fields.shape == (3, 4, 16, 16)


def test_another_flow_is_a_word_at_the_end(tmp_path):
    words = ["--config.size", "48", "--config.lengths", "32", *SMALL, "config.flow:kuramoto-sivashinsky"]
    assert main(["turbulence", "generate", str(tmp_path / "flow"), *words]) == 0
    assert read_flow(tmp_path / "flow").variable == "velocity"


def test_what_cannot_be_done_ends_with_one_and_says_why(tmp_path, capsys):
    assert main(["turbulence", "generate", str(tmp_path), "--config.step", "5", "--config.spacing", "5", *SMALL]) == 1
    assert "step of at most" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["turbulence", "generate", str(tmp_path / "b"), "--config.size", "16"])


def test_the_code_of_the_readme_runs():
    readme = Path(__file__).parents[3] / "domains" / "turbulence" / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    assert blocks
    names = {}  # a block goes on where the one before ended
    for block in blocks:
        exec(compile(textwrap.dedent(block), "README.md", "exec"), names)


def test_a_forecaster_is_trained_and_forecasts_to_netcdf(tmp_path, capsys, monkeypatch):
    import xarray

    sample, run = str(Path(__file__).parents[3] / "datasets" / "kolmogorov_flow" / "sample.h5"), str(tmp_path / "run")
    small = ["--channels", "4", "--products", "2", "--blocks", "1", "--batch", "2"]
    command = ["turbulence", "train", sample, "--run", run, "--steps", "3", *small]
    assert main(command) == 0
    assert "3 steps" in capsys.readouterr().out
    assert main(command) == 0  # finished: nothing more is done
    assert main([*command, "--seed", "1"]) == 1
    assert "other settings" in capsys.readouterr().err
    names = {"config.json", "environment.json", "metrics.jsonl", "last.safetensors", "forecaster.json"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}

    out = tmp_path / "forecast.nc"
    wanted = ["--out", str(out), "--members", "3", "--steps", "2", "--sample", "1", "--frame", "10"]
    assert main(["turbulence", "forecast", run, sample, *wanted]) == 0
    with xarray.open_dataset(out) as found:
        assert dict(found.sizes) == {"realization": 3, "forecast_period": 2, "y": 32, "x": 32}
        assert found.time.values.tolist() == [11.0, 12.0]
    assert main(["turbulence", "forecast", run, sample, *wanted[:-1], "42"]) == 1
    assert "frame" in capsys.readouterr().err
    assert main(["turbulence", "forecast", str(tmp_path), sample]) == 1

    report = tmp_path / "run" / "evaluation" / "report.html"
    small = ["--members", "3", "--leads", "5", "--starts", "2", "--steps", "10"]
    assert main(["turbulence", "evaluate", run, sample, *small]) == 0
    told = capsys.readouterr().out
    assert "1 trajectories" in told  # of the file that it was trained on, what was held out
    page = report.read_text()
    assert page.count("data:image/png") == 4
    assert page.count("data:image/gif") == 1
    rows = [json.loads(line) for line in (report.parent / "metrics.jsonl").read_text().splitlines()]
    assert [row["lead"] for row in rows[:3]] == [1, 2, 5]
    assert rows[-1]["steps"] == 10
    small = ["--members", "2", "--leads", "1", "--starts", "1", "--steps", "0"]  # no long runs, and few pictures
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.h5").symlink_to(sample)
    for name in (os.path.relpath(sample), "link.h5"):  # other names of that file
        out = tmp_path / f"by_{len(name)}"
        out.mkdir()
        (out / "metrics.jsonl").write_text('{"lead": 1, "CRPS": "77"}\n')  # of an evaluation before
        assert main(["turbulence", "evaluate", run, name, "--out", str(out), *small]) == 0
        told = capsys.readouterr().out
        assert "1 trajectories" in told
        assert "CRPS at lead 1 77" not in told
    before = (out / "metrics.jsonl").read_bytes()
    with sole_user(out):  # as another process that evaluates into this folder
        assert main(["turbulence", "evaluate", run, name, "--out", str(out), *small]) == 1
    assert "in use" in capsys.readouterr().err
    assert (out / "metrics.jsonl").read_bytes() == before
    copy = tmp_path / "other.h5"  # of which nothing was seen
    copy.write_bytes(Path(sample).read_bytes())
    assert main(["turbulence", "evaluate", run, str(copy), "--out", str(tmp_path / "other"), *small]) == 0
    assert "8 trajectories" in capsys.readouterr().out

    film = tmp_path / "film.gif"
    assert main(["turbulence", "animate", run, sample, "--out", str(film), "--members", "3", "--steps", "4"]) == 0
    with Image.open(film) as pictures:
        assert pictures.n_frames == 5
        assert pictures.size[0] > 2 * pictures.size[1]
    monkeypatch.setattr(Forecaster, "rollout", None)  # what cannot be filmed is not forecast first
    for words, told in (([str(tmp_path / "film.png")], "gif"), ([str(film), "--members", "1"], "members")):
        assert main(["turbulence", "animate", run, sample, "--out", *words]) == 1
        assert told in capsys.readouterr().err


def test_a_forecast_of_a_later_sample_starts_at_its_own_time(tmp_path):
    import xarray

    for name, start in (("a", 100.0), ("b", 300.0)):
        fields = np.random.default_rng(0).normal(size=(4, 12, 12))
        axes = {"time": ("time", start + np.arange(4), {"units": "h"})}
        xarray.Dataset({"w": (("time", "y", "x"), fields)}, axes).to_netcdf(tmp_path / f"{name}.nc")
    config = NoiseForecasterConfig(channels=2, products=1, blocks=1, modes=(5, 5), waves=())
    description = FlowDescription.of(read_flow(tmp_path / "a.nc"))
    config.made(description, FrameStatistics(0.0, 1.0, 0.5)).save(tmp_path / "run")
    words = ["--members", "1", "--steps", "2", "--sample", "1", "--frame", "2", "--out", str(tmp_path / "out" / "f.nc")]
    assert main(["turbulence", "forecast", str(tmp_path / "run"), str(tmp_path), *words]) == 0
    with xarray.open_dataset(tmp_path / "out" / "f.nc", decode_timedelta=False) as found:
        assert float(found.forecast_reference_time) == 302.0
        assert found.time.values.tolist() == [303.0, 304.0]


def test_innovations_and_tokens_are_trained_and_scored(tmp_path, capsys):
    sample = str(Path(__file__).parents[3] / "datasets" / "kolmogorov_flow" / "sample.h5")
    core, drawn, tokens = (str(tmp_path / name) for name in ("core", "drawn", "tokens"))
    small = ["--channels", "4", "--products", "2", "--blocks", "1", "--batch", "2"]
    assert main(["turbulence", "train-core", sample, "--run", core, "--steps", "2", *small]) == 0
    head = ["--patch", "7", "--examples", "20", "--steps", "1", "--batch", "2", "--width", "16", "--layers", "1"]
    head += ["--spectrum-steps", "2", "--spectrum-runs", "4"]
    command = ["turbulence", "train-innovations", core, sample, "--run", drawn, *head]
    assert main(command) == 0
    assert "1 steps" in capsys.readouterr().out
    assert main(command) == 0  # finished
    assert main(["turbulence", "train-innovations", drawn, sample, "--run", str(tmp_path / "other"), *head]) == 1
    assert "core" in capsys.readouterr().err
    coded = ["--config.coder.steps", "1", "--config.tokens.steps", "1", "--config.model.width", "16"]
    coded += ["--config.model.layers", "1", "--config.model.coder-width", "8"]
    assert main(["turbulence", "train-tokens", sample, "--run", tokens, *coded]) == 0
    capsys.readouterr()
    for run in (drawn, tokens):
        short = ["--members", "2", "--leads", "2", "--starts", "1", "--steps", "0"]
        assert main(["turbulence", "evaluate", run, sample, *short]) == 0
        assert "1 trajectories" in capsys.readouterr().out  # what was held out


def test_what_was_learned_from_is_known_in_a_part_and_in_a_whole(tmp_path):
    folder = generate_data(
        tmp_path / "flow", FlowDataConfig(size=(16, 16), trajectories=5, frames=2, spin_up=0, shard=2)
    )

    def unseen(trained: Path, data: Path) -> list[int]:
        (tmp_path / "config.json").write_text(json.dumps({"data": str(trained), "held_out": 0.4}))
        return list(unseen_samples(tmp_path, data, read_flow(data, scan=False)))

    shards = sorted(folder.glob("shard_*.h5"))
    assert unseen(folder, folder) == [3, 4]
    assert unseen(folder, shards[1]) == [1]
    assert unseen(folder, shards[2]) == [0]
    with pytest.raises(ValueError, match="learned from"):
        unseen(folder, shards[0])
    core = tmp_path / "core"
    core.mkdir()
    for shares in ((0.4, 0.8), (0.8, 0.4)):  # of a core, and of what is trained on it
        (core / "config.json").write_text(json.dumps({"data": str(folder), "held_out": shares[0]}))
        settings = {"data": str(folder), "core": str(core), "descent": {"held_out": shares[1]}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        assert list(unseen_samples(tmp_path, folder, read_flow(folder, scan=False))) == [3, 4]
    (tmp_path / "config.json").write_text(json.dumps({"data": str(folder), "core": "gone", "held_out": 0.4}))
    with pytest.raises(FileNotFoundError, match="gone"):
        unseen_samples(tmp_path, folder, read_flow(folder, scan=False))
    assert unseen(Path("flow"), folder) == [3, 4]  # from another directory than that of the training
    assert unseen(tmp_path / "before" / "flow", folder) == [3, 4]  # or moved
    assert unseen(shards[0], folder) == [1, 2, 3, 4]
    assert unseen(shards[0], shards[1]) == unseen(tmp_path / "gone", shards[1]) == [0, 1]


def test_a_compressible_file_is_made(tmp_path, capsys):
    path = tmp_path / "2D_CFD_Turb_M0.1_periodic_16.hdf5"
    small = ["--size", "16", "16", "--samples", "2", "--frames", "3", "--spacing", "0.01"]
    assert main(["turbulence", "generate-compressible", str(path), *small]) == 0
    assert "2 samples of 3 frames" in capsys.readouterr().out
    assert read_flow(path, variable="vorticity").fields.shape == (2, 3, 16, 16)
