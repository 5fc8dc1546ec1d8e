"""What each verb does: the first sentence of its docstring, read from the source, since importing it takes seconds."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def summary(module: str, function: str) -> str:
    """The first sentence of a function's docstring; empty where there is no such module or function.

    Args:
        module: of the toolkit, with dots; a function that it imports from another one is followed there.
        function: its name.

    Example:
        >>> summary("domains.command.summaries", "summary")
        "The first sentence of a function's docstring; empty where there is no such module or function."
    """
    for node in _body(module):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                if (name.asname or name.name) == function:
                    return summary(node.module, name.name)
    return ""


@functools.cache
def _body(module: str) -> list[ast.stmt]:
    path = _ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8")).body
    return []
