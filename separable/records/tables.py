"""Values and tables as text: what a person reads in a terminal and in a page."""

from collections.abc import Sequence
from typing import Any

_WIDEST = 48  # characters of a cell


def shown(value: Any, widest: int = _WIDEST) -> str:
    """A value, short.

    Example:
        >>> shown(0.123456), shown(22176), shown(None), shown([1, 2]), shown(True)
        ('0.1235', '22,176', '-', '1 2', 'yes')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        text = " ".join(shown(each, widest) for each in value) or "none"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


def size_of(n: float) -> str:
    """Bytes for people.

    Example:
        >>> size_of(950), size_of(22_176_000)
        ('950 B', '22.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def time_of(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> time_of(0.25), time_of(75), time_of(5400), time_of(200_000)
        ('0.2 s', '1.2 minutes', '1.5 hours', '2.3 days')
    """
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of equal columns; the first row is the head.

    Example:
        >>> print(text_table([["setting", "a", "b"], ["rank", "4", "16"]]))
        setting  a  b
        rank     4  16
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
