"""The `separable` command: ``separable <domain> <verb> ...``; every verb is a function of its domain's `commands`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

DOMAINS = {
    "language": ("tokenize", "train", "sample", "evaluate", "compare-embeddings"),
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
    domain = given[0] if given else ""
    if domain not in DOMAINS:
        print(f"usage: separable {{{','.join(DOMAINS)}}} <verb> ...")
        return 0 if domain in ("-h", "--help") else 2
    verbs = DOMAINS[domain]
    verb = given[1] if len(given) > 1 else ""
    if verb not in verbs:
        print(f"usage: separable {domain} {{{','.join(verbs)}}} ...")
        return 0 if verb in ("-h", "--help") else 2
    try:
        import tyro

        function = getattr(importlib.import_module(f"domains.{domain}.commands"), verb.replace("-", "_"))
    except ModuleNotFoundError as missing:
        print(f"separable {domain} needs {missing.name}: pip install 'separable[{domain}]'")
        return 1
    try:
        tyro.cli(function, prog=f"separable {domain} {verb}", args=given[2:])
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError, MemoryError) as refused:
        print(f"separable {domain} {verb}: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"separable {domain} {verb}: {stopped or 'stopped'}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
