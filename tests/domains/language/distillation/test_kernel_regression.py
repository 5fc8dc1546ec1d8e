"""The closed form is the solution of the two least-squares problems, least where teacher and student are alike."""

import numpy as np
import pytest
from scipy.optimize import minimize

from domains.language.distillation.kernel_regression import KernelRegression


def nearest(target: np.ndarray, modes: int, norm: float) -> np.ndarray:
    """The function of the first modes within a ball that is nearest to a target, found by a general minimiser."""
    bound = {"type": "ineq", "fun": lambda b: norm**2 - b @ b, "jac": lambda b: -2 * b}
    found = minimize(
        lambda b: ((b - target[:modes]) ** 2).sum(),
        np.zeros(modes),
        jac=lambda b: 2 * (b - target[:modes]),
        constraints=[bound],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.concatenate([found.x, np.zeros(len(target) - modes)])


@pytest.mark.parametrize(("m", "n"), [(3, 8), (8, 8), (15, 8), (20, 8), (20, 20), (4, 2)])
def test_errors_are_those_of_constrained_least_squares(m, n):
    setting = KernelRegression(modes=20, teacher_norm=1.7, student_norm=1.5, seed=3)
    target = setting.coefficients()
    teacher = nearest(target, m, 1.7)
    student = nearest(teacher, n, 1.5)
    wanted = np.linalg.norm(teacher - target), np.linalg.norm(student - target)
    np.testing.assert_allclose(setting.errors(m, n), wanted, rtol=1e-6)


@pytest.mark.parametrize("n", [20, 50, 100, 200, 400])
def test_the_smallest_best_teacher_has_the_students_modes(n):
    setting = KernelRegression(seed=n)
    curve = setting.curve(n)
    best = np.flatnonzero(curve[:, 1] <= curve[:, 1].min() + 1e-12) + 1
    lengths = np.sqrt(np.cumsum(setting.coefficients() ** 2))
    bound = max(setting.teacher_norm, lengths[n - 1] * setting.teacher_norm / setting.student_norm)
    assert (best[0], best[-1]) == (n, np.flatnonzero(lengths <= bound)[-1] + 1)
    assert (np.diff(curve[:, 0]) < 1e-12).all()  # the teacher itself never gets worse
    assert (np.diff(curve[:n, 1]) < 1e-12).all()
    assert (np.diff(curve[n - 1 :, 1]) > -1e-12).all()
    np.testing.assert_allclose(curve[n - 1], setting.errors(n, n))


def test_wrong_settings_are_refused():
    for wrong in ({"modes": 0}, {"teacher_norm": 0.0}, {"student_norm": float("inf")}):
        with pytest.raises(ValueError):
            KernelRegression(**wrong)
    for m, n in ((0, 5), (5, 0), (2000, 5)):
        with pytest.raises(ValueError):
            KernelRegression().errors(m, n)
