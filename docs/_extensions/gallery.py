"""The examples as sphinx-gallery wants them: copies with a title, in a folder where they may leave files.

An example opens with a sentence. In its copy what stands before the first comma or colon becomes the title. The
copies lie beside a link to `datasets`, so that an example finds its data wherever it runs.
"""

import ast
import re
from pathlib import Path

HEADER = """Examples
========

One page each, under a minute on one core. The tests run every one of them; `make docs RUN_EXAMPLES=1` runs them again
and shows what they draw.
"""


def prepare(examples: Path, datasets: Path, destination: Path) -> Path:
    """Write the copies and return their folder."""
    folder = destination / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "GALLERY_HEADER.rst").write_text(HEADER)
    link = destination / "datasets"
    if not link.is_symlink():
        link.symlink_to(datasets.resolve())
    wanted = {path.name: titled(path) for path in sorted(examples.glob("[0-9]*.py"))}
    for old in folder.glob("*.py"):
        if old.name not in wanted:
            old.unlink()
    for name, content in wanted.items():
        copy = folder / name
        if not copy.exists() or copy.read_text() != content:
            copy.write_text(content)
    return folder


def titled(path: Path) -> str:
    """The text of an example whose docstring begins with a title."""
    source = path.read_text()
    sentence = ast.get_docstring(ast.parse(source), clean=False)
    if not sentence or not source.startswith('"""'):
        raise ValueError(f"{path}: an example opens with a docstring")
    title = f"{path.stem[:2]} {title_of(sentence)}"
    return source.replace('"""', f'"""{title}\n{"=" * len(title)}\n\n', 1)


def title_of(docstring: str) -> str:
    """What stands before the first comma, colon, semicolon or full stop."""
    first = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"[,:;]\s|\.(?:\s|$)", first)[0]
