"""Apple's distillation scaling law: a student's loss from its size, its tokens and its teacher's loss.

For N parameters without embeddings, D tokens and losses in nats a token,

    L(N, D) = E + (A / N^a + B / D^b)^g                                                           trained alone
    L_S = L_T + L_T^(-c0) (1 + (L_T / (d1 L(N_S, D_S)))^(1 / f1))^(-c1 f1) (A' / N_S^a' + B' / D_S^b')^g'

A better teacher lowers the first term and raises the second: the capacity gap, which here hangs on the teacher's loss
alone. The numbers are those of C4, sizes from 143 million to 12.6 billion, muP and sequences of 4096; the authors call
them not universal, and outside this range nothing here answers.

Source: Busbridge et al., Distillation Scaling Laws (2025, arXiv:2502.08606), equations 1 and 8 and table 6.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RANGE = (143e6, 12.6e9)  # parameters of students and teachers in their runs
TOKENS_A_PARAMETER = 20.0  # of a teacher trained at least cost
_E, _A, _B, _ALPHA, _BETA, _GAMMA = 1.220, 3355.0, 18186.0, 0.408, 0.431, 0.452
_A2, _B2, _ALPHA2, _BETA2, _GAMMA2 = 2243.0, 24181.0, 0.321, 0.637, 0.764
_C0, _C1, _F1, _D1 = 2.549, 522.6, 0.090, 1.315
_GRID = 4001


def supervised_loss(parameters: float | Array, tokens: float | Array) -> float | Array:
    """Nats a token of a model that is trained alone.

    Example:
        >>> round(float(supervised_loss(1.82e9, 20 * 1.82e9)), 3)
        2.251
    """
    return _E + (_A / parameters**_ALPHA + _B / tokens**_BETA) ** _GAMMA


def distilled_loss(parameters: float, tokens: float, teacher_loss: float | Array) -> float | Array:
    """Nats a token of a student, from the loss of its teacher; sizes without embeddings.

    Example:
        >>> round(float(distilled_loss(546e6, 20 * 546e6, supervised_loss(1.82e9, 20 * 1.82e9))), 3)
        2.424
    """
    alone = supervised_loss(parameters, tokens)
    ratio = teacher_loss / (alone * _D1)
    capacity = teacher_loss**-_C0 * (1 + ratio ** (1 / _F1)) ** (-_C1 * _F1)
    return teacher_loss + capacity * (_A2 / parameters**_ALPHA2 + _B2 / tokens**_BETA2) ** _GAMMA2


def loss_from_teacher(parameters: float, tokens: float, teacher_parameters: float | Array) -> float | Array:
    """`distilled_loss` from a teacher that was trained on 20 tokens a parameter."""
    teacher_loss = supervised_loss(teacher_parameters, TOKENS_A_PARAMETER * teacher_parameters)
    return distilled_loss(parameters, tokens, teacher_loss)


def best_teacher(parameters: float, tokens: float) -> float:
    """The size of the best such teacher whose cost is not counted, within the law's range, to a part in a thousand.

    Args:
        parameters: Of the student, without embeddings.
        tokens: That the student is trained on.

    Raises:
        ValueError: If the student lies outside the law's range, or there are no tokens.
    """
    if not RANGE[0] <= parameters <= RANGE[1]:
        raise ValueError(f"parameters: the law holds from {RANGE[0]:.3g} to {RANGE[1]:.3g}, got {parameters:.3g}")
    if not tokens > 0:
        raise ValueError(f"tokens: expected a number above 0, got {tokens}")
    sizes = np.geomspace(*RANGE, _GRID)
    return float(sizes[np.argmin(loss_from_teacher(parameters, tokens, sizes))])
