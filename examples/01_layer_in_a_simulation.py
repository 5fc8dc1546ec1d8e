"""A fitted material law inside a simulation: heat conduction whose conductivity comes from a separable layer.

A laboratory measures the conductivity k(T, phi) of a powder at 400 random temperatures T and porosities phi. The layer
is fitted in closed form, then called - with its exact slope dk/dT - inside an implicit Newton solver for the stationary
temperature in a wall, ``d/dx( k(T, phi(x)) dT/dx ) = 0``.
"""

import torch

import separable.layers
from separable.atoms import BSpline
from separable.interactions import CanonicalPolyadic


def measured_conductivity(temperature: torch.Tensor, porosity: torch.Tensor) -> torch.Tensor:
    """What the laboratory would find, in W/(m K)."""
    return (0.3 + 2e-4 * temperature + 3e-10 * temperature**3) * (1 - porosity) ** 1.5


def main() -> None:
    """Fit the law, solve for the temperature, and check the heat flux."""
    torch.manual_seed(0)
    points = torch.rand(400, 2, dtype=torch.float64) * torch.tensor([1200.0, 0.5]) + torch.tensor([300.0, 0.1])
    law = separable.layers.SeparableLayer(
        2,
        1,
        atoms=[BSpline(6, 3, domain=(300.0, 1500.0)), BSpline(6, 3, domain=(0.1, 0.6))],
        interaction=CanonicalPolyadic(rank=2),
        dtype=torch.float64,
    )
    print("law:", separable.fit(law, points, measured_conductivity(*points.unbind(1))))

    middles = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    porosity = 0.35 + 0.15 * torch.sin(3 * middles + 0.5)
    temperature = torch.linspace(1400.0, 400.0, 202, dtype=torch.float64)
    iterations = 0
    step = torch.ones(1)
    while float(step.abs().max()) > 1e-9:
        iterations += 1
        middle = (temperature[1:] + temperature[:-1]) / 2
        state = torch.stack([middle, porosity], dim=1)
        with torch.no_grad():
            k, slope = law(state)[:, 0], law.derivative(state, (1, 0))[:, 0]
        gradient = temperature.diff()
        flux = k * gradient
        # Newton: the flux between two cells depends on both through k((T_i + T_(i+1)) / 2) and through the difference.
        left, right = slope * gradient / 2 - k, slope * gradient / 2 + k
        matrix = torch.diag(left[1:] - right[:-1]) + torch.diag(right[1:-1], 1) - torch.diag(left[1:-1], -1)
        step = torch.linalg.solve(matrix, -flux.diff())
        temperature[1:-1] += step
    spread = float((flux.max() - flux.min()).abs() / flux.abs().mean())
    print(f"solved in {iterations} Newton iterations; the heat flux is constant to {spread:.1e}")
    assert spread < 1e-9


if __name__ == "__main__":
    main()
