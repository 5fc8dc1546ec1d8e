"""Our own torch baselines: a physics-informed network (PINN) and a separable one (SPINN), trained for a given time.

A problem writes its loss once, with ``d(orders)`` for a derivative of the network and coordinates that broadcast: for
the PINN these are columns of scattered points (Raissi et al. 2019), for the SPINN the axes of a grid (Cho et al. 2023,
arXiv:2306.15969: one network per axis with r outputs, joined by a product). Conditions enter as weighted penalties,
tanh, Adam at 1e-3 with cosine decay over the given time, float32.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

Derivative = Callable[[Mapping[int, int]], Tensor]
Conditions = Callable[[Callable[[Sequence[Tensor]], tuple[list[Tensor], Derivative]]], Tensor]


class Pinn(nn.Module):
    """A tanh network of all D coordinates, scaled to [-1, 1]."""

    def __init__(self, domains: Sequence[tuple[float, float]], width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.register_buffer("lower", torch.tensor([d[0] for d in domains]))
        self.register_buffer("upper", torch.tensor([d[1] for d in domains]))
        sizes = [len(domains), *[width] * depth, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``(N, 1)`` at points ``(N, D)``."""
        x = 2 * (x - self.lower) / (self.upper - self.lower) - 1
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)

    def fields(self, columns: Sequence[Tensor]) -> tuple[list[Tensor], Derivative]:
        """Coordinates ``(N, 1)`` and derivatives at the points they form."""
        columns = [c.detach().requires_grad_() for c in columns]
        values = self(torch.cat(columns, dim=1))
        known: dict[tuple[tuple[int, int], ...], Tensor] = {(): values}

        def derivative(orders: Mapping[int, int]) -> Tensor:
            key = tuple(sorted((j, m) for j, m in orders.items() if m))
            if key not in known:
                j, m = key[-1]
                below = derivative({**orders, j: m - 1})
                known[key] = torch.autograd.grad(below.sum(), columns[j], create_graph=True)[0]
            return known[key]

        return columns, derivative

    def sample(self, axes: Sequence[Tensor], points: int) -> list[Tensor]:
        """As many scattered points as asked for; ``axes`` gives each coordinate's candidates."""
        return [a[torch.randint(len(a), (points, 1))] if len(a) > 1 else a.expand(points, 1) for a in axes]


class Spinn(nn.Module):
    """One tanh network per axis with ``rank`` outputs; the function is the sum over the rank of their products."""

    def __init__(self, domains: Sequence[tuple[float, float]], rank: int = 32, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.domains = list(domains)
        self.rank = rank
        sizes = [1, *[width] * depth, rank]
        self.networks = nn.ModuleList()
        for _ in domains:
            layers: list[nn.Module] = []
            for a, b in itertools.pairwise(sizes):
                linear = nn.Linear(a, b)
                nn.init.xavier_normal_(linear.weight)
                nn.init.zeros_(linear.bias)
                layers += [linear, nn.Tanh()]
            self.networks.append(nn.Sequential(*layers[:-1]))

    def features(self, j: int, x: Tensor) -> Tensor:
        """Axis j's functions ``(n, rank)`` at ``x (n,)``."""
        a, b = self.domains[j]
        return self.networks[j]((2 * (x - a) / (b - a) - 1)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Values ``(N, 1)`` at points ``(N, D)``."""
        product = self.features(0, x[:, 0])
        for j in range(1, len(self.domains)):
            product = product * self.features(j, x[:, j])
        return product.sum(dim=1, keepdim=True)

    def fields(self, columns: Sequence[Tensor]) -> tuple[list[Tensor], Derivative]:
        """Coordinates that broadcast over the grid, and derivatives on it, by forward-mode differentiation per axis."""
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
                product = (product[:, None] * axis(j, orders.get(j, 0))[None]).reshape(-1, self.rank)
            flat = product @ axis(count - 1, orders.get(count - 1, 0)).T
            return flat.reshape([len(c) for c in columns])

        shapes = [[-1 if i == j else 1 for i in range(count)] for j in range(count)]
        return [c.reshape(s) for c, s in zip(columns, shapes, strict=True)], derivative

    def sample(self, axes: Sequence[Tensor], points: int) -> list[Tensor]:
        """About that many grid points: equally many values of every axis that has more than one candidate."""
        free = sum(len(a) > 1 for a in axes)
        each = max(2, round(points ** (1 / free)))
        return [a[torch.randint(len(a), (each,))] if len(a) > 1 else a for a in axes]


def train(
    model: Pinn | Spinn,
    loss: Callable[[Pinn | Spinn], Tensor],
    seconds: float,
    rate: float = 1e-3,
) -> int:
    """Adam for a given wall time, the rate falling to zero by cosine; returns the number of steps."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    began, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * spent / seconds)) + 1e-6
        optimiser.zero_grad()
        loss(model).backward()
        optimiser.step()
        steps += 1
    return steps


def uniform(domain: tuple[float, float], count: int = 4096) -> Tensor:
    """Random candidates of one coordinate."""
    return domain[0] + (domain[1] - domain[0]) * torch.rand(count)
