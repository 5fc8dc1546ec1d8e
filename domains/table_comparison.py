"""Cross-validated errors on three real tables and one of physics: ours, boosted trees, an explainable boosting machine.

Every model sees the same folds; ours has its default settings.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from tqdm import tqdm

import separable
from separable.problems import BOREHOLE
from separable.training import Report, RunFolder

Array = NDArray[np.float64]
FOLDS = 2
SEED = 0


def compare_tables(run: RunFolder, report: Report) -> None:
    """Cross-validated errors on three real tables and one physics table, and pictures of the models."""
    physics, flow = (values.numpy() for values in BOREHOLE.sample(1000, seed=SEED))
    diabetes, cancer, digits = load_diabetes(scaled=False), load_breast_cancer(), load_digits()
    tables = [
        ("diabetes", "regression", diabetes.data, diabetes.target, diabetes.feature_names),
        ("borehole", "regression", physics, flow, list(BOREHOLE.inputs)),
        ("breast cancer", "classification", cancer.data, cancer.target, cancer.feature_names),
        ("digits", "classification", digits.data, digits.target, digits.feature_names),
    ]
    for name, task, x, y, names in tables:
        regression = task == "regression"
        rows = [
            cross_validated(run, name, model, make, x, y, regression)
            for model, make in models(name, regression).items()
        ]
        report.section(f"{name}: {len(x)} rows, {x.shape[1]} columns")
        errors = [row["error"] for row in rows]
        report.table(rows, best=int(np.argmin(errors)))
        measure = "root mean square error" if regression else "log loss"
        report.text(
            f"error: {measure} on held-out rows, mean over {FOLDS} folds; the same folds for every model.", True
        )
        if name != "digits":
            estimator = ours(regression)
            estimator.fit(frame(x, names), y)
            figure = estimator.plot()
            report.picture(run.figure(name.replace(" ", "_"), figure), f"Functions learned from {name}")
    report.code("python examples/03_tables.py")
    report.code(
        """
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from separable import SeparableRegressor

x, y = load_diabetes(return_X_y=True)                       # or a table of your own
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
model = SeparableRegressor().fit(x_train, y_train)
print(model.score(x_test, y_test))                          # share of the variance explained
print(model.interaction_strengths_)                         # of the variance too
model.plot().savefig("functions.png")                       # one-coordinate functions, strengths of interactions
"""
    )


def ours(regression: bool) -> Any:
    """Our estimator with its default settings."""
    return separable.SeparableRegressor() if regression else separable.SeparableClassifier()


def models(name: str, regression: bool) -> dict[str, Callable[[], Any]]:
    """Constructors of the compared models, by name."""
    boosted = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    found: dict[str, Callable[[], Any]] = {
        "separable": lambda: ours(regression),
        "gradient-boosted trees": lambda: boosted(random_state=SEED),
    }
    try:
        from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    except ImportError:
        print("interpret-core is not installed: the explainable boosting machine is left out")
        return found
    machine = ExplainableBoostingRegressor if regression else ExplainableBoostingClassifier
    # The default of 14 bags, 25,000 rounds and pairs of many columns takes minutes a fold; RESULTS.md has it.
    settings = {"outer_bags": 2, "max_rounds": 1000, **({} if regression else {"interactions": 0})}
    label = ", ".join(f"{key} {value}" for key, value in settings.items())
    cores = {"n_jobs": -1}  # a core for each bag
    found[f"EBM ({label.replace('_', ' ')})"] = lambda: machine(random_state=SEED, **cores, **settings)
    return found


def cross_validated(
    run: RunFolder, table: str, model: str, make: Callable[[], Any], x: Array, y: Array, regression: bool
) -> dict[str, Any]:
    """Mean error, its spread over folds, and the time of one fit."""
    splitter = (KFold if regression else StratifiedKFold)(FOLDS, shuffle=True, random_state=SEED)
    errors, seconds = [], []
    for train, test in tqdm(list(splitter.split(x, y)), desc=f"{table}: {model}", leave=False):
        estimator = make()
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers warn of their own deprecations
            estimator.fit(x[train], y[train])
        seconds.append(time.perf_counter() - started)
        if regression:
            errors.append(root_mean_squared_error(y[test], estimator.predict(x[test])))
        else:
            errors.append(log_loss(y[test], estimator.predict_proba(x[test]), labels=np.unique(y)))
    row = {
        "model": model,
        "error": float(np.mean(errors)),
        "over folds": f"{min(errors):.3g} to {max(errors):.3g}",
        "seconds a fit": float(np.mean(seconds)),
    }
    run.log(table=table, **row)
    print(f"{table:14} {model:30} error {row['error']:.4g}, {row['seconds a fit']:.2f} s a fit")
    return row


def frame(x: Array, names: Any) -> Any:
    """The table with its column names, if pandas is there to carry them."""
    try:
        import pandas as pd
    except ImportError:
        return x
    return pd.DataFrame(x, columns=[str(name) for name in names])
