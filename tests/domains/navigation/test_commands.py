"""The command as a user types it: train, evaluate, render, inspect, export, and what is refused."""

import json
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from domains.command_line import main
from domains.navigation.evaluation import Evaluation, evaluate
from domains.navigation.saved import load_baseline, load_policy

matplotlib.use("Agg")
TRAIN = ["--steps", "256", "--worlds", "4", "--rollout", "32", "--episodes", "4", "--wind", "0.5", "--time-limit", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder made by the command."""
    path = tmp_path_factory.mktemp("commands") / "run"
    assert main(["navigation", "train", "--run", str(path), *TRAIN]) == 0
    return path


def test_a_run_is_there_and_a_second_one_leaves_it(run, capsys):
    before = (run / "metrics.jsonl").read_text()
    assert json.loads((run / "config.json").read_text())["options"]["wind"] == 0.5
    assert main(["navigation", "train", "--run", str(run), *TRAIN]) == 0
    assert (run / "metrics.jsonl").read_text() == before
    assert "494 parameters" in capsys.readouterr().out
    assert main(["navigation", "train", "--run", str(run), *TRAIN, "--seed", "1"]) == 1


@pytest.mark.parametrize("which", [[], ["--last"]])
def test_an_evaluation_is_that_of_the_library(run, tmp_path, capsys, which):
    out = tmp_path / "deep" / "e.json"
    given = [str(run), "--episodes", "20", "--seed", "3", "--wind", "2", "--out", str(out), *which]
    assert main(["navigation", "evaluate", *given]) == 0
    written = json.loads(out.read_text())
    model, config = load_policy(run, "last.safetensors" if which else "policy.safetensors")
    expected = evaluate(model, config.options.changed(wind=2.0), 20, 3)
    assert Evaluation(**{name: written[name] for name in vars(expected)}) == expected
    assert written["options"]["wind"] == 2.0
    assert written["options"]["time_limit"] == 2.0
    assert expected.row()["success"] in capsys.readouterr().out


def test_the_shipped_policy_is_the_default(tmp_path):
    assert main(["navigation", "evaluate", "--episodes", "30", "--out", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["success"] > 0.9


@pytest.mark.parametrize(("model", "size"), [("waypoints2d", (640, 320)), ("waypoints3d", (1280, 320))])
def test_flights_are_drawn(model, size, tmp_path):
    out = tmp_path / "f.gif"
    given = [model, "--out", str(out), "--episodes", "2", "--time-limit", "3", "--every", "10"]
    assert main(["navigation", "render", *given]) == 0
    with Image.open(out) as picture:
        assert picture.size == size
        assert picture.n_frames == 7
    with Image.open(tmp_path / "f.png") as picture:
        assert np.asarray(picture).std() > 5
    assert main(["navigation", "render", model, "--out", str(tmp_path / "g.png"), "--time-limit", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.gif", "f.png", "g.png"]


def test_a_policy_is_drawn_and_exported(run, tmp_path):
    from domains.navigation.numpy_policy import NumpyPolicy

    assert main(["navigation", "inspect", str(run), "--out", str(tmp_path / "p" / "policy.png")]) == 0
    assert (tmp_path / "p" / "policy.png").stat().st_size > 5_000
    assert main(["navigation", "inspect", "--out", str(tmp_path / "policy.pdf")]) == 0
    assert (tmp_path / "policy.pdf").read_bytes().startswith(b"%PDF")
    assert main(["navigation", "export", "--out", str(tmp_path / "policy.npz")]) == 0
    model, _ = load_baseline("waypoints2d")
    observation = np.stack([model.observation_space.sample() for _ in range(5)])
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_allclose(NumpyPolicy.load(tmp_path / "policy.npz")(observation), expected, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        ["evaluate", "nothing"],
        ["evaluate", "--episodes", "0"],
        ["evaluate", "--obstacles", "3"],
        ["evaluate", "--wind", "-1"],
        ["evaluate", "--last"],
        ["render", "--out", "f.webp"],
        ["render", "--episodes", "17", "--out", "f.gif"],
        ["inspect", "--out", "policy"],
        ["inspect", "--out", "policy.npz"],
        ["export", "--out", "policy.pkl"],
        ["render", "--out", "f.mp4"],
    ],
)
def test_what_cannot_be_done_is_refused(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "imageio", None)  # as if it were not installed
    try:
        status = main(["navigation", *given])
    except SystemExit as end:
        status = end.code
    assert status == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert not list(tmp_path.rglob("*.*"))


def test_settings_that_make_no_sense_are_refused_before_anything_is_written(tmp_path):
    for given in (["--steps", "0"], ["--algorithm", "dqn"], ["--waypoints", "9"], ["--algorithm", "trpo"]):
        with pytest.raises(SystemExit):
            main(["navigation", "train", "--run", str(tmp_path / "run"), *given])
    assert not (tmp_path / "run").exists()
