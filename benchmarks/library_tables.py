"""Claim 3: Friedman-1 and breast cancer against EBM and pyGAM: accuracy, time, and recovered shape functions.

Every model sees the same five folds in the same process, ours and pyGAM on one core, EBM on all. EBM runs with its
defaults, on breast cancer without pairs; pyGAM as its guide has it, a grid search over the common smoothing of a spline
for each feature, and once more with the one true pair given (``te(0, 1)``), which a user does not know. Shape functions
are compared on Friedman-1 with the analytic main effects ``int_0^1 10 sin(pi x u) du``, ``20 (x - 1/2)^2``, ``10 x``,
``5 x`` and zero, on 0.01 .. 0.99; for the peers, which centre in ways of their own, from each model's predictions
averaged over 500 random rows.
"""

import functools
import operator
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_friedman1
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks import record
from benchmarks.trial import usual
from separable import SeparableClassifier, SeparableRegressor

GRID = np.linspace(0.01, 0.99, usual(50, trial=5))
SAMPLES, FOLDS = usual((2000, 5), trial=(150, 2))  # breast cancer has 569 samples
# What pyGAM chooses from, for either.
SMOOTHINGS = usual((np.logspace(-3, 3, 11), np.logspace(-1, 4, 6)), trial=(np.logspace(0, 1, 2), np.logspace(2, 3, 2)))
EBM: dict[str, int] = usual({}, trial={"max_rounds": 10, "outer_bags": 2})  # beside its defaults
PAIR_KNOWN = "pyGAM, told the true pair"


def friedman_mains() -> list[np.ndarray]:
    """Analytic main effects on the grid."""
    wave = 10 * (1 - np.cos(np.pi * GRID)) / (np.pi * GRID)
    return [wave, wave, 20 * (GRID - 0.5) ** 2, 10 * GRID, 5 * GRID, *[0 * GRID] * 5]


def shape_error(predict: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray) -> float:
    """Root mean square error of the ten main effects, averaged over features."""
    errors = []
    for j, truth in enumerate(friedman_mains()):
        rows = np.tile(inputs[:500], (len(GRID), 1))
        rows[:, j] = GRID.repeat(500)
        found = predict(rows).reshape(len(GRID), 500).mean(1)
        errors.append(np.sqrt(np.mean((found - found.mean() - truth + truth.mean()) ** 2)))
    return float(np.mean(errors))


def friedman(name: str, make: Callable[[np.ndarray, np.ndarray], Any]) -> dict[str, Any]:
    """One model on Friedman-1."""
    x, y = make_friedman1(SAMPLES, 10, noise=1.0, random_state=0)
    fresh = np.random.default_rng(0).random((500, 10))
    rows = []
    for training, test in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        started = time.perf_counter()
        model = make(x[training], y[training])
        seconds = time.perf_counter() - started
        error = float(np.sqrt(np.mean((model.predict(x[test]) - y[test]) ** 2)))
        rows.append((error, seconds, shape_error(model.predict, fresh)))
    error, seconds, shapes = np.mean(rows, axis=0)
    row = {"data": "Friedman-1", "model": name, "error (RMSE; log loss)": float(error)}
    row |= {"spread over folds": float(np.std(rows, axis=0)[0]), "AUC": "", "seconds a fit": float(seconds)}
    row |= {"error of shape functions": float(shapes)}
    print(row, flush=True)
    return row


def cancer(name: str, make: Callable[[np.ndarray, np.ndarray], Any]) -> dict[str, Any]:
    """One model on breast cancer."""
    x, y = (part[:SAMPLES] for part in load_breast_cancer(return_X_y=True))
    rows = []
    for training, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        started = time.perf_counter()
        model = make(x[training], y[training])
        seconds = time.perf_counter() - started
        found = model.predict_proba(x[test])
        second = found if found.ndim == 1 else found[:, 1]
        rows.append((log_loss(y[test], np.clip(second, 1e-9, 1 - 1e-9)), seconds, roc_auc_score(y[test], second)))
    loss, seconds, area = np.mean(rows, axis=0)
    row = {"data": "breast cancer", "model": name, "error (RMSE; log loss)": float(loss)}
    row |= {"spread over folds": float(np.std(rows, axis=0)[0]), "AUC": float(area), "seconds a fit": float(seconds)}
    row |= {"error of shape functions": ""}
    print(row, flush=True)
    return row


def peers() -> list[dict[str, Any]]:
    """EBM and pyGAM."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    from pygam import LinearGAM, LogisticGAM, s, te

    def splines(count: int, size: int) -> Any:
        return functools.reduce(operator.add, [s(j, n_splines=size) for j in range(count)])

    smoothing, stronger = SMOOTHINGS
    pair = te(0, 1, n_splines=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            friedman("EBM", lambda x, y: ExplainableBoostingRegressor(n_jobs=-1, random_state=0, **EBM).fit(x, y)),
            friedman("pyGAM", lambda x, y: LinearGAM(splines(10, 20)).gridsearch(x, y, lam=smoothing, progress=False)),
            friedman(
                PAIR_KNOWN,
                lambda x, y: LinearGAM(splines(10, 20) + pair).gridsearch(x, y, lam=smoothing, progress=False),
            ),
            # With pairs among 30 columns five folds did not finish in twenty minutes on one core.
            cancer(
                "EBM without pairs",
                lambda x, y: ExplainableBoostingClassifier(n_jobs=-1, random_state=0, interactions=0, **EBM).fit(x, y),
            ),
            cancer(
                "pyGAM",
                lambda x, y: LogisticGAM(splines(30, 10)).gridsearch(x, y, lam=stronger, progress=False),
            ),
        ]


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    ours = [
        friedman("separable", lambda x, y: SeparableRegressor().fit(x, y)),
        cancer("separable", lambda x, y: SeparableClassifier().fit(x, y)),
    ]
    others = peers()
    holds = True
    for own in ours:
        against = [row for row in others if row["data"] == own["data"]]
        holds &= all(own["error (RMSE; log loss)"] <= row["error (RMSE; log loss)"] for row in against)
        holds &= all(own["seconds a fit"] < row["seconds a fit"] for row in against if row["model"].startswith("EBM"))
    holds &= all(
        ours[0]["error of shape functions"] <= row["error of shape functions"]
        for row in others
        if row["data"] == "Friedman-1"
    )
    record.write(
        "library",
        "3",
        claim="Friedman-1 (n = 2000, noise 1) and breast cancer: against EBM and pyGAM on the same five folds",
        measured=ours,
        target="RMSE and log loss at most those of EBM and pyGAM (the one told the pair, too), fitted faster than EBM, "
        "shape functions at least as near to the analytic ones",
        holds=holds,
        baselines=others,
        command="python -m benchmarks library_tables",
        seeds=[0],
        spread="standard deviation over the five folds, in the table",
    )


if __name__ == "__main__":
    main()
