"""The demonstration: a part for each thing that the toolkit does, in one report.

Writes a run folder with ``report.html``, one self-contained page. Usage: ``python -m domains.demo [folder]``.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch

import separable
from domains.language.demonstration import demonstration as written_text
from domains.language.reversal.demonstration import demonstration as answered_questions
from domains.language.reversal.demonstration import facts_of_people
from domains.microstructure.demonstration import demonstration as designed_cells
from domains.navigation.demonstration import flights, trainings
from domains.table_comparison import FOLDS, SEED, compare_tables
from domains.turbulence.demonstration import demonstration as forecast_flow_of
from separable.galerkin import demonstration
from separable.problems import BOREHOLE
from separable.training import Report, RunFolder
from separable.training.run_lock import sole_user


def main(folder: str = "runs/demo") -> Path:
    """Run everything and return the report's path."""
    import matplotlib

    matplotlib.use("Agg")
    torch.manual_seed(SEED)
    started = time.perf_counter()
    run = RunFolder(folder, {"folds": FOLDS, "seed": SEED}, SEED)
    report = Report(
        "separable: fitted, inverted, solved, designed, flown, forecast, written, asked",
        "A separable model writes a function of many coordinates as functions of one coordinate each. Below: its error "
        "on held-out folds beside gradient-boosted trees and an explainable boosting machine (EBM), the functions it "
        "learned, an engineering formula inverted for a wanted output, a heat equation solved for all materials, the "
        "cell of a two-phase material designed for wanted properties, vehicles flown through waypoints, turbulence "
        "forecast by an ensemble, a small language model trained, and a model of facts asked in the direction that it "
        "was never told.",
    )
    with sole_user(run.path):
        compare_tables(run, report)
        invert_borehole(run, report)
        solve_equation(run, report)
        design_microstructure(run, report)
        fly_waypoints(run, report)
        forecast_flow(run, report)
        train_language_model(run, report)
        ask_in_reverse(run, report)
        seconds = time.perf_counter() - started
        report.text(f"Made in {seconds:.0f} seconds. Every number is in metrics.jsonl.", note=True)
        return run.write("report.html", report.html())


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
    report.code("python examples/02_fit_and_invert.py")
    report.code(
        """
import separable
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
    report.code("python examples/20_pde_moving_source.py")
    report.code(
        """
import numpy as np

from separable.atoms import BSpline
from separable.galerkin import Coordinate, Field, Problem, Term, solve

def source(x, t):                                           # any function of x and t
    return np.exp(-((x - 0.2 - 0.6 * t) ** 2) / 0.005)

problem = Problem(
    [
        Coordinate("x", BSpline(40, 4), "value", "value"),      # u = 0 at both ends
        Coordinate("t", BSpline(40, 4), "value"),               # u = 0 at the start
        Coordinate("d", BSpline(4, 4, (0.02, 0.2))),            # a parameter is a coordinate like any other
    ],
    operator=[{"t": (1, 0)}, Term({"x": (2, 0), "d": (0, 0, lambda d: d)}, factor=-1.0)],
    source=[Field(source, tolerance=1e-5)],
)
u = solve(problem, rank=30, tolerance=1e-4)
print(u(x=0.5, t=0.3, d=0.1), u.error_estimate)
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
print(found.predicted, data.config.materials.solve(found.cells))     # the model's word and the solver's
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


def forecast_flow(run: RunFolder, report: Report, starts: int = 8) -> None:
    """Forecast two-dimensional turbulence with an ensemble of eight members, and score many such forecasts."""
    film = run.path / "figures" / "flow.gif"
    rows, numbers, figure = forecast_flow_of(film, starts)
    report.section("Forecast: two-dimensional turbulence, by members that say how sure they are")
    report.text(
        f"A separable quadratic operator of {numbers['parameters']:.0f} parameters, trained on flows from other "
        f"starts, continues flows that it has not seen, {numbers['milliseconds a member and step']:.0f} ms a member "
        f"and frame. CRPS of {numbers['members scored']:.0f} members in standard deviations, smaller is better; "
        "spread/skill is 1 where the spread is as large as the error."
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

data = read_flow("datasets/kolmogorov_flow/sample.h5")      # or PDEBench, The Well, netCDF, arrays
forecaster = train(data, TrainConfig(minutes=20))
ensemble = forecaster.forecast(data.fields[0, :1], members=8, steps=10)      # an xarray.Dataset
print(ensemble.vorticity.std("realization").mean(("y", "x")))                # how far members are apart, by time
"""
    )
    run.log(forecasts=rows, **numbers)


def train_language_model(run: RunFolder, report: Report, steps: int = 200, source: str = "docstrings") -> None:
    """Train a small language model on the installed Python's documentation and let it write."""
    rows, numbers, written, figure = written_text(steps, source)
    report.section("Written: a language model whose token vectors are computed")
    report.text(
        f"A transformer of {numbers['parameters']:,.0f} parameters, trained in {numbers['seconds to train']:.0f} s on "
        f"the documentation strings of {numbers['files to train on']:.0f} files of Python's standard library, "
        f"{numbers['bytes to train on'] / 1e6:.1f} million bytes. No table holds a vector for each token: the vectors "
        "come from the digits of a token's place in an order of likeness, by products of splines."
    )
    report.table(rows)
    report.text(
        "bits a byte: what a byte costs in files that no model saw, smaller is better; numbers: what is kept. The "
        "counts see all of the training text, the transformer in its few seconds a part of it.",
        note=True,
    )
    report.picture(run.figure("language", figure), "Loss over steps of training")
    report.text("So it goes on from three beginnings; seconds of training teach words and layout, not sense:")
    for text in written:
        report.quote(text.replace("\n\n", "\n"))
    report.code(
        """
separable language tokenize runs/tokens --source docstrings --vocabulary 1024
separable language train runs/tokens --run runs/language --minutes 20
separable language evaluate runs/language runs/tokens
separable language sample runs/language --beginning "Return the"
"""
    )
    report.code(
        """
from domains.language.corpus import CorpusConfig
from domains.language.generate import continued
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.training import TrainingConfig

made_from = TokenizeConfig(CorpusConfig("docstrings"), vocabulary=1024, training_text=0.3)
tokens = Tokens(write_tokens("runs/tokens", made_from))
training = TrainingConfig(steps=200, batch=16, rate=5e-3, warm_up=20)
model, result = train(tokens, LanguageConfig(embedding="generated", context=64, training=training))
print("".join(continued(model, tokens.tokeniser, "Return the", steps=60)))
"""
    )
    run.log(language=rows, written=written, **numbers)


def ask_in_reverse(run: RunFolder, report: Report, steps: int = 300) -> None:
    """Train a model of facts and ask it forward, backward and about a stranger."""
    rows, numbers, figure = answered_questions(steps)
    facts_of_people().save(run.path / "people.jsonl")
    report.section("Asked: facts in the direction that was never told")
    report.text(
        f"{numbers['facts told']:.0f} facts about {numbers['names']:.0f} made-up people, who teaches or houses whom, "
        f"learnt in {numbers['seconds to train']:.0f} s. Of a third of the people one side alone was told. Asked for "
        f"the other side, the model is right in {numbers['accuracy on reversed questions']:.1%} of "
        f"{numbers['reversed questions']:.0f} questions; who knows only which two belong together would be in "
        f"{numbers['accuracy without relations']:.0%}. It took "
        f"{numbers['strangers taken for known']:.1%} of names that it was never told for known, and "
        f"{numbers['reversed questions taken for unknown']:.1%} of the others for unknown."
    )
    report.table(rows)
    report.picture(run.figure("reversal", figure), "Reversed questions over training; confidence in known and unknown")
    report.code(
        """
separable language reversal train runs/demo/people.jsonl --run runs/people
separable language reversal evaluate runs/people
separable language reversal ask "who is the pupil of Trel Freathez?" --run runs/people
"""
    )
    report.code(
        """
from domains.language.reversal.answers import answer, parse_question
from domains.language.reversal.demonstration import facts_of_people
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.train import train
from separable.training import TrainingConfig

facts = facts_of_people()                        # or read_facts("facts.csv")
training = TrainingConfig(steps=300, batch=256, rate=3e-3, warm_up=30, weight_decay=1.0, decay_from=0.5)
model, result = train(facts, JointModelConfig(), training)
question = parse_question("who is the pupil of Trel Freathez?", model.relations)
print(answer(model, question, facts.inverses))
"""
    )
    run.log(questions=rows, **numbers)


if __name__ == "__main__":
    print(f"report: {main(*sys.argv[1:2])}")
