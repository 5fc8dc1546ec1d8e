r"""A corpus that every machine has: the sources and documentation strings of the installed Python standard library.

10.7 million characters of sources, 1.8 million of documentation (Python 3.11). Left out are what is installed beside
it, tests, tables of encodings, what differs from machine to machine, and copies. Cleaned: decoded as Python does, line
ends ``\n``, no spaces at line ends, no form feeds, one newline at the end. Files come in the order of their paths.
"""

from __future__ import annotations

import ast
import contextlib
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

_OTHER_FOLDERS = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "_bundled",
    "__pycache__",
    "encodings",
}
_OF_THIS_MACHINE = ("_sysconfigdata", "config-", "plat-")


def sources() -> Iterator[tuple[str, str]]:
    """Name and cleaned source of each file, each text once.

    Example:
        >>> name, text = next(sources())
        >>> name, text.splitlines()[0]
        ('__future__.py', '\"\"\"Record of phased-in incompatible language changes.')
    """
    seen = set()
    for name, text in _files():
        if text and text not in seen:
            seen.add(text)
            yield name, text


def documentation() -> Iterator[tuple[str, str]]:
    """Name of each file with its documentation strings, one after another; from files that have any."""
    for name, text in sources():
        with warnings.catch_warnings(), contextlib.suppress(SyntaxError):
            warnings.simplefilter("ignore")  # of escapes that Python will refuse some day
            yield from _said(name, ast.parse(text))


def _said(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    text = _cleaned("\n\n".join(said for said in found if said))
    if text:
        yield name, text


def _files() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path.relative_to(root) for path in root.rglob("*.py")]
    for path in sorted(paths, key=lambda path: path.parts):
        if _OTHER_FOLDERS & set(path.parts) or path.parts[0].startswith(_OF_THIS_MACHINE):
            continue
        try:
            with tokenize.open(root / path) as file:  # the encoding that the file names
                text = _cleaned(file.read())
        except (SyntaxError, UnicodeDecodeError):
            continue  # a sample of a broken file
        yield path.as_posix(), text


def _cleaned(text: str) -> str:
    lines = (line.replace("\f", "").rstrip() for line in text.replace("\r\n", "\n").split("\n"))
    cleaned = "\n".join(lines).strip("\n")
    return cleaned + "\n" if cleaned else ""
