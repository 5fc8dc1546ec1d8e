"""The verbs at the top, which are plain functions: list, info, compare, report, demo."""

from __future__ import annotations

import datetime
from pathlib import Path

from domains.command.kinds import KINDS
from separable.records import Comparison, RunRecord, compare_runs, find_runs, read_run, write_run_report
from separable.records.record import flattened
from separable.records.tables import shown, size_of, text_table

SHIPPED = ("navigation/baselines", "turbulence/trained")
_DOMAINS = Path(__file__).parents[1]
_FILES = 20  # that are told of a run; more are counted
_WIDEST = 100


def list_all(path: Path = Path("runs"), /) -> None:
    """Say what there is: domains and their verbs, trained models that ship, and run folders below a path.

    Args:
        path: where to look for run folders and saved models.
    """
    from domains.command_line import DOMAINS

    for domain, verbs in DOMAINS.items():
        print(f"{'domain':8} {domain.replace('.', ' '):22} {' '.join(verbs)}")
    for folder in shipped():
        print(f"{'shipped':8} {folder.name:22} {_line(folder)}")
    found = find_runs(path, KINDS)
    for folder, _ in found:
        print(f"{'run':8} {folder!s:22} {_line(folder)}")
    if not found:
        print(f"{'run':8} none at or below {path}")


def info(run: Path, /) -> RunRecord:
    """Say what a run folder or the folder of a saved model is, and what is in it.

    Args:
        run: the folder, or the name of a trained model that ships.
    """
    found = read_run(resolved(run), KINDS)
    rows = [["folder", str(found.path)], ["what", found.name]]
    if found.numbers is not None:
        rows.append(["parameters", f"{found.numbers:,} numbers"])
    rows += [["holds", f"{name}: {part.name}"] for name, part in found.parts.items()]
    environment = found.environment
    for name in ("command", "seed", "python", "platform", "git"):
        if environment.get(name) is not None:
            rows.append([name, shown(environment[name], _WIDEST)])
    versions = environment.get("versions")
    if isinstance(versions, dict):
        rows.append(["versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    rows += [[f"setting {name}", shown(value, _WIDEST)] for name, value in flattened(found.settings).items()]
    rows += [[f"last {name}", shown(value)] for name, value in found.last().items()]
    files = sorted(found.files.items(), key=lambda each: -each[1])
    rows += [["file", f"{name} ({size_of(size)})"] for name, size in files[:_FILES]]
    if len(files) > _FILES:
        rows.append(["file", f"and {len(files) - _FILES} more, {size_of(sum(s for _, s in files[_FILES:]))}"])
    rows += [["use", use] for use in found.uses]
    damaged = [name for name, count in found.parameters.items() if count < 0]
    rows += [["damaged", name] for name in damaged]
    print(text_table(rows))
    return found


def compare(runs: tuple[Path, ...], /, output: Path | None = None) -> Comparison:
    """Set runs side by side: settings that differ, last measurements, and a picture of their curves.

    Args:
        runs: folders of runs or saved models, or names of those that ship.
        output: a page (.html) or a picture of the curves (.png) to write.
    """
    found = compare_runs([resolved(run) for run in runs], KINDS)
    print(found.text())
    if output is not None:
        print(found.write(output))
    return found


def report(run: Path, /, output: Path | None = None) -> Path:
    """Write report.html of a run from what its folder holds: settings, measurements, curves, pictures.

    A report that another command left is kept as report_before.html.

    Args:
        run: the folder of a run or of a saved model.
        output: the page, if it is not to go into the folder.
    """
    found = resolved(run)
    if output is None and found != run:
        raise ValueError(f"output: expected a page to write for the shipped {run}, got none; give --output page.html")
    written = write_run_report(found, KINDS, output)
    print(written)
    return written


def demo(folder: Path = Path("runs/demo"), /) -> Path:
    """Run the demonstration of everything, some minutes, and leave one page.

    Args:
        folder: the run folder, with report.html.
    """
    try:
        from domains.demo import main
    except ModuleNotFoundError as missing:  # importing it here keeps the other verbs quick
        raise ModuleNotFoundError(f"needs {missing.name}: pip install 'separable[demo]'") from missing

    written = main(str(folder))
    print(f"report: {written}")
    return Path(written)


def shipped() -> list[Path]:
    """Folders of the trained models that come with the toolkit.

    Example:
        >>> "waypoints2d" in [folder.name for folder in shipped()]
        True
    """
    found = [file.parent for place in SHIPPED for file in (_DOMAINS / place).glob("*/*.safetensors")]
    return sorted(dict.fromkeys(found))


def resolved(run: Path) -> Path:
    """A folder, or that of the shipped model of this name."""
    names = {folder.name: folder for folder in shipped()}
    return names[str(run)] if not run.exists() and str(run) in names else run


def _line(folder: Path) -> str:
    """What a folder is, in one line."""
    try:
        found = read_run(folder, KINDS)
    except (ValueError, OSError) as damage:
        return f"damaged: {damage}"
    told = [found.name]
    if found.numbers is not None:
        told.append(f"{found.numbers:,} numbers")
    last = found.last()
    if "step" in last:
        told.append(f"step {last['step']:,.0f}")
    scores = [name for name in last if name.startswith("scores.") or name in ("loss", "success")]
    told += [f"{name.removeprefix('scores.')} {shown(last[name])}" for name in scores[-1:]]
    times = [line["time"] for line in found.lines[-1:] if isinstance(line.get("time"), (int, float))]
    return ", ".join([*told, *map(_moment, times)])


def _moment(time: float) -> str:
    """Seconds since 1970 as a person writes them."""
    try:
        return f"{datetime.datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # what a damaged line may hold
        return f"damaged: time {shown(time)}"
