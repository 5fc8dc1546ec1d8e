"""Functions with a known answer: engineering formulas with units, and test functions whose effects are known exactly.

They serve examples, benchmarks and tests: data of any size can be drawn from them, and whatever was fitted or inverted
can be checked against the formula.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Problem:
    """A formula with named inputs.

    Args:
        name: What it computes.
        inputs: Names of the D inputs.
        units: Their units, empty for pure numbers.
        ranges: Least and greatest value of each.
        output: Name of the output.
        unit: Its unit.
        formula: Values ``(N,)`` of inputs ``(N, D)`` in the stated units.
        source: Where it is from.
    """

    name: str
    inputs: tuple[str, ...]
    units: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    output: str
    unit: str
    formula: Callable[[Tensor], Tensor]
    source: str

    def __call__(self, x: Tensor) -> Tensor:
        """Values ``(N,)`` of inputs ``(N, D)``."""
        if x.ndim != 2 or x.shape[1] != len(self.inputs):
            raise ValueError(f"{self.name}: expected inputs (N, {len(self.inputs)}), got {tuple(x.shape)}")
        return self.formula(x)

    def sample(self, rows: int, seed: int = 0, space_filling: bool = False) -> tuple[Tensor, Tensor]:
        """Inputs ``(N, D)`` over the ranges and outputs ``(N,)``, float64.

        Args:
            rows: How many.
            seed: Of the draw.
            space_filling: Scrambled Sobol points instead of independent uniform ones.

        Example:
            >>> from separable.problems import BOREHOLE
            >>> x, y = BOREHOLE.sample(4)
            >>> x.shape, bool((y > 0).all())
            (torch.Size([4, 8]), True)
        """
        lower, upper = torch.tensor(self.ranges, dtype=torch.float64).unbind(1)
        if space_filling:
            engine = torch.quasirandom.SobolEngine(len(lower), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
            unit = engine.draw(rows, dtype=torch.float64)
        else:
            generator = torch.Generator().manual_seed(seed)
            unit = torch.rand(rows, len(lower), dtype=torch.float64, generator=generator)
        x = lower + unit * (upper - lower)
        return x, self(x)


def _borehole(x: Tensor) -> Tensor:
    rw, r, tu, hu, tl, hl, length, kw = x.unbind(1)
    log = torch.log(r / rw)
    return 2 * math.pi * tu * (hu - hl) / (log * (1 + 2 * length * tu / (log * rw**2 * kw) + tu / tl))


BOREHOLE = Problem(
    name="borehole",
    inputs=(
        "radius of borehole",
        "radius of influence",
        "transmissivity above",
        "head above",
        "transmissivity below",
        "head below",
        "length",
        "conductivity",
    ),
    units=("m", "m", "m2/yr", "m", "m2/yr", "m", "m", "m/yr"),
    ranges=(
        (0.05, 0.15),
        (100.0, 50000.0),
        (63070.0, 115600.0),
        (990.0, 1110.0),
        (63.1, 116.0),
        (700.0, 820.0),
        (1120.0, 1680.0),
        (9855.0, 12045.0),
    ),
    output="water flow",
    unit="m3/yr",
    formula=_borehole,
    source="Harper and Gupta (1983), as in Surjanovic and Bingham, Virtual Library of Simulation Experiments",
)


def _otl_circuit(x: Tensor) -> Tensor:
    rb1, rb2, rf, rc1, rc2, beta = x.unbind(1)
    vb1, gain = 12 * rb2 / (rb1 + rb2), beta * (rc2 + 9)
    return ((vb1 + 0.74) * gain + 11.35 * rf + 0.74 * rf * gain / rc1) / (gain + rf)


OTL_CIRCUIT = Problem(
    name="OTL circuit",
    inputs=("resistance b1", "resistance b2", "resistance f", "resistance c1", "resistance c2", "current gain"),
    units=("kOhm", "kOhm", "kOhm", "kOhm", "kOhm", "A"),
    ranges=((50.0, 150.0), (25.0, 70.0), (0.5, 3.0), (1.2, 2.5), (0.25, 1.2), (50.0, 300.0)),
    output="mid-point voltage",
    unit="V",
    formula=_otl_circuit,
    source="Ben-Ari and Steinberg (2007), as in Surjanovic and Bingham, Virtual Library of Simulation Experiments",
)


def _friedman(x: Tensor) -> Tensor:
    return 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]


FRIEDMAN_1 = Problem(
    name="Friedman 1",
    inputs=tuple(f"x{j}" for j in range(1, 11)),
    units=("",) * 10,
    ranges=((0.0, 1.0),) * 10,
    output="y",
    unit="",
    formula=_friedman,
    source="Friedman, Multivariate adaptive regression splines, Annals of Statistics 19 (1991), section 4.3",
)


def sobol_g(weights: tuple[float, ...]) -> Problem:
    """Sobol's G function ``prod_j (|4 x_j - 2| + a_j) / (1 + a_j)`` on the unit cube; a_j = 0 matters most.

    The share of the variance due to a set S of inputs alone is ``prod_(j in S) V_j / (prod_j (1 + V_j) - 1)`` with
    ``V_j = 1 / (3 (1 + a_j)^2)``.

    Args:
        weights: The a_j, at least 0, one for each input.

    Raises:
        ValueError: If a weight is negative or not finite.
    """
    if not all(0 <= a < math.inf for a in weights):
        raise ValueError(f"sobol_g: weights are finite numbers of at least 0, got {weights}")

    def formula(x: Tensor) -> Tensor:
        a = x.new_tensor(weights)
        return ((4 * x - 2).abs().add(a) / (1 + a)).prod(1)

    count = len(weights)
    return Problem(
        name="Sobol G",
        inputs=tuple(f"x{j}" for j in range(1, count + 1)),
        units=("",) * count,
        ranges=((0.0, 1.0),) * count,
        output="y",
        unit="",
        formula=formula,
        source="Saltelli and Sobol, Reliability Engineering and System Safety 50 (1995)",
    )
