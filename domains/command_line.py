"""The `separable` command: ``separable <verb> ...`` and ``separable <domain> <verb> ...``; every verb is a function.

The verbs of a domain are the functions of its module `commands`. The command ends with

    0     done
    1     refused or failed, with the reason on stderr
    2     not understood: an unknown word, a flag or a settings file that does not fit
    130   stopped by Ctrl-C
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Sequence

DOMAINS = {
    "language": (
        "tokenize",
        "train",
        "sample",
        "evaluate",
        "compare-embeddings",
        "distil",
        "capacity-gap",
        "recommend-teacher",
        "instruct",
        "chat",
    ),
    "language.reversal": ("generate", "train", "evaluate", "ask", "add"),
    "microstructure": ("generate", "solve", "train", "design", "sketch"),
    "navigation": ("train", "evaluate", "render", "inspect", "export"),
    "turbulence": (
        "generate",
        "generate-compressible",
        "train",
        "train-core",
        "train-innovations",
        "train-tokens",
        "forecast",
        "evaluate",
        "animate",
    ),
}
# Module and function; imported when it is asked for.
TOP = {
    "list": ("domains.command.folders", "list_all"),
    "info": ("domains.command.folders", "info"),
    "compare": ("domains.command.folders", "compare"),
    "report": ("domains.command.folders", "report"),
    "demo": ("domains.command.folders", "demo"),
    "serve": ("domains.serve.commands", "serve"),
}
_HELP = ("-h", "--help")
# What a package is needed for, if not for the domain; see the extras in pyproject.toml.
_EXTRAS = {"demo": "demo", "serve": "serve"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status, see the head of this file.

    Raises:
        SystemExit: The flags of the verb were not understood (2) or are explained (0).

    Example:
        >>> main(["navigation", "inspect", "waypoints2d", "--out", "a.pdf", "--print-config"])
        # a run folder, a folder of a saved policy, or the name of a shipped one.
        model: "waypoints2d"
        # the picture to write, a .png, .pdf or .svg file.
        out: "a.pdf"
        # whether to take the last policy of a run instead of its best.
        last: false
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in _HELP:
        print(_overview(), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"separable {version('separable')}")
        return 0
    if given[0] == "--completion":
        return _completion(given[1:])
    if given[0] in TOP:
        return _run(*TOP[given[0]], given[1:], given[0])
    if ".".join(given[:2]) in DOMAINS:  # a room of a domain has verbs of its own
        given[:2] = [".".join(given[:2])]
    domain = given[0]
    if domain not in DOMAINS:
        return _unknown(domain, [*TOP, *_first_words()], "separable")
    verb, shown = given[1] if len(given) > 1 else "", domain.replace(".", " ")
    if not verb or verb in _HELP:
        print(_about(domain), file=sys.stdout if verb else sys.stderr)
        return 0 if verb else 2
    if verb not in DOMAINS[domain]:
        return _unknown(verb, [*DOMAINS[domain], *_rooms(domain)], f"separable {shown}")
    return _run(f"domains.{domain}.commands", verb.replace("-", "_"), given[2:], f"{shown} {verb}")


def _run(module: str, function: str, words: Sequence[str], shown: str) -> int:
    try:
        return _tried(module, function, words, shown)
    except KeyboardInterrupt as stopped:
        print(f"separable {shown}: {str(stopped) or 'stopped'}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError, MemoryError) as refused:
        print(f"separable {shown}: {refused}", file=sys.stderr)
        return 1


def _tried(module: str, function: str, words: Sequence[str], shown: str) -> int:
    try:
        from domains.command.conversion import SettingsError
        from domains.command.costs import cost_of
        from domains.command.verbs import run_verb

        verb, cost = getattr(importlib.import_module(module), function), cost_of(module, function)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(shown, shown.split()[0] if shown not in TOP else "command")
        print(f"separable {shown} needs {missing.name}: pip install 'separable[{extra}]'", file=sys.stderr)
        return 1
    try:
        run_verb(verb, words, f"separable {shown}", cost)
    except SettingsError as refused:
        print(f"separable {shown}: {refused}", file=sys.stderr)
        return 2
    return 0


def _completion(words: Sequence[str]) -> int:
    from domains.command.completion import completion_script

    try:
        print(completion_script(words[0] if words else "", DOMAINS, TOP), end="")
    except ValueError as refused:
        print(f"separable {refused}", file=sys.stderr)
        return 2
    return 0


def _overview() -> str:
    from domains.command.summaries import summary

    lines = ["usage: separable <verb> ... | separable <domain> <verb> ...", ""]
    lines += [f"  {verb:14} {_cut(summary(*place))}" for verb, place in TOP.items() if summary(*place)]
    lines += ["", "domains and their verbs (separable <domain> --help says what they do):", ""]
    lines += [f"  {domain.replace('.', ' '):20} {', '.join(verbs)}" for domain, verbs in DOMAINS.items()]
    lines += ["", *_COMMON_WORDS]
    return "\n".join(lines)


_COMMON_WORDS = (
    "every verb:       --help, --config FILE (YAML or JSON), --print-config; long ones: --dry-run",
    "also:             separable --version, separable --completion bash|zsh|fish",
    "exit status:      0 done, 1 refused with the reason, 2 not understood, 130 stopped",
)


def _about(domain: str) -> str:
    from domains.command.summaries import summary

    shown = domain.replace(".", " ")
    lines = [f"usage: separable {shown} <verb> ...", ""]
    for verb in DOMAINS[domain]:
        lines.append(f"  {verb:22} {_cut(summary(f'domains.{domain}.commands', verb.replace('-', '_')))}")
    lines += [f"  {room:22} {', '.join(DOMAINS[f'{domain}.{room}'])}" for room in _rooms(domain)]
    return "\n".join(lines)


def _unknown(word: str, known: Iterable[str], before: str) -> int:
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    told = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    print(f"{before}: no {word!r}; {told}", file=sys.stderr)
    return 2


def _rooms(domain: str) -> list[str]:
    return [each.rpartition(".")[2] for each in DOMAINS if each.rpartition(".")[0] == domain]


def _first_words() -> list[str]:
    return [domain for domain in DOMAINS if "." not in domain]


def _cut(text: str, widest: int = 100) -> str:
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


if __name__ == "__main__":
    sys.exit(main())
