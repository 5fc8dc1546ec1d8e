"""Run every benchmark, each in a process of its own, and write RESULTS.md.

Usage: ``python -m benchmarks`` for all, ``python -m benchmarks library_feynman galerkin_poisson`` for some.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks import record

HERE = Path(__file__).parent


def main() -> int:
    """Run the named benchmarks, or all of them; a failing one does not stop the others."""
    known = sorted(
        path.stem for area in record.AREAS for path in HERE.glob(f"{area}_*.py") if not path.stem.endswith("_peers")
    )
    chosen = sys.argv[1:] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    failed = []
    for name in chosen:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    record.publish()
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
