"""Penalised normal equations of one linear block, and their stable solution.

A block with P unknowns, design rows ``a (P,)``, weights w, residual r and current coefficients c asks for the step

    min_d  sum_n w_n (r_n - a_n . d)^2 + (c + d)^T S (c + d)
    (A + S) d = g - S c,          A = sum_n w_n a_n a_n^T,   g = sum_n w_n a_n r_n

Solving for the step instead of the coefficients lets later sweeps remove what rounding left behind, so that squaring
the condition number costs iterations and not final accuracy.
"""

import torch
from torch import Tensor


def solve_step(normal: Tensor, gradient: Tensor, coefficients: Tensor, penalty: Tensor) -> Tensor:
    """The step d.

    Args:
        normal: A, shape ``(P, P)``.
        gradient: g, shape ``(P, M)``, for M right-hand sides.
        coefficients: c, shape ``(P, M)``.
        penalty: S, shape ``(P, P)``, positive semi-definite.

    Returns:
        d, shape ``(P, M)``.
    """
    matrix = normal + penalty
    # Unit diagonal: columns of very different size (rare categories, high derivatives) are told apart from small ones.
    scale = matrix.diagonal().clamp_min(1e-300).rsqrt()
    scaled = matrix * scale[:, None] * scale
    right = (gradient - penalty @ coefficients) * scale[:, None]
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    jitter = 1e-15 * len(matrix)
    while jitter < 1.0:
        factor, info = torch.linalg.cholesky_ex(scaled + jitter * eye)
        if int(info) == 0:
            step: Tensor = torch.cholesky_solve(right, factor) * scale[:, None]
            return step
        jitter *= 100
    least: Tensor = torch.linalg.lstsq(scaled.cpu(), right.cpu(), driver="gelsd").solution
    return least.to(scale) * scale[:, None]
