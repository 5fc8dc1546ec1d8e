"""A run folder: what was asked for, on which machine, what was measured, and the pictures.

::

    config.json        the settings
    environment.json   versions, platform, git state, seed, command
    metrics.jsonl      one line for each measurement, as it is made
    figures/           pictures (.png)
    report.html        the report, pictures included
"""

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from separable.atomic_files import replacing, write_text
from separable.files import read_json
from separable.training.run_lock import unless_used


class RunFolder:
    """The record of one run; files are complete or absent, never half-written.

    Args:
        path: The folder; made if it is not there.
        config: The settings: a dataclass or a dictionary of plain data.
        seed: The seed of the run.
        inputs: What the run reads, by digests of its content, such as those of a corpus and of a teacher. A run that
            was begun without, by an earlier version, goes on without.

    Raises:
        FileExistsError: If the folder holds the record of a run with other settings or inputs (which would be lost);
            another ``accumulation`` is none, as a run may go on with more processes and fewer parts each.
        ValueError: If its settings are damaged, so that it cannot be told whose run it is.

    Example:
        >>> import tempfile
        >>> from separable.training import RunFolder
        >>> run = RunFolder(tempfile.mkdtemp(), {"rank": 4}, seed=0)
        >>> run.log(stage="fit", rmse=0.1)
        >>> run.metrics()[0]["rmse"]
        0.1
    """

    def __init__(
        self, path: str | os.PathLike[str], config: Any, seed: int, inputs: Mapping[str, str] | None = None
    ) -> None:
        self.path = Path(path)
        settings = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config  # type: ignore[arg-type]
        file = self.path / "config.json"
        # Through JSON both are plain data, tuples as lists.
        asked = json.loads(json.dumps(settings, default=_plain))
        held = read_json(file, "the settings of a run", finite=False) if file.exists() else None
        if inputs and (held is None or "inputs" in held):
            asked["inputs"] = dict(inputs)
        if held is not None and (others := _differing(_shared(held), _shared(asked))):
            told = f"{self.path} holds a run with other settings ({', '.join(others)})"
            raise FileExistsError(f"RunFolder: {told}; choose another folder")
        (self.path / "figures").mkdir(parents=True, exist_ok=True)
        described = environment(seed)
        with unless_used(self.path) as free:  # what another process uses stays as it is; training there is refused
            if free:
                self.write("config.json", json.dumps(asked, indent=2))
                self.write("environment.json", json.dumps(described, indent=2))

    def write(self, name: str, text: str) -> Path:
        """Write a text file; it replaces an older one only when it is complete."""
        write_text(self.path / name, text)
        return self.path / name

    def log(self, **measurements: Any) -> None:
        """Append one line to ``metrics.jsonl``, with the time.

        Args:
            measurements: what JSON can hold, and numbers and arrays of numpy and torch.

        Raises:
            TypeError: one of them is something else.
        """
        line = json.dumps({"time": round(time.time(), 3), **measurements}, default=_plain)
        with (self.path / "metrics.jsonl").open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a crash cut that line off, and must not take this one with it
                    line = "\n" + line
            file.write(f"{line}\n".encode())

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``; what a crash or a bad disk left of others is left out."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def last_scores(self) -> dict[str, float]:
        """The last evaluation of a training: its step, the seconds of training before it, and its scores.

        Raises:
            ValueError: nothing was evaluated.
        """
        for line in reversed(self.metrics()):
            if "scores" in line:
                return {"step": line["step"], "seconds": line["seconds"], **line["scores"]}
        raise ValueError(f"{self.path}: expected the record of a training that was evaluated, got none")

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps beyond one: a run that goes on from a checkpoint measures them again."""
        kept = [line for line in self.metrics() if not isinstance(done := line.get("step", 0), int) or done <= step]
        if (self.path / "metrics.jsonl").exists():
            self.write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def figure(self, name: str, figure: Any) -> Path:
        """Save a matplotlib figure as ``figures/<name>.png`` and close it."""
        import matplotlib.pyplot as plt

        target = self.path / "figures" / f"{name}.png"
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight")
        plt.close(figure)
        return target


def _plain(value: Any) -> Any:
    """Numbers and arrays as JSON has them."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"RunFolder: expected numbers, words and lists of them, got a {type(value).__name__}")
    return value.tolist()


def _shared(settings: Any) -> Any:
    """Settings without the parts of a step, of which a process has more where fewer processes go on with a training."""
    if isinstance(settings, dict):
        return {name: _shared(value) for name, value in settings.items() if name != "accumulation"}
    return [_shared(value) for value in settings] if isinstance(settings, list) else settings


def _differing(held: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Names of the settings that are not the same, those inside of others with a dot."""
    found = []
    for name in sorted(held.keys() | asked.keys()):
        one, other = held.get(name), asked.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{name}.{inner}" for inner in _differing(one, other)]
        elif not _alike(one, other) or (name in held) != (name in asked):
            found.append(name)
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether two settings are equal; NaN is no other than itself."""
    return bool(one == other or (one != one and other != other))


def environment(seed: int) -> dict[str, Any]:
    """What a run depends on beside its settings: versions, platform, git state, command."""
    versions = {}
    for package in ("separable", "torch", "numpy", "scipy", "scikit-learn"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "seed": seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": versions,
        "git": _git("rev-parse", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str | None:
    # Asking must leave the repository alone: a process that is killed here would leave a lock in it.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
