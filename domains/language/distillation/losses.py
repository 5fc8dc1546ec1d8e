"""What a student is told by its teacher: cross-entropy and a divergence of their distributions over the next token.

For N positions, V tokens, the teacher's probabilities p (N, V), the student's q (N, V) and targets t (N,):

    loss = mean over positions of  (1 - share) (-log q[t])  +  share T^2 D(p, q),      p, q = softmax(logits / T) in D

    forward KL        sum p log(p / q)
    reverse KL        sum q log(q / p)
    Jensen-Shannon    b KL(p | m) + (1 - b) KL(q | m),   m = b p + (1 - b) q
    skewed KL         KL(p | a p + (1 - a) q)
    TAID              KL(r | q),   r = softmax((1 - u) stop(student's logits) + u teacher's logits),  u from 0.4 to 1

The published loss of the law of capacity gap (Zhang et al. 2023, arXiv:2311.07052) is share 0.5, forward KL and T = 1;
it leaves out the entropy of p, which has no gradient. Logits exist for one chunk of positions at a time, so memory
never holds N times V numbers: for a student with a table of outputs their gradient is found with them, for other heads
the backward pass computes them again.

Sources: Ko et al., DistiLLM (2024, arXiv:2402.03898) for the skewed divergence; Shing et al., TAID (2025,
arXiv:2501.16937), section 3; Agarwal et al. (2023, arXiv:2306.13649) for the generalised Jensen-Shannon divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from separable.layers.derivatives import transformed
from separable.sequence import LanguageModel
from separable.sequence.embeddings import check_tokens
from separable.sequence.heads import TableHead
from separable.sequence.heads.table import LossOfLogits, add_product, products_in, sum_for

Divergence = Callable[[Tensor, Tensor], Tensor]  # log-probabilities (N, V) of student and teacher to (N,)
Logits = Callable[[slice], Tensor]  # of some of the N positions
Apart = Callable[[Tensor, slice], Tensor]  # logits (n, V) of some of the N positions, and which, to (n,)


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the teacher from the student: the student covers all that the teacher holds possible.

    Args:
        student: Log-probabilities ``(..., V)``.
        teacher: Log-probabilities ``(..., V)``.

    Returns:
        ``(...)``, in nats.

    Example:
        >>> sure, even = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.5, 0.5]]).log()
        >>> forward_kl(even, sure)
        tensor([0.6931])
    """
    return _relative_entropy(teacher, student)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the student from the teacher: the student keeps to what the teacher holds likely; shapes as `forward_kl`.

    Example:
        >>> reverse_kl(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.5, 0.5]]).log())
        tensor([0.6931])
    """
    return _relative_entropy(student, teacher)


def jensen_shannon(student: Tensor, teacher: Tensor, balance: float = 0.5) -> Tensor:
    """Both distributions' KL from their mixture, at most log 2; shapes as `forward_kl`.

    Args:
        student: Log-probabilities.
        teacher: Log-probabilities.
        balance: The teacher's share b of the mixture and of the sum.

    Example:
        >>> jensen_shannon(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[-torch.inf, 0.0]]))
        tensor([0.6931])
    """
    _check_share("jensen_shannon: balance", balance)
    mixture = _mixture(teacher, student, balance)
    return balance * _relative_entropy(teacher, mixture) + (1 - balance) * _relative_entropy(student, mixture)


def skewed_kl(student: Tensor, teacher: Tensor, skew: float = 0.1) -> Tensor:
    """KL of the teacher from the student mixed with some of the teacher, so that no ratio grows above ``1 / skew``.

    Args:
        student: Log-probabilities, shapes as `forward_kl`.
        teacher: Log-probabilities.
        skew: The teacher's share a of the mixture.

    Example:
        >>> skewed_kl(torch.tensor([[0.0, -torch.inf]]), torch.tensor([[-torch.inf, 0.0]]))  # log 10
        tensor([2.3026])
    """
    _check_share("skewed_kl: skew", skew)
    return _relative_entropy(teacher, _mixture(teacher, student, skew))


class TemporalInterpolation(nn.Module):
    """TAID: a target between student and teacher that goes from one to the other, faster while the student gains.

    With J_n the loss at step n, ``d = (J_(n-1) - J_n) / J_(n-1)``, its running mean ``m = momentum m + (1 - momentum)
    d`` and a share s of the training done,

        u = min(end, max(start + (end - start) s,  u + rate sigmoid(m) (1 - u)))

    It is a module so that u, m and J are saved and restored with what is trained.

    Args:
        start: u of the first step.
        end: greatest u.
        rate: greatest step of u towards 1 beyond the straight line.
        momentum: of the mean m.

    Example:
        >>> taid = TemporalInterpolation()
        >>> student, teacher = torch.randn(2, 5).log_softmax(-1), torch.randn(2, 5).log_softmax(-1)
        >>> bool((taid(student, teacher) < forward_kl(student, teacher)).all())
        True
        >>> taid.advance(1.0, share=0.0), taid.advance(0.9, share=0.5)
        (None, None)
        >>> round(float(taid.mixing), 4)
        0.7
    """

    mixing: Tensor
    gain: Tensor
    last: Tensor

    def __init__(self, start: float = 0.4, end: float = 1.0, rate: float = 5e-4, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= start <= end <= 1:
            raise ValueError(f"TemporalInterpolation: expected 0 <= start <= end <= 1, got {start} and {end}")
        if not rate >= 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"TemporalInterpolation: expected rate >= 0 and momentum in [0, 1), got {rate} and {momentum}"
            )
        self.start, self.end, self.rate, self.momentum = start, end, rate, momentum
        self.register_buffer("mixing", torch.tensor(float(start)))
        self.register_buffer("gain", torch.tensor(0.0))
        self.register_buffer("last", torch.tensor(-1.0))  # below every divergence: there was no step

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence ``(...)`` from log-probabilities ``(..., V)``, as of `forward_kl`."""
        target = torch.lerp(student.detach(), teacher, self.mixing.to(student.dtype)).log_softmax(-1)
        return forward_kl(student, target)

    @torch.no_grad()
    def advance(self, loss: float | Tensor, share: float) -> None:
        """After a step: its divergence, and the share of the training that is done."""
        _check_share("TemporalInterpolation.advance: share", share)
        loss = torch.as_tensor(loss, dtype=self.last.dtype, device=self.last.device)
        if self.last > -1:
            change = (self.last - loss) / (self.last + 1e-15)
            self.gain.mul_(self.momentum).add_(change, alpha=1 - self.momentum)
            onward = self.mixing + self.rate * torch.sigmoid(self.gain) * (1 - self.mixing)
            self.mixing.copy_(onward.clamp(min=self.start + (self.end - self.start) * share, max=self.end))
        self.last.copy_(loss)


DIVERGENCES: dict[str, Callable[[], Divergence]] = {
    "forward_kl": lambda: forward_kl,
    "reverse_kl": lambda: reverse_kl,
    "jensen_shannon": lambda: jensen_shannon,
    "skewed_kl": lambda: skewed_kl,
    "taid": TemporalInterpolation,
}


def distillation_loss(
    student: LanguageModel,
    teacher: LanguageModel,
    tokens: Tensor,
    targets: Tensor,
    *,
    divergence: Divergence = forward_kl,
    share: float = 0.5,
    temperature: float = 1.0,
    ignore: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """The loss of the head of this file, a number in nats; zero where all targets are left out.

    Args:
        student: To be trained.
        teacher: In evaluation mode, over the same vocabulary; no gradient goes to it.
        tokens: Ids ``(B, T)``.
        targets: The ids that follow, ``(B, T)``.
        divergence: From log-probabilities of student and teacher.
        share: Of the divergence; the rest is cross-entropy.
        temperature: T, by which logits are divided in the divergence.
        ignore: Targets of this value are left out of both.
        chunk: Positions at a time; by default as many as suit the device.

    Raises:
        ValueError: If the vocabularies or the shapes differ, the teacher is in training mode, or a setting lies
            outside its range.
        TypeError, IndexError: As of `LanguageModel.loss`.

    Example:
        >>> from separable.sequence import LanguageModelConfig, TransformerConfig
        >>> config = LanguageModelConfig(50, TransformerConfig(width=16, layers=1))
        >>> student, teacher = LanguageModel(config), LanguageModel(config).eval()
        >>> tokens = torch.randint(50, (2, 9))
        >>> loss = distillation_loss(student, teacher, tokens[:, :-1], tokens[:, 1:])
        >>> 1.5 < float(loss.detach()) < 2.5  # half of log 50, and two untrained models that agree
        True
    """
    if student.config.vocabulary != teacher.config.vocabulary:
        raise ValueError(
            f"distillation_loss: expected a teacher of the student's {student.config.vocabulary} tokens, "
            f"got {teacher.config.vocabulary}"
        )
    if teacher.training:
        raise ValueError("distillation_loss: expected a teacher in evaluation mode, got one in training mode")
    with torch.no_grad():
        seen = teacher.hidden(tokens).flatten(0, 1)
        table = teacher.head.weight if isinstance(teacher.head, TableHead) else None  # generated once, not for a chunk

    def told(rows: slice) -> Tensor:
        logits: Tensor = teacher.head.logits(seen[rows]) if table is None else linear(seen[rows], table)
        return logits

    return loss_from_logits(
        student,
        told,
        tokens,
        targets,
        divergence=divergence,
        share=share,
        temperature=temperature,
        ignore=ignore,
        chunk=chunk,
    )


def loss_from_logits(
    student: LanguageModel,
    teacher: Logits,
    tokens: Tensor,
    targets: Tensor,
    *,
    divergence: Divergence = forward_kl,
    share: float = 0.5,
    temperature: float = 1.0,
    ignore: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """`distillation_loss` where the teacher is whatever gives logits ``(n, V)`` for a slice of the B T positions.

    It may be asked for a slice twice, the second time in the backward pass, and has to answer the same.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"distillation_loss: temperature is positive, got {temperature}")

    def apart(logits: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            lesson = (_wide(teacher(rows)) / temperature).log_softmax(-1)
        return temperature**2 * divergence((logits / temperature).log_softmax(-1), lesson)

    return loss_in_chunks(student, apart, tokens, targets, share=share, ignore=ignore, chunk=chunk)


def loss_in_chunks(
    student: LanguageModel,
    apart: Apart,
    tokens: Tensor,
    targets: Tensor,
    *,
    share: float = 0.5,
    ignore: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """`distillation_loss` where any function of the student's logits ``(n, V)`` and their slice is the divergence.

    It may be called for a slice twice, the second time in the backward pass, and has to give the same.
    """
    if targets.shape != tokens.shape:
        raise ValueError(
            f"distillation_loss: expected targets {tuple(tokens.shape)} as the tokens, got {tuple(targets.shape)}"
        )
    _check_share("distillation_loss: share", share)
    if chunk is not None and chunk < 1:
        raise ValueError(f"distillation_loss: chunk is positive, got {chunk}")
    kept = (targets.long() != ignore).flatten()  # of a narrower type the number to ignore would be one of its own
    aims = targets.flatten().where(kept, targets.new_zeros(()))
    check_tokens(aims, student.config.vocabulary)
    hidden = student.hidden(tokens).flatten(0, 1)
    counted = kept.to(torch.promote_types(hidden.dtype, torch.float32))
    counted = counted / counted.sum().clamp(min=1)
    size = chunk or student.head.chunk_size(hidden)

    def part(logits: Tensor, rows: slice) -> Tensor:
        logits = _wide(logits)
        entropy = -logits.log_softmax(-1).gather(-1, aims[rows, None].long())[:, 0]
        return (((1 - share) * entropy + share * apart(logits, rows)) * counted[rows]).sum()

    if isinstance(student.head, TableHead) and torch.is_grad_enabled() and not transformed(hidden):
        return _Chunked.apply(hidden, student.head.weight, part, size)
    total = hidden.new_zeros((), dtype=counted.dtype)
    for start in range(0, len(hidden), size):
        rows = slice(start, start + size)
        total = total + checkpoint(
            lambda near, of: part(student.head.logits(near), of), hidden[rows], rows, use_reentrant=False
        )
    return total


class _Chunked(LossOfLogits):
    """A function's sum over the chunks.

    Arguments: hidden, weight, the function of logits ``(n, V)`` and their slice, and the rows of a chunk.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, part: Apart, chunk: int) -> Tensor:
        """The sum."""
        by_hidden, by_weight = torch.empty_like(hidden), sum_for(weight)
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        near, narrow = (t.to(products_in(hidden)) for t in (hidden, weight))
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            with torch.enable_grad():
                logits = linear(near[rows], narrow).detach().requires_grad_()
                value = part(logits, rows)
                (slope,) = torch.autograd.grad(value, logits)
            total += value.detach()
            by_hidden[rows] = (slope @ narrow).to(hidden.dtype)
            add_product(by_weight, slope.T, near[rows])
        ctx.save_for_backward(by_hidden, by_weight.to(weight.dtype), hidden, weight)
        ctx.plain = partial(_plain, part=part)
        return total


def _plain(hidden: Tensor, weight: Tensor, *, part: Apart) -> Tensor:
    return part(linear(hidden, weight), slice(0, len(hidden)))


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _relative_entropy(of: Tensor, against: Tensor) -> Tensor:
    # What has probability zero adds nothing, even where the other's logarithm is infinite as well.
    certain = of == -torch.inf
    ratio = (of - against).masked_fill(certain, 0.0)
    return (of.exp() * ratio).sum(-1)


def _mixture(first: Tensor, second: Tensor, share: float) -> Tensor:
    parts = [values + math.log(part) for values, part in ((first, share), (second, 1 - share)) if part > 0]
    return torch.logaddexp(*parts) if len(parts) == 2 else parts[0]


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} lies in [0, 1], got {share}")
