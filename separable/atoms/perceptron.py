"""A perceptron of one coordinate: K functions learned by a small network, as in separable PINNs.

The functions are ``B_1 = 1`` and the K - 1 outputs of ``x -> t in [-1, 1] -> tanh layers -> linear``. Source: Cho et
al., Separable Physics-Informed Neural Networks (2023, arXiv:2306.15969), one network an axis. Deviations: the domain is
scaled to [-1, 1] before the first layer, and a constant function is added so that a product can leave a coordinate out.
"""

import dataclasses
import itertools
from collections.abc import Callable

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
    start values; derivatives of any order are exact (repeated forward mode).

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

    def __post_init__(self) -> None:
        check_count("Perceptron", "functions", self.functions, 2)
        check_count("Perceptron", "width", self.width, 1)
        check_count("Perceptron", "depth", self.depth, 1)
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

        def network(x: Tensor) -> Tensor:
            lower, upper = self.domain
            hidden = ((2 * x - (lower + upper)) / (upper - lower))[..., None]
            for i in range(0, expected - 2, 2):
                hidden = torch.tanh(hidden @ parameters[i] + parameters[i + 1])
            learned = hidden @ parameters[-2] + parameters[-1]
            return torch.cat([torch.ones_like(learned[..., :1]), learned], dim=-1)

        return _derivative(network, derivative)(x)


def _derivative(function: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], Tensor]:
    """The derivative of a function that acts on each element of its argument separately."""
    for _ in range(order):
        previous = function

        def function(x: Tensor, previous: Callable[[Tensor], Tensor] = previous) -> Tensor:
            tangent: Tensor = torch.func.jvp(previous, (x,), (torch.ones_like(x),))[1]
            return tangent

    return function
