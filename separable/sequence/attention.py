"""Attention of every position to the positions that it may see, several query heads to a key head.

For B sequences of T positions, H query heads in groups of H / K that share one of K key heads, head width h, and S
positions seen (those of a cache and the T new ones):

    q = rotate(x Wq) (B, H, T, h)      k = rotate(x Wk), v = x Wv (B, K, S, h)
    y = softmax(q k^T / sqrt(h) + mask) v,   then heads are joined and mapped by Wo

Source: Vaswani et al. (2017, arXiv:1706.03762); grouped queries after Ainslie et al. (2023, arXiv:2305.13245).
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from separable.layers.derivatives import transformed
from separable.sequence.cache import Cache
from separable.sequence.rotary import rotated_heads

# Positions up to which torch's gradient on CPUs takes up to three times longer in bfloat16 than in float32.
_SHORT = 512


class GroupedQueryAttention(nn.Module):
    """Multi-head attention with rotary positions and shared key heads, without biases.

    Args:
        width: Features of a position.
        heads: Number H of query heads, a divisor of the width.
        key_heads: Number K of key heads, a divisor of H.
        dropout: Share of attention weights that training drops.

    Example:
        >>> from separable.sequence.rotary import rotary_angles
        >>> attention = GroupedQueryAttention(32, heads=4, key_heads=2)
        >>> attention(torch.randn(1, 5, 32), rotary_angles(0, 5, 8, 10000.0, dtype=torch.float32)).shape
        torch.Size([1, 5, 32])
    """

    def __init__(self, width: int, heads: int, key_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width, self.dropout = heads, key_heads, width // heads, dropout
        self.projection = nn.Linear(width, (heads + 2 * key_heads) * self.head_width, bias=False)  # Wq, Wk, Wv
        self.readout = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Outputs ``(B, T, width)``.

        Args:
            x: ``(B, T, width)``.
            angles: Of the T places, from `rotary_angles`.
            mask: What is seen, true where it is: ``(T, S)`` or ``(B, 1, T, S)``. None: causal.
            cache: Where the keys and values of earlier positions are.
            layer: Which layer of the cache is this one's.
        """
        batch, count, _ = x.shape
        heads = self.heads + 2 * self.key_heads  # sizes in full, here and below: of no positions torch can infer none
        projected = self.projection(x).view(batch, count, heads, self.head_width)
        query, key, value = rotated_heads(projected, angles, self.heads, self.key_heads)
        if cache is not None:
            key, value = cache.append(layer, key, value)
        dropout = self.dropout if self.training else 0.0
        groups = self.heads // self.key_heads
        if mask is None and count == 1:
            # One position sees all: the queries of a group are rows against their key head, and nothing is repeated.
            query = query.reshape(batch, self.key_heads, groups, self.head_width)
            seen = scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        else:
            if groups > 1:
                key, value = (_repeated(t, groups) for t in (key, value))
            seen = _attended(query, key, value, mask, dropout)
        seen = seen.reshape(batch, self.heads, count, self.head_width).transpose(1, 2)
        return self.readout(seen.reshape(batch, count, self.heads * self.head_width))  # type: ignore[no-any-return]


def seen_by(start: int, count: int, prefix: int | Tensor, device: torch.device) -> Tensor | None:
    """Which of the positions ``0 .. start + count - 1`` each of the last ``count`` sees; None where causal says it all.

    A position sees itself, what came before it, and the whole prefix.

    Args:
        start: Positions that came before, of a cache.
        count: New positions T.
        prefix: Positions that see one another both ways, one number or one for each sequence ``(B,)``.
        device: Where the mask lives.

    Returns:
        ``(T, start + T)`` or ``(B, 1, T, start + T)``, true where seen.

    Example:
        >>> seen_by(0, 3, 2, torch.device("cpu")).int()
        tensor([[1, 1, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """
    if count == 1 or (start == 0 and isinstance(prefix, int) and prefix <= 1):
        return None
    key = torch.arange(start + count, device=device)
    causal = key <= key[start:, None]
    if isinstance(prefix, int):
        return causal | (key < prefix)
    return causal | (key < prefix.to(device)[:, None, None, None])


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    short = query.device.type == "cpu" and query.shape[-2] <= _SHORT
    if short and query.dtype == torch.bfloat16 and torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            return _attended(query.float(), key.float(), value.float(), mask, dropout).to(query.dtype)
    # torch's fused kernels have neither forward-mode derivatives nor a rule for vmap.
    with sdpa_kernel(SDPBackend.MATH) if transformed(query) else nullcontext():
        return scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=mask is None)


def _repeated(heads: Tensor, times: int) -> Tensor:
    batch, key_heads, count, width = heads.shape
    expanded = heads[:, :, None].expand(batch, key_heads, times, count, width)
    return expanded.reshape(batch, key_heads * times, count, width)
