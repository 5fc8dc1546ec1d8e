"""What is to be run for every record: the commands that the records name, and benchmarks that no record names yet."""

import dataclasses
import functools
import json
import os
import shlex
import subprocess
import sys

from benchmarks import record
from benchmarks.trial import HERE


@dataclasses.dataclass(frozen=True)
class Command:
    """A benchmark with its settings.

    Attributes:
        name: of the module.
        settings: environment variables; those of the caller come before them.
        arguments: of the module.

    Example:
        >>> Command.read("MINUTES=8 python -m benchmarks.turbulence_cost --tiny")
        Command(name='turbulence_cost', settings=(('MINUTES', '8'),), arguments=('--tiny',))
        >>> Command.read("python -m benchmarks library_tables").name
        'library_tables'
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Command":
        """From a record's line.

        Raises:
            ValueError: it does not run one module of this package.
        """
        words = shlex.split(text)
        place = words.index("python") if "python" in words else len(words)
        settings, rest = words[:place], words[place + 1 :]
        if rest[:1] != ["-m"] or len(rest) < 2 or any("=" not in word for word in settings):
            raise ValueError(f"command: expected [NAME=value ..] python -m benchmarks.., got {text!r}")
        package, _, name = rest[1].partition(".")
        arguments = rest[2:]
        if package == "benchmarks" and not name and arguments:
            name, *arguments = arguments
        if package != "benchmarks" or name not in known():
            raise ValueError(f"command: expected one of the benchmarks {', '.join(known())}, got {text!r}")
        return cls(name, tuple((word.partition("=")[0], word.partition("=")[2]) for word in settings), tuple(arguments))

    def run(self) -> bool:
        """Run it in a process of its own; returns whether it went well."""
        words = [sys.executable, "-m", f"benchmarks.{self.name}", *self.arguments]
        done = subprocess.run(words, cwd=HERE.parent, env=dict(self.settings) | os.environ, check=False)
        return done.returncode == 0

    def __str__(self) -> str:
        settings = [f"{name}={value}" for name, value in self.settings]
        return shlex.join([*settings, "python", "-m", f"benchmarks.{self.name}", *self.arguments])


@functools.cache
def known() -> tuple[str, ...]:
    """Names of all benchmarks: modules named after an area that run by themselves, but for those of peers."""
    found = [path for area in record.AREAS for path in HERE.glob(f"{area}_*.py") if not path.stem.endswith("_peers")]
    return tuple(sorted(path.stem for path in found if '__name__ == "__main__"' in path.read_text()))


def commands() -> list[Command]:
    """Each once, in the order of the names."""
    lines = {json.loads(path.read_text())["command"] for path in record.COMMITTED.glob("*.json")}
    found = {Command.read(line) for line in lines}
    found |= {Command(name) for name in known() if name not in {command.name for command in found}}
    return sorted(found, key=lambda command: (command.name, command.arguments))
