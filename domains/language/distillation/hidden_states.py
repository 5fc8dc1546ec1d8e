"""Matching a student's hidden states to its teacher's: ``mean (W_i s_i - t_i)^2`` over pairs of layers.

For the student's states s_i (B, T, d), the teacher's t_i (B, T, D) and a learned projection W_i (D, d) a pair.

Source: Jiao et al., TinyBERT (2019, arXiv:1909.10351), equation 8. The published loss of
the law of capacity gap has no such term.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from separable.sequence import LanguageModel


class HiddenMatching(nn.Module):
    """The mean squared difference of projected states, with the projections.

    Args:
        student_width: Features d of the student's states.
        teacher_width: Features D of the teacher's.
        pairs: Layers of student and teacher, counted from 0, whose outputs are matched.
        generator: Source of random numbers for the start values, of which a projection keeps the variance.

    Raises:
        ValueError: If there are no pairs.

    Example:
        >>> matching = HiddenMatching(16, 32, [(0, 1), (1, 3)])
        >>> student, teacher = [torch.randn(2, 5, 16)] * 2, [torch.randn(2, 5, 32)] * 2
        >>> matching(student, teacher).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        pairs: Sequence[tuple[int, int]],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not pairs:
            raise ValueError("HiddenMatching: expected at least one pair of layers, got none")
        self.pairs = tuple((int(student), int(teacher)) for student, teacher in pairs)
        self.projections = nn.ModuleList(nn.Linear(student_width, teacher_width, bias=False) for _ in self.pairs)
        for weight in self.projections.parameters():
            nn.init.normal_(weight, std=student_width**-0.5, generator=generator)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The mean over pairs, positions and features.

        Args:
            student: States ``(B, T, d)``, one a pair, as of `hidden_states`.
            teacher: States ``(B, T, D)``, one a pair; no gradient goes to them.

        Raises:
            ValueError: If there are not as many states as pairs.
        """
        if not len(student) == len(teacher) == len(self.pairs):
            raise ValueError(
                f"HiddenMatching: expected {len(self.pairs)} states of each, got {len(student)} and {len(teacher)}"
            )
        pieces = zip(self.projections, student, teacher, strict=True)
        return torch.stack([mse_loss(w(s), t.detach()) for w, s, t in pieces]).mean()


def hidden_states(model: LanguageModel, tokens: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """The model's normed outputs ``(B, T, width)``, and the outputs of some of its layers.

    Args:
        model: Of which the layers are counted from 0.
        tokens: Ids ``(B, T)``.
        layers: In any order, repeated or not.

    Raises:
        ValueError: If there is no such layer.

    Example:
        >>> from separable.sequence import LanguageModelConfig, TransformerConfig
        >>> model = LanguageModel(LanguageModelConfig(50, TransformerConfig(width=16, layers=2)))
        >>> last, (first,) = hidden_states(model, torch.randint(50, (2, 9)), [0])
        >>> last.shape, first.shape
        (torch.Size([2, 9, 16]), torch.Size([2, 9, 16]))
    """
    with layer_outputs(model, layers) as found:
        last = model.hidden(tokens)
    return last, [found[layer] for layer in layers]


@contextlib.contextmanager
def layer_outputs(model: LanguageModel, layers: Collection[int]) -> Iterator[dict[int, Tensor]]:
    """Inside, what some layers put out whenever the model is run, by layer; the last run is what stays.

    Raises:
        ValueError: If there is no such layer.

    Example:
        >>> model = LanguageModel()
        >>> with layer_outputs(model, [2]) as found:
        ...     loss = model.loss(torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.long))
        >>> {layer: states.shape for layer, states in found.items()}
        {2: torch.Size([1, 5, 128])}
    """
    blocks = model.transformer.blocks
    for layer in layers:
        if not 0 <= layer < len(blocks):
            raise ValueError(f"hidden_states: layers lie in 0 .. {len(blocks) - 1}, got {layer}")
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: found.__setitem__(layer, output)

    hooks = [blocks[layer].register_forward_hook(keep(layer)) for layer in set(layers)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def even_pairs(student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """Each of the student's layers with the teacher's at the same share of the depth, the last with the last.

    Example:
        >>> even_pairs(2, 6)
        [(0, 2), (1, 5)]
        >>> even_pairs(3, 2)
        [(0, 0), (1, 0), (2, 1)]
    """
    depths = [(layer + 1) * teacher_layers / student_layers for layer in range(student_layers)]
    return [(layer, max(1, round(depth)) - 1) for layer, depth in enumerate(depths)]
