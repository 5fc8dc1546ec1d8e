"""Names and words of the command stay: what was released goes only with a higher minor version and an entry."""

import ast
import re
from pathlib import Path

from tools import public_names as tool

ROOT = Path(__file__).parents[2]
RELEASED, *NAMES = (Path(__file__).parent / "public_names.txt").read_text().splitlines()
RELEASED_WORDS, *WORDS = (Path(__file__).parent / "public_words.txt").read_text().splitlines()


def allowed(gone: set[str], released: str, version: str, changelog: str) -> bool:
    """Whether names may be missing in a version, semantic versioning (2.0.0, items 7 and 8; below 1.0, minor ones)."""
    before, now = ([int(part) for part in text.split(".")] for text in (released, version))
    breaking = now[0] > before[0] or (now[0] == before[0] == 0 and now[1] > before[1])
    removed = "".join(re.findall(r"^### Removed\n(.*?)(?=^##|\Z)", changelog, re.MULTILINE | re.DOTALL))
    return not gone or (breaking and all(f"`{name}`" in removed for name in gone))


def test_no_public_name_is_gone() -> None:
    gone = set(NAMES) - tool.public_names()
    assert allowed(gone, RELEASED, tool.version(), (ROOT / "CHANGELOG.md").read_text()), sorted(gone)


def test_no_word_of_the_command_is_gone() -> None:
    now = tool.public_words()
    assert {"demo", "compare RUNS", "language train --steps", "language reversal ask --run"} <= now
    gone = set(WORDS) - now
    assert allowed(gone, RELEASED_WORDS, tool.version(), (ROOT / "CHANGELOG.md").read_text()), sorted(gone)


def test_a_name_may_go_only_with_a_version_that_breaks_and_an_entry() -> None:
    told = "# Changelog\n\n## 0.2.0\n\n### Removed\n\n- `separable.old`, deprecated since 0.1.0.\n\n## 0.1.0\n"
    gone = {"separable.old"}
    assert allowed(set(), "0.1.0", "0.1.0", "")
    assert allowed(gone, "0.1.0", "0.2.0", told)
    assert allowed(gone, "1.3.0", "2.0.0", told)
    assert not allowed(gone, "0.1.0", "0.1.1", told)
    assert not allowed(gone, "1.3.0", "1.4.0", told)
    assert not allowed(gone | {"separable.other"}, "0.1.0", "0.2.0", told)
    assert not allowed(gone, "0.1.0", "0.2.0", told.replace("Removed", "Added"))


def deprecations(source: str) -> list[tuple[int, list[str]]]:
    """Line and texts of every call that warns of a deprecation."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", getattr(node.func, "id", "")) != "warn":
            continue
        within = list(ast.walk(node))
        if any(getattr(each, "id", "").endswith("DeprecationWarning") for each in within):
            texts = [each.value for each in within if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            found.append((node.lineno, texts))
    return found


def names_version(texts: list[str]) -> bool:
    """Whether a warning says what to use and when the name goes."""
    told = " ".join(texts)
    return bool(re.search(r"\buse\b", told) and re.search(r"goes in \d+\.\d+\.\d+", told))


def test_every_deprecation_says_what_to_use_and_the_version_in_which_the_name_goes() -> None:
    for package in ("separable", "domains"):
        for path in (ROOT / package).rglob("*.py"):
            for line, texts in deprecations(path.read_text()):
                assert names_version(texts), f"{path}:{line}"


def test_what_is_asked_of_a_deprecation() -> None:
    told = 'import warnings\nwarnings.warn(f"{old} is deprecated, use new; it goes in 0.3.0", DeprecationWarning, 2)\n'
    ((line, texts),) = deprecations(told)
    assert line == 2
    assert names_version(texts)
    for part in ("use new", " in 0.3.0"):
        assert not names_version(deprecations(told.replace(part, ""))[0][1])
    assert deprecations(told.replace("DeprecationWarning", "UserWarning")) == []


def test_versions_agree_wherever_they_stand() -> None:
    assert f"version: {tool.version()}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", tool.version())
