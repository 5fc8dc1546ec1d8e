"""Links that work in the repository work in the documents: files that have a page there lead to it.

Pages and the files that they include name other files by relative paths. Where the named file has a page (`PAGES`, the
examples) the link is changed to it; other files of the repository are offered as they are.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "LIMITS.md": "limits.md",
    "RESULTS.md": "results.md",
    "domains/microstructure/README.md": "domains/microstructure.md",
    "domains/navigation/README.md": "domains/navigation.md",
    "domains/turbulence/README.md": "domains/turbulence.md",
    "domains/language/README.md": "domains/language.md",
    "domains/language/distillation/README.md": "domains/language.md",
    "domains/language/instruction/README.md": "domains/language.md",
    "domains/language/reversal/README.md": "domains/language.md",
    "domains/serve/README.md": "domains/serving.md",
    "separable/galerkin/README.md": "domains/variational.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def retargeted(text: str, folder: Path, page_folder: Path) -> str:
    """Markdown whose links to files of the repository lead to their pages.

    Args:
        text: The Markdown.
        folder: The folder its links start from.
        page_folder: The folder of the page that shows it.
    """

    def changed(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target or target.startswith("/"):
            return link[0]
        path = Path(os.path.normpath(folder / target))
        if not path.is_relative_to(ROOT) or not path.exists():
            return link[0]
        name = path.relative_to(ROOT).as_posix()
        if name in PAGES:
            return f"[{label}](/{PAGES[name]}{anchor})"
        if path.parent == ROOT / "examples":
            return f"[{label}](/gallery/{path.stem}.rst)"
        if path.is_dir():
            return f"{label} (`{name}`)"
        scheme = "path:" if path.suffix == ".md" and not path.is_relative_to(ROOT / "docs") else ""  # a file, no page
        return f"[{label}]({scheme}{os.path.relpath(path, page_folder)}{'' if scheme else anchor})"

    return LINK.sub(changed, text)


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """A page of the documents."""
    path = Path(app.env.doc2path(page))
    if path.suffix == ".md":
        source[0] = retargeted(source[0], path.parent, path.parent)


def read_included(app: Sphinx, included: Path, parent: str, source: list[str]) -> None:
    """A file that a page includes; its links start from its own folder."""
    path = Path(os.path.normpath(Path(app.srcdir) / included))
    page = Path(app.env.doc2path(app.env.docname))
    if path.suffix == ".md":
        source[0] = retargeted(source[0], path.parent, page.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Change links before Markdown is parsed."""
    app.connect("source-read", read)
    app.connect("include-read", read_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
