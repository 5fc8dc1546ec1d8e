"""Cross interpolation by teneva and torchTT within a budget of evaluations, at settings chosen with the test rows.

Both build a tensor train of values on a grid of Chebyshev nodes and choose the nodes to evaluate as they go; between
the nodes the train is interpolated by polynomials. Evaluations are counted once (a cache is theirs for nothing), and
settings of least test error are taken, which a user could not do.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from benchmarks.trial import usual
from separable.problems import Problem

Array = np.ndarray
MOST = usual(None, trial=2)  # grids and options that are tried
UNIFORM = usual(
    {"teneva": (6, 7, 8, 9, 10, 11, 12, 13, 14), "torchTT": (3, 4, 5)}, trial={"teneva": (4,), "torchTT": (2,)}
)
SHAPED = {
    "borehole": {
        "teneva": ((8, 20, 3, 2, 3, 2, 5, 4), (8, 16, 3, 2, 3, 2, 5, 3)),
        "torchTT": ((10, 4, 2, 2, 3, 2, 5, 4), (6, 2, 1, 3, 2, 3, 4, 3), (8, 3, 2, 2, 2, 2, 5, 4)),
    },
    "OTL circuit": {
        "teneva": ((7, 6, 4, 4, 2, 12),),
        "torchTT": ((6, 5, 4, 4, 2, 6), (7, 6, 4, 4, 1, 8), (7, 6, 4, 4, 2, 12)),
    },
}
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "teneva": tuple({"rank": rank, "growth": growth} for rank in (2, 3, 4, 5, 6) for growth in (0, 1)),
    "torchTT": tuple(
        {"kick": kick, "largest": largest, "start": start}
        for kick in (1, 2)
        for largest in (3, 4, 100)
        for start in (False, True)
    ),
}


class _Spent(Exception):
    """The budget does not allow the evaluations asked for."""


@dataclasses.dataclass
class _Grid:
    """The problem on a grid of nodes: evaluated once a node, counted, and refused beyond the budget.

    Args:
        problem: The function.
        sizes: Nodes of every coordinate.
        budget: The most evaluations.
        logarithm: Whether the logarithm of the function is interpolated.
        bent: Coordinates whose nodes lie on a logarithmic scale.
    """

    problem: Problem
    sizes: tuple[int, ...]
    budget: int
    logarithm: bool
    bent: tuple[int, ...]
    known: dict[tuple[int, ...], float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = [np.cos(np.pi * (2 * np.arange(n) + 1) / (2 * n)) for n in self.sizes]

    def __call__(self, indices: Array) -> Array:
        asked = [tuple(row) for row in np.asarray(indices).astype(int).tolist()]
        new = list(dict.fromkeys(row for row in asked if row not in self.known))
        if len(self.known) + len(new) > self.budget:
            raise _Spent
        if new:
            s = np.array([[self.nodes[j][i] for j, i in enumerate(row)] for row in new])
            y = self.problem(torch.from_numpy(self._inputs(s))).numpy()
            self.known.update(zip(new, (np.log(y) if self.logarithm else y).tolist(), strict=True))
        return np.array([self.known[row] for row in asked])

    def _inputs(self, s: Array) -> Array:
        lower, upper = np.array(self.problem.ranges).T
        x = lower + 0.5 * (s + 1) * (upper - lower)
        for j in self.bent:
            x[:, j] = lower[j] * (upper[j] / lower[j]) ** (0.5 * (s[:, j] + 1))
        return x

    def predict(self, cores: list[Array], x: Array) -> Array:
        """Values ``(N,)`` of the interpolated train at inputs ``(N, D)``."""
        lower, upper = np.array(self.problem.ranges).T
        s = 2 * (x - lower) / (upper - lower) - 1
        for j in self.bent:
            s[:, j] = 2 * np.log(x[:, j] / lower[j]) / np.log(upper[j] / lower[j]) - 1
        row = np.ones((len(x), 1))
        for core, nodes, column in zip(cores, self.nodes, s.T, strict=True):
            at_nodes, here = (chebyshev.chebvander(v, len(nodes) - 1) for v in (nodes, column))
            row = np.einsum("nr,nk,rks->ns", row, here @ np.linalg.inv(at_nodes), core, optimize=True)
        return np.exp(row[:, 0]) if self.logarithm else row[:, 0]


def _teneva(grid: _Grid, seed: int, rank: int, growth: int) -> list[Array] | None:
    import teneva

    start = teneva.rand(list(grid.sizes), rank, seed=seed)
    train: list[Array] = teneva.cross(
        grid, start, m=grid.budget, nswp=20, e=1e-13, dr_min=growth, dr_max=growth, info={}, cache={}
    )
    return train


def _torch_tt(grid: _Grid, seed: int, kick: int, largest: int, start: bool) -> list[Array] | None:
    import torchtt

    torch.manual_seed(seed)
    reached: list[list[Array]] = []

    def keep(train: Any, *_: Any) -> bool:
        reached.append([core.numpy().copy() for core in train.cores])
        return True

    def value(indices: Tensor) -> Tensor:
        return torch.from_numpy(grid(indices.numpy()))

    sizes = list(grid.sizes)
    try:
        train = torchtt.interpolate.dmrg_cross(
            value,
            sizes,
            eps=1e-10,
            nswp=10,
            kick=kick,
            rmax=largest,
            callback=keep,
            x_start=torchtt.random(sizes, 1) if start else None,
        )
        keep(train)
    except _Spent:
        pass  # the sweep that was complete when the budget ran out
    return reached[-1] if reached else None


RUNS: dict[str, Callable[..., list[Array] | None]] = {"teneva": _teneva, "torchTT": _torch_tt}


def _settings(library: str, problem: Problem) -> Iterator[tuple[tuple[int, ...], bool, dict[str, Any]]]:
    sizes = [(n,) * len(problem.ranges) for n in UNIFORM[library]] + list(SHAPED[problem.name][library])
    return ((s, log, options) for s in sizes[:MOST] for log in (False, True) for options in OPTIONS[library][:MOST])


def best(
    library: str,
    problem: Problem,
    budget: int,
    seeds: tuple[int, ...],
    x: Tensor,
    y: Tensor,
    bent: tuple[int, ...] = (),
) -> dict[str, Any]:
    """The settings of least median test error over the seeds, with the errors of each.

    Args:
        library: ``teneva`` or ``torchTT``.
        problem: The function.
        budget: The most evaluations of one run.
        seeds: Of the start values.
        x: Test inputs.
        y: Test targets.
        bent: Coordinates that the user puts on a logarithmic scale by hand.
    """
    least: dict[str, Any] = {"error": float("inf")}
    for sizes, logarithm, options in _settings(library, problem):
        errors, evaluations = [], 0
        for seed in seeds:
            grid = _Grid(problem, sizes, budget, logarithm, bent)
            # Both fail where the grid is too small for the ranks asked for: such settings are left out.
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    cores = RUNS[library](grid, seed, **options)
            except Exception:
                break
            if cores is None:
                break
            residual = grid.predict(cores, x.numpy()) - y.numpy()
            errors.append(float(np.sqrt(np.mean(residual**2))) / float(y.std(correction=0)))
            evaluations = max(evaluations, len(grid.known))
        if len(errors) == len(seeds) and np.median(errors) < least["error"]:
            named = ", ".join(f"{k} {v}" for k, v in options.items())
            scale = ", log of y" if logarithm else ""
            least = {
                "error": float(np.median(errors)),
                "errors": errors,
                "evaluations": evaluations,
                "settings": f"nodes {sizes[0] if len(set(sizes)) == 1 else sizes}, {named}{scale}",
            }
    return least
