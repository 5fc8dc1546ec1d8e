"""A student with what its lesson keeps beside it, and the loss of one batch.

    loss = (1 - share) cross-entropy + share T^2 D + hidden M

for a divergence D of `losses` and the mean squared difference M of projected states of `hidden_states`. TAID's target
moves with the steps that are done and the projections are trained, so both lie in one module with the student: they
are in its checkpoints, and a lesson that was cut off goes on exactly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from domains.language.distillation.hidden_states import HiddenMatching, even_pairs, layer_outputs
from domains.language.distillation.logits_cache import cached_loss
from domains.language.distillation.losses import DIVERGENCES, TemporalInterpolation, distillation_loss
from separable.sequence import LanguageModel


class Lesson(nn.Module):
    """A student, the divergence it is told, and learned projections of its states.

    Args:
        student: To be trained.
        teacher: Whose states are matched; None where none are.
        divergence: One of `losses.DIVERGENCES`.
        share: Of the divergence; the rest is cross-entropy.
        temperature: By which logits are divided in the divergence.
        hidden: Weight of matched states; 0 for none. Layers are paired by `even_pairs`.
        parts: Calls of `forward` in the whole training, steps times parts of a step, over which TAID's target moves.
        generator: Source of random numbers for the projections.

    Raises:
        ValueError: If states are to be matched and there is no teacher to take them from.

    Example:
        >>> student, teacher = LanguageModel(), LanguageModel().eval()
        >>> lesson = Lesson(student, teacher, divergence="taid", hidden=0.1, parts=10)
        >>> tokens = torch.randint(256, (2, 9))
        >>> loss, told = lesson((tokens[:, :-1], tokens[:, 1:]), teacher)
        >>> list(told), round(float(told["mixing"]), 2)
        (['divergence', 'mixing', 'hidden'], 0.4)
    """

    last: Tensor
    calls: Tensor

    def __init__(
        self,
        student: LanguageModel,
        teacher: LanguageModel | None = None,
        *,
        divergence: str = "forward_kl",
        share: float = 0.5,
        temperature: float = 1.0,
        hidden: float = 0.0,
        parts: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if hidden and teacher is None:
            raise ValueError("hidden: expected a teacher whose states are matched, got kept logits, which have none")
        self.student = student
        self.divergence = DIVERGENCES[divergence]()
        self.share, self.temperature, self.hidden, self.parts = share, temperature, hidden, parts
        self.matching: HiddenMatching | None = None
        if hidden and teacher is not None:
            pairs = even_pairs(len(student.transformer.blocks), len(teacher.transformer.blocks))
            widths = student.config.transformer.width, teacher.config.transformer.width
            self.matching = HiddenMatching(*widths, pairs, generator)
        self.register_buffer("last", torch.tensor(0.0))  # divergence of the call before
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, batch: Sequence[Tensor], teacher: LanguageModel | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its pieces for the record.

        Args:
            batch: Tokens and targets ``(B, T)``; of `LogitsCache.load`, with what was kept of the teacher.
            teacher: In evaluation mode; None where the batch brings what it says.
        """
        # The target must not move before the backward pass, which asks for it again: it moves before the next call.
        if isinstance(self.divergence, TemporalInterpolation) and int(self.calls):
            self.divergence.advance(self.last, min(1.0, int(self.calls) / self.parts))
        seen: list[Tensor] = []

        def heard(student: Tensor, lesson: Tensor) -> Tensor:
            apart = self.divergence(student, lesson)
            seen.append(apart.detach().sum())
            return apart

        pairs = self.matching.pairs if self.matching is not None else ()
        with contextlib.ExitStack() as stack:
            mine = stack.enter_context(layer_outputs(self.student, [layer for layer, _ in pairs]))
            if teacher is None:
                loss = cached_loss(self.student, tuple(batch), divergence=heard, share=self.share)  # type: ignore[arg-type]
            else:
                theirs = stack.enter_context(layer_outputs(teacher, [layer for _, layer in pairs]))
                loss = distillation_loss(
                    self.student,
                    teacher,
                    batch[0],
                    batch[1],
                    divergence=heard,
                    share=self.share,
                    temperature=self.temperature,
                )
        told: dict[str, Tensor] = {}
        if seen:
            told["divergence"] = torch.stack(seen).sum() / batch[0].numel()
            self.last.copy_(told["divergence"])
        self.calls += 1
        if isinstance(self.divergence, TemporalInterpolation):
            told["mixing"] = self.divergence.mixing.clone()
        if self.matching is not None:
            told["hidden"] = self.matching([mine[s] for s, _ in pairs], [theirs[t] for _, t in pairs])
            loss = loss + self.hidden * told["hidden"]
        return loss, told
