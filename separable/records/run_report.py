"""The report of a run folder, made from what the folder holds: settings, measurements, curves, pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

from separable.records.kinds import FolderKind
from separable.records.measurements import curves
from separable.records.pictures import draw_curves
from separable.records.record import RunRecord, flattened, read_run
from separable.records.tables import shown, size_of
from separable.records.writing import written_whole

REPORT, BEFORE = "report.html", "report_before.html"
_MARK = "<meta name=generator content='separable report'>"
_PICTURES = (".png", ".gif")
_LARGEST = 20_000_000  # bytes of a picture that goes into the page
_SAMPLES = 3
_WIDEST = 100


def write_run_report(
    path: str | os.PathLike[str],
    kinds: Sequence[FolderKind] = (),
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Write ``report.html`` of a run or of a saved model.

    A report that another command left there is kept beside it, as ``report_before.html``: it may say what cannot be
    told from the folder.

    Args:
        path: the folder.
        kinds: more kinds of folders than the library's own.
        output: the page, if it is to go elsewhere.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no run, or its settings are damaged.

    Example:
        >>> import tempfile
        >>> from separable.training import RunFolder
        >>> run = RunFolder(tempfile.mkdtemp(), {"rank": 4}, seed=0)
        >>> for step in (1, 2):
        ...     run.log(step=step, loss=1 / step)
        >>> "rank" in write_run_report(run.path).read_text()
        True
    """
    run = read_run(path, kinds)
    page = _page(run)
    target = run.path / REPORT if output is None else Path(output)
    if output is None and target.exists() and _MARK not in target.read_text(encoding="utf-8", errors="replace"):
        target.replace(run.path / BEFORE)
    return written_whole(target, lambda file: file.write_text(page, encoding="utf-8"))


def _page(run: RunRecord) -> str:
    import tempfile

    from separable.training.report import Report

    told = run.environment.get("command")
    page = Report(run.path.resolve().name, run.name.capitalize() + (f", made by: {told}" if told else ""))
    last = run.last()
    if last or run.numbers is not None:
        page.section("Measured last")
        rows = [] if run.numbers is None else [{"number": "numbers of the model", "value": shown(run.numbers)}]
        page.table(rows + [{"number": name, "value": shown(value)} for name, value in last.items()])
    figure = draw_curves({run.path.name: curves(run.lines)})
    if figure is not None:
        page.section("Curves")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "curves.png"
            figure.savefig(file, dpi=110)
            page.picture(file, "Measured numbers over steps")
    pictures = [name for name, size in run.files.items() if name.endswith(_PICTURES) and size <= _LARGEST]
    if pictures:
        page.section("Pictures")
    for name in pictures:
        page.text(name, note=True)
        page.picture(run.path / name, name)
    samples = [line for line in run.lines if isinstance(line.get("sample"), str)][-_SAMPLES:]
    if samples:
        page.section("Samples")
    for line in samples:
        page.text(f"after {line.get('step', '?')} steps", note=True)
        page.code(line["sample"])
    page.section("Settings")
    settings = flattened(run.settings)
    if settings:
        page.table([{"setting": name, "value": shown(value, _WIDEST)} for name, value in settings.items()])
    environment = flattened(run.environment)
    if environment:
        page.section("Made with")
        page.table([{"what": name, "value": shown(value, _WIDEST)} for name, value in environment.items()])
    page.section("Files")
    page.table([{"file": name, "size": size_of(size)} for name, size in run.files.items()])
    return page.html().replace("<head>", f"<head>{_MARK}", 1)
