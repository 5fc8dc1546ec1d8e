"""A perceptron of one coordinate: K functions learned by a small network, as in separable PINNs.

The functions are ``B_1 = 1`` and the K - 1 outputs of ``x -> t in [-1, 1] -> tanh layers -> linear``. Source: Cho et
al., Separable Physics-Informed Neural Networks (2023, arXiv:2306.15969), one network an axis. Deviations: the domain is
scaled to [-1, 1] before the first layer, and a constant function is added so that a product can leave a coordinate out.
"""

import dataclasses
import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_domain, check_outside


@dataclasses.dataclass(frozen=True)
class Perceptron(Atom):
    """Functions of one coordinate with weights of their own, which the layer that uses them holds and trains.

    Args:
        functions: Number K >= 2 of functions, the constant one among them.
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        domain: Ends (a, b) of the coordinate's range.
        outside: Policy beyond the domain.

    Integrals and Gram matrices are by quadrature, with a relative error of about 1e-10 for weights near their
    start values; derivatives of any order are exact (Taylor coefficients carried through the network).

    Example:
        >>> import torch
        >>> from separable.atoms import Perceptron
        >>> atom = Perceptron(functions=4, width=8)
        >>> atom(torch.rand(5), parameters=atom.initial_parameters()).shape
        torch.Size([5, 4])
    """

    functions: int = 16
    width: int = 32
    depth: int = 2
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "linear"

    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field, least in (("functions", 2), ("width", 1), ("depth", 1)):
            object.__setattr__(self, field, check_count("Perceptron", field, getattr(self, field), least))
        object.__setattr__(self, "domain", check_domain("Perceptron", self.domain))
        check_outside("Perceptron", self.outside)

    @property
    def size(self) -> int:
        """K, the number of functions."""
        return self.functions

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Ends of 16 pieces for the quadrature; the functions are smooth throughout."""
        lower, upper = self.domain
        return tuple(lower + (upper - lower) * i / 16 for i in range(17))

    def ones(self) -> Tensor:
        """The first function is the constant."""
        return torch.eye(self.size, dtype=torch.float64)[0]

    def initial_parameters(self, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Weights and biases of each layer, float64; Glorot-normal weights, biases spread over [-1, 1] in the first."""
        sizes = [1, *[self.width] * self.depth, self.functions - 1]
        parameters = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            spread = (2 / (fan_in + fan_out)) ** 0.5 if i else 2.0
            weight = spread * torch.randn(fan_in, fan_out, dtype=torch.float64, generator=generator)
            bias = torch.zeros(fan_out, dtype=torch.float64)
            if i == 0:  # hinges of the first layer lie all over the domain, not all in its middle
                bias = -weight[0] * (2 * torch.rand(fan_out, dtype=torch.float64, generator=generator) - 1)
            parameters += [weight, bias]
        return tuple(parameters)

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        expected = 2 * (self.depth + 1)
        if len(parameters) != expected:
            raise ValueError(
                f"Perceptron: expected {expected} parameter tensors (see initial_parameters), got {len(parameters)}"
            )
        parameters = tuple(p.to(dtype=x.dtype, device=x.device) for p in parameters)
        lower, upper = self.domain
        scaled = ((2 * x - (lower + upper)) / (upper - lower))[..., None]
        series = [scaled, torch.full_like(scaled, 2 / (upper - lower)), *[torch.zeros_like(scaled)] * (derivative - 1)]
        series = series[: derivative + 1]
        for i in range(0, expected, 2):
            series = [term @ parameters[i] for term in series]
            series[0] = series[0] + parameters[i + 1]
            if i < expected - 2:
                series = _tanh(series)
        learned = series[-1] * math.factorial(len(series) - 1)
        constant = (torch.ones_like if derivative == 0 else torch.zeros_like)(learned[..., :1])
        return torch.cat([constant, learned], dim=-1)


def _tanh(series: list[Tensor]) -> list[Tensor]:
    """Taylor coefficients of ``y = tanh(h)`` from those of h: ``y' = (1 - y^2) h'``, order by order."""
    values = [torch.tanh(series[0])]
    slopes = [1 - values[0] * values[0]]  # of 1 - y^2
    for k in range(1, len(series)):
        zero = torch.zeros_like(values[0])
        values.append(sum((i * series[i] * slopes[k - i] for i in range(1, k + 1)), zero) / k)
        slopes.append(-sum((values[i] * values[k - i] for i in range(k + 1)), zero))
    return values
