"""Separable networks of a policy: features of an observation whose linear readout is an action or a value.

    z = known coordinates of x                        `coordinates`; the entries of x themselves come first
    a, b, c = tanh(W z + w)                           learned coordinates in (-1, 1)
    features = [f(a) * f(b) ; f(c) ; z]               products of two (interaction order 2), single ones, a linear term

f is a function of one coordinate each: the identity (``atoms="tanh"``) or a learned B-spline that starts as the
identity (``atoms="spline"``).  The linear term lets learning start from a linear policy.

`PublishedSpan` is the network of Mostakim, Batley and Saha, Agile Reinforcement Learning through Separable Neural
Architecture (2026, arXiv:2601.23225): learned coordinates, sigmoid, KHRONOS, linear.  The deviations above are ours;
RESULTS.md has what each of them is worth.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domains.navigation.coordinates import Coordinates, KnownCoordinates
from separable.atoms import BSpline
from separable.layers import Khronos, LearnedCoordinates
from separable.layers.derivatives import of_plain, plain_gradient, transformed
from separable.layers.expansion import Expansion


@dataclasses.dataclass(frozen=True)
class QuadraticNetwork:
    """Sizes of our network.

    Args:
        pairs: Number of products of two learned coordinates; 0 leaves an additive network (interaction order 1).
        singles: Number of learned coordinates that enter alone.
        linear: Whether the known coordinates enter the readout themselves.
        atoms: What a learned coordinate is carried through: nothing further, or a B-spline each.
        intervals: Of those splines, which have degree 2 on (-1, 1).
        gain: Size of the start values of the learned coordinates' map, an orthogonal matrix.
        bias: Standard deviation of the start values of its constants, so that not all coordinates bend at the origin.

    Raises:
        ValueError: If no feature is left, or a number is out of range.

    Example:
        >>> import torch
        >>> from domains.navigation.coordinates import Coordinates
        >>> features = QuadraticNetwork(pairs=4, singles=3).build(7, Coordinates(vectors=((0, 1),)))
        >>> features(torch.randn(5, 7)).shape, features.n_outputs
        (torch.Size([5, 17]), 17)
    """

    pairs: int = 8
    singles: int = 8
    linear: bool = True
    atoms: Literal["tanh", "spline"] = "tanh"
    intervals: int = 4
    gain: float = 1.0
    bias: float = 0.3

    def __post_init__(self) -> None:
        if self.pairs < 0 or self.singles < 0 or not (self.pairs or self.singles or self.linear):
            raise ValueError(
                f"QuadraticNetwork: expected pairs, singles of at least 0 and some feature at all, "
                f"got {self.pairs}, {self.singles}, linear={self.linear}"
            )
        if self.atoms not in ("tanh", "spline"):
            raise ValueError(f"QuadraticNetwork: atoms is 'tanh' or 'spline'; got {self.atoms!r}")
        if self.intervals < 1 or not self.gain > 0 or not self.bias >= 0:
            raise ValueError(f"QuadraticNetwork: intervals, gain, bias are positive; got {self}")

    def build(self, n_inputs: int, coordinates: Coordinates) -> Features:
        """The module for observations of ``n_inputs`` entries."""
        return QuadraticFeatures(n_inputs, coordinates, self)


@dataclasses.dataclass(frozen=True)
class PublishedSpan:
    """Sizes of the published network, whose paper gives none; those here are ours.

    Args:
        coordinates: Number of learned coordinates.
        grid_points: Kernels for each of them.
        rank: Number of modes, the features.

    Example:
        >>> import torch
        >>> from domains.navigation.coordinates import Coordinates
        >>> PublishedSpan(rank=5).build(7, Coordinates())(torch.randn(3, 7)).shape
        torch.Size([3, 5])
    """

    coordinates: int = 6
    grid_points: int = 6
    rank: int = 8

    def build(self, n_inputs: int, coordinates: Coordinates) -> Features:
        """The module for observations of ``n_inputs`` entries."""
        return PublishedFeatures(n_inputs, coordinates, self)


Network = QuadraticNetwork | PublishedSpan
_KINDS: dict[str, type[Network]] = {"quadratic": QuadraticNetwork, "published": PublishedSpan}


def make_network(network: Network | dict[str, Any] | str | None) -> Network:
    """A network's sizes from plain data.

    Args:
        network: Sizes, their fields by name with ``kind`` (``"quadratic"`` if absent), a kind alone, or None.

    Raises:
        ValueError: If the kind or a field does not exist.

    Example:
        >>> make_network({"pairs": 3}).pairs, make_network("published").rank
        (3, 8)
    """
    if isinstance(network, QuadraticNetwork | PublishedSpan):
        return network
    fields = {"kind": network} if isinstance(network, str) else dict(network or {})
    kind = fields.pop("kind", "quadratic")
    if kind not in _KINDS:
        raise ValueError(f"network: kind is one of {', '.join(_KINDS)}; got {kind!r}")
    known = [field.name for field in dataclasses.fields(_KINDS[kind])]
    for name in fields:
        if name not in known:
            raise ValueError(f"network: a {kind} network has {', '.join(known)}; got {name!r}")
    return _KINDS[kind](**fields)


class Features(nn.Module, ABC):
    """Features ``(B, n_outputs)`` of observations ``(B, n_inputs)``."""

    n_outputs: int

    def __init__(self, n_inputs: int, coordinates: Coordinates) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.known = KnownCoordinates(n_inputs, coordinates)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, n_outputs)``."""
        return self.of_coordinates(self.known(x))

    @abstractmethod
    def of_coordinates(self, z: Tensor) -> Tensor:
        """Features ``(B, n_outputs)`` of known coordinates ``(B, D)``."""


class QuadraticFeatures(Features):
    """Products of two, single ones and the linear term; see the head of this file."""

    def __init__(self, n_inputs: int, coordinates: Coordinates, sizes: QuadraticNetwork) -> None:
        super().__init__(n_inputs, coordinates)
        self.sizes = sizes
        learned, given = 2 * sizes.pairs + sizes.singles, self.known.n_outputs
        self.n_outputs = sizes.pairs + sizes.singles + (given if sizes.linear else 0)
        self.learned = LearnedCoordinates(given, learned, "tanh") if learned else None
        self.splines: Expansion | None = None
        if self.learned is not None:
            nn.init.orthogonal_(self.learned.weight, sizes.gain)
            nn.init.normal_(self.learned.bias, 0.0, sizes.bias)
            if sizes.atoms == "spline":
                atom = BSpline(intervals=sizes.intervals, degree=2, domain=(-1.0, 1.0))
                start = _identity(atom).to(self.learned.weight)
                self.splines = _splines(atom, start[None, :, None].expand(learned, -1, 1))

    def of_coordinates(self, z: Tensor) -> Tensor:
        """Features ``(B, n_outputs)`` of known coordinates ``(B, D)``."""
        if self.learned is None:
            return z
        m, k = self.sizes.pairs, self.sizes.singles
        weight, bias = self.learned.weight, self.learned.bias
        if self.splines is None and self.sizes.linear and not (torch.compiler.is_exporting() or transformed(z, weight)):
            found: Tensor = _Quadratic.apply(z, weight, bias, m)
            return found
        u = self.carried(self.learned(z))
        a, b, c = u.split([m, m, k], 1)
        return torch.cat([a * b, c, z], 1) if self.sizes.linear else torch.cat([a * b, c], 1)

    def carried(self, u: Tensor) -> Tensor:
        """Learned coordinates ``(B, 2 pairs + singles)`` in (-1, 1), each through its own function f."""
        if self.splines is None:
            return u
        factors = self.splines.factors(u)
        assert isinstance(factors, Tensor)
        return factors[..., 0]

    def refine(self) -> None:
        """Double the splines' intervals; the features stay the same, to rounding. Optimisers have to be made anew."""
        if self.splines is None:
            raise ValueError("refine: only a network with atoms='spline' has something to refine")
        atom = self.splines.atoms[0]
        assert isinstance(atom, BSpline)
        finer, matrix = _refined(atom, 2 * atom.intervals)
        old = self.splines.coefficients[0]
        self.splines = _splines(finer, matrix.to(old) @ old.detach())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Splines grow to the size of refined ones before they take their numbers. The parameter stays the same, for an
        # optimiser may have it.
        given = state_dict.get(f"{prefix}splines.coefficients.0")
        if self.splines is not None and given is not None:
            atom, parameter = self.splines.atoms[0], self.splines.coefficients[0]
            assert isinstance(atom, BSpline)
            intervals = given.shape[1] - atom.degree if given.ndim == 3 else atom.intervals
            if intervals > atom.intervals and intervals % atom.intervals == 0:
                finer, matrix = _refined(atom, intervals)
                parameter.grad = None
                parameter.data = matrix.to(parameter) @ parameter.data
                self.splines = _splines(finer, parameter.data)
                self.splines.coefficients[0] = parameter
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Quadratic(torch.autograd.Function):
    """The features with the identity as f and with the linear term, faster than one operation after another.

    What counts in a training step is how often the numbers of one wide layer pass through memory, and the tanh, which
    costs a fifth as 2 sigmoid(2 u) - 1.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, bias: Tensor, pairs: int) -> Tensor:
        u = torch.addmm(bias, z, weight.T, beta=2, alpha=2).sigmoid_().mul_(2).sub_(1)
        a, b, c = u.tensor_split((pairs, 2 * pairs), 1)
        ctx.save_for_backward(z, weight, bias, u)
        ctx.pairs = pairs
        return torch.cat([a * b, c, z], 1)

    @staticmethod
    def plain(z: Tensor, weight: Tensor, bias: Tensor, pairs: int) -> Tensor:
        u = nn.functional.linear(z, weight, bias).tanh()
        a, b, c = u.tensor_split((pairs, 2 * pairs), 1)
        return torch.cat([a * b, c, z], 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        z, weight, bias, u = ctx.saved_tensors
        if of_plain(slope):
            formula = partial(_Quadratic.plain, pairs=ctx.pairs)
            return (*plain_gradient(formula, (z, weight, bias), ctx.needs_input_grad[:3], slope), None)
        a, b, _ = u.tensor_split((ctx.pairs, 2 * ctx.pairs), 1)
        of_product, of_single, of_z = slope.tensor_split((ctx.pairs, u.shape[1] - ctx.pairs), 1)
        of_u = torch.cat([b * of_product, a * of_product, of_single], 1)
        of_u = torch.ops.aten.tanh_backward(of_u, u)
        return torch.addmm(of_z, of_u, weight) if ctx.needs_input_grad[0] else None, of_u.T @ z, of_u.sum(0), None


class PublishedFeatures(Features):
    """The modes of a KHRONOS layer on learned coordinates; its readout is the policy's own."""

    def __init__(self, n_inputs: int, coordinates: Coordinates, sizes: PublishedSpan) -> None:
        super().__init__(n_inputs, coordinates)
        self.sizes, self.n_outputs = sizes, sizes.rank
        self.learned = LearnedCoordinates(self.known.n_outputs, sizes.coordinates, "sigmoid")
        self.khronos = Khronos(sizes.coordinates, 1, sizes.grid_points, sizes.rank)
        self.khronos.readout.requires_grad_(False)  # the policy has its own

    def of_coordinates(self, z: Tensor) -> Tensor:
        """Features ``(B, rank)`` of known coordinates ``(B, D)``."""
        return self.khronos.modes(self.learned(z))


def _splines(atom: BSpline, coefficients: Tensor) -> Expansion:
    """Splines of one family with coefficients ``(D, K, 1)``."""
    n = len(coefficients)
    splines = Expansion([atom] * n, [1] * n).to(coefficients)
    with torch.no_grad():
        splines.coefficients[0].copy_(coefficients)
    return splines


def _refined(atom: BSpline, intervals: int) -> tuple[BSpline, Tensor]:
    finer, matrix = atom.refined(intervals=intervals)
    assert isinstance(finer, BSpline)
    return finer, matrix


def _identity(atom: BSpline) -> Tensor:
    """Coefficients ``(K,)`` of the function u on a spline's domain, by least squares, which is exact."""
    u = torch.linspace(*atom.domain, 8 * atom.size, dtype=torch.float64)
    return torch.linalg.lstsq(atom(u), u[:, None]).solution[:, 0]
