"""A memory of n^2 values whose keys are pairs of two half-keys, so that the best few are found in O(n).

For a position x (width), H heads, half-keys C_1, C_2 (n, d / 2) of each head, and values V (n^2, width) of all heads:

    query q = norm(x Wq)  (d), in halves q_1, q_2;        score(i, j) = <q_1, C_1[i]> + <q_2, C_2[j]>
    the k best pairs lie among the k best i and the k best j, as a score is a sum of one term each
    y = sum over heads and their k best pairs of  softmax(score)  V[n i + j]

2 n half-keys stand for n^2 keys: memory is read at the cost ``O(n d + k^2)`` a head, whatever its size.

Source: Lample et al., Large Memory Layers with Product Keys (2019, arXiv:1907.05242), section 3. Deviation: queries are
normed by their root mean square in place of batch normalisation, so that a position's output depends on it alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, linear


class ProductKeyMemory(nn.Module):
    """The memory of the head of this file; takes the place of a perceptron, or stands beside it.

    Args:
        width: Features of a position, and of a value.
        half_keys: n, so that there are n^2 values.
        heads: H queries of a position.
        best: k values read by a head, at most n.
        key_width: d, even; by default the width, rounded down to even.
        generator: Source of random numbers.

    Start values: queries and values normal with deviation ``width^-1/2``, half-keys with ``(d / 2)^-1/2``.

    Values are touched rarely: the source trains them with a learning rate above that of the other parameters.

    Example:
        >>> memory = ProductKeyMemory(32, half_keys=64, heads=2, best=8)
        >>> memory(torch.randn(3, 5, 32)).shape, len(memory.values)
        (torch.Size([3, 5, 32]), 4096)
    """

    def __init__(
        self,
        width: int,
        half_keys: int = 128,
        heads: int = 4,
        best: int = 32,
        key_width: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        key_width = width // 2 * 2 if key_width is None else key_width
        if min(width, half_keys, heads, best) < 1:
            raise ValueError(
                "ProductKeyMemory: sizes are positive, got "
                f"width={width}, half_keys={half_keys}, heads={heads}, best={best}"
            )
        if key_width < 2 or key_width % 2:
            raise ValueError(f"ProductKeyMemory: key_width is even and at least 2, got {key_width}")
        if best > half_keys:
            raise ValueError(f"ProductKeyMemory: best is at most half_keys={half_keys}, got {best}")
        self.width, self.heads, self.best, self.key_width = width, heads, best, key_width
        self.query_weight = nn.Parameter(torch.empty(heads * key_width, width))
        self.query_norm = nn.RMSNorm(key_width, 1e-5)
        self.half_keys = nn.Parameter(torch.empty(2, heads, half_keys, key_width // 2))
        self.values = nn.Parameter(torch.empty(half_keys**2, width))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""
        nn.init.ones_(self.query_norm.weight)
        nn.init.normal_(self.query_weight, std=self.width**-0.5, generator=generator)
        nn.init.normal_(self.half_keys, std=self.half_keys.shape[-1] ** -0.5, generator=generator)
        nn.init.normal_(self.values, std=self.width**-0.5, generator=generator)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def best_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and indices ``n i + j`` of the k best keys, ``(N, H, k)`` each, the best first.

        Args:
            x: Positions ``(N, width)``.
        """
        queries = self.query_norm(linear(x, self.query_weight).view(x.shape[0], self.heads, self.key_width))
        halves = torch.stack(queries.chunk(2, -1))  # (2, N, H, d / 2)
        scores = torch.einsum("snhd,shkd->snhk", halves, self.half_keys)
        (first, second), (i, j) = scores.topk(self.best, -1)
        pairs = (first[..., :, None] + second[..., None, :]).flatten(-2)  # (N, H, k k)
        found, place = pairs.topk(self.best, -1)
        rows = i.gather(-1, place.div(self.best, rounding_mode="floor"))
        columns = j.gather(-1, place % self.best)
        return found, rows * self.half_keys.shape[2] + columns

    def forward(self, x: Tensor) -> Tensor:
        """What the memory holds for positions ``(..., width)``, in the same shape.

        Raises:
            ValueError: If the last axis is not the width.
        """
        if x.shape[-1:] != (self.width,):
            raise ValueError(f"ProductKeyMemory: expected inputs (..., {self.width}), got {tuple(x.shape)}")
        scores, indices = self.best_keys(x.reshape(-1, self.width))
        bags = (len(scores), self.heads * self.best)
        weights = scores.softmax(-1).to(self.values.dtype).view(bags)
        return embedding_bag(indices.view(bags), self.values, per_sample_weights=weights, mode="sum").view(x.shape)
