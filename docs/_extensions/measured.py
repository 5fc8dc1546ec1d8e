"""Numbers of the documents, read from the records in `benchmarks/results` and never typed.

A reference names a record and leads to one number in it, its parts separated by `` > ``:

    galerkin-3 > relative L2 error                                       a key of what was measured
    library-2 > degree=5 > order of convergence                          a column, in the row whose degree is 5
    library-6 > baselines > method=teneva > median relative rmse         the same of the baselines
    language-3 > measured                                                what was measured, where it is one sentence

It may end with `` as `` and a format of Python, as in ``microstructure-2 > seed=0 > wrong voxels as .1%``; numbers have
three digits otherwise, as in RESULTS.md.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def record(name: str) -> dict[str, Any]:
    """The record ``<area>-<item>``.

    Raises:
        ValueError: If there is none of that name.
    """
    path = RESULTS / f"{name}.json"
    if "/" in name or not path.exists():
        raise ValueError(f"there is no record {name!r} in benchmarks/results")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def value(reference: str) -> str:
    """The number, or the text, that a reference leads to.

    Raises:
        ValueError: If it leads nowhere, or to several rows.
    """
    path, _, form = reference.partition(" as ")
    name, *steps = (part.strip() for part in path.split(" > "))
    if not steps:
        raise ValueError(f"{reference!r} names a record and nothing in it")
    found: Any = record(name)
    side = steps.pop(0) if steps[0] in found else "measured"
    found = found[side]
    for number, step in enumerate(steps):
        if isinstance(found, list):
            if number == len(steps) - 1:
                found = _only(found, reference)
            else:
                found = rows_where(found, [step])
                continue
        if not isinstance(found, dict) or step not in found:
            raise ValueError(f"{reference!r}: {step!r} is not in the record {name}")
        found = found[step]
    if isinstance(found, dict | list):
        raise ValueError(f"{reference!r} leads to a table; name a row and a column")
    return format(found, form.strip()) if form else text(found)


def rows_where(rows: Sequence[dict[str, Any]], conditions: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that satisfy every ``column=value``."""
    for condition in conditions:
        column, equals, wanted = condition.partition("=")
        if not equals:
            raise ValueError(f"{condition!r}: a row is chosen by column=value")
        rows = [row for row in rows if text(row.get(column.strip(), "")) == wanted.strip()]
    return list(rows)


def text(found: Any) -> str:
    """A number with three digits, a large whole one with separators, and anything else as it stands."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return str(found)
    if isinstance(found, int):
        return f"{found:,}" if abs(found) >= 10_000 else str(found)
    if 100 <= abs(found) < 1e6:
        return f"{found:,.0f}"
    return f"{found:.3g}"


def table(found: Any, columns: Sequence[str] = (), conditions: Sequence[str] = ()) -> list[list[str]]:
    """A heading and rows of text from a part of a record, of any of its forms.

    Args:
        found: A list of rows, a dictionary, or a sentence.
        columns: The columns to show, by default all.
        conditions: What rows have to satisfy, ``column=value``.

    Raises:
        ValueError: If no row is left, or a column is in none of the rows.
    """
    if isinstance(found, dict):
        found = [{"what": key, "value": number} for key, number in found.items()]
        if columns:
            found = [row for name in columns for row in rows_where(found, [f"what={name}"])]
            columns = ()
    if not isinstance(found, list):
        return [["what"], [text(found)]] if found else []
    rows = rows_where(found, conditions)
    if not rows:
        raise ValueError(f"no row satisfies {list(conditions)}" if conditions else "the record has no rows")
    shown = list(columns) or list(rows[0])
    if missing := [column for column in shown if not any(column in row for row in rows)]:
        raise ValueError(f"no row has the columns {missing}; there are {list(rows[0])}")
    return [shown, *([text(row.get(column, "")) for column in shown] for row in rows)]


def listed(given: str, separator: str = ",") -> list[str]:
    r"""The parts of an option; a separator that belongs to a name is written with a backslash, ``time\, ms``."""
    parts = re.split(rf"(?<!\\){separator}", " ".join(given.split()))
    return [part.strip().replace("\\" + separator, separator) for part in parts if part.strip()]


def area(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The records of an area by item.

    Raises:
        ValueError: If it has none.
    """
    found = [(path.stem, json.loads(path.read_text())) for path in RESULTS.glob(f"{name}-*.json")]
    if not found:
        raise ValueError(f"there is no record of {name!r} in benchmarks/results")

    def order(item: tuple[str, dict[str, Any]]) -> tuple[int, str]:
        digits = "".join(c for c in item[0] if c.isdigit())
        return int(digits or 99), item[0]

    return sorted(found, key=order)


def _only(rows: list[dict[str, Any]], reference: str) -> dict[str, Any]:
    if len(rows) != 1:
        raise ValueError(f"{reference!r} leads to {len(rows)} rows; choose one by column=value")
    return rows[0]
