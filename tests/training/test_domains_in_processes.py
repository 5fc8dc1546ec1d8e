"""Trainings whose losses draw noise, or hold the rows of a step against each other: two processes are as two parts."""

import json
from pathlib import Path

import pytest

from tests.training.ranks import ROOT, run_program

PROGRAM = f"""
import torch, torch._dynamo, matplotlib.pyplot
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.train import train as train_facts
from domains.microstructure import train as cells_training
from domains.microstructure.data import read_data
from domains.microstructure.janus import JanusConfig
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.train import TrainConfig, train
from separable.training import RunFolder, TrainingConfig
from tests.training.ranks import ranks

torch.set_num_threads(1)
FLOW = read_flow({str(ROOT / "datasets/kolmogorov_flow/sample.h5")!r}, scan=False)
FACTS = reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, multiplicity=3))
CELLS = read_data({str(ROOT / "datasets/two_phase_cells/sample.h5")!r})
JANUS = JanusConfig(CELLS.config.size, ("conductivity_xx", "youngs_y"), latent=4, width=4, modes=4, rank=2)
NOISE = NoiseForecasterConfig(channels=6, products=4, blocks=2, modes=(6, 6), noise_fields=1, noise_vector=2)

def forecaster(folder, parts):
    config = TrainConfig(NOISE, steps=6, batch=4, accumulation=parts, rate=0.1, rollout_from=0.5)
    train(FLOW, config, run=RunFolder(folder, {{}}, 0), progress=False)

def facts(folder, parts):
    training = TrainingConfig(steps=12, batch=32, accumulation=parts, rate=3e-3, warm_up=2, log_every=1)
    train_facts(FACTS, JointModelConfig(width=16), training, run=RunFolder(folder, {{}}, 0), progress=False)

def cells(folder, parts):
    config = cells_training.TrainConfig(steps=6, batch=8, accumulation=parts, rate=0.01)
    cells_training.train_janus(CELLS, JANUS, config, run=RunFolder(folder, {{}}, 0), progress=False)

for name, work in (("forecaster", forecaster), ("facts", facts), ("cells", cells)):
    ranks(1, lambda: work(name + " in one", 2))
    ranks(2, lambda: work(name + " in two", 1))
    ranks(1, lambda: work(name + " whole", 1))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    run_program(PROGRAM, path)
    return path


def told(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = [value for line in lines for value in line.get("scores", {}).values()]
    return [line["loss"] for line in lines if "loss" in line] + scores


@pytest.mark.parametrize("name", ["forecaster", "facts", "cells"])
def test_two_processes_give_the_losses_of_two_parts(folder: Path, name: str) -> None:
    assert told(folder / f"{name} in two") == pytest.approx(told(folder / f"{name} in one"), rel=1e-5)


@pytest.mark.parametrize("name", ["forecaster", "facts", "cells"])
def test_draws_follow_the_parts(folder: Path, name: str) -> None:
    # Were they the same whatever the parts are, the test above would show nothing.
    assert told(folder / f"{name} whole") != pytest.approx(told(folder / f"{name} in one"), rel=1e-5)
