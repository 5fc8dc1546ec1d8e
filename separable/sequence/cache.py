"""Keys and values that a transformer has already computed, kept so that each new position costs one position."""

import torch
from torch import Tensor


class Cache:
    """Room for the keys and values of all layers, filled from the front; made by `Transformer.cache`.

    Args:
        layers: Number of layers.
        batch: Number B of sequences, which advance together.
        key_heads: Key heads of a layer.
        length: Greatest number of positions.
        head_width: Features of a head.
        device: Where the cache lives.
        dtype: Type of keys and values.

    Attributes:
        keys: ``(layers, B, key_heads, length, head_width)``, already turned by their places.
        values: The same shape.
        length: Positions filled so far.

    Example:
        >>> cache = Cache(layers=2, batch=1, key_heads=4, length=16, head_width=8)
        >>> cache.length, cache.room
        (0, 16)
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        key_heads: int,
        length: int,
        head_width: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if min(layers, batch, key_heads, length, head_width) < 1:
            raise ValueError(
                "Cache: sizes are positive, got "
                f"layers={layers}, batch={batch}, key_heads={key_heads}, length={length}, head_width={head_width}"
            )
        shape = (layers, batch, key_heads, length, head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def room(self) -> int:
        """Positions that still fit."""
        return self.keys.shape[3] - self.length

    def require(self, batch: int, count: int) -> None:
        """Refuse sequences that do not belong here or do not fit, before anything is computed.

        Raises:
            ValueError: If the batch is another one, or fewer than ``count`` positions are left.
        """
        if batch != self.keys.shape[1]:
            raise ValueError(f"Cache: made for {self.keys.shape[1]} sequences, got {batch}")
        if count > self.room:
            raise ValueError(
                f"Cache: full; {self.length} of {self.keys.shape[3]} positions are taken and {count} more were given; "
                "make a longer one with Transformer.cache(batch, length)"
            )

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new keys and values ``(B, key_heads, T, head_width)``; all of the layer's so far.

        The count of positions stays until `advance`, as every layer writes at the same places.
        """
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end].to(keys.dtype), self.values[layer, :, :, :end].to(values.dtype)

    def advance(self, count: int) -> None:
        """Count positions that every layer has written."""
        self.length += count

    def truncate(self, length: int) -> None:
        """Forget all but the first positions, so that a sequence can go on from there in another way.

        Raises:
            ValueError: If more positions are asked for than are filled.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"Cache: expected 0 to {self.length} positions to keep, got {length}")
        self.length = length
