"""Which innovation comes next: a prefix-LM over the tokens of `InnovationCodec`, given the state and its forecast.

For P patches of K coefficients, each in one of Q bins, with fields of the state (frames, forecast, waves)::

    features = separable operator of the state             F fields, cut into the same patches
    prefix_P = W [features; state]_P + place_P             P positions that see one another both ways
    suffix_P = W [features; state]_P + place'_P + E(codes of patch P - 1) + N(patches beside P that are known)
    h_P      = transformer(prefix, suffix)_(P of the suffix)

E is `LeviathanEmbedding` with the K bins of a patch as the digits of its token: Q^K tokens, a table for which no
memory would do. There is one position a patch; its K coefficients are drawn one after the other by `DigitHead`, which
starts with every bin as likely as any other: an untrained model already gives innovations with the right spectrum,
which are independent of the state.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
from torch import Tensor, nn

from domains.turbulence.digit_head import DigitHead
from domains.turbulence.innovation_codec import InnovationCodec
from domains.turbulence.model import OperatorConfig, SeparableOperator
from domains.turbulence.modes import to_points, with_modes
from separable.layers import LeviathanEmbedding
from separable.sequence.transformer import Transformer, TransformerConfig

_TOGETHER = 16  # states that the operator takes at once: what a block touches then stays in a processor's cache


@dataclasses.dataclass(frozen=True)
class InnovationNetworkConfig:
    """Sizes of a model of innovations.

    Attributes:
        width: features of a position.
        layers: of the transformer.
        heads: of its attention.
        features: fields F that the operator makes of the state.
        channels: C of the operator.
        products: M of the operator.
        blocks: L of the operator.
        rank: R of the head.
        polynomials: number of psi_m.
        seed_dim: of the embedding of tokens.
        knots: of the same.
        products_of_embedding: heads of the same.
        rank_of_embedding: rank of the same.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    features: int = 8
    channels: int = 12
    products: int = 8
    blocks: int = 3
    rank: int = 12
    polynomials: int = 6
    seed_dim: int = 16
    knots: int = 8
    products_of_embedding: int = 2
    rank_of_embedding: int = 16


class InnovationNetwork(nn.Module):
    """The model of the head of this file.

    Args:
        config: its sizes.
        inputs: fields of the state.
        modes: of the state, as many as the code holds or more: small scales tell how large large ones may be.
        codec: how innovations are coded.
        generator: of the start values.

    Example:
        >>> codec = InnovationCodec((4, 4), patch=3, bins=8)
        >>> network = InnovationNetwork(InnovationNetworkConfig(width=16, heads=2), 2, (4, 4), codec)
        >>> state = torch.randn(5, 2, 5, 9, dtype=torch.complex64)
        >>> codes = network.sample(state, torch.rand(5, 9, 9))
        >>> codes.shape, network(state, codes).shape
        (torch.Size([5, 9, 9]), torch.Size([5, 9, 9, 8]))
    """

    beside: Tensor
    places: Tensor

    def __init__(
        self,
        config: InnovationNetworkConfig,
        inputs: int,
        modes: tuple[int, ...],
        codec: InnovationCodec,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.codec_shape = config, (codec.length, codec.tokens)
        self.grid, self.modes, self._cut = codec.grid, codec.modes, codec.cut
        dimensions, tokens, width = len(codec.modes), codec.tokens, config.width
        operator = OperatorConfig(inputs, config.features, modes, config.channels, config.products, config.blocks)
        self.operator = SeparableOperator(operator, generator)
        with torch.no_grad():  # an operator that gives zero would learn only after what follows it
            self.operator.read.normal_(std=config.channels**-0.5, generator=generator)
        self.register_buffer("places", _places(codec.positions), persistent=False)
        self.register_buffer("beside", _beside(codec.positions), persistent=False)
        around = self.beside.shape[1]
        self.lift = _linear((config.features + inputs) * codec.size, width, generator)
        self.place = _linear(4 * dimensions, 2 * width, generator)
        self.neighbours = _linear(around * (tokens + 1), width, generator)
        self.embedding = LeviathanEmbedding(
            codec.bins**tokens,
            width,
            tokens,
            config.seed_dim,
            config.products_of_embedding,
            config.knots,
            config.rank_of_embedding,
            output_std=0.5,
            generator=generator,
        )
        transformer = TransformerConfig(width=width, layers=config.layers, heads=config.heads)
        self.transformer = Transformer(transformer, generator)
        self.head = DigitHead(width, tokens, codec.bins, config.rank, config.polynomials, generator)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, state: Tensor, codes: Tensor) -> Tensor:
        """Log-probabilities ``(B, P, K, Q)`` of the bins of every coefficient, each given all before it.

        Args:
            state: coefficients ``(B, inputs, ...)`` of the fields of the state.
            codes: ``(B, P, K)``.
        """
        length, tokens = self.codec_shape
        if tuple(codes.shape) != (len(state), length, tokens):
            raise ValueError(f"codes: expected ({len(state)}, {length}, {tokens}), got {tuple(codes.shape)}")
        prefix, suffix = self._conditions(state)
        # The last number of a patch says that it is known.
        known = nn.functional.pad(self.head.centres[codes], (0, 1), value=1.0)
        around = known[:, self.beside] * self._known()[:, :, None]
        suffix = suffix + self.neighbours(around.flatten(2))
        suffix[:, 1:] = suffix[:, 1:] + self.embedding.of_digits(codes[:, :-1])
        hidden = self.transformer(torch.cat([prefix, suffix], 1), prefix=length)[:, length:]
        found: Tensor = self.head(hidden, codes)
        return found

    @torch.no_grad()
    def sample(self, state: Tensor, uniform: Tensor) -> Tensor:
        """Codes ``(B, P, K)`` drawn from the model, one position after the other, with a cache.

        Args:
            state: as of `forward`.
            uniform: numbers in (0, 1) ``(B, P, K)`` that decide the draw.
        """
        length, tokens = self.codec_shape
        together = _TOGETHER if state.device.type == "cpu" else max(1, len(state))
        parts = zip(*(self._conditions(part) for part in state.split(together)), strict=True)
        prefix, suffix = (torch.cat(part) for part in parts)
        cache = self.transformer.cache(len(state), 2 * length)
        self.transformer(prefix, prefix=length, cache=cache)
        known = torch.zeros(len(state), length, tokens + 1, device=state.device)
        codes = torch.zeros(len(state), length, tokens, dtype=torch.long, device=state.device)
        for place in range(length):
            x = suffix[:, place] + self.neighbours(known[:, self.beside[place]].flatten(1))
            if place:
                x = x + self.embedding.of_digits(codes[:, place - 1])
            hidden = self.transformer(x[:, None], cache=cache)[:, 0]
            codes[:, place] = self.head.sample(hidden, uniform[:, place])
            known[:, place, :tokens] = self.head.centres[codes[:, place]]
            known[:, place, tokens] = 1.0
        return codes

    def _conditions(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """What the positions of the prefix and of the suffix know of the state and of their place."""
        fields = to_points(with_modes(torch.cat([self.operator(state), state], 1), self.modes), self.grid)
        lifted, places = self.lift(self._cut(fields)), self.place(self.places).chunk(2, -1)
        return lifted + places[0], lifted + places[1]

    def _known(self) -> Tensor:
        """Which of the patches beside each come before it, ``(P, neighbours)``."""
        return (self.beside < torch.arange(len(self.beside), device=self.beside.device)[:, None]).float()


def _places(positions: tuple[int, ...]) -> Tensor:
    """Cosine and sine of one and of two turns along each axis, ``(P, 4 D)``."""
    axes = torch.meshgrid(*(torch.arange(n) / n for n in positions), indexing="ij")
    angles = 2 * math.pi * torch.stack([turns * axis.flatten() for axis in axes for turns in (1, 2)], -1)
    return torch.cat([angles.cos(), angles.sin()], -1)


def _beside(positions: tuple[int, ...]) -> Tensor:
    """Numbers of the patches round each in the periodic box, ``(P, 2)`` or ``(P, 8)``."""
    number = torch.arange(math.prod(positions)).reshape(positions)
    axes = tuple(range(len(positions)))
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(positions)) if any(step)]
    return torch.stack([number.roll(step, axes).flatten() for step in steps], -1)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    with torch.no_grad():
        made.weight.normal_(std=inputs**-0.5, generator=generator)
        made.bias.zero_()
    return made
