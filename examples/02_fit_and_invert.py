"""Fit an engineering formula from samples, then find designs that give a wanted output, each checked by the formula."""

import torch

import separable
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic
from separable.problems import BOREHOLE


def main() -> None:
    """Fit the flow of water through a borehole and find boreholes with 80 m3 a year."""
    x, flow = BOREHOLE.sample(2000)
    layer = separable.SeparableLayer(
        len(BOREHOLE.inputs),
        1,
        atoms=[BSpline(intervals=1, degree=4, domain=domain) for domain in BOREHOLE.ranges],
        interaction=CanonicalPolyadic(rank=4),
        dtype=torch.float64,
    )
    print("fit:", separable.fit(layer, x, flow, validation=0.1))

    new, truth = BOREHOLE.sample(5000, seed=1)
    error = (layer(new).detach()[:, 0] - truth).square().mean().sqrt() / truth.std()
    print(f"relative error on 5000 new boreholes: {error:.1e} with {layer.n_parameters} numbers")
    print(f"mean flow over all ranges, in closed form: {layer.integral().item() / volume():.2f} {BOREHOLE.unit}")

    found = separable.invert(layer, 80.0, fixed={0: 0.1}, n_solutions=5)
    print(f"{len(found)} different boreholes of radius 0.1 m with a flow of 80 {BOREHOLE.unit}:")
    for design, achieved in zip(found.inputs, BOREHOLE(found.inputs), strict=True):
        head, length = float(design[3] - design[5]), float(design[6])
        print(f"  head difference {head:5.0f} m, length {length:5.0f} m -> {float(achieved):.2f} by the formula")
        assert abs(float(achieved) - 80.0) < 1.0


def volume() -> float:
    """Size of the box of inputs."""
    lower, upper = torch.tensor(BOREHOLE.ranges, dtype=torch.float64).unbind(1)
    return float((upper - lower).prod())


if __name__ == "__main__":
    main()
