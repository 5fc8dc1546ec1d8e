"""Docstrings as the library writes them: an indented block after a blank line is a formula or a tree, kept as it is."""

from typing import Any

from sphinx.application import Sphinx

SECTIONS = ("Args:", "Returns:", "Raises:", "Example:", "Attributes:", "Yields:", "Note:", "Warning:")


def keep_indented_blocks(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Put ``::`` before each indented block that no section of Google's style owns."""
    kept: list[str] = []
    margin_of_section: int | None = None
    inside = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip():
            if margin_of_section is not None and indent <= margin_of_section:
                margin_of_section = None
            if line.strip() in SECTIONS:
                margin_of_section = indent
            starts = indent >= 4 and margin_of_section is None and not inside
            if starts and (not kept or not kept[-1].strip()) and not _owned(kept):
                kept += ["::", ""]
                inside = True
            elif indent == 0:
                inside = False
        kept.append(line)
    lines[:] = kept


def _owned(before: list[str]) -> bool:
    """Whether the last line of text opens a literal block or a directive, or is part of a list."""
    texts = [line for line in before if line.strip()]
    return bool(texts) and (texts[-1].endswith("::") or texts[-1].startswith((".. ", "- ", "* ")))


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, which rewrites the sections."""
    app.connect("autodoc-process-docstring", keep_indented_blocks, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
