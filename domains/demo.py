"""The demonstration: tables fitted, formulas inverted, equations solved, cells designed, courses flown, flows forecast.

Writes a run folder with ``report.html``, one self-contained page. Usage: ``python -m domains.demo [folder]``.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from tqdm import tqdm

import separable
from domains.microstructure.demonstration import demonstration as designed_cells
from domains.navigation.demonstration import flights, trainings
from domains.turbulence.demonstration import demonstration as forecast_flow_of
from separable.galerkin import demonstration
from separable.problems import BOREHOLE
from separable.training import Report, RunFolder

Array = NDArray[np.float64]
FOLDS = 2
SEED = 0


def main(folder: str = "runs/demo") -> Path:
    """Run everything and return the report's path."""
    import matplotlib

    matplotlib.use("Agg")
    torch.manual_seed(SEED)
    started = time.perf_counter()
    run = RunFolder(folder, {"folds": FOLDS, "seed": SEED}, SEED)
    report = Report(
        "separable: fitted, drawn, inverted, solved, designed, flown, forecast",
        "A separable model writes a function of many coordinates as functions of one coordinate each. Below: its error "
        "on held-out folds beside gradient-boosted trees and an explainable boosting machine (EBM), the functions it "
        "learned, an engineering formula inverted for a wanted output, a heat equation solved for all materials, the "
        "cell of a two-phase material designed for wanted properties, vehicles flown through waypoints, and turbulence "
        "forecast by an ensemble.",
    )
    compare_tables(run, report)
    invert_borehole(run, report)
    solve_equation(run, report)
    design_microstructure(run, report)
    fly_waypoints(run, report)
    forecast_flow(run, report)
    report.text(f"Made in {time.perf_counter() - started:.0f} seconds. Every number is in metrics.jsonl.", note=True)
    return run.write("report.html", report.html())


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
    report.code(
        """
from separable import SeparableRegressor

model = SeparableRegressor().fit(x_train, y_train)
model.predict(x_test)
model.plot()                       # one-coordinate functions and interaction strengths
model.interaction_strengths_       # shares of the variance
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
    found[f"EBM ({label.replace('_', ' ')})"] = lambda: machine(random_state=SEED, **settings)
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


def invert_borehole(run: RunFolder, report: Report) -> None:
    """Find several boreholes with a wanted flow and check each with the formula."""
    wanted = 80.0
    x, flow = BOREHOLE.sample(1000, seed=SEED)
    grown = separable.grow(x, flow, links=("identity",))
    started = time.perf_counter()
    found = separable.invert(grown.layer, wanted, n_solutions=8)
    seconds = time.perf_counter() - started
    achieved = BOREHOLE(found.inputs)
    report.section(f"Inverted: boreholes with {wanted:g} {BOREHOLE.unit}")
    report.text(
        f"From the fit of 1000 samples, {len(found)} different designs in {1000 * seconds:.0f} ms. Each was put back "
        f"into the formula; the largest deviation is {float((achieved - wanted).abs().max()):.2g} {BOREHOLE.unit}."
    )
    titles = [f"{name} [{unit}]" for name, unit in zip(BOREHOLE.inputs, BOREHOLE.units, strict=True)]
    rows = [
        {**dict(zip(titles, map(float, design), strict=True)), "by the formula": f"{float(value):.3f}"}
        for design, value in zip(found.inputs, achieved, strict=True)
    ]
    report.table(rows)
    report.picture(run.figure("inversion", draw_designs(found.inputs, achieved, wanted)), "Designs found")
    report.code(
        """
import separable
from separable.galerkin import demonstration
from separable.problems import BOREHOLE

x, flow = BOREHOLE.sample(1000)
grown = separable.grow(x, flow)
found = separable.invert(grown.layer, 80.0, n_solutions=8)
print(BOREHOLE(found.inputs))      # the formula's own answer for each design
"""
    )
    run.log(inversion=wanted, designs=len(found), seconds=seconds, achieved=achieved.tolist())


def draw_designs(designs: torch.Tensor, achieved: torch.Tensor, wanted: float) -> Any:
    """Each design as a line across the eight inputs, scaled to their ranges."""
    import matplotlib.pyplot as plt

    lower, upper = torch.tensor(BOREHOLE.ranges, dtype=torch.float64).unbind(1)
    share = (designs - lower) / (upper - lower)
    figure, axes = plt.subplots(figsize=(9, 3.6))
    for line, value in zip(share, achieved, strict=True):
        axes.plot(range(len(lower)), line, marker="o", alpha=0.8, label=f"{float(value):.2f}")
    axes.set_xticks(range(len(lower)), [n.replace(" ", "\n") for n in BOREHOLE.inputs], fontsize=8)
    axes.set_yticks([0, 1], ["least", "greatest"])
    axes.set_title(f"Different boreholes with the same flow, {wanted:g} {BOREHOLE.unit}", fontsize=11)
    axes.legend(title="by the formula", fontsize=7, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def solve_equation(run: RunFolder, report: Report) -> None:
    """Solve a heat equation once over place, time and diffusivity, check it, and ask it many times."""
    numbers, figure = demonstration()
    report.section("Solved once: a moving heat source, for every diffusivity")
    report.text(
        f"u_t - d u_xx = source(x, t) with the diffusivity d as a third coordinate, solved in "
        f"{numbers['seconds to solve']:.1f} s. Estimated relative error {numbers['estimated relative error']:.1e}; "
        f"worst difference from finite differences at three diffusivities "
        f"{numbers['worst relative error against finite differences']:.1e}. 100,000 questions took "
        f"{1000 * numbers['seconds for 100,000 questions']:.0f} ms."
    )
    report.picture(run.figure("heat", figure), "Temperature over place and time at two diffusivities; residual by rank")
    report.code(
        """
from separable.atoms import BSpline
from separable.galerkin import Coordinate, Field, Problem, Term, solve

problem = Problem(
    [
        Coordinate("x", BSpline(40, 4), "value", "value"),      # u = 0 at both ends
        Coordinate("t", BSpline(40, 4), "value"),               # u = 0 at the start
        Coordinate("d", BSpline(4, 4, (0.02, 0.2))),            # a parameter is a coordinate like any other
    ],
    operator=[{"t": (1, 0)}, Term({"x": (2, 0), "d": (0, 0, lambda d: d)}, factor=-1.0)],
    source=[Field(source, tolerance=1e-5)],                     # any function of x and t
)
u = solve(problem)
u(x=0.5, t=0.3, d=0.1), u.error_estimate
"""
    )
    run.log(equation="moving heat source", **numbers)


def design_microstructure(run: RunFolder, report: Report, steps: int = 1000) -> None:
    """Train a small model of two-phase cells, design cells for two targets, and let the solver judge them."""
    rows, numbers, figure = designed_cells(steps)
    report.section("Designed: cells of a two-phase material with a wanted conductivity and stiffness")
    report.text(
        f"A small model, trained in {numbers['seconds to train']:.0f} s on {numbers['training cells']:.0f} random "
        f"cells of 32 x 32 voxels, reads properties of unseen cells with a median error of "
        f"{numbers['median error on held-out cells']:.1%}. Inverting its separable head gave "
        f"{numbers['designs found']:.0f} different cells in {1000 * numbers['seconds to design']:.0f} ms. The solver "
        f"found them within {numbers['greatest distance from a target']:.1%} of every target; after refinement, which "
        f"moves voxels of the interfaces by the solver's own derivatives, it found them within "
        f"{numbers['greatest distance after refinement']:.1%}. RESULTS.md has the errors of models trained for minutes."
    )
    report.table(rows)
    report.text("solved: by finite elements on the voxels, not by the model. Values in units of phase 1.", note=True)
    report.picture(run.figure("cells", figure), "Designed and refined cells, two by two periods, phase 1 dark")
    report.code(
        """
separable microstructure generate cells.h5
separable microstructure train cells.h5 --run runs/microstructure
separable microstructure design --run runs/microstructure --target conductivity_xx=0.42 --target youngs_y=0.3 \\
    --volume-fraction 0.55 --count 4 --refined
"""
    )
    report.code(
        """
from domains.microstructure.data import read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.janus import JanusConfig
from domains.microstructure.train import TrainConfig, split, train_janus

data = read_data("datasets/two_phase_cells/sample.h5")
model = train_janus(data, JanusConfig((32, 32), ("conductivity_xx", "youngs_y"), latent=16), TrainConfig(steps=1000))
designer = Designer(model, Library.of(data, model, split(data, 0.1)[0]))
found = designer.design({"conductivity_xx": 0.42, "youngs_y": 0.3}, volume_fraction=0.55, count=4)
data.config.materials.solve(found.cells)        # the solver's word on each design
"""
    )
    run.log(designs=rows, **numbers)


def fly_waypoints(run: RunFolder, report: Report, steps: int = 20_000) -> None:
    """Let the shipped policies fly unseen episodes, and train a small one beside a perceptron of equal size."""
    picture = run.path / "figures" / "flights.gif"
    flown = flights(picture)
    report.section("Flown: waypoints reached in order, by policies of a few hundred parameters")
    report.table([{"world": world, **row} for world, row in flown.items()])
    report.text(
        "Courses that the policies have not seen; success with its 95 % interval. Below: four of them in the plane."
    )
    report.picture(picture, "Four worlds, in each of which a vehicle reaches four waypoints in order")
    found, numbers, figure = trainings(steps)
    rows = [
        {
            "policy": name,
            "parameters": f"{numbers[f'parameters of {name}']:.0f}",
            "seconds to train": numbers[f"seconds of {name}"],
            **evaluation.row(),
        }
        for name, evaluation in found.items()
    ]
    report.text(
        f"And trained here: PPO for {steps} steps with a separable policy, and with a perceptron of two layers and as "
        "many parameters, same seed and same settings, which were chosen for ours. The best policy of each was flown "
        "through 200 unseen courses. One seed proves little: RESULTS.md has the spread."
    )
    report.table(rows)
    report.picture(run.figure("waypoints", figure), "Share of courses finished over steps of training, and their time")
    report.code(
        """
separable navigation train --run runs/navigation
separable navigation evaluate runs/navigation --episodes 500 --wind 1
separable navigation render runs/navigation --out flights.gif
"""
    )
    report.code(
        """
from stable_baselines3 import PPO

import domains.navigation.policies                      # registers "SpanPolicy"
from domains.navigation.stable_baselines import WaypointVecEnv

model = PPO("SpanPolicy", WaypointVecEnv(16), n_steps=64, batch_size=128, learning_rate=1e-2,
            policy_kwargs={"coordinates": {"vectors": [[0, 1], [2, 3]]}, "actor": {"pairs": 5, "singles": 5}})
model.learn(40_000)
"""
    )
    run.log(flights=flown, trainings=rows)


def forecast_flow(run: RunFolder, report: Report, steps: int = 300) -> None:
    """Forecast two-dimensional turbulence with eight members, and score many such forecasts."""
    film = run.path / "figures" / "flow.gif"
    rows, numbers, figure = forecast_flow_of(film, steps)
    report.section("Forecast: two-dimensional turbulence, by members that say how sure they are")
    trained = f"trained here in {numbers['seconds to train here']:.0f} s on six short trajectories"
    if not numbers["seconds to train here"]:
        trained = "trained on flows from other starts"
    report.text(
        f"A separable quadratic operator of {numbers['parameters']:.0f} parameters, {trained}, continues flows that it "
        f"has not seen, {numbers['milliseconds a member and step']:.0f} ms a member and frame. CRPS of eight members "
        "in standard deviations, smaller is better; spread/skill is 1 where the spread is as large as the error."
    )
    report.table(rows)
    report.picture(film, "What came, three members, and where the members disagree")
    report.picture(run.figure("flow", figure), "Vorticity: what came, three members, their mean and spread")
    report.code(
        """
separable turbulence generate runs/flow
separable turbulence train runs/flow --run runs/turbulence --minutes 20
separable turbulence evaluate runs/turbulence runs/flow
separable turbulence animate runs/turbulence runs/flow --out forecast.gif
"""
    )
    report.code(
        """
from domains.turbulence.readers import read_flow
from domains.turbulence.train import TrainConfig, train

data = read_flow("runs/flow")                    # or PDEBench, The Well, netCDF, arrays
forecaster = train(data, TrainConfig(minutes=20))
ensemble = forecaster.forecast(data.fields[0, :1], members=8, steps=10)      # an xarray.Dataset
"""
    )
    run.log(forecasts=rows, **numbers)


if __name__ == "__main__":
    print(f"report: {main(*sys.argv[1:2])}")
