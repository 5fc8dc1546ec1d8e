"""Where a better teacher teaches worse, in closed form: kernel regression with a teacher of m and a student of n modes.

The target is ``f = sum_i a_i phi_i`` over orthonormal modes. The teacher is the nearest function of the first m modes
whose norm is at most T; the student is the nearest to the teacher, of the first n modes and norm at most D. With
k = min(m, n),

    C = min(1, T / |a_1..m|),    Q = min(1, D / (C |a_1..k|))
    teacher's error = sqrt((C - 1)^2 |a_1..m|^2 + |a_(m+1)..|^2)
    student's error = sqrt((C Q - 1)^2 |a_1..k|^2 + |a_(k+1)..|^2)

The student's error falls in m until m = n; it stays there while the teacher's scale costs the student nothing,
``|a_1..m| <= max(T, (T / D) |a_1..n|)``, and rises after, as the teacher's norm goes into modes the student lacks. The
teacher's own error falls on.

Source: Busbridge et al., Distillation Scaling Laws (2025, arXiv:2502.08606), the appendix on the capacity gap in kernel
regression; there a are 1000 numbers, uniform in [-1, 1], with T = 5 and D = 4.5.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class KernelRegression:
    """The setting.

    Attributes:
        modes: number of coefficients a of the target.
        teacher_norm: greatest norm T of the teacher.
        student_norm: greatest norm D of the student.
        seed: of the coefficients, uniform in [-1, 1].
    """

    modes: int = 1000
    teacher_norm: float = 5.0
    student_norm: float = 4.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.modes < 1:
            raise ValueError(f"KernelRegression: modes are positive, got {self.modes}")
        norms = self.teacher_norm, self.student_norm
        if not all(0 < norm < math.inf for norm in norms):
            raise ValueError(f"KernelRegression: norms are positive, got {self.teacher_norm} and {self.student_norm}")

    def coefficients(self) -> Array:
        """The target's, ``(modes,)``."""
        return np.random.default_rng(self.seed).uniform(-1, 1, self.modes)

    def errors(self, teacher: int, student: int) -> tuple[float, float]:
        """Errors of a teacher of m modes, and of a student of n modes that learns from it.

        Raises:
            ValueError: If m or n does not lie in 1 .. modes.

        Example:
            >>> setting = KernelRegression()
            >>> errors = {m: setting.errors(m, 100) for m in (10, 100, 1000)}
            >>> errors[10][0] > errors[100][0] > errors[1000][0]  # a greater teacher is better
            True
            >>> errors[10][1] > errors[100][1] < errors[1000][1]  # and teaches worse
            True
        """
        for name, count in (("teacher", teacher), ("student", student)):
            if not 1 <= count <= self.modes:
                raise ValueError(f"KernelRegression.errors: {name} lies in 1 .. {self.modes}, got {count}")
        return _errors(self, np.concatenate([[0.0], np.cumsum(self.coefficients() ** 2)]), teacher, student)

    def curve(self, student: int) -> Array:
        """Errors of teacher and student for m = 1 .. modes, ``(modes, 2)``; arguments and errors as of `errors`."""
        self.errors(1, student)
        squares = np.concatenate([[0.0], np.cumsum(self.coefficients() ** 2)])
        return np.array([_errors(self, squares, m, student) for m in range(1, self.modes + 1)])


def _errors(setting: KernelRegression, squares: Array, teacher: int, student: int) -> tuple[float, float]:
    """From the sums of the first squares, ``(modes + 1,)``."""
    shared = min(teacher, student)
    c = min(1.0, setting.teacher_norm / math.sqrt(squares[teacher]))
    q = min(1.0, setting.student_norm / (c * math.sqrt(squares[shared])))
    of_teacher = (c - 1) ** 2 * squares[teacher] + squares[-1] - squares[teacher]
    of_student = (c * q - 1) ** 2 * squares[shared] + squares[-1] - squares[shared]
    return math.sqrt(of_teacher), math.sqrt(of_student)
