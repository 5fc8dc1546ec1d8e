"""Docstrings as the library writes them: formulas, trees and aligned lines are kept as they are."""

import re
from typing import Any

from sphinx.application import Sphinx

SECTIONS = ("Args:", "Returns:", "Raises:", "Example:", "Attributes:", "Yields:", "Note:", "Warning:")
ALIGNED = re.compile(r"\S {3,}\S")  # columns made by spaces
UNFINISHED = re.compile(r"((?<!`)`[^`\s][^`]*`(?!`))(?=\w)")  # `name`s
BAR = re.compile(r"(``.*?``)|\|")  # a bar outside a literal, which would begin a substitution


def as_written(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Open a literal block for what is laid out by hand, and escape what the markup would take for its own."""
    kept: list[str] = []
    section: int | None = None  # margin of the section of Google's style that the paragraph stands in
    literal = False
    for paragraph in _paragraphs(lines):
        margin = len(paragraph[0]) - len(paragraph[0].lstrip())
        if section is not None and margin <= section:
            section = None
        if section is not None or paragraph[0].strip() in SECTIONS:
            section = margin if section is None else section
            kept += [*paragraph, ""]
            literal = False
        elif margin >= 4 and (literal or not _owned(kept)):
            kept += [*([] if literal else ["::", ""]), *paragraph, ""]
            literal = True
        elif margin == 0 and _laid_out(paragraph):
            kept += ["::", "", *("    " + line for line in paragraph), ""]
            literal = False
        else:
            kept += [*(_escaped(line) for line in paragraph), ""]
            literal = False
    lines[:] = kept


def _paragraphs(lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def _owned(before: list[str]) -> bool:
    """Whether the last line of text opens a literal block or a directive, or is part of a list."""
    texts = [line for line in before if line.strip()]
    return bool(texts) and (texts[-1].endswith("::") or texts[-1].startswith((".. ", "- ", "* ")))


def _laid_out(paragraph: list[str]) -> bool:
    """Whether a paragraph is a table of Markdown, or lines aligned by spaces; tables of reStructuredText are not."""
    if set(paragraph[0]) <= {"=", " "}:
        return False
    return paragraph[0].startswith("|") or any(ALIGNED.search(line) for line in paragraph)


def _escaped(line: str) -> str:
    line = BAR.sub(lambda found: found[1] or r"\|", line)
    return UNFINISHED.sub(r"\1\\ ", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, which rewrites the sections."""
    app.connect("autodoc-process-docstring", as_written, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
