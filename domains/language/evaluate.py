"""How well a model knows a text: nats a token, bits a byte, and both by how frequent the tokens are.

For targets t_1 .. t_n of windows that do not overlap, each known from what came before it in its window,

    nats a token = - mean log p(t_i),          bits a byte = - sum log2 p(t_i) / bytes of the text of t_1 .. t_n

so that models over different vocabularies compare in bits a byte. The end of a document costs bits and has no bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import torch

from domains.language.tokens import TokenPart, Tokens
from separable.sequence import LanguageModel
from separable.training.modes import evaluation_mode

Array = np.ndarray[Any, Any]
TOGETHER = 4096  # positions at a time
_BANDS = (10, 100, 1_000, 10_000)  # ranks at which bands of frequency begin


@dataclasses.dataclass(frozen=True)
class Scores:
    """What was measured on one part.

    Attributes:
        nats_per_token: mean over all targets.
        bits_per_byte: sum over all targets, by the bytes of their text.
        tokens: targets that were measured.
        bands: for ranks of frequency in the training part: how many targets, and their mean nats.
    """

    nats_per_token: float
    bits_per_byte: float
    tokens: int
    bands: list[dict[str, Any]]


def evaluate(
    model: LanguageModel, tokens: Tokens, part: str = "test", context: int = 256, windows: Array | None = None
) -> Scores:
    """Measure a model on a part.

    Args:
        model: on any device; its modules keep their modes.
        tokens: of the tokeniser that the model was trained with.
        part: train, validation or test.
        context: tokens of a window.
        windows: starts of the windows; by default all that fit side by side.

    Raises:
        ValueError: the model does not know all ids, or the part is shorter than a window.
    """
    tokens.check_model(model.config.vocabulary)
    held = tokens.part(part)
    nats, targets = token_losses(model, held, context, windows)
    ranks, lengths = tokens.ranks()[targets], tokens.lengths()[targets]
    edges = [0, *(edge for edge in _BANDS if edge < tokens.vocabulary), tokens.vocabulary]
    bands = []
    for first, stop in itertools.pairwise(edges):
        inside = (ranks >= first) & (ranks < stop)
        if inside.any():
            told = {"ranks": f"{first}-{stop - 1}", "targets": int(inside.sum()), "nats": float(nats[inside].mean())}
            bands.append(told)
    bits = float(nats.sum()) / math.log(2) / max(1, int(lengths.sum()))
    return Scores(float(nats.mean()), bits, len(nats), bands)


def mean_loss(model: LanguageModel, part: TokenPart, context: int, windows: Array | None = None) -> float:
    """Nats a token, see `evaluate`."""
    return float(token_losses(model, part, context, windows)[0].mean())


def token_losses(
    model: LanguageModel, part: TokenPart, context: int, windows: Array | None = None
) -> tuple[Array, Array]:
    """Nats ``(n,)`` of each target, in float64, and the targets ``(n,)``."""
    every = side_by_side(part, context)
    starts = every if windows is None else windows
    device = next(model.parameters()).device
    losses, answers = [], []
    with evaluation_mode(model), torch.no_grad():
        for together in np.array_split(starts, math.ceil(len(starts) * context / TOGETHER)):
            if len(together):
                inputs, targets = part.windows(together, context)
                hidden = model.hidden(inputs.to(device)).flatten(0, 1)
                answers.append(targets.flatten().numpy())
                wanted = targets.flatten().to(device)
                for near, right in zip(hidden.split(_rows(model)), wanted.split(_rows(model)), strict=True):
                    losses.append(model.head.loss(near, right).double().cpu().numpy())
    return np.concatenate(losses), np.concatenate(answers)


def side_by_side(part: TokenPart, context: int) -> Array:
    """Starts of all windows that fit into a part side by side.

    Raises:
        ValueError: none does.
    """
    if context < 1:
        raise ValueError(f"context: expected at least 1, got {context}")
    if len(part) < context + 1:
        raise ValueError(f"tokens: expected at least {context + 1}, a window and its target, got {len(part)}")
    return np.arange((len(part) - 1) // context) * context


def _rows(model: LanguageModel) -> int:
    """Positions whose probabilities are held at a time: 2^25 numbers or fewer."""
    return max(1, 2**25 // model.config.vocabulary)
