"""Trainings whose losses draw noise, or hold the rows of a step against each other: two processes are as two parts."""

import json
from pathlib import Path

import pytest

from tests.training.ranks import run_program

PROGRAM = """
from pathlib import Path
import torch, torch._dynamo, matplotlib.pyplot
from tests.training.ranks import ranks
from tests.training.tiny_trainers import trained

torch.set_num_threads(1)
for name in ("noise forecaster", "facts", "janus"):
    ranks(1, lambda: trained(name, Path(name + " in one"), 2))
    ranks(2, lambda: trained(name, Path(name + " in two"), 1))
    ranks(1, lambda: trained(name, Path(name + " whole"), 1))
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


@pytest.mark.parametrize("name", ["noise forecaster", "facts", "janus"])
def test_two_processes_give_the_losses_of_two_parts(folder: Path, name: str) -> None:
    assert told(folder / f"{name} in two") == pytest.approx(told(folder / f"{name} in one"), rel=1e-5)


def test_facts_are_told_from_those_of_the_whole_step(folder: Path) -> None:
    assert told(folder / "facts whole") == pytest.approx(told(folder / "facts in one"), rel=1e-5)


@pytest.mark.parametrize("name", ["noise forecaster", "janus"])
def test_draws_follow_the_parts(folder: Path, name: str) -> None:
    # Were they the same whatever the parts are, the test above would show nothing.
    assert told(folder / f"{name} whole") != pytest.approx(told(folder / f"{name} in one"), rel=1e-5)
