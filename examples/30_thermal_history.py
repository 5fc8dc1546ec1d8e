"""Six simulated walls of Inconel 718, half of what the benchmark takes: strength from thermal history, and back.

Usage: python 30_thermal_history.py [walls, or discrete_binning_feature.h5 mechanical_property.csv]

With the two files of the measured data set (Xie et al., npj Computational Materials 7:86, 2021) it uses those; without,
walls of our own heat solver, whose strength is a rule of ours and says nothing about the alloy. A KHRONOS of 240
coefficients predicts each wall from the others beside ridge regression, boosted trees and a small CNN. With so few
walls the order of the models is luck in part: over twelve walls and three seeds ridge is the most accurate, KHRONOS
second, boosted trees and the CNN behind (RESULTS.md, Microstructure 8).
"""

import sys
import time
from functools import partial

import numpy as np
import torch

from domains.microstructure import thermal_history as th
from domains.microstructure.thermal_history import baselines


def draw(
    data: th.ThermalHistories,
    predicted: dict[str, np.ndarray],
    wanted: dict[float, tuple[np.ndarray, th.Built | None]],
) -> None:
    """Write thermal_history.png."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for name, marker in (("ridge", "x"), ("KHRONOS", "o")):
        left.scatter(data.strength, predicted[name], s=14, marker=marker, label=f"{name}, wall left out")
    ends = data.strength.min() - 20, data.strength.max() + 20
    left.plot(ends, ends, color="black", lw=0.8)
    left.set(xlim=ends, ylim=ends, aspect="equal", xlabel="strength, MPa", ylabel="predicted strength, MPa")
    middles = (data.edges[1:] + data.edges[:-1]) / 2
    for number, (target, (history, built)) in enumerate(wanted.items()):
        right.step(middles, history, where="mid", color=f"C{number}", label=f"{target:.0f} MPa wanted")
        if built is not None:
            label = f"built: {built.strength:.0f} MPa"
            right.step(middles, built.histogram, where="mid", ls=":", color=f"C{number}", label=label)
    right.set(xlabel="temperature, K", ylabel="time in a range, s", yscale="symlog", ylim=(0, None))
    left.legend()
    right.legend(fontsize=8, ncols=2)
    figure.savefig("thermal_history.png", dpi=110)


def main(walls: str = "6", *files: str) -> None:
    """Validate, invert, draw."""
    torch.set_num_threads(1)
    data = th.read(walls, *files) if files else th.simulate(walls=int(walls))
    print(f"{len(data)} points of {len(np.unique(data.wall))} walls, {data.strength.std():.0f} MPa spread")
    models = {"KHRONOS": [partial(th.khronos, edges=data.edges)]}
    predicted = {}
    for name, candidates in (models | baselines.candidates(data.edges, few=True)).items():
        predicted[name], _ = th.leave_wall_out(data, candidates, inner=1)
        print("{:15} R2 {:.3f}, error {:.1f} MPa (over walls +-{:.1f})".format(name, *th.scores(data, predicted[name])))
    inverter, wanted = th.Inverter(data), {}
    inverter(float(np.median(data.strength)))  # the first call also loads code: not timed
    planner = None if data.process is None else th.Planner(data, inverter.windows)
    for target in np.quantile(data.strength, (0.1, 0.9)).tolist():
        started = time.perf_counter()
        history = inverter(target)
        milliseconds = 1e3 * (time.perf_counter() - started)
        print(
            f"wanted {target:.0f} MPa: KHRONOS gives {inverter.strength(history):.0f} in {milliseconds:.0f} ms", end=""
        )
        built = planner(history, builds=1) if planner else None
        wanted[target] = history, built
        print(f", the heat solver's wall {built.strength:.0f} MPa (gap {built.gap:.2f})" if built else "")
    draw(data, predicted, wanted)
    print("picture: thermal_history.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
