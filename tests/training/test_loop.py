"""The loop does what a loop written by hand does, and goes on to the bit after any end."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from separable.training import (
    ParameterOptions,
    RunFolder,
    ShuffledRows,
    TrainingConfig,
    TrainingInterrupted,
    load_weights,
    run_training,
)
from tests.training.small_training import X, Y, network, squares, stream


def losses(run: RunFolder) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in run.metrics() if "loss" in line]


def test_the_loop_is_the_loop_written_by_hand() -> None:
    config = TrainingConfig(
        steps=30, batch=8, rate=0.02, warm_up=5, floor=0.1, weight_decay=0.3, betas=(0.8, 0.9), clip=0.05
    )
    model = network()
    result = run_training(model, squares, stream(), config, progress=False)
    by_hand, rows, told = network(), stream(), []
    matrices = [p for p in by_hand.parameters() if p.ndim == 2]
    others = [p for p in by_hand.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}], betas=(0.8, 0.9)
    )
    for step in range(30):
        x, y = rows.load(rows.draw(8))
        loss = squares(by_hand, (x, y))
        optimiser.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in by_hand.parameters()))
        for parameter in by_hand.parameters():
            parameter.grad *= min(1.0, 0.05 / (norm + 1e-6))
        for group in optimiser.param_groups:
            fall = 0.1 + 0.9 * (1 + math.cos(math.pi * step / 30)) / 2
            group["lr"] = 0.02 * min(1.0, (step + 1) / 5) * fall
        optimiser.step()
        told.append(loss.item())
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert result.loss == pytest.approx(sum(told[20:]) / 10, rel=1e-12)
    assert not model.training


class Pair(NamedTuple):
    x: Tensor
    y: list[Tensor]


def test_batches_may_be_named_tuples_and_lists_in_them() -> None:
    models = [network() for _ in range(2)]
    config = TrainingConfig(steps=5, batch=8)
    run_training(models[0], squares, stream(), config, progress=False)
    named = ShuffledRows(64, lambda rows: Pair(X[rows], [Y[rows]]), 0)
    run_training(models[1], lambda model, batch: squares(model, (batch.x, batch.y[0])), named, config, progress=False)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)


def test_parts_of_a_step_give_the_same_gradient() -> None:
    models = [network() for _ in range(2)]
    for model, accumulation in zip(models, (1, 4), strict=True):
        config = TrainingConfig(steps=20, batch=8, accumulation=accumulation, warm_up=0)
        run_training(model, squares, stream(), config, progress=False)
    for whole, parts in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(whole, parts, rtol=0, atol=1e-11)


@pytest.mark.parametrize("limit", [{"steps": 4}, {"minutes": 0.002}])
def test_the_record_has_the_rates_that_steps_were_made_with(limit, tmp_path: Path, monkeypatch) -> None:
    made, step = [], torch.optim.AdamW.step

    def seen(self, *arguments, **more):
        made.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", seen)
    config = TrainingConfig(batch=8, rate=0.02, warm_up=0, decay="linear", floor=0.0, log_every=1, **limit)
    run = RunFolder(tmp_path, config, 0)
    run_training(network(), squares, stream(), config, run=run, progress=False)
    assert [line["rate"] for line in run.metrics() if "rate" in line] == pytest.approx(made)
    assert made[-1] > 0


def test_parameters_have_their_own_rate_and_decay() -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    config = TrainingConfig(steps=1, batch=8, rate=1e-3, warm_up=0, weight_decay=0.5, decay="constant")

    def options(name: str, parameter: nn.Parameter) -> ParameterOptions:
        return ParameterOptions(decayed=False, rate_factor=10.0 if name == "0.weight" else 0.0)

    run_training(model, squares, stream(), config, options=options, progress=False)
    changes = [(new.detach() - old).abs() for new, old in zip(model.parameters(), before, strict=True)]
    # The first step of Adam is one rate long in each entry.
    torch.testing.assert_close(changes[0], torch.full_like(changes[0], 1e-2), rtol=1e-3, atol=0)
    assert all(float(change.max()) == 0.0 for change in changes[1:])


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    model = nn.Linear(3, 1).double()
    torch.manual_seed(5)
    run_training(model, squares, stream(), TrainingConfig(steps=2, batch=8), progress=False)
    assert torch.equal(torch.rand(3), wanted)


class DrawnRows(ShuffledRows):
    """Rows by torch's own generator."""

    def draw(self, size: int) -> Tensor:
        return torch.randint(64, (size,))


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_draws_before_a_step_depend_on_seed_and_step_alone(tmp_path: Path, precision: str) -> None:
    noise, shares = torch.zeros(8, 1, dtype=torch.float64), []

    def before_step(share: float) -> None:
        shares.append(share)
        noise.normal_()

    def noisy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]) + noise - batch[1]).square().mean()

    runs = [RunFolder(tmp_path / name, {}, 0) for name in ("whole", "cut")]
    for run, ends in zip(runs, ((8,), (3, 8)), strict=True):
        for end in ends:
            model, rows = network(seed=end), DrawnRows(64, lambda rows: (X[rows], Y[rows]))
            model.load_state_dict(network().state_dict())
            torch.manual_seed(len(shares))
            limits = {"steps": end, "decay": "constant", "warm_up": 0, "log_every": 1, "precision": precision}
            config = TrainingConfig(batch=8, **limits)
            run_training(model, noisy, rows, config, run=run, before_step=before_step, progress=False)
    if precision == "float32":  # which of them is faster may differ
        assert losses(runs[0]) == losses(runs[1])
        assert len({loss for _, loss in losses(runs[0])}) == 8
    assert shares == pytest.approx(
        [step / 8 for step in range(8)] + [0, 1 / 3, 2 / 3] + [step / 8 for step in range(3, 8)]
    )


def test_rows_and_seed_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    run, rows = RunFolder(tmp_path, {}, 0), ShuffledRows(np.int64(64), lambda rows: (X[rows], Y[rows]), np.int32(3))
    config = TrainingConfig(steps=2, batch=8, log_every=1)
    run_training(network(), squares, rows, config, run=run, progress=False)
    plain = RunFolder(tmp_path / "plain", {}, 0)
    run_training(network(), squares, stream(3), config, run=plain, progress=False)
    assert losses(run) == losses(plain)
    with pytest.raises(TypeError):
        ShuffledRows(2.5, lambda rows: rows)


@pytest.mark.parametrize("end", [1, 6, 13, 20])
def test_a_training_stopped_by_a_signal_goes_on_to_the_bit(tmp_path: Path, end: int) -> None:
    config = TrainingConfig(steps=24, batch=8, warm_up=4, evaluate_every=10, log_every=3)
    whole = RunFolder(tmp_path / "whole", config, 0)
    expected = network(dropout=0.5)
    scores = {"evaluate": lambda model: {"loss": float(squares(model, (X, Y)))}, "progress": False}
    run_training(expected, squares, stream(), config, run=whole, **scores)

    cut = RunFolder(tmp_path / "cut", config, 0)
    calls = 0

    def stopping(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == end:
            os.kill(os.getpid(), signal.SIGTERM)
        return squares(model, batch)

    with pytest.raises(TrainingInterrupted):
        run_training(network(dropout=0.5), stopping, stream(), config, run=cut, **scores)
    other = network(seed=9, dropout=0.5)
    result = run_training(other, squares, stream(), config, run=cut, **scores)
    assert losses(cut) == losses(whole)
    assert [step for step, _ in losses(cut)] == [3, 6, 9, 12, 15, 18, 21, 24]
    for one, two in zip(expected.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    again = run_training(network(seed=3), squares, stream(), config, run=cut, **scores)
    assert (again.steps, again.loss, again.scores) == (24, result.loss, result.scores)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    def stopping(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return squares(model, batch)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_training(network(), stopping, stream(), TrainingConfig(steps=5, batch=8), progress=False)
    assert not isinstance(caught.value, TrainingInterrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_best_checkpoint_is_that_of_the_lowest_score(tmp_path: Path) -> None:
    config = TrainingConfig(steps=6, batch=8, evaluate_every=2)
    run = RunFolder(tmp_path, config, 0)
    told, seen = iter([0.5, 0.2, 0.4]), []

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert not model.training
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"score": next(told)}

    result = run_training(
        network(), squares, stream(), config, run=run, evaluate=evaluate, sample=lambda _: "said <this>", progress=False
    )
    assert (result.best_step, result.best_scores, result.scores) == (4, {"score": 0.2}, {"score": 0.4})
    best = network(seed=4)
    load_weights(run.path / "best.safetensors", best)
    assert all(torch.equal(value, seen[1][name]) for name, value in best.state_dict().items())
    assert json.loads((run.path / "best.json").read_text())["step"] == 4
    page = (run.path / "report.html").read_text()
    assert "data:image/png" in page
    assert "said &lt;this&gt;" in page


def test_evaluations_without_scores_or_with_others_leave_a_report(tmp_path: Path) -> None:
    config = TrainingConfig(steps=8, batch=8, evaluate_every=2)
    told = iter([{"error": 0.5}, {}, {"other": 0.25}, {"error": 0.125}])
    run = RunFolder(tmp_path / "others", config, 0)
    result = run_training(network(), squares, stream(), config, run=run, evaluate=lambda _: next(told), progress=False)
    assert (result.best_step, result.scores) == (8, {"error": 0.125})
    page = (run.path / "report.html").read_text()
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    assert [[row[0], *row[2:]] for row in cells] == [
        ["step", "error", "other"],
        ["2", "0.5", "-"],
        ["6", "-", "0.25"],
        ["8", "0.125", "-"],
    ]
    run = RunFolder(tmp_path / "none", config, 0)
    run_training(network(), squares, stream(), config, run=run, evaluate=lambda _: {}, progress=False)
    assert (run.path / "report.html").is_file()


def test_a_training_by_minutes_ends_and_goes_on(tmp_path: Path) -> None:
    config = TrainingConfig(minutes=0.01, batch=8, warm_up=0, evaluate_every=10_000, log_every=5)
    run = RunFolder(tmp_path, config, 0)
    result = run_training(network(), squares, stream(), config, run=run, progress=False)
    assert 0.6 <= result.seconds < 2.0
    assert result.speed == pytest.approx(result.steps * 8 / result.seconds)
    rates = [line["rate"] for line in run.metrics()]
    assert rates[-1] == pytest.approx(1e-4, rel=0.2)  # the floor of the cosine
    again = run_training(network(), squares, stream(), config, run=run, progress=False)
    assert (again.steps, again.seconds) == (result.steps, result.seconds)


def test_minutes_may_be_those_of_the_processor() -> None:
    class Sleeping(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.01)
            return super().forward(x)

    config = TrainingConfig(minutes=0.001, clock="processor", batch=8, evaluate_every=10_000)
    started = time.perf_counter()
    result = run_training(Sleeping(3, 1).double(), squares, stream(), config, progress=False)
    assert result.seconds >= 0.06
    assert time.perf_counter() - started > 1.5 * result.seconds  # asleep, a process spends none


def test_evaluations_are_spread_evenly_and_the_share_is_told_before_each_step(tmp_path: Path) -> None:
    config = TrainingConfig(steps=25, batch=8, evaluations=4, log_every=100)
    run, shares = RunFolder(tmp_path, config, 0), []
    run_training(
        network(),
        squares,
        stream(),
        config,
        run=run,
        evaluate=lambda _: {"score": 1.0},
        before_step=shares.append,
        progress=False,
    )
    assert [line["step"] for line in run.metrics() if "scores" in line] == [7, 13, 19, 25]
    assert shares == pytest.approx([step / 25 for step in range(25)])
    assert run.last_scores()["step"] == 25


def test_half_precision_is_near_and_automatic_precision_is_kept(tmp_path: Path) -> None:
    def float_stream() -> ShuffledRows:
        return ShuffledRows(64, lambda rows: (X[rows].float(), Y[rows].float()))

    found = {}
    for precision in ("float32", "bfloat16", "auto"):
        config = TrainingConfig(steps=20, batch=16, precision=precision, warm_up=0)
        run = RunFolder(tmp_path / precision, config, 0)
        found[precision] = run_training(network().float(), squares, float_stream(), config, run=run, progress=False)
    assert found["bfloat16"].loss != found["float32"].loss
    assert found["bfloat16"].loss == pytest.approx(found["float32"].loss, rel=0.05)
    chosen = json.loads((tmp_path / "auto" / "last.json").read_text())["precision"]
    assert found["auto"].loss == found[chosen].loss  # the trial leaves no trace


def test_training_works_outside_the_main_thread() -> None:
    found = []
    config = TrainingConfig(steps=2, batch=8)
    thread = threading.Thread(
        target=lambda: found.append(run_training(network(), squares, stream(), config, progress=False))
    )
    thread.start()
    thread.join()
    assert found[0].steps == 2


KILLED = """
import os, sys, time, random
sys.path.insert(0, {folder!r})
import torch, torch._dynamo, matplotlib.pyplot  # here, not in each child
from pathlib import Path
from small_training import X, Y, network, squares, stream
from separable.training import RunFolder, TrainingConfig, run_training

torch.set_num_threads(1)
config = TrainingConfig(steps=100, batch=8, evaluate_every=7, checkpoint_every=5, log_every=1)

def train(folder):
    def slow(model, batch):
        time.sleep(0.003)
        return squares(model, batch)
    evaluate = lambda model: {{"loss": float(squares(model, (X, Y)))}}
    run = RunFolder(folder, config, 0)
    run_training(network(dropout=0.5), slow, stream(), config, run=run, evaluate=evaluate, progress=False)
    os._exit(0)

def start(folder):
    child = os.fork()
    if child == 0:
        train(folder)
    return child

os.waitpid(start("whole"), 0)
chance = random.Random(int(sys.argv[1]))
kills = 0
while not Path("cut/report.html").exists():
    child = start("cut")
    time.sleep(chance.uniform(0.05, 0.4))
    if kills < 6:
        os.kill(child, 9)
        kills += 1
    status = os.waitpid(child, 0)[1]
    assert status in (0, 9), status
"""


def test_a_training_killed_at_random_moments_goes_on_to_the_bit(tmp_path: Path) -> None:
    seed = random.randrange(2**31)
    program = KILLED.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", program, str(seed)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (seed, done.stderr)
    whole, cut = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    )
    told = [[(line["step"], line.get("loss"), line.get("scores")) for line in lines] for lines in (whole, cut)]
    assert told[0] == told[1], seed
    assert len([line for line in cut if "loss" in line]) == 100


@pytest.mark.parametrize(
    "settings",
    [{"steps": 2.5}, {"steps": True}, {"batch": 1.5}, {"log_every": 2.5}, {"seed": 0.5}]
    + [{"betas": betas} for betas in ((), (0.9,), (0.9, 0.9, 0.9), (0.9, 1.0))],
)
def test_settings_that_no_training_can_have_are_refused(settings) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TrainingConfig(**{"steps": 10, **settings})
