"""Runs side by side: the settings that differ, the last measurements, and their curves."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from separable.records.kinds import FolderKind
from separable.records.measurements import curves
from separable.records.pictures import draw_curves
from separable.records.record import RunRecord, flattened, read_run
from separable.records.tables import shown, text_table
from separable.records.writing import written_whole


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs, compared.

    Attributes:
        names: of the runs, short and all different.
        runs: what each folder holds.
        settings: those that differ, by name, a value for each run; None where a run has none. The seed of a run is
            one of them, where the settings of none name it themselves.
        measured: the last of every number, by name, a value for each run; None where a run has none.
    """

    names: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    settings: dict[str, tuple[Any, ...]]
    measured: dict[str, tuple[float | None, ...]]

    def text(self) -> str:
        """Both tables for a terminal."""
        parts = []
        for title, rows in (("setting", self.settings), ("measured last", self.measured)):
            if rows:
                cells = [[name, *_cells(values)] for name, values in rows.items()]
                parts.append(text_table([[title, *self.names], *cells]))
            else:
                parts.append("no setting differs" if title == "setting" else "nothing was measured")
        return "\n\n".join(parts)

    def figure(self) -> Any:
        """A matplotlib figure of the curves; None where no number was told at two steps, or without matplotlib."""
        told = {name: curves(run.lines) for name, run in zip(self.names, self.runs, strict=True)}
        return draw_curves(told)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write a page (``.html``) or the picture of the curves alone (``.png``).

        Raises:
            ValueError: the path ends otherwise, or there are no curves for the picture.
        """
        path = Path(path)
        if path.suffix not in (".html", ".png"):
            raise ValueError(f"output: expected a path ending in .html or .png, got {path.name!r}")
        figure = self.figure()
        if path.suffix == ".html":
            return written_whole(path, lambda file: file.write_text(self._page(figure), encoding="utf-8"))
        if figure is None:
            raise ValueError("output: expected runs with a number at two steps or more, and matplotlib, for a picture")
        return written_whole(path, lambda file: figure.savefig(file, dpi=110, format="png"))

    def _page(self, figure: Any) -> str:
        import tempfile

        from separable.training.report import Report

        page = Report("Runs compared", ", ".join(str(run.path) for run in self.runs))
        for title, head, rows in (
            ("Settings that differ", "setting", self.settings),
            ("Measured last", "measured", self.measured),
        ):
            page.section(title)
            if rows:
                page.table(
                    [
                        {head: name, **dict(zip(self.names, _cells(values), strict=True))}
                        for name, values in rows.items()
                    ]
                )
            else:
                page.text("None.")
        if figure is not None:
            page.section("Curves")
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "curves.png"
                figure.savefig(file, dpi=110)
                page.picture(file, "Measured numbers over steps, one line for each run")
        return page.html()


def compare_runs(paths: Sequence[str | os.PathLike[str]], kinds: Sequence[FolderKind] = ()) -> Comparison:
    """Compare two runs or more.

    Args:
        paths: their folders.
        kinds: more kinds of folders than the library's own.

    Raises:
        FileNotFoundError: one is not there.
        ValueError: fewer than two, one twice, or one that is no run.

    Example:
        >>> import tempfile
        >>> from separable.training import RunFolder
        >>> folder = Path(tempfile.mkdtemp())
        >>> for rank in (4, 8):
        ...     RunFolder(folder / f"rank{rank}", {"rank": rank, "seed": 0}, seed=0).log(step=1, error=1 / rank)
        >>> found = compare_runs([folder / "rank4", folder / "rank8"])
        >>> found.settings, found.measured["error"]
        ({'rank': (4, 8)}, (0.25, 0.125))
    """
    if len(paths) < 2:
        raise ValueError(f"runs: expected two or more to compare, got {len(paths)}")
    places = [Path(path).resolve() for path in paths]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"runs: expected each once, got {place} twice")
    runs = tuple(read_run(path, kinds) for path in paths)
    settings = [flattened(run.settings) for run in runs]
    if not any(name.split(".")[-1] == "seed" for each in settings for name in each):
        settings = [{"seed": run.environment.get("seed"), **each} for run, each in zip(runs, settings, strict=True)]
    every = dict.fromkeys(name for each in settings for name in each)
    rows = {name: tuple(each.get(name) for each in settings) for name in every}
    differing = {name: values for name, values in rows.items() if not all(_alike(value, values[0]) for value in values)}
    last = [run.last() for run in runs]
    measured: dict[str, tuple[float | None, ...]] = {}
    if any(run.numbers is not None for run in runs):
        measured["numbers of the model"] = tuple(run.numbers for run in runs)
    for name in dict.fromkeys(name for each in last for name in each):
        measured[name] = tuple(each.get(name) for each in last)
    return Comparison(_short(places), runs, differing, measured)


def _alike(one: Any, other: Any) -> bool:
    """Whether two settings are equal; NaN is no other than itself."""
    return bool(one == other or (one != one and other != other))


def _short(places: Sequence[PurePath]) -> tuple[str, ...]:
    """As many of the last folders of each path as make all of them different."""
    for length in range(1, max(len(place.parts) for place in places) + 1):
        names = tuple("/".join(place.parts[-length:]) for place in places)
        if len(set(names)) == len(names):
            return names
    return tuple(str(place) for place in places)


def _cells(values: tuple[Any, ...]) -> list[str]:
    """Values, short where that tells them apart."""
    short = [shown(value) for value in values]
    differ = len(set(short)) > 1 or len(set(map(str, values))) == 1
    return short if differ else [str(value) for value in values]
