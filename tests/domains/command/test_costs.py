"""What long verbs would cost, before they start."""

import importlib
import inspect
from pathlib import Path

import pytest

from domains.command_line import DOMAINS, main
from domains.microstructure.janus import Janus
from domains.turbulence import costs
from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.data import FlowDataConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.simulate import Stepper, frames_of
from domains.turbulence.train import TrainConfig
from separable.records import Cost

DATASETS = Path(__file__).parents[3] / "datasets"
# What takes seconds, or says itself how long it takes.
SHORT = {
    "language": {"sample", "evaluate", "recommend-teacher", "chat"},
    "language.reversal": {"generate", "evaluate", "ask", "add"},
    "microstructure": {"solve"},
    "navigation": {"evaluate", "render", "inspect", "export"},
    "turbulence": {"forecast", "evaluate", "animate"},
}


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_long_verb_tells_its_cost_for_the_same_arguments(domain):
    commands = importlib.import_module(f"domains.{domain}.commands")
    costs = importlib.import_module(f"domains.{domain}.costs")
    for verb in DOMAINS[domain]:
        if verb in SHORT[domain]:
            continue
        names = [list(inspect.signature(getattr(m, verb.replace("-", "_"))).parameters) for m in (commands, costs)]
        assert names[0] == names[1], verb


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


def test_microstructure(tmp_path, capsys):
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
    assert "39 of them" in told(capsys, tmp_path, *design)["basis"]


def test_navigation(tmp_path, capsys):
    few = ["--rollout", 8, "--worlds", 4, "--episodes", 5, "--batch", 16]
    lines = told(capsys, tmp_path, "navigation", "train", "--run", tmp_path / "run", *few)
    assert lines["parameters"] == "494"


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
        assert told.seconds == pytest.approx(2.0 * sum(taken) * 2 / together)
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


def test_language(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog sat by the cat\n" * 400)
    tokens, run = tmp_path / "tokens", tmp_path / "run"
    told(capsys, tmp_path, "language", "tokenize", tokens, "--source", tmp_path / "text.txt")
    assert main(["language", "tokenize", str(tokens), "--source", str(tmp_path / "text.txt")]) == 0
    capsys.readouterr()
    model = ["--width", 16, "--layers", 1, "--heads", 2, "--context", 16, "--batch", 2, "--embedding", "table"]
    lines = told(capsys, tmp_path, "language", "train", tokens, "--run", run, *model, "--steps", 900)
    assert "5 evaluations" in lines["basis"]
    assert main(["language", "train", str(tokens), "--run", str(run), *map(str, model), "--steps", "2"]) == 0
    assert f"{lines['parameters']} parameters" in capsys.readouterr().out
    student = ["--teacher", run, "--run", tmp_path / "student", "--sparsity", 0.3, "--context", 16, "--batch", 2]
    assert int(told(capsys, tmp_path, "language", "distil", tokens, *student)["parameters"].replace(",", "")) > 100


def test_reversal(tmp_path, capsys):
    facts = tmp_path / "facts.jsonl"
    assert main(["language", "reversal", "generate", str(facts), "--both-ways", "40", "--one-way", "10"]) == 0
    capsys.readouterr()
    told(capsys, tmp_path, "language", "reversal", "train", facts, "--run", tmp_path / "run")


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
