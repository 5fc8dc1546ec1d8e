"""Front door, newcomer: the time from a clone to a first result on one's own data, for the library and every domain.

The repository is cloned into an empty folder, installed as its README says, and shows what it can by `make demo`; then
each path below is followed there as a newcomer would type it, in processes of its own, on files that no program of this
repository wrote. A path ends
with a file or an answer that is looked at: what is asked of it stands beside its time. What is in the package index's
cache, and how far away the index is, is a matter of the machine; so the installation has a line of its own. A trial
installs nothing, takes the environment that it runs in, shows two parts of the demonstration and follows three paths.
"""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import xarray

from benchmarks import record
from benchmarks.trial import usual

BAR, DEMO_BAR = 10.0, 5.0  # minutes of a path and of the demonstration, without the installation
REPOSITORY = Path(__file__).parents[1]
INSTALL = usual(["make", "install"], trial=["make", "--old-file=install", "install"])
STEPS = usual("40000", trial="1000")  # of flying
TWO_PARTS = """
from domains import demo
for part in ("compare_tables", "design_microstructure", "fly_waypoints", "forecast_flow", "train_language_model"):
    setattr(demo, part, lambda run, report: None)
demo.ask_in_reverse = demo.invert_borehole
demo.main()
"""
DEMO = usual(["make", "demo"], trial=[sys.executable, "-c", TWO_PARTS])

OWN_TABLE = """
import numpy as np, torch, separable
table = torch.from_numpy(np.loadtxt("own.csv", delimiter=",", skiprows=1))
x, y = table[:1500, :-1], table[:1500, -1]
grown = separable.grow(x, y)
print(grown.report)
off = grown.predict(table[1500:, :-1]).flatten() - table[1500:, -1]
print("relative error", float(off.norm() / (table[1500:, -1] - y.mean()).norm()))
"""


@dataclasses.dataclass(frozen=True)
class Journey:
    """From one's own file to a result.

    Args:
        data: Writes the file into the working folder.
        commands: What is typed, in order; ``separable`` is the installed command, ``python`` the environment's.
        found: What is to be found in what they printed and left, or an empty text.
    """

    data: Callable[[], None]
    commands: tuple[tuple[str, ...], ...]
    found: Callable[[str], str]


def table() -> None:
    """A CSV of four inputs and a noisy output."""
    random = np.random.default_rng(1)
    x = random.uniform(0.5, 2.0, (2000, 4))
    y = x[:, 0] ** 2 * np.exp(-x[:, 1]) + np.sin(3 * x[:, 2]) / x[:, 3]
    rows = np.column_stack([x, y + 0.01 * random.standard_normal(2000)])
    np.savetxt("own.csv", rows, delimiter=",", header="a,b,c,d,y", comments="")


def waves() -> None:
    """A netCDF of a scalar: travelling waves that pass through each other, 12 experiments of 40 frames."""
    random = np.random.default_rng(2)
    y, x = np.meshgrid(*[np.linspace(0, 2 * np.pi, 32, endpoint=False)] * 2, indexing="ij")
    frames = np.zeros((12, 40, 32, 32), np.float32)
    for sample in range(12):
        for _ in range(8):
            ky, kx = random.integers(-3, 4, 2)
            phase, size = random.uniform(0, 2 * np.pi), random.standard_normal()
            for frame in range(40):
                frames[sample, frame] += size * np.cos(kx * x + ky * y - 0.3 * np.hypot(kx, ky) * frame + phase)
    along = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    xarray.Dataset(
        {"height": (("sample", "time", "y", "x"), frames, {"units": "m"})},
        {
            "time": ("time", 0.3 * np.arange(40), {"units": "s"}),
            "y": ("y", along, {"units": "m"}),
            "x": ("x", along, {"units": "m"}),
        },
        {"periodic": "y x"},
    ).to_netcdf("own.nc", engine="h5netcdf")


def picture() -> None:
    """A PNG of a two-phase cell: overlapping discs."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64]
    cell = np.zeros((64, 64), bool)
    for centre_y, centre_x in random.uniform(0, 64, (12, 2)):
        dy, dx = ((a - c + 32) % 64 - 32 for a, c in ((y, centre_y), (x, centre_x)))
        cell |= dy**2 + dx**2 < 49
    matplotlib.image.imsave("own.png", cell, cmap="gray")


def texts() -> None:
    """A folder of texts: the notes and sources of the installed Python, as anybody's own folder of files."""
    Path("own_texts").mkdir()
    for file in sorted(Path(os.__file__).parent.glob("*.py"))[:150]:
        (Path("own_texts") / f"{file.stem}.txt").write_text(file.read_text(errors="ignore"))


def family() -> None:
    """A CSV of facts: 600 couples told from both sides, 200 from one."""
    random = np.random.default_rng(4)
    first, last = (
        [f"{start}{end}" for start in a.split() for end in b.split()]
        for a, b in (
            ("Mar Jo Lin El Ka Ro Su An Be To", "a is en ette ar"),
            ("Berg Lund Holm Sand Ny Strom West Ek", "man quist er gren by"),
        )
    )
    names = [f"{a} {b}" for a in first for b in last]
    random.shuffle(names)
    with open("own_facts.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["head", "relation", "tail", "inverse"])
        couples = list(zip(names[:1600:2], names[1:1600:2], strict=True))
        for i, (one, other) in enumerate(couples):
            writer.writerow([one, "wife", other, "husband"])
            if i < 600:
                writer.writerow([other, "husband", one, "wife"])
    Path("asked.json").write_text(json.dumps(couples[-1][::-1]))


def _number(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(0) if found else ""


JOURNEYS = {
    "library: a table of one's own": Journey(
        table, (("python", "-c", OWN_TABLE),), lambda said: _number(r"relative error \S+", said)
    ),
    "turbulence: a netCDF file of one's own": Journey(
        waves,
        (
            ("separable", "turbulence", "train", "own.nc", "--run", "runs/own", "--minutes", "2"),
            ("separable", "turbulence", "forecast", "runs/own", "own.nc", "--frame", "20", "--out", "forecast.nc"),
            ("separable", "turbulence", "evaluate", "runs/own", "own.nc", "--steps", "50", "--out", "runs/scores"),
        ),
        lambda _: _scored(),
    ),
    "microstructure: an image of one's own": Journey(
        picture,
        (("separable", "microstructure", "solve", "own.png"),),
        lambda said: _number(r"conductivity\S*.*", said),
    ),
    "navigation: a world of one's own": Journey(
        lambda: None,
        (
            (
                "separable",
                "navigation",
                "train",
                "--run",
                "runs/own",
                "--waypoints",
                "3",
                "--wind",
                "0.5",
                "--steps",
                STEPS,
            ),
            ("separable", "navigation", "evaluate", "runs/own", "--episodes", "200", "--out", "flown.json"),
        ),
        lambda _: f"success {json.loads(Path('flown.json').read_text())['success']}",
    ),
    "language: a folder of texts of one's own": Journey(
        texts,
        (
            ("separable", "language", "tokenize", "runs/tokens", "--source", "own_texts", "--vocabulary", "1024"),
            (
                "separable",
                "language",
                "train",
                "runs/tokens",
                "--run",
                "runs/own",
                "--width",
                "96",
                "--layers",
                "3",
                "--minutes",
                "2",
            ),
            ("separable", "language", "evaluate", "runs/own", "runs/tokens"),
            ("separable", "language", "sample", "runs/own", "--beginning", "def ", "--steps", "60"),
        ),
        lambda said: _number(r"\S+ bits a byte", said) if re.search(r"\ndef .{30}", said, re.DOTALL) else "",
    ),
    "reversal: a list of facts of one's own": Journey(
        family,
        (("separable", "language", "reversal", "train", "own_facts.csv", "--run", "runs/people"),),
        lambda _: _asked(),
    ),
}
TRIED = (
    "library: a table of one's own",
    "microstructure: an image of one's own",
    "navigation: a world of one's own",
)


def _scored() -> str:
    """The score of a forecast that was written, and reported on."""
    lines = Path("runs/scores/metrics.jsonl").read_text().splitlines()
    scores = [row for row in map(json.loads, lines) if row.get("lead") == 1]
    with xarray.open_dataset("forecast.nc") as forecast:
        whole = all(bool(np.isfinite(values).all()) for values in forecast.data_vars.values())
    if not (whole and scores and Path("runs/scores/report.html").exists()):
        return ""
    return f"forecast.nc, report.html, CRPS at lead 1 {scores[0]['CRPS']}"


def _asked() -> str:
    """The side that was never told."""
    one, other = json.loads(Path("asked.json").read_text())
    said = _typed(("separable", "language", "reversal", "ask", f"who is {one}'s husband?", "--run", "runs/people"))
    return f"answered {other}" if other in said else ""


def _typed(command: tuple[str, ...]) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def shown(clone: Path) -> dict[str, Any]:
    """The demonstration in a clone: its time, and what its page holds and fetches."""
    started = time.perf_counter()
    subprocess.run(DEMO, cwd=clone, check=True)
    minutes = (time.perf_counter() - started) / 60
    page = (clone / "runs" / "demo" / "report.html").read_text()
    pictures, moving = page.count("data:image/png"), page.count("data:image/gif")
    fetched = len(re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page))
    held = f"{pictures} pictures, {moving} animations, {fetched} files fetched"
    found = f"report.html of {len(page) / 1e6:.1f} MB, {held}"
    whole = pictures > 7 and moving > 1 and not fetched
    row = {"path": "demonstration", "minutes": round(minutes, 2), "typed": "make demo"}
    return {**row, "found": found if whole else ""}


def main() -> None:
    """Measure and record."""
    rows = []
    with tempfile.TemporaryDirectory() as empty:
        started = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), f"{empty}/separable"], check=True)
        subprocess.run([*INSTALL, f"PYTHON={sys.executable}"], cwd=f"{empty}/separable", check=True)
        installed = (time.perf_counter() - started) / 60
        print(f"clone and installation: {installed:.1f} minutes", flush=True)
        demonstration = shown(Path(empty, "separable"))
        print(demonstration, flush=True)
        environment = usual(f"{empty}/separable/.venv", trial=sys.prefix)
        os.environ["PATH"] = f"{environment}/bin:{os.environ['PATH']}"
        for name in usual(tuple(JOURNEYS), trial=TRIED):
            journey = JOURNEYS[name]
            folder = Path(empty, name.partition(":")[0])
            folder.mkdir()
            os.chdir(folder)
            journey.data()
            started = time.perf_counter()
            said = "".join(_typed(command) for command in journey.commands)
            found = journey.found(said)
            minutes = (time.perf_counter() - started) / 60
            typed = "; ".join(" ".join(word for word in c if "\n" not in word) for c in journey.commands)
            rows.append({"path": name, "minutes": round(minutes, 2), "found": found or "NOTHING", "typed": typed})
            print(rows[-1], flush=True)
        os.chdir(REPOSITORY)
    slowest = max(rows, key=lambda row: row["minutes"])
    record.write(
        "front_door",
        "newcomer",
        claim=f"From a clone to a first result on one's own data: {installed:.1f} minutes of installation, and at most "
        f"{slowest['minutes']} minutes after it ({slowest['path']}); the demonstration takes "
        f"{demonstration['minutes']} minutes",
        measured=[
            {"path": "clone and installation", "minutes": round(installed, 2), "found": "", "typed": "make install"},
            demonstration,
            *rows,
        ],
        target=f"a result at the end of every path within {BAR:g} minutes after the installation, and the "
        f"demonstration in {DEMO_BAR:g}, in one page that fetches nothing",
        holds=all(row["minutes"] <= BAR and row["found"] != "NOTHING" for row in rows)
        and demonstration["minutes"] <= DEMO_BAR
        and demonstration["found"] != "",
        baselines="none: no peer has these paths",
        command="python -m benchmarks.front_door_newcomer",
        seeds=[0],
        spread="one walk through each; trainings last as long as they are told",
    )


if __name__ == "__main__":
    main()
