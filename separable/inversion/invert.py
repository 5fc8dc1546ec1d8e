"""`separable.invert`: find several distinct inputs whose outputs are the wanted ones.

From many starting points at once, damped Gauss-Newton steps inside a box minimise

    sum_o (max(|f_o(x) - t_o| - band_o, 0) / s_o)^2  +  sum_i ((x_i - m_i) / q_i)^2  noise^2

with s_o the spread of output o over the box; the second sum is there only with a prior (mean m, standard deviation q),
and then the result is the maximum a posteriori for outputs known to ``noise`` times their spread. On a circle
``x_i - m_i`` is the shorter way round. Jacobians are exact, from the atoms. With fewer outputs than free inputs the
solutions form a surface; those returned are chosen far apart.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from separable.layers import SeparableLayer


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Solutions of an inverse problem, best first (with a prior: most probable first), in float64.

    Args:
        inputs: ``(S, D_in)``, the solutions; if none was reached, the nearest that was found.
        outputs: ``(S, O)``, the layer's outputs there.
        residuals: ``(S, O')``, outputs less targets, zero within the band.
        converged: ``(S,)`` booleans: whether every output is within its band and tolerance.
        seen: ``(2, O')``, least and greatest value of each targeted output met over the box.
        targets: ``(O',)``, what was asked for.
    """

    inputs: Tensor
    outputs: Tensor
    residuals: Tensor
    converged: Tensor
    seen: Tensor
    targets: Tensor

    @property
    def reachable(self) -> bool:
        """Whether at least one solution was found."""
        return bool(self.converged.any())

    def __len__(self) -> int:
        return len(self.inputs)

    def __str__(self) -> str:
        """What was found, in one sentence."""
        if self.reachable:
            return f"{int(self.converged.sum())} distinct solutions of {self.targets.tolist()}"
        low, high = self.seen.tolist()
        return (
            f"no solution of {self.targets.tolist()}: outputs met lie between {low} and {high}; "
            f"the nearest has residuals {self.residuals[0].tolist()}"
        )


def invert(
    layer: SeparableLayer,
    target: Any,
    bounds: Any = None,
    fixed: Mapping[int, float] | None = None,
    n_solutions: int = 8,
    *,
    outputs: Sequence[int] | None = None,
    band: Any = 0.0,
    tolerance: float = 1e-6,
    prior: tuple[Any, Any] | None = None,
    noise: float = 1e-3,
    separation: float = 0.02,
    starts: int | None = None,
    max_steps: int = 60,
    seed: int = 0,
) -> Inversion:
    """Invert a fitted layer.

    Args:
        layer: The function to invert.
        target: Wanted outputs, a number or ``(O',)``.
        bounds: Pairs (least, greatest) for each input, ``(D_in, 2)``; by default the atoms' domains. Needed if the
            coordinates are learned.
        fixed: Inputs that keep a given value, by index.
        n_solutions: Number of distinct solutions wanted.
        outputs: Which outputs the target concerns; by default all.
        band: Half-width about the target within which an output is as good as exact: a number or ``(O',)``.
        tolerance: Largest distance from the band, relative to the output's spread over the box (absolute where it has
            none), at which a solution counts as converged (with a prior: ``max(tolerance, 3 noise)``).
        prior: Mean and standard deviation of the inputs, each ``(D_in,)`` or a number.
        noise: With a prior, how exactly the outputs are known, relative to their spread.
        separation: Least distance between two solutions, as a share of the box's diagonal over the free inputs.
        starts: Number of starting points; by default 32 for each solution.
        max_steps: Gauss-Newton steps from each.
        seed: Of the starting points.

    Returns:
        Up to ``n_solutions`` distinct solutions. If the target is out of reach, ``reachable`` is false and the nearest
        points found are given instead. A discrete coordinate that is not fixed is tried at random categories.

    Raises:
        ValueError: On targets, bounds or fixed inputs that do not fit the layer or contradict each other.

    Example:
        >>> import torch, separable
        >>> from separable.atoms import BSpline
        >>> from separable.interactions import CanonicalPolyadic
        >>> x = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
        >>> layer = separable.SeparableLayer(2, 1, atoms=BSpline(4), interaction=CanonicalPolyadic(rank=2))
        >>> report = separable.fit(layer, x, x[:, 0] ** 2 + x[:, 1] ** 2)
        >>> found = separable.invert(layer, 1.0, n_solutions=4)
        >>> len(found), bool(found.converged.all())
        (4, True)
        >>> separable.invert(layer, 5.0).reachable
        False
    """
    problem = _Problem(layer, target, bounds, fixed or {}, outputs, band, prior, noise, seed)
    if n_solutions < 1 or max_steps < 1 or not tolerance > 0 or not noise > 0 or not 0 <= separation < 1:
        raise ValueError(
            "invert: n_solutions and max_steps are at least 1, tolerance and noise positive, separation in [0, 1); "
            f"got {n_solutions}, {max_steps}, {tolerance}, {noise}, {separation}"
        )
    count = 32 * n_solutions if starts is None else starts
    if count < 1:
        raise ValueError(f"invert: starts is at least 1, got {count}")
    x, seen = problem.start(count)
    # With a prior and little noise the surface of solutions is a narrow bent valley: it is narrowed step by step.
    wider = [] if prior is None else [10.0**-k for k in range(2, 12) if 10.0**-k > 2 * noise]
    for level in [*wider, noise]:
        problem.noise = level
        x = problem.descend(x, max_steps)
    return problem.choose(x, n_solutions, max(tolerance, 3 * noise) if prior else tolerance, separation, seen)


class _Problem:
    """Checked arguments, and the function in float64."""

    def __init__(
        self,
        layer: SeparableLayer,
        target: Any,
        bounds: Any,
        fixed: Mapping[int, float],
        outputs: Sequence[int] | None,
        band: Any,
        prior: tuple[Any, Any] | None,
        noise: float,
        seed: int,
    ) -> None:
        self.layer = copy.deepcopy(layer).double().requires_grad_(False)
        self.device, inputs = layer.core.device, layer.in_features
        self.chosen = list(range(layer.out_features)) if outputs is None else list(outputs)
        if not self.chosen or not set(self.chosen) <= set(range(layer.out_features)):
            raise ValueError(f"invert: outputs are indices below {layer.out_features}, got {self.chosen}")
        self.target = self._vector("target", target, len(self.chosen))
        self.band = self._vector("band", band, len(self.chosen))
        if bool((self.band < 0).any()):
            raise ValueError(f"invert: band is not negative, got {self.band.tolist()}")
        if bounds is None:
            if layer.coordinates is not None:
                raise ValueError("invert: a layer that learns its coordinates has no domain of its own; give bounds")
            bounds = [atom.domain for atom in layer.atoms]
        box = torch.as_tensor(bounds, dtype=torch.float64, device=self.device)
        if box.shape != (inputs, 2) or not bool(torch.isfinite(box).all()) or bool((box[:, 0] > box[:, 1]).any()):
            raise ValueError(f"invert: bounds are {inputs} finite pairs (least, greatest), got {box.tolist()}")
        self.lower, self.upper = box.clone().unbind(1)  # a tensor or array of the caller's is not to be written in
        self.free = self.upper > self.lower
        for i, value in ((i, float(value)) for i, value in fixed.items()):
            if not 0 <= i < inputs:
                raise ValueError(f"invert: fixed names input {i}, but there are {inputs} inputs")
            if not self.lower[i] <= value <= self.upper[i]:
                raise ValueError(
                    f"invert: input {i} is fixed at {value:g}, outside its bounds "
                    f"[{float(self.lower[i]):g}, {float(self.upper[i]):g}]"
                )
            self.lower[i] = self.upper[i] = value
            self.free[i] = False
        categories = [layer.coordinates is None and atom.discrete for atom in layer.atoms]
        self.discrete = torch.tensor(categories if layer.coordinates is None else [False] * inputs)
        for i in self.discrete.nonzero().flatten().tolist():
            first, last = self.lower[i].ceil(), self.upper[i].floor()
            if first > last:
                raise ValueError(
                    f"invert: input {i} is a category, a whole number, and there is none in "
                    f"[{float(self.lower[i]):g}, {float(self.upper[i]):g}]"
                )
            self.lower[i], self.upper[i] = first, last
            self.free[i] = first < last
        self.moving = self.free & ~self.discrete.to(self.device)
        self.prior = None
        if prior is not None:
            mean, deviation = (self._vector("prior", part, inputs) for part in prior)
            if not bool((deviation > 0).all()):
                raise ValueError(f"invert: the prior's standard deviations are positive, got {deviation.tolist()}")
            self.prior = mean, deviation
        self.noise, self.seed = noise, seed
        self.width = torch.where(self.free, self.upper - self.lower, torch.ones_like(self.lower))
        periods = [math.inf] * inputs
        if layer.coordinates is None:
            circles = [atom.outside == "periodic" and not atom.discrete for atom in layer.atoms]
            domains = [atom.domain for atom in layer.atoms]
            periods = [b - a if once else math.inf for once, (a, b) in zip(circles, domains, strict=True)]
        self.turns = self.width / self.width.new_tensor(periods)  # of the circle in the box; 0 where there is none

    def _vector(self, name: str, values: Any, length: int) -> Tensor:
        vector = torch.as_tensor(values, dtype=torch.float64, device=self.device).flatten()
        vector = vector.expand(length).clone() if len(vector) == 1 else vector
        if len(vector) != length or not bool(torch.isfinite(vector).all()):
            raise ValueError(f"invert: {name} is a finite number or {length} of them, got {vector.tolist()}")
        return vector

    def start(self, count: int) -> tuple[Tensor, Tensor]:
        """The most promising of many points spread over the box, and the range of outputs met there."""
        sobol = torch.quasirandom.SobolEngine(len(self.lower), scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
        cloud = max(4096, 4 * count)
        unit = sobol.draw(cloud, dtype=torch.float64).to(self.device)
        x = self.lower + unit * (self.upper - self.lower)
        whole = torch.floor(self.lower + unit * (self.upper - self.lower + 1)).clamp(self.lower, self.upper)
        x = torch.where(self.discrete.to(self.device) & self.free, whole, x)
        values = self.layer(x)[:, self.chosen]
        self.spread = values.std(0)
        # An output that is the same everywhere, as where all inputs are fixed, has a spread of rounding.
        varies = self.spread > 1e-12 * values.abs().amax(0)
        self.spread = torch.where(varies, self.spread, torch.ones_like(self.spread))
        merit = self._residuals(x, values).square().sum(1)
        # Half by merit, half anywhere: merit alone would start all of them on one branch of the solutions.
        best = merit.argsort()[: count - count // 2]
        return torch.cat([x[best], x[: count // 2]]), torch.stack([values.amin(0), values.amax(0)])

    def _gap(self, values: Tensor) -> Tensor:
        away = values - self.target
        gap: Tensor = away.sign() * (away.abs() - self.band).clamp_min(0)
        return gap

    def _residuals(self, x: Tensor, values: Tensor) -> Tensor:
        gap: Tensor = self._gap(values) / self.spread
        if self.prior is None:
            return gap
        mean, deviation = self.prior
        away = self.width * _shorter((x - mean) / self.width, self.turns)
        return torch.cat([gap, self.noise * away / deviation], dim=1)

    def descend(self, x: Tensor, steps: int) -> Tensor:
        """Damped Gauss-Newton steps from every start at once; a step that does not help is not taken."""
        damping = torch.full((len(x), 1), 1e-3, dtype=x.dtype, device=x.device)
        values = self.layer(x)[:, self.chosen]
        residuals = self._residuals(x, values)
        merit = residuals.square().sum(1)
        for _ in range(steps):
            jacobian = self.layer.jacobian(x)[:, self.chosen]
            outside = (self._gap(values) != 0).double()
            jacobian = jacobian * (outside / self.spread)[:, :, None] * self.width
            if self.prior is not None:
                pull = torch.diag(self.noise * self.width / self.prior[1]).expand(len(x), -1, -1)
                jacobian = torch.cat([jacobian, pull], dim=1)
            gradient = (jacobian.transpose(1, 2) @ residuals[:, :, None])[..., 0]
            held = ((x <= self.lower) & (gradient > 0)) | ((x >= self.upper) & (gradient < 0)) | ~self.moving
            jacobian = jacobian.masked_fill(held[:, None, :], 0.0)
            gradient = gradient.masked_fill(held, 0.0)
            normal = jacobian.transpose(1, 2) @ jacobian
            size = normal.diagonal(dim1=1, dim2=2).amax(1, keepdim=True).clamp_min(1e-30)
            normal = normal + torch.diag_embed((damping * size).expand_as(x) + 1e-14 * size)
            move = -torch.linalg.solve(normal, gradient[..., None])[..., 0] * self.width
            tried = torch.minimum(torch.maximum(x + move, self.lower), self.upper)
            reached = self.layer(tried)[:, self.chosen]
            new = self._residuals(tried, reached)
            better = new.square().sum(1) < merit
            x, values = torch.where(better[:, None], tried, x), torch.where(better[:, None], reached, values)
            residuals = torch.where(better[:, None], new, residuals)
            merit = residuals.square().sum(1)
            damping = torch.where(better[:, None], damping * 0.2, damping * 5).clamp(1e-12, 1e6)
            if bool((merit < 1e-28).all()):
                break
        return x

    def _apart(self, unit: Tensor, place: int) -> Tensor:
        """Distances ``(N,)`` from one of the rows, free inputs in units of the box; round the circle where one is."""
        distance: Tensor = torch.linalg.vector_norm(_shorter(unit - unit[place], self.turns[self.free]), dim=1)
        return distance

    def choose(self, x: Tensor, count: int, tolerance: float, separation: float, seen: Tensor) -> Inversion:
        """Pick solutions that are far from one another; without a solution, the nearest points."""
        values = self.layer(x)
        gap = self._gap(values[:, self.chosen])
        merit = self._residuals(x, values[:, self.chosen]).square().sum(1)
        converged = ((gap / self.spread).abs() <= tolerance).all(1)
        candidates = converged.nonzero()[:, 0] if bool(converged.any()) else merit.argsort()[: 8 * count]
        candidates = candidates[merit[candidates].argsort()]
        free = max(1, int(self.free.sum()))
        unit = (x[candidates] / self.width)[:, self.free]
        picked = [0]
        distance = self._apart(unit, 0)
        while len(picked) < count:
            if self.prior is None:
                following = int(distance.argmax())
            else:  # the most probable among those that are distinct
                apart = (distance > separation * free**0.5).nonzero()
                following = int(apart[0]) if len(apart) else int(distance.argmax())
            if float(distance[following]) <= separation * free**0.5:
                break
            picked.append(following)
            distance = torch.minimum(distance, self._apart(unit, following))
        rows = candidates[sorted(picked, key=lambda i: float(merit[candidates[i]]))]
        return Inversion(x[rows], values[rows], gap[rows], converged[rows], seen, self.target)


def _shorter(away: Tensor, turns: Tensor) -> Tensor:
    """Differences ``(..., D)`` in units of the box, the shorter way round where it holds some turns of a circle."""
    return away - torch.where(turns > 0, (away * turns).round() / turns, torch.zeros_like(away))
