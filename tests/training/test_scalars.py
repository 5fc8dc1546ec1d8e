"""What a loss tells beside itself reaches the record, or is refused by name."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from separable.training import RunFolder, TrainingConfig, run_training
from tests.training.small_training import network, squares, stream


def test_scalars_beside_the_loss_are_means_over_the_steps(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        told = {"least": batch[0].min(), "greatest": batch[0].max()}
        seen.append((float(told["least"]), float(told["greatest"])))
        return squares(model, batch), dict(list(told.items())[:: 1 if len(seen) % 2 else -1])  # in either order

    run = RunFolder(tmp_path, {}, 0)
    config = TrainingConfig(steps=6, batch=8, accumulation=2, log_every=3)
    run_training(network(), loss, stream(), config, run=run, progress=False)
    lines = [line for line in run.metrics() if "loss" in line]
    for line, part in zip(lines, (seen[:6], seen[6:]), strict=True):
        least, greatest = (sum(values) / 6 for values in zip(*part, strict=True))
        assert (line["least"], line["greatest"]) == pytest.approx((least, greatest))


def test_scalars_beside_the_loss_may_be_anything_and_keep_their_digits(tmp_path: Path) -> None:
    """Beside a loss of eight bits of precision: a count, a number of Python's, and one that is not finite."""

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        told = squares(model, batch)
        return (told + 256).bfloat16(), {
            "count": torch.tensor(100_001),
            "share": 0.375,
            "none": told.detach() * math.nan,
        }

    run = RunFolder(tmp_path, {}, 0)
    config = TrainingConfig(steps=4, batch=8, accumulation=2, log_every=2, checkpoint_every=1)
    result = run_training(network(), loss, stream(), config, run=run, progress=False)
    lines = [line for line in run.metrics() if "loss" in line]
    assert [(line["count"], line["share"]) for line in lines] == [(100_001, 0.375)] * 2
    assert all(math.isnan(line["none"]) for line in lines)
    assert result.steps == 4
    assert math.isfinite(result.loss)


@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize(
    ("told", "name"),
    [
        (lambda loss: loss[None], "loss"),
        (lambda loss: loss.item(), "loss"),
        (lambda loss: (loss, {"share": torch.ones(1)}), "share"),
        (lambda loss: (loss, {"share": "half"}), "share"),
    ],
)
def test_what_is_no_scalar_is_refused(told, name: str, precision: str) -> None:
    config = TrainingConfig(steps=1, batch=8, precision=precision)
    with pytest.raises(ValueError, match=name):
        run_training(network(), lambda model, batch: told(squares(model, batch)), stream(), config, progress=False)


@pytest.mark.parametrize("name", ["loss", "gradient_norm", "rate", "time", "rows", "rows_per_second", "scores"])
def test_scalars_with_names_of_the_record_are_refused(name: str) -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return squares(model, batch), {name: torch.tensor(1.0)}

    with pytest.raises(ValueError, match=name):
        run_training(network(), loss, stream(), TrainingConfig(steps=1, batch=8), progress=False)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_scalars_that_come_and_go_are_refused(accumulation: int) -> None:
    calls = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        calls.append(1)
        return squares(model, batch), {"now_and_then": torch.tensor(1.0)} if len(calls) % 2 else {}

    config = TrainingConfig(steps=4, batch=8, accumulation=accumulation)
    with pytest.raises(ValueError, match="now_and_then"):
        run_training(network(), loss, stream(), config, progress=False)
