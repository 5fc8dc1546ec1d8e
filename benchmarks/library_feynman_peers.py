"""pykan on one table of data: width 5, three grids from scratch, and the chain in which each grid refines the last.

Settings of the KAN paper (Liu et al. 2024): cubic splines, LBFGS, 50 steps for each grid, the grid fitted to the
samples during the first half. Inputs are scaled to [-1, 1] by their known ranges and targets to mean 0 and deviation
1; 2600 of the 3000 samples train and 400 choose among the contestants.
"""

import contextlib
import dataclasses
import io
import os
import time

import numpy as np
import torch

from benchmarks.trial import usual

GRIDS, STEPS, TRAINING = usual((5, 10, 20), trial=(3, 5)), usual(50, trial=20), usual(2600, trial=200)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One trained network.

    Args:
        kind: ``scratch`` or ``refined``.
        grid: Intervals of its splines.
        validation: Root mean square error on the 400 rows, relative to the deviation of the targets.
        test: The same on the test rows.
        parameters: Trainable numbers, the unused symbolic branch left out.
        seconds: Wall time of its training, for a refined one without the grids before it.
    """

    kind: str
    grid: int
    validation: float
    test: float
    parameters: int
    seconds: float


def contestants(
    x: np.ndarray, y: np.ndarray, ranges: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> list[Contestant]:
    """Train three networks from scratch, and refine the first of them twice."""
    os.environ["TQDM_DISABLE"] = "1"
    from kan import KAN

    low, high = ranges.T

    def inputs(rows: np.ndarray) -> torch.Tensor:
        return torch.tensor(2 * (rows - low) / (high - low) - 1, dtype=torch.float32)

    def targets(rows: np.ndarray) -> torch.Tensor:
        return torch.tensor((rows - y.mean()) / y.std(), dtype=torch.float32)[:, None]

    data = {
        "train_input": inputs(x[:TRAINING]),
        "train_label": targets(y[:TRAINING]),
        "test_input": inputs(x[TRAINING:]),
        "test_label": targets(y[TRAINING:]),
    }
    test = inputs(x_test), targets(y_test)

    def trained(model: "KAN", kind: str, grid: int, started: float) -> Contestant:
        model.speed()  # without the symbolic branch it is several times faster
        model.fit(
            data,
            opt="LBFGS",
            steps=STEPS,
            lamb=0.0,
            update_grid=kind == "scratch",
            grid_update_num=10,
            stop_grid_update_step=STEPS // 2,
        )
        seconds = time.perf_counter() - started
        with torch.no_grad():
            errors = [
                float((model(rows) - goal).square().mean().sqrt())
                for rows, goal in ((data["test_input"], data["test_label"]), test)
            ]
        named = model.named_parameters()
        parameters = sum(p.numel() for name, p in named if p.requires_grad and "symbolic" not in name)
        # Test targets were scaled like training targets; relative to their own deviation:
        return Contestant(kind, grid, errors[0], errors[1] * float(y.std() / y_test.std()), parameters, seconds)

    found, first = [], None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for grid in GRIDS:
            started = time.perf_counter()
            model = KAN(width=[x.shape[1], 5, 1], grid=grid, k=3, seed=0, auto_save=False, device="cpu")
            found.append(trained(model, "scratch", grid, started))
            first = first or model
        assert first is not None
        for grid in GRIDS[1:]:
            started = time.perf_counter()
            first.save_act = True  # refinement reads the activations of the last evaluation
            first(data["train_input"])
            first = first.refine(grid)
            first.auto_save = False
            found.append(trained(first, "refined", grid, started))
    return found
