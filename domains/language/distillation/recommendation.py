"""Which teacher a student should learn from: what each law says, where it may say so, and where they disagree."""

from __future__ import annotations

import dataclasses
import itertools

from domains.language.distillation.apple_law import RANGE, best_teacher, loss_from_teacher
from domains.language.distillation.law import PUBLISHED, LinearLaw

_DISAGREE = 1.25  # ratio of two teachers from which they are called different


@dataclasses.dataclass(frozen=True)
class Advice:
    """What one law says.

    Attributes:
        source: fitted, published or apple.
        teacher: parameters of the best teacher; None where the law says nothing.
        interval: where it lies with probability 0.95, if that is known.
        remark: how far the law may be believed here.
    """

    source: str
    teacher: float | None
    interval: tuple[float, float] | None
    remark: str


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What all laws say of one student.

    Attributes:
        student: its parameters.
        advice: one of each law, our own fit first.
        disagreements: a sentence for each two laws that differ.
    """

    student: float
    advice: tuple[Advice, ...]
    disagreements: tuple[str, ...]

    @property
    def teacher(self) -> float | None:
        """That of the first law that says something."""
        return next((each.teacher for each in self.advice if each.teacher is not None), None)

    @property
    def sparsity(self) -> float | None:
        """The share of that teacher that pruning takes to reach the student."""
        return None if self.teacher is None else 1 - self.student / self.teacher


def recommend_teacher(
    student_parameters: float, *, fitted: LinearLaw | None = None, tokens: float | None = None
) -> Recommendation:
    """The best teacher's size for a student, by the fitted law, the published one and Apple's.

    Args:
        student_parameters: Of the student; Apple counts those without embeddings.
        fitted: A law from trials of one's own, see `fit_law`; the most to the point where there is one.
        tokens: That the student is trained on, which Apple's law needs; by default 20 a parameter.

    Raises:
        ValueError: If there are no parameters or no tokens.

    Example:
        >>> said = recommend_teacher(200e6)
        >>> [(each.source, each.teacher and round(each.teacher / 1e6)) for each in said.advice]
        [('published', 488), ('apple', 12600)]
        >>> round(said.sparsity, 2), len(said.disagreements)
        (0.59, 1)
    """
    if not student_parameters > 0:
        raise ValueError(f"student_parameters: expected a number above 0, got {student_parameters}")
    tokens = 20 * student_parameters if tokens is None else tokens
    if not tokens > 0:
        raise ValueError(f"tokens: expected a number above 0, got {tokens}")
    advice = [] if fitted is None else [_linear("fitted", fitted, student_parameters)]
    advice += [_linear("published", PUBLISHED, student_parameters), _apple(student_parameters, tokens)]
    pairs = itertools.combinations(advice, 2)
    disagreements = [said for one, other in pairs if (said := _disagreement(one, other, student_parameters, tokens))]
    return Recommendation(student_parameters, tuple(advice), tuple(disagreements))


def _linear(source: str, law: LinearLaw, student: float) -> Advice:
    teacher, inside = law.teacher(student), law.smallest <= student <= law.greatest
    fitted_to = f"{law.smallest / 1e6:,.4g} to {law.greatest / 1e6:,.4g} million"
    if teacher <= student:
        told = f"{teacher / 1e6:,.1f} million, no more than the student: the law says nothing here"
        return Advice(source, None, None, f"{told}; students it was fitted to have {fitted_to}")
    if inside:
        remark = f"within the students it was fitted to, {fitted_to}"
    else:
        remark = f"extrapolated: the students it was fitted to have {fitted_to}"
    return Advice(source, teacher, law.interval(student), remark)


def _apple(student: float, tokens: float) -> Advice:
    reach = f"{RANGE[0] / 1e6:,.4g} to {RANGE[1] / 1e6:,.5g} million"
    if not RANGE[0] <= student <= RANGE[1]:
        return Advice("apple", None, None, f"outside its range, {reach}: the law says nothing here")
    teacher = best_teacher(student, tokens)
    remark = f"at {tokens / student:,.3g} tokens a parameter, the teacher's cost not counted"
    if teacher > 0.999 * RANGE[1]:
        remark += ", at the end of its range: the best may be greater"
    return Advice("apple", teacher, None, remark)


def _ratio(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _disagreement(one: Advice, other: Advice, student: float, tokens: float) -> str | None:
    if one.teacher is None or other.teacher is None or _ratio(one.teacher, other.teacher) < _DISAGREE:
        return None
    said = (
        f"{one.source} says {one.teacher / 1e6:,.1f} million and {other.source} {other.teacher / 1e6:,.1f} million, "
        f"{_ratio(one.teacher, other.teacher):.2g} times apart"
    )
    if other.source == "apple" and RANGE[0] <= one.teacher <= RANGE[1]:
        losses = [float(loss_from_teacher(student, tokens, size)) for size in (one.teacher, other.teacher)]
        said += f"; by Apple's law that is worth {losses[0] - losses[1]:.3f} nats a token"
    return said
