"""Front door, costs: what ``--dry-run`` tells of long verbs, and what they then take.

Each verb is asked for its cost and then run with the same words, alone and each in a process of its own; the clock and
the greatest memory of the process and of those that it starts are read from outside. The clock also has the start of
Python and its libraries in it, some seconds, which no estimate has: how long that takes is what printing the verb's
settings takes, and is added to what was told.

    python -m benchmarks.front_door_costs
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.front_door_newcomer import family, texts
from benchmarks.trial import usual

BAR = 2.0  # how far the told time and memory may be off, as a factor
UNITS = {"s": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

# In this order: what one makes the next ones use.
LONG = (
    "microstructure generate cells.h5 --processes 1 --config.size 32 32 --config.count 8000",
    "microstructure train cells.h5 --run runs/cells --config.steps 1500",
    "microstructure design --run runs/cells --target conductivity_xx=0.4 --count 12 --refined --out designs",
    "turbulence generate flow --processes 1 --config.trajectories 24 --config.frames 40 --config.size 64 64",
    "turbulence train flow --run runs/flow --steps 250",
    "turbulence forecast runs/flow flow --out forecast.nc --members 64 --steps 100",
    "turbulence evaluate runs/flow flow --out scores --members 16 --steps 300",
    "navigation train --run runs/flying --steps 60000",
    "navigation evaluate runs/flying --episodes 20000 --out flown.json",
    "language tokenize tokens --source own_texts --vocabulary 1024",
    "language train tokens --run runs/text --width 96 --layers 3 --steps 250",
    "language evaluate runs/text tokens",
    "language reversal train own_facts.csv --run runs/people",
    "language reversal evaluate runs/people",
)
SHORT = (
    "language reversal train own_facts.csv --run runs/people --config.training.steps 20",
    "language reversal evaluate runs/people",
)
VERBS = usual(LONG, trial=SHORT)


def in_units(text: str, units: dict[str, float]) -> float:
    """A quantity that was told to people.

    Example:
        >>> in_units("1.5 minutes", UNITS), in_units("2.0 MB", SIZES)
        (90.0, 2000000.0)
    """
    number, unit = text.split()[:2]
    return float(number) * units[unit]


def told(words: list[str]) -> dict[str, float]:
    """Seconds and bytes that a dry run tells."""
    done = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} --dry-run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    lines = {name: rest for name, rest in re.findall(r"^(\w+) +(.*)$", done.stdout, re.MULTILINE)}
    return {"seconds": in_units(lines["time"], UNITS), "bytes": in_units(lines["memory"], SIZES)}


_MEASURED = """
import resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
print(done.returncode, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def taken(words: list[str]) -> dict[str, float]:
    """Seconds and bytes that the verb takes; the bytes are those of the largest of its processes."""
    done = subprocess.run([sys.executable, "-c", _MEASURED, *words], capture_output=True, text=True, check=True)
    code, seconds, kilobytes = done.stdout.split()
    if int(code):
        raise RuntimeError(f"{' '.join(words)}\n{done.stderr[-2000:]}")
    return {"seconds": float(seconds), "bytes": 1024.0 * float(kilobytes)}


def measured(verb: str) -> dict[str, Any]:
    """The row of a verb, run in the folder in which this is."""
    words = [str(Path(sys.executable).with_name("separable")), *verb.split()]
    start = taken([*words, "--print-config"])["seconds"]
    before, after = told(words), taken(words)
    return {
        "verb": verb,
        "seconds told": before["seconds"],
        "seconds of the start": round(start, 1),
        "seconds taken": round(after["seconds"], 1),
        "time told over taken": round((before["seconds"] + start) / after["seconds"], 2),
        "MB told": round(before["bytes"] / 1e6),
        "MB taken": round(after["bytes"] / 1e6),
        "memory told over taken": round(before["bytes"] / after["bytes"], 2),
    }


def main() -> None:
    """Measure and record."""
    rows, home = [], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        texts()
        family()
        for verb in VERBS:
            rows.append(measured(verb))
            print(rows[-1], flush=True)
        os.chdir(home)
    ratios = {key: [row[f"{key} told over taken"] for row in rows] for key in ("time", "memory")}
    worst = {key: max(max(ratio, 1 / ratio) for ratio in of) for key, of in ratios.items()}
    record.write(
        "front_door",
        "costs",
        claim=f"What --dry-run tells of {len(rows)} long verbs is at most {worst['time']:.2g} times too long or too "
        f"short, and at most {worst['memory']:.2g} times too much or too little memory",
        measured=rows,
        target=f"every told time and memory within a factor of {BAR:g} of what is taken",
        holds=max(worst.values()) <= BAR,
        baselines="none: what the verbs take is what their costs are compared with",
        command="python -m benchmarks.front_door_costs",
        seeds=[0],
        spread="one run of each verb",
    )


if __name__ == "__main__":
    main()
