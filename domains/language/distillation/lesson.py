"""A student with what its lesson keeps beside it, and the loss of one batch.

    loss = (1 - share) cross-entropy + share T^2 D + hidden M

for a divergence D of `losses` and the mean squared difference M of projected states of `hidden_states`. TAID's target
moves with the steps that are done and the projections are trained, so both lie in one module with the student: they
are in its checkpoints, and a lesson that was cut off goes on exactly. It moves once a step, by the mean divergence of
all parts and processes, so that any number of these has the same target.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from domains.language.distillation.hidden_states import HiddenMatching, even_pairs, layer_outputs
from domains.language.distillation.logits_cache import cached_loss
from domains.language.distillation.losses import DIVERGENCES, TemporalInterpolation, distillation_loss
from separable.sequence import LanguageModel
from separable.training.distributed import mean_over_processes


class Lesson(nn.Module):
    """A student, the divergence it is told, and learned projections of its states.

    Args:
        student: To be trained.
        teacher: Whose states are matched; None where none are.
        divergence: One of `losses.DIVERGENCES`.
        share: Of the divergence; the rest is cross-entropy.
        temperature: By which logits are divided in the divergence.
        hidden: Weight of matched states; 0 for none. Layers are paired by `even_pairs`.
        generator: Source of random numbers for the projections.

    Raises:
        ValueError: If states are to be matched and there is no teacher to take them from.

    Example:
        >>> student, teacher = LanguageModel(), LanguageModel().eval()
        >>> lesson = Lesson(student, teacher, divergence="taid", hidden=0.1)
        >>> tokens = torch.randint(256, (2, 9))
        >>> loss, told = lesson((tokens[:, :-1], tokens[:, 1:]), teacher)
        >>> list(told), round(float(told["mixing"]), 2)
        (['divergence', 'mixing', 'hidden'], 0.4)
    """

    last: Tensor

    def __init__(
        self,
        student: LanguageModel,
        teacher: LanguageModel | None = None,
        *,
        divergence: str = "forward_kl",
        share: float = 0.5,
        temperature: float = 1.0,
        hidden: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if hidden and teacher is None:
            raise ValueError("hidden: expected a teacher whose states are matched, got kept logits, which have none")
        self.student = student
        self.divergence = DIVERGENCES[divergence]()
        self.share, self.temperature, self.hidden = share, temperature, hidden
        self.matching: HiddenMatching | None = None
        if hidden and teacher is not None:
            pairs = even_pairs(len(student.transformer.blocks), len(teacher.transformer.blocks))
            widths = student.config.transformer.width, teacher.config.transformer.width
            self.matching = HiddenMatching(*widths, pairs, generator)
        self.register_buffer("last", torch.tensor(0.0))  # divergence of the step, over the parts that are done
        self._done, self._parts = math.nan, 0  # share of the training before the step, parts of it that are done

    def forward(
        self, batch: Sequence[Tensor], teacher: LanguageModel | None, done: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its pieces for the record.

        Args:
            batch: Tokens and targets ``(B, T)``; of `LogitsCache.load`, with what was kept of the teacher.
            teacher: In evaluation mode; None where the batch brings what it says.
            done: Share of the training before this step, which all parts of a step have in common.
        """
        if done != self._done:
            self._begin_step(done)
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
            self._remember(told["divergence"])
        if isinstance(self.divergence, TemporalInterpolation):
            told["mixing"] = self.divergence.mixing.clone()
        if self.matching is not None:
            told["hidden"] = self.matching([mine[s] for s, _ in pairs], [theirs[t] for _, t in pairs])
            loss = loss + self.hidden * told["hidden"]
        return loss, told

    def _begin_step(self, done: float) -> None:
        """TAID's target moves between steps: parts of one have the same, and so do their backward passes."""
        if isinstance(self.divergence, TemporalInterpolation) and done > 0:
            self.divergence.advance(self.last, done)
        self._done, self._parts = done, 0

    def _remember(self, divergence: Tensor) -> None:
        """The mean over the parts of a step, those of other processes too, whose targets are to move alike."""
        whole = mean_over_processes(divergence).to(self.last.dtype)
        self.last.copy_(torch.lerp(whole, self.last, self._parts / (self._parts + 1)))
        self._parts += 1
