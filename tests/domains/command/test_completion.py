"""Completion, asked of the shells themselves where they are installed."""

import shutil
import subprocess

import pytest

from domains.command.completion import completion_script
from domains.command_line import DOMAINS, TOP

SMALL = {"navigation": DOMAINS["navigation"], "language.reversal": ("generate", "ask"), "language": ("sample",)}
QUICK = {"list": TOP["list"], "compare": TOP["compare"]}
CASES = [
    ("", {"list", "compare", "navigation", "language", "--help", "--version", "--completion"}),
    ("na", {"navigation"}),
    ("navigation ev", {"evaluate"}),
    ("navigation evaluate --epi", {"--episodes"}),
    ("navigation evaluate waypoints2d --obstacle", {"--obstacles", "--obstacle-radius"}),
    ("navigation evaluate --no-", {"--no-last"}),
    ("language ", {"sample", "reversal", "--help"}),
    ("language reversal a", {"ask"}),
    ("language sample --top", {"--top-k", "--top-p"}),
    ("compare --o", {"--output"}),
    ("list --con", {"--config"}),
]


@pytest.fixture(scope="module")
def scripts():
    return {shell: completion_script(shell, SMALL, QUICK) for shell in ("bash", "zsh", "fish")}


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(("line", "wanted"), CASES)
def test_bash_completes(scripts, line, wanted):
    words = ["separable", *line.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _separable; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    assert set(_told(["bash", "--norc", "-c", scripts["bash"] + asked])) == wanted


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_completes(scripts):
    for line, wanted in CASES:
        assert wanted <= _zsh(scripts["zsh"], line), line


def _zsh(script, line):
    words = ["separable", *line.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    head = "compdef() { :; }; _files() { :; }; compadd() { shift; print -l -- $@; }\n"
    asked = f"\nwords=({quoted}); CURRENT={len(words)}; _separable"
    return set(_told(["zsh", "-f", "-c", head + script + asked]))


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish_completes(scripts):
    for line, wanted in CASES:
        assert wanted <= _fish(scripts["fish"], line), line


def _fish(script, line):
    asked = f"\ncomplete -C 'separable {line}'"
    return {word.split("\t")[0] for word in _told(["fish", "--no-config", "-c", script + asked])}


def test_another_shell_is_refused():
    with pytest.raises(ValueError):
        completion_script("tcsh", SMALL, QUICK)


def _told(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr
    return done.stdout.split("\n")[:-1]
