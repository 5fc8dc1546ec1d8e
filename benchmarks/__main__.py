"""Repeat every record, or those of some benchmarks, by the commands that they name, and write RESULTS.md.

Usage: ``python -m benchmarks`` for all, ``python -m benchmarks library_feynman galerkin_poisson`` for some. What a
study has finished is kept below ``runs/benchmarks``, and is not done again. Variables of the environment come before
those of the commands; ``TRIAL=1`` tries that all of them run (`benchmarks.trial`).
"""

import sys

from benchmarks import record
from benchmarks.commands import commands, known


def main() -> int:
    """Run the named benchmarks, or all of them; a failing one does not stop the others."""
    unknown = [name for name in sys.argv[1:] if name not in known()]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(known())}")
        return 2
    failed = []
    for command in commands():
        if sys.argv[1:] and command.name not in sys.argv[1:]:
            continue
        print(f"== {command}", flush=True)
        if not command.run():
            failed.append(str(command))
    record.publish()
    if failed:
        print("failed: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
