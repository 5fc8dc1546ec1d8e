"""A token made of digits, drawn digit by digit: a separable head of order 2 on a transformer's output.

For the output h of a position and K digits with Q values each, ``z`` the values in units of a normal distribution::

    t_(k,r) = (A_(k,r) . h) (1 + B_(k,r) . [z_1 .. z_(k-1), z_1^2 - 1 ..])       A (K, R, width), B (K, R, 2 K)
    P(digit k = q | h, digits before) ~ exp( sum_m (C_k t_k)_m psi_m(q) )        C (K, M, R)

psi_m are orthonormal polynomials of z(q): the first moves the distribution, the second widens it. C starts at zero, so
that at first every digit is as likely as any other. A distribution over all Q^K tokens by one softmax would need Q^K
outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DigitHead(nn.Module):
    """The head of the head of this file.

    Args:
        width: of the positions.
        digits: K of a token.
        values: Q of a digit.
        rank: R.
        polynomials: M, less than Q.
        generator: of the start values.

    Attributes:
        centres: z of every value, ``(Q,)``.

    Example:
        >>> head = DigitHead(16, digits=5, values=8)
        >>> codes = head.sample(torch.randn(3, 16), torch.rand(3, 5))
        >>> codes.shape, head(torch.randn(3, 16), codes).shape
        (torch.Size([3, 5]), torch.Size([3, 5, 8]))
    """

    centres: Tensor
    psi: Tensor
    before: Tensor

    def __init__(
        self,
        width: int,
        digits: int,
        values: int,
        rank: int = 12,
        polynomials: int = 6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= polynomials < values:
            raise ValueError(f"polynomials: expected 1 to {values - 1} for {values} values, got {polynomials}")
        self.digits, self.values = digits, values
        self.from_state = _normal((digits, rank, width), width**-0.5, generator)
        self.from_digits = _normal((digits, rank, 2 * digits), 0.3 * digits**-0.5, generator)
        self.tilt = nn.Parameter(torch.zeros(digits, polynomials, rank))
        share = (torch.arange(values, dtype=torch.float64) + 0.5) / values
        centres = math.sqrt(2) * torch.erfinv(2 * share - 1)
        basis, triangle = torch.linalg.qr(centres[:, None] ** torch.arange(polynomials + 1))
        psi = (basis * triangle.diagonal().sign())[:, 1:].T * math.sqrt(values)
        self.register_buffer("centres", centres.float(), persistent=False)
        self.register_buffer("psi", psi.float().contiguous(), persistent=False)
        self.register_buffer("before", torch.ones(digits, digits).tril(-1).repeat(1, 2)[:, None], persistent=False)

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Log-probabilities ``(..., K, Q)`` of all values of each digit, given those before it.

        Args:
            hidden: ``(..., width)``.
            codes: the digits of the token, ``(..., K)`` int64.
        """
        z = self.centres[codes]
        known = torch.einsum("krj,...j->...kr", self.from_digits * self.before, torch.cat([z, z * z - 1], -1))
        mixed = torch.einsum("krw,...w->...kr", self.from_state, hidden) * (1 + known)
        return (torch.einsum("kmr,...kr->...km", self.tilt, mixed) @ self.psi).log_softmax(-1)

    def sample(self, hidden: Tensor, uniform: Tensor) -> Tensor:
        """Digits ``(B, K)``, the first whose cumulative probability passes numbers in (0, 1) ``(B, K)``.

        Args:
            hidden: ``(B, width)``.
            uniform: the numbers.
        """
        mixed = torch.einsum("krw,bw->bkr", self.from_state, hidden)
        known = hidden.new_zeros(len(hidden), 2 * self.digits)
        codes = torch.zeros(len(hidden), self.digits, dtype=torch.long, device=hidden.device)
        for k in range(self.digits):
            t = mixed[:, k] * (1 + known @ self.from_digits[k].T) if k else mixed[:, 0]
            shares = (t @ self.tilt[k].T @ self.psi).softmax(-1).cumsum(-1)
            drawn = (uniform[:, k, None] >= shares).sum(-1).clamp(max=self.values - 1)
            z = self.centres[drawn]
            codes[:, k], known[:, k], known[:, self.digits + k] = drawn, z, z * z - 1
        return codes


def _normal(shape: tuple[int, ...], deviation: float, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter(deviation * torch.randn(*shape, generator=generator))
