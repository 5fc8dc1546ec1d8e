"""Text that a model adds to a beginning, as it comes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from domains.language.tokenisers import Tokeniser
from separable.sequence import LanguageModel


def continued(
    model: LanguageModel,
    tokeniser: Tokeniser,
    beginning: str = "",
    *,
    steps: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: bool = True,
) -> Iterator[str]:
    """The text after a beginning, piece by piece, never half a character.

    Args:
        model: on any device.
        tokeniser: that it was trained with.
        beginning: what the text begins with; empty for a new document.
        steps: most tokens to add.
        temperature: 1 draws from the model's distribution, less is bolder, 0 takes the most probable token.
        top_k: draw from the k most probable tokens; 0 for all.
        top_p: draw from the most probable tokens that hold this share.
        seed: of the draws.
        stop: whether the end of the document ends the text.

    Raises:
        ValueError: the model does not know all of the tokeniser's ids, or a setting is out of its range.
    """
    if model.config.vocabulary < tokeniser.vocabulary:
        raise ValueError(
            f"vocabulary: expected a model of at least {tokeniser.vocabulary} tokens, got {model.config.vocabulary}"
        )
    device = next(model.parameters()).device
    # A document begins after the end of the one before.
    ids = [tokeniser.end, *tokeniser.encode(beginning).tolist()]
    drawn = model.generate(
        torch.tensor([ids], device=device),
        steps,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=[tokeniser.end] if stop else (),
        generator=torch.Generator(device).manual_seed(seed),
    )
    return tokeniser.stream(int(token) for token in drawn if int(token) < tokeniser.vocabulary)
