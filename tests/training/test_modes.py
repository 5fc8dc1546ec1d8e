"""Parts of a model that are frozen stay in evaluation mode; all others are trained in training mode."""

import pytest
import torch
from torch import Tensor, nn

from separable.training import ShuffledRows, TrainingConfig, run_training

X = torch.linspace(-1, 1, 64)[:, None]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    return nn.Sequential(backbone, nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def frozen(whole: nn.Sequential) -> nn.Sequential:
    whole[0].eval().requires_grad_(False)
    return whole


def modes_seen(whole: nn.Module, precision: str) -> set[tuple[bool, ...]]:
    """Modes of all parts in the steps of a training with evaluations."""
    seen = set()

    def squares(trained: nn.Module, batch: Tensor) -> Tensor:
        found = tuple(part.training for part in trained.modules())
        if any(found):  # not in the trial of a precision
            seen.add(found)
        return (trained(batch) - 3 * batch).square().mean()

    def evaluate(trained: nn.Module) -> dict[str, float]:
        assert not any(part.training for part in trained.modules())
        return {"score": 1.0}

    config = TrainingConfig(steps=6, batch=16, evaluate_every=2, precision=precision)
    rows = ShuffledRows(64, lambda places: X[places])
    run_training(whole, squares, rows, config, evaluate=evaluate, progress=False)
    assert not any(part.training for part in whole.modules())
    return seen


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_frozen_backbone_keeps_its_statistics(precision: str) -> None:
    whole = frozen(model())
    before = whole[0](X)
    asleep = set(whole[0].modules())
    assert modes_seen(whole, precision) == {tuple(part not in asleep for part in whole.modules())}
    assert torch.equal(whole[0](X), before)
    assert int(whole[2].num_batches_tracked) == 6


@pytest.mark.parametrize("make", [lambda: model().eval(), lambda: frozen(model()).eval()])
def test_a_model_in_evaluation_mode_is_trained_as_a_whole(make) -> None:
    whole = make()
    assert modes_seen(whole, "float32") == {(True,) * len(list(whole.modules()))}


def test_a_part_that_is_trained_is_in_training_mode_wherever_it_comes_from() -> None:
    whole = model()
    whole[0].eval()  # as one that was loaded, say
    assert modes_seen(whole, "float32") == {(True,) * len(list(whole.modules()))}
