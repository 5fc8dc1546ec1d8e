"""Our own torch baselines, tuned before they are timed: a physics-informed network (PINN) and a separable one (SPINN).

A `Task` writes its equation once, with ``d(orders)`` for a derivative of the network and coordinates that broadcast:
for the PINN these are columns of scattered points (Raissi et al. 2019), for the SPINN the axes of a grid (Cho et al.
2023, arXiv:2306.15969: one network per axis with r outputs, joined by a product). Inputs are scaled to [-1, 1].

Conditions enter as weighted penalties or exactly, through the ansatz

    u = sum_l prod_j lift_l(x_j)  +  prod_j envelope_j(x_j) * network(x)        envelope zero where values are held

with cosines and sines as the inputs of periodic coordinates. Training is Adam with cosine decay over the given time on
fresh points every step, and where a setting says so L-BFGS on fixed points for the last part of the time. `tuned`
tries every setting for a short while, keeps the one whose own loss on fresh points is least (the truth is not used),
and trains that one afresh for the whole time.
"""

import abc
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

Derivative = Callable[[Mapping[int, int]], Tensor]
Axis = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is chosen of a network and its training.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers.
        rank: Outputs of each axis's network (SPINN).
        activation: ``tanh`` or ``sin``.
        frequency: Factor on the scaled inputs.
        rate: Adam's first rate.
        points: Collocation points per step.
        hard: Whether conditions are held by the ansatz instead of penalties.
        weight: Weight of the penalties.
        finish: Share of the time that L-BFGS gets at the end.
    """

    width: int = 64
    depth: int = 3
    rank: int = 32
    activation: Literal["tanh", "sin"] = "tanh"
    frequency: float = 1.0
    rate: float = 2e-3
    points: int = 1024
    hard: bool = True
    weight: float = 10.0
    finish: float = 0.0

    def __str__(self) -> str:
        """One line."""
        conditions = "conditions held by the ansatz" if self.hard else f"penalties of weight {self.weight:g}"
        finish = f", L-BFGS for the last {100 * self.finish:.0f} %" if self.finish else ""
        return (
            f"{self.depth} x {self.width} {self.activation} (frequency {self.frequency:g}), {conditions}, "
            f"Adam {self.rate:g}, {self.points} points{finish}"
        )


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem as the networks see it.

    Args:
        domains: Of each coordinate.
        equation: The residual from coordinates and derivatives.
        penalties: Sum of the mean squared violations of the conditions, for a network and a number of points.
        lift: Per coordinate ``(n,) -> (n, L)``, the factors of a function that has the conditions' data.
        envelope: Per coordinate ``(n,) -> (n,)``, zero where conditions are held.
        periodic: Indices of the periodic coordinates.
    """

    domains: Sequence[tuple[float, float]]
    equation: Callable[[Sequence[Tensor], Derivative], Tensor]
    penalties: "Callable[[Network, int], Tensor]"
    lift: Sequence[Axis]
    envelope: Sequence[Axis]
    periodic: Sequence[int] = ()

    def loss(self, model: "Network", points: int) -> Tensor:
        """Mean squared residual and what is penalised, on fresh points."""
        columns, d = model.fields(model.sample([uniform(domain) for domain in self.domains], points))
        total = self.equation(columns, d).square().mean()
        if not model.setting.hard:
            total = total + model.setting.weight * self.penalties(model, points)
        return total

    def validation(self, model: "Network") -> float:
        """The residual and all conditions with weight 10, whatever the setting, on many points."""
        with torch.random.fork_rng():
            torch.manual_seed(12345)
            columns, d = model.fields(model.sample([uniform(domain) for domain in self.domains], 8192))
            value = self.equation(columns, d).square().mean() + 10 * self.penalties(model, 4096)
            return float(value.detach())


class Network(nn.Module, abc.ABC):
    """What the two networks share: scaled or periodic inputs, the ansatz, layers."""

    def __init__(self, task: Task, setting: Setting) -> None:
        super().__init__()
        self.task, self.setting = task, setting

    def inputs(self, j: int, x: Tensor) -> Tensor:
        """Inputs ``(n, 1 or 2)`` of coordinate j at ``x (n,)``."""
        a, b = self.task.domains[j]
        z = 2 * (x - a) / (b - a) - 1
        if self.setting.hard and j in self.task.periodic:
            return torch.stack([torch.cos(math.pi * z), torch.sin(math.pi * z)], dim=1)
        return self.setting.frequency * z[:, None]

    def width(self, j: int) -> int:
        """Number of inputs of coordinate j."""
        return 2 if self.setting.hard and j in self.task.periodic else 1

    def layers(self, inputs: int, outputs: int) -> nn.ModuleList:
        """Linear layers with Glorot's start."""
        sizes = [inputs, *[self.setting.width] * self.setting.depth, outputs]
        layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
        return layers

    def run(self, layers: nn.ModuleList, x: Tensor) -> Tensor:
        """The layers with the activation between them."""
        activation = torch.tanh if self.setting.activation == "tanh" else torch.sin
        for layer in layers[:-1]:
            x = activation(layer(x))
        return layers[-1](x)

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Values ``(N, 1)`` at points ``(N, D)``."""

    @abc.abstractmethod
    def fields(self, columns: Sequence[Tensor]) -> tuple[list[Tensor], Derivative]:
        """Coordinates that broadcast, and derivatives at the points they form."""

    @abc.abstractmethod
    def sample(self, axes: Sequence[Tensor], points: int) -> list[Tensor]:
        """About as many points as asked for; ``axes`` gives each coordinate's candidates."""


class Pinn(Network):
    """One network of all coordinates."""

    def __init__(self, task: Task, setting: Setting) -> None:
        super().__init__(task, setting)
        self.network = self.layers(sum(self.width(j) for j in range(len(task.domains))), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``(N, 1)`` at points ``(N, D)``."""
        columns = x.unbind(1)
        values = self.run(self.network, torch.cat([self.inputs(j, c) for j, c in enumerate(columns)], dim=1))
        if not self.setting.hard:
            return values
        envelope, lift = torch.ones_like(values[:, 0]), torch.ones(1)
        for c, e, f in zip(columns, self.task.envelope, self.task.lift, strict=True):
            envelope, lift = envelope * e(c), lift * f(c)
        return values * envelope[:, None] + lift.sum(dim=1, keepdim=True)

    def fields(self, columns: Sequence[Tensor]) -> tuple[list[Tensor], Derivative]:
        """Columns ``(N, 1)``, and derivatives by backward passes."""
        columns = [c.detach().requires_grad_() for c in columns]
        known: dict[tuple[tuple[int, int], ...], Tensor] = {(): self(torch.cat(columns, dim=1))}

        def derivative(orders: Mapping[int, int]) -> Tensor:
            key = tuple(sorted((j, m) for j, m in orders.items() if m))
            if key not in known:
                below = dict(key)
                below[key[-1][0]] -= 1
                # all first derivatives of a function come from one backward pass
                slopes = torch.autograd.grad(derivative(below).sum(), columns, create_graph=True)
                for j, slope in enumerate(slopes):
                    above = {**below, j: below.get(j, 0) + 1}
                    known.setdefault(tuple(sorted((i, m) for i, m in above.items() if m)), slope)
            return known[key]

        return list(columns), derivative

    def sample(self, axes: Sequence[Tensor], points: int) -> list[Tensor]:
        """Scattered points, one column ``(points, 1)`` per coordinate."""
        return [a[torch.randint(len(a), (points, 1))] if len(a) > 1 else a.expand(points, 1) for a in axes]


class Spinn(Network):
    """One network per axis with ``rank`` outputs; the function is the sum over the rank of their products."""

    def __init__(self, task: Task, setting: Setting) -> None:
        super().__init__(task, setting)
        self.networks = nn.ModuleList(self.layers(self.width(j), setting.rank) for j in range(len(task.domains)))

    def features(self, j: int, x: Tensor) -> Tensor:
        """Axis j's functions ``(n, rank [+ L])`` at ``x (n,)``; the lift's products join as further columns."""
        values = self.run(self.networks[j], self.inputs(j, x))
        if not self.setting.hard:
            return values
        return torch.cat([values * self.task.envelope[j](x)[:, None], self.task.lift[j](x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``(N, 1)`` at points ``(N, D)``."""
        product = self.features(0, x[:, 0])
        for j in range(1, len(self.task.domains)):
            product = product * self.features(j, x[:, j])
        return product.sum(dim=1, keepdim=True)

    def fields(self, columns: Sequence[Tensor]) -> tuple[list[Tensor], Derivative]:
        """Axes that broadcast over their grid, and derivatives by forward mode along each axis."""
        count = len(columns)
        known: dict[tuple[int, int], Tensor] = {}

        def axis(j: int, order: int) -> Tensor:
            if (j, order) not in known:

                def run(x: Tensor, m: int = order) -> Tensor:
                    if m == 0:
                        return self.features(j, x)
                    return torch.func.jvp(lambda z: run(z, m - 1), (x,), (torch.ones_like(x),))[1]

                known[j, order] = run(columns[j])
            return known[j, order]

        def derivative(orders: Mapping[int, int]) -> Tensor:
            product = axis(0, orders.get(0, 0))
            for j in range(1, count - 1):
                following = axis(j, orders.get(j, 0))
                product = (product[:, None] * following[None]).reshape(-1, following.shape[1])
            flat = product @ axis(count - 1, orders.get(count - 1, 0)).T
            return flat.reshape([len(c) for c in columns])

        shapes = [[-1 if i == j else 1 for i in range(count)] for j in range(count)]
        return [c.reshape(s) for c, s in zip(columns, shapes, strict=True)], derivative

    def sample(self, axes: Sequence[Tensor], points: int) -> list[Tensor]:
        """Axes of a grid, equally long but for those with one candidate."""
        free = sum(len(a) > 1 for a in axes)
        each = max(2, round(points ** (1 / free)))
        return [a[torch.randint(len(a), (each,))] if len(a) > 1 else a for a in axes]


def train(model: Network, seconds: float) -> int:
    """Train for a given wall time; returns the number of gradients taken."""
    setting, task = model.setting, model.task
    began, steps, first = time.perf_counter(), 0, seconds * (1 - setting.finish)
    optimiser = torch.optim.Adam(model.parameters(), lr=setting.rate)
    while (spent := time.perf_counter() - began) < first:
        for group in optimiser.param_groups:
            group["lr"] = setting.rate * 0.5 * (1 + math.cos(math.pi * spent / first)) + 1e-6
        optimiser.zero_grad()
        task.loss(model, setting.points).backward()
        optimiser.step()
        steps += 1
    if setting.finish:
        last = torch.optim.LBFGS(model.parameters(), max_iter=5, history_size=50, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            nonlocal steps
            steps += 1
            last.zero_grad()
            with torch.random.fork_rng():
                torch.manual_seed(0)  # the same points at every call
                value = task.loss(model, 2 * setting.points)
            value.backward()
            return value

        while time.perf_counter() - began < seconds:
            last.step(closure)
    return steps


def tuned(
    kind: type[Network], task: Task, settings: Sequence[Setting], short: float
) -> tuple[Setting, list[dict[str, Any]]]:
    """The best of the settings by their own loss after a short run, and a row for each that was tried."""
    rows, losses = [], []
    for setting in settings:
        torch.manual_seed(0)
        model = kind(task, setting)
        steps = train(model, short)
        found = task.validation(model)
        losses.append(found if math.isfinite(found) else math.inf)
        rows.append({"method": f"{kind.__name__.upper()} (tried)", "setting": str(setting), "seconds": short})
        rows[-1] |= {"steps": steps, "own loss on fresh points": found}
        print(rows[-1], flush=True)
    return settings[min(range(len(losses)), key=losses.__getitem__)], rows


def uniform(domain: tuple[float, float], count: int = 4096) -> Tensor:
    """Random candidates of one coordinate."""
    return domain[0] + (domain[1] - domain[0]) * torch.rand(count)
