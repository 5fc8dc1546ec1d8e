"""The reference describes every public name."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLIC = (ROOT / "tests" / "packaging" / "public_names.txt").read_text().split()[1:]


def described() -> set[int]:
    """Identities of all that the pages about the library describe, for a name may be exported by several packages."""
    found = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        module = None
        entries = re.findall(r"^\.\. (\w+):: (\S+)\n(?:   :members:(.*)\n)?", page.read_text(), re.MULTILINE)
        for directive, name, members in entries:
            if directive in ("automodule", "currentmodule"):
                module = importlib.import_module(name) if name.startswith("separable") else None
            if module is None:
                continue
            if directive == "automodule":
                names = [each.strip() for each in members.split(",")] if members else module.__all__
                found |= {id(getattr(module, each)) for each in names}
            elif directive.startswith("auto"):
                found.add(id(getattr(module, name)))
    return found


def test_every_public_name_is_described() -> None:
    there = described()
    missing = []
    for public in PUBLIC:
        module, _, name = public.rpartition(".")
        if id(getattr(importlib.import_module(module), name)) not in there:
            missing.append(public)
    assert missing == []
