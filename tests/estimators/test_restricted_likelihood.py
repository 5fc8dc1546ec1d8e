"""Ridges chosen from the normal equations against the restricted likelihood itself, maximised by another method."""

import numpy as np
from scipy.optimize import minimize

from separable.estimators.restricted_likelihood import Normal, estimate


def test_the_ridges_are_those_of_greatest_restricted_likelihood() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 9))
    y = 2 + x[:, :4] @ random.normal(0, 1, 4) + x[:, 4:] @ random.normal(0, 0.1, 5) + random.normal(0, 0.5, 80)
    ones = np.ones((80, 1))

    def surprise(logarithms: np.ndarray) -> float:
        """Minus twice the restricted log likelihood of N(b, phi V), with phi at its best."""
        v = np.eye(80) + sum(
            part @ part.T / ridge for part, ridge in zip((x[:, :4], x[:, 4:]), np.exp(logarithms), strict=True)
        )
        inverse = np.linalg.inv(v)
        seen = ones.T @ inverse @ ones
        within = inverse - inverse @ ones @ ones.T @ inverse / seen
        return float(np.linalg.slogdet(v)[1] + np.log(seen[0, 0]) + 79 * np.log(y @ within @ y))

    best = minimize(surprise, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    columns, groups = np.concatenate([ones, x], axis=1), np.array([-1, *[0] * 4, *[1] * 5])
    normal = Normal(columns.T @ columns, columns.T @ y, float(y @ y), 80.0)
    found = estimate(normal, groups, np.full(2, 8.0), steps=200, tolerance=1e-9)
    assert np.allclose(np.log(found.ridges), best.x, atol=1e-4)
    penalties = np.diag([0.0, *found.ridges[groups[1:]]])
    again = np.linalg.solve(columns.T @ columns + penalties, normal.moment)
    assert np.allclose(found.coefficients, again)


def test_groups_that_the_data_do_not_want_leave_in_few_steps() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 20)), random.normal(size=300)
    columns = np.concatenate([np.ones((300, 1)), x], axis=1)
    normal = Normal(columns.T @ columns, columns.T @ y, float(y @ y), 300.0)
    found = estimate(normal, np.arange(-1, 20), np.full(20, 30.0), steps=25)
    assert found.moved < 1e-4  # steps of one length take forty
