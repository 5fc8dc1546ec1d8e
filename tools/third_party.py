"""Licences of everything that the package and its extras bring in, as THIRD_PARTY.md.

Usage: python tools/third_party.py, in an environment with all extras but `peers` (Python 3.11 or newer). Names and
licences come from the metadata of what is installed there.
"""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILE = ROOT / "THIRD_PARTY.md"
NOT_SHIPPED = ("peers", "dev", "demo", "docs")  # for measuring and testing; of no use to one who installs the wheel
HEAD = """# Licences of others

What installing `separable` and its extras brings in, with the licence that each package states, on Linux with the CPU
build of torch. Nothing of it is copied into this repository or into the wheel. Made by `python tools/third_party.py`.

| package | licence | needed by |
|---|---|---|
"""


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")
    print(f"{FILE.name}: {len(needs())} packages")


def text() -> str:
    """The file's content.

    Raises:
        importlib.metadata.PackageNotFoundError: something that an extra needs is not installed.
    """
    rows = (f"| {name} | {licence(name)} | {', '.join(users)} |\n" for name, users in sorted(needs().items()))
    return HEAD + "".join(rows)


def listed() -> dict[str, tuple[str, str]]:
    """Licence and users of each package in the file as it is."""
    cells = (line.strip("| \n").split(" | ") for line in FILE.read_text(encoding="utf-8").splitlines())
    return {row[0]: (row[1], row[2]) for row in cells if len(row) == 3 and row[0] != "package"}


def declared() -> dict[str, list[Requirement]]:
    """What pyproject.toml names for the core and for each extra that is of use to users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in NOT_SHIPPED}
    groups = {"core": project["dependencies"], **extras}
    return {name: [Requirement(line) for line in wanted] for name, wanted in groups.items()}


def needs() -> dict[str, list[str]]:
    """Every package in reach of the core or an extra, with those that need it; the core's are needed by all."""
    found: dict[str, list[str]] = {}
    for group, wanted in declared().items():
        for name in sorted({name for line in wanted for name in closure(line)}):
            users = found.setdefault(name, [])
            if "core" not in users:
                users.append(group)
    return found


def closure(line: Requirement, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """A package and all that it requires here; our own extras stand in lines of their own."""
    name = canonicalize_name(line.name)
    if name == "separable" or name in seen or (line.marker and not line.marker.evaluate({"extra": ""})):
        return
    yield name
    for stated in metadata.distribution(name).requires or ():
        need = Requirement(stated)
        wanted = {"", *line.extras}
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in wanted):
            need.marker = None
            yield from closure(need, seen | {name})


def licence(name: str) -> str:
    """What a package says of its licence, in a line.

    Raises:
        ValueError: it says nothing.
    """
    told = metadata.metadata(name)
    expression = told.get("License-Expression")
    if expression:
        return expression
    classes = [line.split("::")[-1].strip() for line in told.get_all("Classifier") or () if line.startswith("License")]
    classes = [line for line in classes if line != "OSI Approved"]
    found = ", ".join(classes) or (told.get("License") or "").strip().split("\n")[0].strip()
    if not found:
        raise ValueError(f"{name}: expected a licence in its metadata, got none")
    return found.removesuffix(" License") if found == "MIT License" else found


if __name__ == "__main__":
    main()
