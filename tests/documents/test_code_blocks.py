"""Every block of Python in the documents runs, page by page; every command in them exists, with its options."""

import os
import re
import shlex
from pathlib import Path

import pytest

from domains import command_line

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "gallery" not in path.parts]
READMES = sorted((ROOT / "domains").rglob("README.md"))
RUN_ELSEWHERE = [ROOT / "domains" / domain / "README.md" for domain in ("language", "turbulence")]  # by their own tests
WITH_PYTHON = [ROOT / "README.md", *DOCUMENTS, *(path for path in READMES if path not in RUN_ELSEWHERE)]
WITH_COMMANDS = [ROOT / "README.md", *DOCUMENTS, *READMES]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def python_blocks(path: Path) -> list[tuple[int, str]]:
    """Line numbers and texts of the fenced blocks of Python."""
    text = path.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in found]


def commands(path: Path) -> list[str]:
    """What begins with `separable` in a block, or stands in backticks in a sentence."""
    text = path.read_text().replace("\\\n", " ")
    fenced = re.findall(r"^```(?:console|sh|shell)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^(?:    +|\$ )?(separable [a-z].*)$", "\n".join(fenced), flags=re.MULTILINE)
    blocks += re.findall(r"^    +(separable [a-z].*)$", text, flags=re.MULTILINE)
    inline = re.findall(r"`(separable [a-z][^`\n]+)`", text)
    return [command for command in dict.fromkeys([*blocks, *inline]) if ".." not in command]


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What `--help` after a command shows, and after its parts before choices such as ``config.flow:..``."""
    choices = [i for i, word in enumerate(words) if re.fullmatch(r"[a-z.-]+:[a-z-]+", word)]
    worst = 0
    for end in [*choices, len(words)]:
        try:
            status = command_line.main([*words[:end], "--help"])
        except SystemExit as stopped:  # how tyro ends after its help
            status = int(stopped.code or 0)
        worst = max(worst, status)
    printed = capsys.readouterr()
    return worst, printed.out + printed.err


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if python_blocks(page)], ids=name)
def test_the_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.syspath_prepend(page.parent)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")  # pages are read in a clone of the repository
    names: dict[str, object] = {"__name__": "__main__"}
    for line, block in python_blocks(page):
        exec(compile("\n" * line + block, str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in WITH_COMMANDS if commands(page)], ids=name)
def test_the_commands_of_a_page_exist(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(os.environ, "COLUMNS", "400")
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        status, shown = helped(words, capsys)
        assert status == 0, (command, shown[-500:])
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert not [flag for flag in flags if not re.search(rf"{flag}(?![\w-])", shown)], (command, flags)
