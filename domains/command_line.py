"""The `separable` command: ``separable <domain> <verb> ...``; every verb is a function of its domain's `commands`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

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
    "turbulence": ("generate", "train", "forecast", "evaluate", "animate"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 refused with the reason, 2 not understood.

    Example:
        >>> main(["microstructure"])
        usage: separable microstructure {generate,solve,train,design,sketch} ...
        2
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if ".".join(given[:2]) in DOMAINS:  # a room of a domain has verbs of its own
        given[:2] = [".".join(given[:2])]
    domain = given[0] if given else ""
    if domain not in DOMAINS:
        print(f"usage: separable {{{','.join(DOMAINS)}}} <verb> ...")
        return 0 if domain in ("-h", "--help") else 2
    verbs, shown = DOMAINS[domain], domain.replace(".", " ")
    verb = given[1] if len(given) > 1 else ""
    if verb not in verbs:
        print(f"usage: separable {shown} {{{','.join(verbs)}}} ...")
        return 0 if verb in ("-h", "--help") else 2
    try:
        import tyro

        function = getattr(importlib.import_module(f"domains.{domain}.commands"), verb.replace("-", "_"))
    except ModuleNotFoundError as missing:
        print(f"separable {shown} needs {missing.name}: pip install 'separable[{shown.split()[0]}]'")
        return 1
    try:
        tyro.cli(function, prog=f"separable {shown} {verb}", args=given[2:])
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError, MemoryError) as refused:
        print(f"separable {shown} {verb}: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"separable {shown} {verb}: {stopped or 'stopped'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
