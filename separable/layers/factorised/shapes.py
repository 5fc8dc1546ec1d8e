"""Splitting a size into digits."""


def balanced_shape(size: int, parts: int) -> tuple[int, ...]:
    """``size`` as a product of ``parts`` factors, increasing, as nearly equal as its divisors allow.

    Example:
        >>> balanced_shape(768, 2), balanced_shape(4096, 3), balanced_shape(7, 2)
        ((24, 32), (16, 16, 16), (1, 7))
    """
    if parts == 1:
        return (size,)
    best: tuple[int, ...] | None = None
    for first in range(1, round(size ** (1 / parts)) + 1):
        if size % first == 0:
            shape = tuple(sorted((first, *balanced_shape(size // first, parts - 1))))
            if best is None or max(shape) / min(shape) <= max(best) / min(best):
                best = shape
    assert best is not None
    return best


def covering_shape(size: int, parts: int) -> tuple[int, ...]:
    """``parts`` nearly equal factors whose product is at least ``size``, for an index that need not fill it."""
    shape: list[int] = []
    for left in range(parts, 0, -1):
        factor = 1
        while factor**left < size:
            factor += 1
        shape.append(factor)
        size = -(-size // factor)
    return tuple(shape)
