"""Two processes train as one does: the same losses, checkpoints that either can go on from."""

import json
from pathlib import Path

import pytest

from tests.training.ranks import run_program

PROGRAM = """
import json, os, time
from pathlib import Path
import torch, torch._dynamo, torch.distributed.fsdp, torch.distributed.tensor, matplotlib.pyplot
from torch import nn
from separable.training import RunFolder, ShuffledRows, TrainingConfig, run_training
from separable.training import loop
from tests.training.ranks import rank, ranks

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
X = torch.randn(96, 6, generator=generator)
Y = torch.sin(X.sum(1, keepdim=True))

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 7)  # sizes that do not divide by two
        self.blocks = nn.ModuleList(nn.Linear(7, 7) for _ in range(2))
        self.last = nn.Linear(7, 1)
        self.register_buffer("scale", torch.ones(1))

    def loss(self, x, y):
        h = torch.tanh(self.first(x))
        for block in self.blocks:
            h = h + torch.tanh(block(h))
        return (self.scale * self.last(h) - y).square().mean()

def train(folder, distribution, stop_at=None):
    torch.manual_seed(rank())  # process 0 gives the start
    config = TrainingConfig(steps=20, batch=12, accumulation=2, rate=1e-2, warm_up=4, evaluate_every=8, log_every=1,
                            distribution=distribution)
    run = RunFolder(folder, {}, 0)
    rows = ShuffledRows(96, lambda places: (X[places], Y[places]))
    calls = 0
    def loss(model, batch):
        nonlocal calls
        calls += 1
        if stop_at is not None and calls == 2 * stop_at and rank() == 0:
            os.kill(os.getpid(), 15)  # one process is told to stop, all of them do
        return model.loss(*batch)
    model = Model()
    evaluate = lambda model: {"loss": float(model.loss(X, Y))}
    run_training(model, loss, rows, config, run=run, evaluate=evaluate, progress=False)
    with torch.no_grad():  # the weights are given back whole, to each process
        run.write(f"end-{rank()}", repr(float(model.loss(X, Y))))

def in_processes(count, *arguments, stopped=False):
    ranks(count, lambda: train(*arguments), stopped)

def train_twice_writing_late(*folders):
    write_now = loop.save_checkpoint
    def write_late(*arguments, write):
        time.sleep(0.2 if write else 0.0)
        write_now(*arguments, write=write)
    loop.save_checkpoint = write_late
    for folder in folders:
        train(folder, "ddp")
        assert json.loads(Path(folder, "last.json").read_text())["step"] == 20  # in every process, at once

ranks(2, lambda: train_twice_writing_late("late", "late again"))
in_processes(1, "one", "ddp")
in_processes(2, "ddp", "ddp")
in_processes(2, "fsdp", "fsdp")
in_processes(2, "ddp to one", "ddp", 11, stopped=True)
in_processes(1, "ddp to one", "ddp")
in_processes(1, "one to fsdp", "ddp", 11, stopped=True)
in_processes(2, "one to fsdp", "fsdp")
in_processes(2, "fsdp to ddp", "fsdp", 11, stopped=True)
in_processes(2, "fsdp to ddp", "ddp")
"""
KINDS = ("ddp", "late", "late again", "fsdp", "ddp to one", "one to fsdp", "fsdp to ddp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    run_program(PROGRAM, path)
    return path


def told(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 21))
    return [line["loss"] for line in lines if "loss" in line] + [
        line["scores"]["loss"] for line in lines if "scores" in line
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_losses_of_one(folder: Path, kind: str) -> None:
    # float32 sums in another order: 20 steps at this rate keep them within 1e-5
    assert told(folder / kind) == pytest.approx(told(folder / "one"), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_process_has_the_whole_model_at_the_end(folder: Path, kind: str) -> None:
    ends = [float(file.read_text()) for file in (folder / kind).glob("end-*")]
    assert ends == pytest.approx([told(folder / "one")[-1]] * len(ends), rel=1e-5)
