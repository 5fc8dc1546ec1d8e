"""What is public: names of the library and words of the command; run it when a version is released.

Usage: python tools/public_names.py. A name is public if a package of `separable` has it in `__all__`; of the command
every verb is, and every argument. They go into tests/packaging/public_names.txt and public_words.txt.
"""

import ast
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES, WORDS = (ROOT / "tests" / "packaging" / f"public_{kind}.txt" for kind in ("names", "words"))


def main() -> None:
    """Write the files: the version, then one a line."""
    for file, found in ((NAMES, public_names()), (WORDS, public_words())):
        file.write_text("\n".join([version(), *sorted(found)]) + "\n", encoding="utf-8")
        print(f"{file.name}: {len(found)}")


def public_names() -> set[str]:
    """Of the sources as they are, which are read, not imported."""
    found = set()
    for file in (ROOT / "separable").rglob("__init__.py"):
        package = ".".join(file.parent.relative_to(ROOT).parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                found |= {f"{package}.{name}" for name in ast.literal_eval(node.value)}
    return found


def public_words() -> set[str]:
    """Verbs of the command as they are typed, alone and with each of their arguments."""
    from domains.command.arguments import arguments_of
    from domains.command_line import DOMAINS, TOP

    places = dict(TOP)
    for domain, verbs in DOMAINS.items():
        for verb in verbs:
            places[f"{domain.replace('.', ' ')} {verb}"] = (f"domains.{domain}.commands", verb.replace("-", "_"))
    found = set(places)
    for shown, (module, function) in places.items():
        taken = arguments_of(getattr(importlib.import_module(module), function))
        found |= {f"{shown} {each.flag or each.path[-1].upper()}" for each in taken}
    return found


def version() -> str:
    """Of the sources."""
    stated = re.search(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert stated is not None
    return stated[1]


if __name__ == "__main__":
    main()
