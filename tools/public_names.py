"""The public names of the library, as tests/packaging/public_names.txt; run it when a version is released.

Usage: python tools/public_names.py. A name is public if a package of `separable` has it in `__all__`.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "packaging" / "public_names.txt"


def main() -> None:
    """Write the file: the version, then a name a line."""
    names = public_names()
    FILE.write_text("\n".join([version(), *sorted(names)]) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(names)} names")


def public_names() -> set[str]:
    """Of the sources as they are, which are read, not imported."""
    found = set()
    for file in (ROOT / "separable").rglob("__init__.py"):
        package = ".".join(file.parent.relative_to(ROOT).parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                found |= {f"{package}.{name}" for name in ast.literal_eval(node.value)}
    return found


def version() -> str:
    """Of the sources."""
    stated = re.search(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert stated is not None
    return stated[1]


if __name__ == "__main__":
    main()
