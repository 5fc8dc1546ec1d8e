"""What long verbs would cost, before they start."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from domains.command_line import DOMAINS, main
from domains.language.evaluate import side_by_side
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import save
from domains.language.tokens import Tokens
from domains.microstructure import costs as microstructure_costs
from domains.microstructure.cells import generate
from domains.microstructure.costs import solver_bytes
from domains.microstructure.images import write_cell
from domains.microstructure.janus import Janus
from domains.microstructure.materials import Materials
from domains.navigation import costs as navigation_costs
from domains.navigation.commands import WorldChanges
from domains.navigation.evaluation import fly
from domains.navigation.policies import parameter_count
from domains.navigation.saved import load_baseline
from domains.turbulence import costs
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.data import FlowDataConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.evaluate import EvaluateConfig, evaluate
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.simulate import Stepper, frames_of
from domains.turbulence.train import TrainConfig
from separable.records import Cost

DATASETS = Path(__file__).parents[3] / "datasets"
FLOW = DATASETS / "kolmogorov_flow" / "sample.h5"
# What takes seconds, or says itself how long it takes.
SHORT = {
    "language": {"sample", "recommend-teacher", "chat"},
    "language.reversal": {"generate", "ask", "add"},
    "microstructure": set(),
    "navigation": {"render", "inspect", "export"},
    "turbulence": set(),
}


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_long_verb_tells_its_cost_for_the_same_arguments(domain):
    commands = importlib.import_module(f"domains.{domain}.commands")
    costs = importlib.import_module(f"domains.{domain}.costs")
    for verb in DOMAINS[domain]:
        if verb in SHORT[domain]:
            continue
        taken = [inspect.signature(getattr(m, verb.replace("-", "_"))).parameters for m in (commands, costs)]
        # Names, and whether a value may be missing; other types are wrapped in what tells the command how to read them.
        given = [[(name, "None" in str(each.annotation)) for name, each in of.items()] for of in taken]
        assert given[0] == given[1], verb


def told(capsys, folder, *words):
    """Lines of a dry run, by their first word; nothing may be written."""
    before = sorted(folder.rglob("*"))
    assert main([*map(str, words), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert lines["nothing"] == "was started"
    assert {"time", "basis", "memory"} <= set(lines)
    return lines


def test_microstructure(tmp_path, capsys, monkeypatch):
    cells = tmp_path / "cells.h5"
    small = ["--config.size", "16", "16", "--config.feature", "0.25", "0.4", "--config.count"]
    assert told(capsys, tmp_path, "microstructure", "generate", cells, *small, 4000)["disk"] == "128.0 kB"
    assert main(["microstructure", "generate", str(cells), *small, "24", "--processes", "1"]) == 0
    run = tmp_path / "run"
    train = ["microstructure", "train", str(cells), "--run", str(run), "--latent", "4", "--width", "4"]
    capsys.readouterr()
    lines = told(capsys, tmp_path, *train)
    assert main([*train, "--config.steps", "2"]) == 0
    assert lines["parameters"] == f"{sum(p.numel() for p in Janus.load(run).parameters()):,}"
    capsys.readouterr()
    design = ["microstructure", "design", "--run", run, "--target", "youngs_x=0.3", "--count", 3, "--refined"]
    assert "3 designs refined" in told(capsys, tmp_path, *design)["basis"]
    assert main([*map(str, design), "--target", "youngs_y=50", "--dry-run"]) == 1
    assert "youngs_y" in capsys.readouterr().err
    # A solution of ten seconds: 3 designs are solved, refined with 12 solutions and as many gradients, none is tried.
    monkeypatch.setattr(microstructure_costs, "trial_seconds", lambda *_, **__: (0.0, 10.0))
    lines = told(capsys, tmp_path, *design)
    assert "refined" not in lines["basis"]
    assert lines["time"] == "12.5 minutes"


def test_navigation(tmp_path, capsys):
    few = ["--rollout", 8, "--worlds", 4, "--episodes", 5, "--batch", 16]
    lines = told(capsys, tmp_path, "navigation", "train", "--run", tmp_path / "run", *few)
    assert lines["parameters"] == "494"


def test_what_flights_of_a_dry_run_hold_is_what_they_hold(tmp_path, monkeypatch, capsys):
    lines = told(capsys, tmp_path, "navigation", "evaluate", "--time-limit", 2, "--out", tmp_path / "e.json")
    policy, config = load_baseline("waypoints2d")
    assert lines["parameters"] == f"{parameter_count(policy.policy):,}"

    found = {}
    monkeypatch.setattr(
        navigation_costs, "cost_of_steps", lambda _, steps, **__: found.update(steps=steps) or Cost("tried", memory=0.0)
    )
    changes = WorldChanges(time_limit=1.0)  # in which nobody comes to an end
    told_of = navigation_costs.evaluate(Path("waypoints2d"), 30, 3, tmp_path / "e.json", False, changes)
    flights = fly(policy, changes.of(config.options), 30, 3)
    assert found["steps"] == max(len(path) for path in flights.paths) - 1
    assert told_of.memory == 2 * sum(path.nbytes for path in flights.paths)  # of one pass, while it is joined


_SOLVED = """
import re, sys, torch
from pathlib import Path
from domains.microstructure.materials import Materials
from domains.microstructure.cells import generate
def held():  # of this process alone; what getrusage tells begins with that of the one that started it
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
materials, size = eval(sys.argv[1]), eval(sys.argv[2])
small, large = (generate("spinodal", n, 0.4, seed=1).float()[None] for n in ((8,) * len(size), size))
materials.solve(small)
before = held()
materials.solve(large)
print((held() - before) / large.numel())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells")
@pytest.mark.parametrize(
    ("materials", "size"),
    [
        (Materials(conductivities=None, young=(0.5, 1.0)), (48, 48, 48)),
        (Materials(conductivities=(0.5, 1.0), young=None), (64, 64, 64)),
        (Materials(conductivities=None, young=None, permeability=True), (40, 40, 40)),
    ],
)
def test_a_solver_holds_about_what_is_told(materials, size):
    words = [sys.executable, "-c", _SOLVED, repr(materials), repr(size)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back, and counts no more
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=DATASETS.parent, env=environment)
    assert solver_bytes(materials, 3) == pytest.approx(float(done.stdout), rel=0.1)


def test_cells_that_are_solved(tmp_path, capsys):
    pictures = [tmp_path / f"cell_{n}.png" for n in (16, 24)]
    for n, picture in zip((16, 24), pictures, strict=True):
        write_cell(generate("spinodal", (n, n), 0.5, seed=1), picture)
    lines = told(capsys, tmp_path, "microstructure", "solve", *pictures)
    assert f"{16**2 + 24**2} in 2 images" in lines["basis"]
    assert f"{24**2} voxels of the largest" in lines["basis"]  # which is small enough to be tried as a whole


def test_turbulence(tmp_path, capsys):
    small = ["--config.size", 16, 16, "--config.trajectories", 32, "--config.frames", 10]
    lines = told(capsys, tmp_path, "turbulence", "generate", tmp_path / "flow", *small)
    assert lines["disk"] == "294.9 kB"
    sample = DATASETS / "kolmogorov_flow" / "sample.h5"
    model = ["--channels", 4, "--products", 2, "--blocks", 1, "--batch", 2]
    lines = told(capsys, tmp_path, "turbulence", "train", sample, "--run", tmp_path / "run", *model, "--steps", 50)
    assert "10 evaluations" in lines["basis"]


def test_the_steps_of_a_data_set_are_those_that_are_taken(monkeypatch):
    config = FlowDataConfig(size=(16, 16), trajectories=3, frames=4, spacing=0.1, spin_up=0.25, step=0.06, shard=2)
    taken = []
    monkeypatch.setattr(Stepper, "advance", lambda _, modes, steps, generators: taken.append(steps) or modes)
    start = config.flow.random_start(config.grid, [0])
    for _ in frames_of(config.flow, config.grid, start, [0.25, 0.35, 0.45, 0.55], step=config.step):
        pass
    monkeypatch.setattr(costs, "trial_seconds", lambda trial, few, more: (0.0, 2.0))
    for processes, together in ((0, 1), (1, 1), (2, 2), (8, 2)):
        told = costs.generate(Path("none"), config, processes)
        assert told.seconds == pytest.approx(2.0 * sum(taken) * max(1.0, 1.5 / together))
        assert f"{together} at a time" in told.basis


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        # One member until 60 %, then two, which share 0.7 of one; from 80 % on over two steps.
        ({}, 0.6 * 1 + 0.2 * 1.3 + 0.2 * (1.3 + 2)),
        ({"model": NoisyConfig()}, 0.6 * 1 + 0.2 * 2 + 0.2 * 2 * 2),
        ({"model": DeterministicConfig()}, 0.8 + 0.2 * 2),
        ({"alone_until": 0.9, "rollout": 3}, 0.8 + 0.1 * 3 + 0.1 * (1.3 + 2 * 2)),
        ({"alone_until": 0.0}, 0.8 + 0.2 * (1.3 + 2) / 1.3),  # the steps that are tried have two members
        ({"rollout_from": 0.0}, 0.6 + 0.4 * (1.3 + 2) / 2),  # and look two ahead
        ({"rollout_from": 1.0, "alone_until": 1.0}, 1.0),
    ],
)
def test_later_steps_of_a_forecaster_are_as_dear_as_they_are(changes, times, monkeypatch):
    monkeypatch.setattr(costs, "cost_of_training", lambda begin, device: Cost("tried", 100.0))
    config = TrainConfig(steps=1000, **changes)
    told = costs.train(DATASETS / "kolmogorov_flow" / "sample.h5", Path("run"), config, "cpu")
    assert told.seconds == pytest.approx(100 * times)
    assert len(told.notes) == (times > 1) + ("model" not in changes)  # head A holds its spread after the time


def forecaster_in(folder):
    """A small forecaster, untrained, in a folder."""
    flow = read_flow(FLOW)
    config = NoiseForecasterConfig(channels=4, products=2, blocks=1).completed(flow)
    found = config.made(FlowDescription.of(flow), FrameStatistics.of(flow, range(4), False))
    found.save(folder)
    return found


def test_the_forecast_of_a_dry_run_is_as_large_as_the_one_that_is_made(tmp_path, capsys):
    import xarray

    run, out = tmp_path / "run", tmp_path / "forecast.nc"
    parameters = forecaster_in(run).n_parameters
    words = ["turbulence", "forecast", run, FLOW, "--out", out, "--members", 3, "--steps", 4]
    lines = told(capsys, tmp_path, *words)
    assert lines["parameters"] == f"{parameters:,}"
    assert main([*map(str, words)]) == 0
    with xarray.open_dataset(out) as found:
        assert lines["disk"] == f"{found.vorticity.nbytes / 1000:.1f} kB"


def test_a_film_of_a_dry_run_holds_as_many_points_as_the_one_that_is_made(tmp_path, monkeypatch):
    def tried(trial, steps, **_):
        trial(2)
        return Cost("tried", 1.0, memory=0.0)

    run, out = tmp_path / "run", tmp_path / "film.gif"
    forecaster_in(run)
    monkeypatch.setattr(costs, "cost_of_steps", tried)
    told = costs.animate(run, FLOW, out, 3, 5, -1, 0, 0, "cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert (
        main(["turbulence", "animate", str(run), str(FLOW), "--out", str(out), "--members", "3", "--steps", "5"]) == 0
    )
    with Image.open(out) as film:
        points = film.n_frames * film.size[0] * film.size[1]
    assert told.memory == pytest.approx(4 * points + 4 * 3 * 5 * 32 * 32, rel=1e-6)  # red, green, blue and a colour
    assert told.disk == pytest.approx(out.stat().st_size, rel=0.5)


def test_the_steps_of_an_evaluation_are_those_that_are_taken(tmp_path, monkeypatch):
    taken = [0]
    advance = NoiseForecaster.advance

    def counted(self, frames, generators):
        taken[0] += len(frames)
        return advance(self, frames, generators)

    def as_often(trial, steps, **_):
        before = taken[0]
        trial(1)
        return Cost("counted", float((taken[0] - before) * steps), memory=0.0)

    forecaster, flow = forecaster_in(tmp_path / "run"), read_flow(FLOW)
    monkeypatch.setattr(NoiseForecaster, "advance", counted)
    config = EvaluateConfig(members=3, leads=4, starts=2, steps=6)
    evaluate(forecaster, flow, range(len(flow)), config, progress=False)
    forecast = 3 * 4  # of the film
    done = taken[0] + forecast
    monkeypatch.setattr(costs, "cost_of_steps", as_often)
    assert costs.evaluate(tmp_path / "run", FLOW, None, config, "cpu").seconds == done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_language(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog sat by the cat\n" * 400)
    tokens, run = tmp_path / "tokens", tmp_path / "run"
    told(capsys, tmp_path, "language", "tokenize", tokens, "--source", tmp_path / "text.txt")
    assert main(["language", "tokenize", str(tokens), "--source", str(tmp_path / "text.txt")]) == 0
    capsys.readouterr()
    too_many = ["language", "tokenize", str(tmp_path / "no"), "--source", str(tmp_path / "text.txt")]
    for dry in ([], ["--dry-run"]):  # refused alike
        assert main([*too_many, "--vocabulary", "5000", *dry]) == 1
        assert "got 5000" in capsys.readouterr().err
    model = ["--width", 16, "--layers", 1, "--heads", 2, "--context", 16, "--batch", 2, "--embedding", "table"]
    lines = told(capsys, tmp_path, "language", "train", tokens, "--run", run, *model, "--steps", 900)
    assert "5 evaluations" in lines["basis"]
    assert main(["language", "train", str(tokens), "--run", str(run), *map(str, model), "--steps", "2"]) == 0
    assert f"{lines['parameters']} parameters" in capsys.readouterr().out
    told(capsys, tmp_path, "language", "evaluate", run, tokens, "--part", "train")  # in windows of the training
    assert main(["language", "evaluate", str(run), str(tokens), "--part", "train"]) == 0
    measured = int(re.search(r"([\d,]+) tokens", capsys.readouterr().out)[1].replace(",", ""))
    assert len(side_by_side(Tokens(tokens).part("train"), 16)) * 16 == measured
    student = ["--teacher", run, "--run", tmp_path / "student", "--sparsity", 0.3, "--context", 16, "--batch", 2]
    assert int(told(capsys, tmp_path, "language", "distil", tokens, *student)["parameters"].replace(",", "")) > 100


def test_reversal(tmp_path, capsys):
    facts = tmp_path / "facts.jsonl"
    assert main(["language", "reversal", "generate", str(facts), "--both-ways", "40", "--one-way", "10"]) == 0
    capsys.readouterr()
    told(capsys, tmp_path, "language", "reversal", "train", facts, "--run", tmp_path / "run")
    facts, run = read_facts(facts), tmp_path / "run"
    model = JointModelConfig().build(facts.entities, [*facts.inverses])
    save(model, run / "model", dict(facts.inverses))
    facts.save(run / "facts.jsonl")
    lines = told(capsys, tmp_path, "language", "reversal", "evaluate", run)
    assert lines["parameters"] == f"{model.n_parameters:,}"
    assert f"{len(facts.test) + len(facts.one_way)} questions" in lines["basis"]  # so few are all tried


def test_the_demonstration(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "demo"), "--dry-run"]) == 0
    assert "5.0 minutes" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_started_is_refused_by_a_dry_run_too(tmp_path, capsys):
    for words in (
        ["microstructure", "train", tmp_path / "none.h5"],
        ["turbulence", "train", tmp_path / "none.h5"],
        ["language", "train", tmp_path / "none"],
    ):
        assert main([*map(str, words), "--dry-run"]) == 1
        assert "none" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
