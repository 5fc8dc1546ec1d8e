"""Programs in processes that are forked from one which has imported already what takes long to import."""

import multiprocessing
import os
import runpy
import sys
import warnings
from pathlib import Path


def run_forked(program: Path, folder: Path, *arguments: str, seconds: float = 120) -> tuple[int | None, str]:
    """Run a program as Python would, warnings being errors; its exit code, None if it is late, and what it printed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.examples.preloaded"])
    output = folder.with_suffix(".output")
    process = context.Process(target=_run, args=(program, folder, arguments, output))
    process.start()
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code, output.read_text() if output.exists() else ""


def _run(program: Path, folder: Path, arguments: tuple[str, ...], output: Path) -> None:
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ["MPLBACKEND"] = "Agg"
    sys.argv = [str(program), *arguments]
    warnings.simplefilter("error")
    runpy.run_path(str(program), run_name="__main__")
