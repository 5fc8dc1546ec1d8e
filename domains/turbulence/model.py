"""The forecaster's core: a separable quadratic operator between fields on a periodic box.

L blocks act on C channels h, which are kept as the Fourier coefficients of their lowest m_y, m_x modes::

    u = h / RMS(h) * gain * (1 + F z)         RMS over channels and box, one a sample; z a vector, optional
    v = filter(P u)                           3 M channels, each with one filter a(y) b(x) round the whole period
    h = h + Q [v_1 v_2 ; v_3] + bias          v_1, v_2, v_3 of M channels; products at points

The first and the last blocks act on all modes. Those between may act on lower ones only: large scales take many
interactions within a step, small ones are carried along, and a block on half the modes takes a quarter of the time. On
64^2 points, in the same time, 12 blocks of which 2 act on all modes reached an error a fifth lower than 8 that all do.

The blocks may be applied in several rounds: a frame is then the work of a learned integrator that takes the same short
step again and again, with a fraction of the numbers.

Interaction order 2 is what advection needs: ``u . grad w`` is a sum of products of two filtered fields. Order 1, to be
compared with it, has GELU of one field in place of each product. The filters are
`separable.layers.DepthwiseSeparableFilter`: as many free taps as there are modes.

Some inputs, such as noise, may go in before the last blocks only. What comes earlier is then worked out once for all
members of an ensemble that start from one state.

Why coefficients. Mixing and filtering are products there, and v_3 never leaves; only the factors of the products are
brought to points and back, on the smallest grid on which they do not alias (3 m + 1 points, the rule that the solver
uses). So a block needs 3 M transforms of a truncated field instead of C + 3 M of a full one, half the time at the same
sizes (measured: 9.5 instead of 17 ms forward and backward a sample at 64^2, 2.2 instead of 4.1 at 32^2), a filter holds
no number that the data do not need, and the operator is one and the same map at every resolution, to rounding.
It commutes with shifts of the box along every axis along which its inputs do.

Held to what it has seen. Products of products grow without bound where a state is unlike those of the training, and a
run that meets one is lost. So after the training every product is held to the largest size that it had on training
frames (`products_watched`), which changes nothing on states like those: on 32^2 points 22 of 32 runs of 500 steps were
lost without and none with it, at the same error.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import scipy.fft
import torch
from torch import Tensor, nn

from domains.turbulence.members import rounds_of
from domains.turbulence.modes import mean_square, to_modes, to_points, with_modes
from separable.layers import DepthwiseSeparableFilter

MOST = 10_000  # of any size of a network; more is a mistake, and would take for ever to be made
_FLOOR = 1e-6  # of the mean square, where a sample is zero everywhere


@dataclasses.dataclass(frozen=True)
class OperatorConfig:
    """Sizes of a separable quadratic operator.

    Attributes:
        inputs: fields that go in.
        outputs: fields that come out.
        modes: (m_y, m_x) or (m_x,), whole periods in the box that are kept.
        channels: C.
        products: M, pointwise products in a block.
        order: of the interaction; 2 for products of two filtered fields, 1 for GELU of one.
        blocks: L.
        rounds: times that the L blocks are applied, one round after another, as an integrator applies one step.
        fine: blocks that act on all modes, half of them first and half last (the first ones more by one if it is odd).
        inner: (m_y, m_x) or (m_x,) that those between act on; () for all.
        condition: length of the vector z that scales the channels of every block; 0 for none.
        reach: of the filters' start values, in taps, which are 1 / (2 m + 1) of the box apart.
        late: fields that go in later.
        late_blocks: of all rounds, that come after them.
    """

    inputs: int
    outputs: int
    modes: tuple[int, ...]
    channels: int = 16
    products: int = 12
    blocks: int = 12
    rounds: int = 1
    fine: int = 2
    inner: tuple[int, ...] = ()
    condition: int = 0
    reach: float = 2.0
    late: int = 0
    late_blocks: int = 1
    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"order: expected 1 or 2, got {self.order}")
        for name in ("inputs", "outputs", "channels", "products", "blocks", "rounds", "fine", "late_blocks"):
            if not isinstance(getattr(self, name), int) or not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}: expected a whole number from 1 to {MOST}, got {getattr(self, name)}")
        if len(self.modes) not in (1, 2) or min(self.modes) < 1:
            raise ValueError(f"modes: expected one or two numbers of 1 or more, got {self.modes}")
        fits = len(self.inner) == len(self.modes) and all(
            1 <= low <= m for low, m in zip(self.inner, self.modes, strict=True)
        )
        if self.inner and not fits:
            raise ValueError(f"inner: expected numbers from 1 to the modes {self.modes}, got {self.inner}")
        if self.condition < 0 or self.late < 0:
            raise ValueError(f"condition, late: expected 0 or more, got {self.condition}, {self.late}")
        if self.late_blocks > self.blocks * self.rounds:
            raise ValueError(
                f"late_blocks: expected at most the {self.blocks * self.rounds} blocks of all rounds, "
                f"got {self.late_blocks}"
            )

    def block_modes(self) -> list[tuple[int, ...]]:
        """Modes that each block acts on."""
        first, last = (self.fine + 1) // 2, self.blocks - self.fine // 2
        inner = self.inner or self.modes
        return [inner if first <= place < last else self.modes for place in range(self.blocks)]


class SeparableOperator(nn.Module):
    """The operator of the head of this file.

    Args:
        config: its sizes.
        generator: source of random numbers for the start values, of which the last matrix is zero: an operator that has
            not been trained gives zero.

    Attributes:
        late_gains: what the coefficients of late inputs are multiplied by, a number for each mode; 1 at first, and not
            trained.

    Example:
        >>> operator = SeparableOperator(OperatorConfig(2, 1, (5, 5)))
        >>> operator.on_points(torch.randn(3, 2, 16, 20)).shape
        torch.Size([3, 1, 16, 20])
        >>> operator.n_parameters
        21456
    """

    late_gains: Tensor | None

    def __init__(self, config: OperatorConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        deviation = (config.inputs + config.late) ** -0.5
        self.lift = _normal(config.channels, config.inputs, deviation, generator)
        self.late_lift = _normal(config.channels, config.late, deviation, generator) if config.late else None
        shape = (config.modes[-1] + 1, *(2 * m + 1 for m in config.modes[:-1]))
        self.register_buffer("late_gains", torch.ones(shape) if config.late else None)
        self.blocks = nn.ModuleList(_Block(config, modes, generator) for modes in config.block_modes())
        self.read = nn.Parameter(torch.zeros(config.outputs, config.channels))

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, coefficients: Tensor, condition: Tensor | None = None, late: Tensor | None = None) -> Tensor:
        """Coefficients ``(B, outputs, ...)`` from those of the inputs ``(B, inputs, ...)``, see `modes.to_modes`.

        Args:
            coefficients: complex64 or, with parameters of float64, complex128.
            condition: z, ``(B, condition)``, where there is one.
            late: what goes in later, ``(m B, late, ...)``: m members of the B samples, one round of all samples after
                another; so are the outputs then. None stands for zeros.

        Raises:
            ValueError: a shape does not fit.
        """
        config = self.config
        grid = (config.modes[-1] + 1, *(2 * m + 1 for m in config.modes[:-1]))
        wanted = (config.inputs, *grid)
        if tuple(coefficients.shape[1:]) != wanted or not coefficients.is_complex():
            raise ValueError(
                f"coefficients: expected complex (B, {', '.join(map(str, wanted))}), "
                f"got {tuple(coefficients.shape)} of {coefficients.dtype}"
            )
        given = None if condition is None else tuple(condition.shape)
        expected = (len(coefficients), config.condition) if config.condition else None
        if given != expected:
            raise ValueError(f"condition: expected {expected}, got {given}")
        if late is not None and (
            self.late_lift is None
            or tuple(late.shape[1:]) != (config.late, *grid)
            or len(late) % max(1, len(coefficients))
            or (config.condition and len(late) != len(coefficients))
        ):
            raise ValueError(
                f"late: expected members of {len(coefficients)} samples, each {(config.late, *grid)}, and one of each "
                f"where there is a condition, got {tuple(late.shape)}"
            )
        h = _mix(self.lift, coefficients)
        blocks = [block for _ in range(config.rounds) for block in self.blocks]
        for left, block in zip(range(len(blocks), 0, -1), blocks, strict=True):
            if late is not None and left == config.late_blocks:
                h = self._joined_by(late, h)
            h = block(h, condition)
        return _mix(self.read, h)

    def _joined_by(self, late: Tensor, h: Tensor) -> Tensor:
        """Channels of all members, once what is late has gone in."""
        assert self.late_lift is not None
        assert self.late_gains is not None
        return _mix(self.late_lift, late * self.late_gains, rounds_of(h, len(late)))

    def on_points(self, fields: Tensor, condition: Tensor | None = None, late: Tensor | None = None) -> Tensor:
        """As `forward`, from fields ``(B, inputs, *grid)`` to fields ``([m] B, outputs, *grid)`` on any grid."""
        modes = self.config.modes
        found = self(to_modes(fields, modes), condition, None if late is None else to_modes(late, modes))
        return to_points(found, fields.shape[2:])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        lift, late = state_dict.get(prefix + "lift"), prefix + "late_lift"
        if self.late_gains is not None and late not in state_dict and lift is not None:
            # Forecasters of versions in which all inputs went in together have one matrix.
            state_dict[prefix + "lift"], state_dict[late] = lift[:, : -self.config.late], lift[:, -self.config.late :]
            state_dict[prefix + "late_gains"] = torch.ones_like(self.late_gains)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@contextlib.contextmanager
def products_watched(network: nn.Module) -> Iterator[None]:
    """Note how large the products in a network's operators become within; afterwards they are held to that.

    Example:
        >>> operator = SeparableOperator(OperatorConfig(1, 1, (5,)))
        >>> fields = torch.randn(8, 1, 16)
        >>> before = operator.on_points(fields)
        >>> with products_watched(operator):
        ...     _ = operator.on_points(fields)
        >>> torch.allclose(operator.on_points(fields), before)
        True
    """
    blocks = [part for part in network.modules() if isinstance(part, _Block)]
    for block in blocks:
        block.largest.zero_()
        block.watching, block.held = True, False
    try:
        yield
    except BaseException:
        for block in blocks:
            block.largest.zero_()
            block.watching = False
        raise
    for block in blocks:
        block.watching, block.held = False, True


class _Block(nn.Module):
    """One interaction."""

    largest: Tensor

    def __init__(self, config: OperatorConfig, modes: tuple[int, ...], generator: torch.Generator | None) -> None:
        super().__init__()
        channels, products = config.channels, config.products
        filtered = (config.order + 1) * products  # those that are multiplied, and those that stay linear
        # A product of two modes up to m has modes up to 2 m: on 3 m + 1 points none of them alias to those kept.
        self.points = tuple(scipy.fft.next_fast_len(3 * m + 1, real=True) for m in modes)
        self.modes, self.all_modes, self.products = modes, config.modes, products
        self.gain = nn.Parameter(torch.ones(channels))
        self.film = _normal(channels, config.condition, 0.02, generator) if config.condition else None
        self.mix = _normal(filtered, channels, channels**-0.5, generator)
        self.filters = DepthwiseSeparableFilter(filtered, modes, reach=config.reach, generator=generator)
        self.join = _normal(channels, 2 * products, 0.5 * (2 * products) ** -0.5, generator)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("largest", torch.zeros(products))  # of the products; all 0 where none was watched
        self.watching = self.held = False

    def forward(self, h: Tensor, condition: Tensor | None) -> Tensor:
        low = h if self.modes == self.all_modes else with_modes(h, self.modes)
        size = mean_square(low, len(self.modes)).mean(1, keepdim=True)
        gain = self.gain * torch.rsqrt(size + _FLOOR)
        if self.film is not None and condition is not None:
            gain = gain * (1 + condition @ self.film.T)
        # The scales of the channels are taken into the matrix: it is smaller than the fields.
        v = _mix(self.mix * gain[:, None, :], low) * self._transfer()
        linear = v[:, -self.products :]
        factors = to_points(v[:, : -self.products], self.points).split(self.products, 1)
        interaction = factors[0] * factors[1] if len(factors) == 2 else nn.functional.gelu(factors[0])
        product = to_modes(self._bounded(interaction), self.modes)
        of_product, of_linear = self.join.chunk(2, 1)
        constant = nn.functional.pad(self.bias[:, None], (0, product[0, 0].numel() - 1))  # the coefficient of mode 0
        change = _mix(of_linear, linear, _mix(of_product, product, constant.reshape(1, -1, *product.shape[2:]) + 0j))
        return h + (change if low is h else with_modes(change, self.all_modes))

    def _bounded(self, product: Tensor) -> Tensor:
        """At points, ``(B, M, ...)``."""
        if self.watching:
            self.largest.copy_(torch.maximum(self.largest, product.detach().abs().flatten(2).amax((0, 2))))
        elif self.held:
            largest = self.largest.reshape(-1, *[1] * len(self.modes))
            return product.clamp(-largest, largest)
        return product

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Forecasters of versions that did not hold products come without.
        state_dict.setdefault(prefix + "largest", torch.zeros_like(self.largest))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.held = bool(self.largest.any())

    def _transfer(self) -> Tensor:
        """What the filters multiply coefficients by, ``(3 M or 2 M, m_x + 1[, 2 m_y + 1])``."""
        *along_y, along_x = self.filters.transfers()
        half = along_x[:, : self.modes[-1] + 1]
        return half[:, :, None] * along_y[0][:, None] if along_y else half


def _normal(rows: int, columns: int, deviation: float, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter(deviation * torch.randn(rows, columns, generator=generator))


def _mix(matrix: Tensor, coefficients: Tensor, beside: Tensor | None = None) -> Tensor:
    """A real matrix ``(q, p)``, or one for each sample ``(B, q, p)``, applied to the channels of ``(B, p, ...)``.

    What is ``beside``, ``(B, q, ...)``, is added. All is one product a sample: one of a matrix with a batch, as
    `torch.matmul` writes it, would copy the fields forward and backward.
    """
    fields = torch.view_as_real(coefficients).flatten(2)
    matrices = matrix.expand(len(fields), *matrix.shape[-2:])
    if beside is None:
        mixed = torch.bmm(matrices, fields)
    else:
        mixed = torch.baddbmm(torch.view_as_real(beside).flatten(2), matrices, fields)
    return torch.view_as_complex(mixed.unflatten(2, (*coefficients.shape[2:], 2)))
