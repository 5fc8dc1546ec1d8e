"""Kolmogorov flow: two-dimensional turbulence from a random start, its energy budget, its spectrum, and two pictures.

Usage: python 50_kolmogorov_flow.py [points]

A sinusoidal force drives vortices in a periodic box; viscosity eats the small ones and a linear drag the large ones.
Lengths and times have no unit: the box is 2 pi, the force 1. Fields are (samples, times, y, x).
"""

import sys

import torch

from domains.turbulence.diagnostics import budgets, correlation, energy, energy_spectrum
from domains.turbulence.flows import KolmogorovFlow
from domains.turbulence.grid import Grid
from domains.turbulence.simulate import Trajectory, simulate


def main(points: str = "64") -> None:
    """Solve, measure, draw."""
    grid = Grid((int(points), int(points)))
    flow = KolmogorovFlow(viscosity=0.01, drag=0.1, forcing_mode=4)

    # Every sample starts from its own seed; float32 would do for pictures and takes half the time.
    start = flow.random_start(grid, seeds=[0, 1])
    times = [30.0 + time for time in range(11)]
    found = simulate(flow, grid, start, times, step=0.8 / int(points), progress=True)
    fields = found.fields

    print(f"energy {float(energy(fields, grid).mean()):.3f} per mass")
    of_energy, _ = budgets(flow, fields, grid)
    for name in ("injection", "viscous", "drag"):
        print(f"  {name:9} {float(getattr(of_energy, name).mean()):.3f} per time")
    print(
        f"correlation of frames one unit of time apart: {float(correlation(fields[:, :-1], fields[:, 1:]).mean()):.2f}"
    )

    # A change of a thousandth grows until the two flows have nothing in common: that is why forecasts need members.
    nudged = fields[:1, 0] * (1 + 1e-3)
    again = simulate(flow, grid, nudged, range(11), step=0.8 / int(points)).fields
    for lead in (1, 5, 10):
        apart = float((again[0, lead] - fields[0, lead]).std() / fields.std())
        print(f"  a start changed by 0.1 %: after {lead:2} units of time {apart:.1%} apart")

    print(found.to_xarray())
    draw(found)
    print("picture: kolmogorov_flow.png")


def draw(found: Trajectory) -> None:
    """Write kolmogorov_flow.png: vorticity of one sample at three times, and the mean spectrum."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    box = (0, found.grid.lengths[1], 0, found.grid.lengths[0])
    top = float(found.fields.abs().quantile(0.995))
    for axis, frame in zip(axes, (0, 1, 5), strict=False):
        options = {"origin": "lower", "cmap": "RdBu_r", "vmin": -top, "vmax": top, "extent": box}
        image = axis.imshow(found.fields[0, frame].numpy(), **options)
        axis.set(title=f"vorticity, time {float(found.times[frame]):g}", xlabel="x", ylabel="y")
    figure.colorbar(image, ax=list(axes[:3]), extend="both", label="vorticity")
    wave_numbers, spectrum = energy_spectrum(found.fields, found.grid)
    shown = wave_numbers <= found.grid.modes[0]
    k, mean = wave_numbers[shown], spectrum.mean((0, 1))[shown]
    axes[3].loglog(k, mean, marker=".", label="E(k)")
    slope = torch.tensor([5.0, float(k[-1])])
    axes[3].loglog(slope, float(mean[4]) * 3 * (slope / 5) ** -3, "k:", label="$k^{-3}$, if inviscid")
    axes[3].axvline(4, color="grey", linewidth=0.8)
    axes[3].text(4.1, float(mean[-1]), "force", color="grey")
    axes[3].set(title="kinetic energy by wave number", xlabel="k", ylabel="E(k)")
    axes[3].legend()
    figure.savefig("kolmogorov_flow.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:2])
