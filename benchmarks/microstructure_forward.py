"""Forward solvers beside muSpectre, scikit-fem and taufactor: the same numbers, time and memory.

Records of the area microstructure: `forward` (elasticity of 64^2 cells, all three loads, beside muSpectre and
scikit-fem with the same elements), `forward_batch` (cells a second in a batch, and time and memory of one 128^3
solve), `forward_diffusion` (tortuosity of the pores of a scanned electrode beside taufactor). Everything runs in one
process on one thread; the 128^3 solve runs in a process of its own, because its peak memory is what is measured.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.microstructure_forward_peers import muspectre, scikit_fem, taufactor
from benchmarks.trial import HERE, usual
from domains.microstructure.conductivity import effective_conductivity
from domains.microstructure.elasticity import Material, effective_stiffness
from domains.microstructure.homogenisation import homogenise
from domains.microstructure.phases import phase_shares
from domains.microstructure.tortuosity import tortuosity
from domains.microstructure.voxel_elements import affine_corners, element_matrix

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.microstructure_forward"
ELECTRODE = HERE.parents[1] / "shared" / "data" / "microstructure" / "taufactor_electrode.tiff"
PUBLISHED = {0: 2.0772, 1: 2.0766}  # taufactor's tortuosity factors of the electrode's pores, along x and y
REPETITIONS = usual(15, trial=1)  # of one cell
REPETITIONS_OF_BATCHES = usual(3, trial=1)
BATCHES = usual(((64, 2, 64), (32, 3, 4)), trial=((16, 2, 2), (8, 3, 2)))  # side, dimensions and cells
LARGE = usual(128, trial=16)  # side of the cell whose memory is measured
CORNER, WHOLE = usual((128, 256), trial=(32, 48))  # side of the electrode beside taufactor and its published values
POISSON = 0.3
TOLERANCE = 1e-6


def random_cell(side: int, dimensions: int, seed: int, width: float = 2.0, fraction: float = 0.4) -> np.ndarray:
    """Two-phase periodic cell: Gaussian noise smoothed over ``width`` voxels, cut at a quantile."""
    noise = np.random.default_rng(seed).standard_normal((side,) * dimensions)
    waves = np.meshgrid(*[np.fft.fftfreq(side)] * dimensions, indexing="ij", sparse=True)
    smooth = np.exp(-2 * (np.pi * width) ** 2 * sum(w * w for w in waves))
    field = np.fft.ifftn(np.fft.fftn(noise) * smooth).real
    return (field > np.quantile(field, 1 - fraction)).astype(float)


def ours(cell: np.ndarray, young: tuple[float, float], tolerance: float = TOLERANCE) -> np.ndarray:
    """Effective stiffness (3, 3), everything from the image on."""
    materials = (Material(young[0], POISSON), Material(young[1], POISSON))
    return effective_stiffness(torch.from_numpy(cell)[None], materials, tolerance=tolerance)[0].numpy()


def timed(function: Callable[[], Any], repetitions: int) -> tuple[Any, float, float]:
    """Last result, median seconds, and the half range as a share of the median."""
    function()
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    return result, middle, (max(seconds) - min(seconds)) / 2 / middle


def relative(first: np.ndarray, second: np.ndarray) -> float:
    """Difference in the Frobenius norm."""
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def elasticity(repetitions: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Rows of ours and of the peers for 64^2 cells, and the largest spread of a time."""
    mine, peers, spreads = [], [], []
    for contrast in (10.0, 100.0):
        for seed in (0, 1):
            cell, young = random_cell(64, 2, seed), (1.0, contrast)
            exact = ours(cell, young, 1e-11)
            case = f"64^2, contrast {contrast:g}, seed {seed}"
            stiffness, seconds, spread = timed(lambda c=cell, y=young: ours(c, y), repetitions)
            spreads.append(spread)
            row = {"case": case, "milliseconds": 1e3 * seconds, "error of the solver": relative(stiffness, exact)}
            found = [muspectre(cell, young, POISSON, TOLERANCE) for _ in range(repetitions)]
            if found[0] is not None:
                solve = statistics.median(f["solve"] for f in found if f is not None)
                setup = statistics.median(f["setup"] for f in found if f is not None)
                row["difference from muSpectre"] = relative(stiffness, found[0]["stiffness"])
                row["times faster than muSpectre"] = solve / seconds
                error = relative(found[0]["stiffness"], exact)
                name = "muSpectre, bilinear elements, PCG"
                peers.append(
                    {"method": name, "case": case, "milliseconds": 1e3 * solve, "of setup besides": 1e3 * setup}
                    | {"error of the solver": error}
                )
            if scikit_fem(cell, young, POISSON) is not None:
                other, seconds_other, _ = timed(lambda c=cell, y=young: scikit_fem(c, y, POISSON), repetitions)
                row["difference from scikit-fem"] = relative(stiffness, other["stiffness"])
                row["times faster than scikit-fem"] = seconds_other / seconds
                name = "scikit-fem, ElementQuad1, SuperLU"
                peers.append(
                    {"method": name, "case": case, "milliseconds": 1e3 * seconds_other, "of setup besides": "included"}
                    | {"error of the solver": relative(other["stiffness"], exact)}
                )
            mine.append(row)
    return mine, peers, max(spreads)


def batches(repetitions: int) -> list[dict[str, Any]]:
    """Cells a second at batch 64, all loads."""
    rows = []
    for side, dimensions, count in BATCHES:
        cells = torch.from_numpy(np.stack([random_cell(side, dimensions, seed) for seed in range(count)]))
        pair = (Material(1.0, POISSON), Material(10.0, POISSON))
        for dtype in (torch.float32, torch.float64):
            batch = cells.to(dtype)
            for name, solve in (
                ("conductivity", lambda b=batch: effective_conductivity(b, (1.0, 10.0))),
                ("stiffness", lambda b=batch, p=pair: effective_stiffness(b, p)),
            ):
                _, seconds, _ = timed(solve, repetitions)
                rows.append(
                    {
                        "case": f"{name}, {side}^{dimensions}, contrast 10, batch {count}, {str(dtype)[6:]}",
                        "cells a second": count / seconds,
                    }
                )
    return rows


def one_load(side: int) -> dict[str, float]:
    """Seconds and peak memory (GiB) of this process for one load of one elastic cell in float64, contrast 10."""
    import resource

    cell = torch.from_numpy(random_cell(side, 3, 0, width=3.0))[None]
    elements = torch.stack([element_matrix(Material(young, POISSON).modulus(3)) for young in (1.0, 10.0)])
    stretch = np.zeros((1, 3, 3))
    stretch[0, 0, 0] = 1.0
    began = time.perf_counter()
    solved = homogenise(phase_shares(cell), elements, affine_corners(stretch))
    return {
        "seconds": time.perf_counter() - began,
        "iterations": solved.iterations,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def memory(side: int) -> dict[str, Any]:
    """`one_load` in a fresh process, as a row."""
    command = [sys.executable, "-m", "benchmarks.microstructure_forward", "--one-load", str(side)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "case": f"stiffness, {side}^3, contrast 10, one load of six, float64",
        "seconds": found["seconds"],
        "iterations": found["iterations"],
        "peak memory of the process, GiB": found["peak"],
    }


def diffusion(crop: int, whole: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Tortuosity of the electrode: a corner beside taufactor, and the whole beside its published values."""
    try:
        import tifffile
    except ImportError:
        return None
    if not ELECTRODE.exists():
        return None
    pores = np.asarray(tifffile.imread(ELECTRODE))[:whole, :whole, :whole] == 0
    mine, peers = [], []
    corner = pores[:crop, :crop, :crop]
    began = time.perf_counter()
    found = tortuosity(corner, progress=False)
    mine.append({"case": f"{crop}^3 corner, x", "factor": found.factor, "seconds": time.perf_counter() - began})
    other = taufactor(corner)
    if other is not None:
        peers.append(
            {"method": "taufactor, CPU", "case": f"{crop}^3 corner, x", **other}
            | {"relative difference": abs(other["factor"] / found.factor - 1)}
        )
    for axis, published in PUBLISHED.items():
        began = time.perf_counter()
        found = tortuosity(pores, axis=axis, progress=False)
        case = f"{whole}^3, {'xy'[axis]}"
        mine.append({"case": case, "factor": found.factor, "seconds": time.perf_counter() - began})
        peers.append(
            {"method": "taufactor, published", "case": case, "factor": published, "seconds": "-"}
            | {"relative difference": abs(published / found.factor - 1)}
        )
    return mine, peers


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    rows, peers, spread = elasticity(REPETITIONS)
    compared = all("difference from muSpectre" in row and "difference from scikit-fem" in row for row in rows)
    record.write(
        "microstructure",
        "forward",
        claim="Effective stiffness of 64^2 cells, all loads: the numbers of muSpectre and scikit-fem, sooner",
        measured=rows,
        target="relative difference at most 1e-3, and faster than muSpectre (its solves alone) and scikit-fem",
        holds=compared
        and all(max(row["difference from muSpectre"], row["difference from scikit-fem"]) <= 1e-3 for row in rows)
        and all(min(row["times faster than muSpectre"], row["times faster than scikit-fem"]) > 1 for row in rows),
        baselines=peers or "muSpectre and scikit-fem are not installed (extra `peers`)",
        command=COMMAND,
        seeds=[0, 1],
        spread=f"median of {REPETITIONS} after one; half range at most {100 * spread:.0f} % of the median; one thread, "
        f"float64, tolerance {TOLERANCE:g} for the iterative solvers; errors are against ours at 1e-11",
    )
    throughput = batches(REPETITIONS_OF_BATCHES)
    large = memory(LARGE)
    record.write(
        "microstructure",
        "forward_batch",
        claim="Throughput of batches, and time and memory of one large cell",
        measured=[
            *(row | {"seconds": "-", "iterations": "-", "peak memory of the process, GiB": "-"} for row in throughput),
            {"case": large["case"], "cells a second": "-"} | large,
        ],
        target="reported; the 128^3 solve in less than 4 GiB",
        holds=large["peak memory of the process, GiB"] < 4,
        baselines="none",
        command=COMMAND,
        seeds=[0],
        spread=f"median of {REPETITIONS_OF_BATCHES}; one solve for the large cell; one thread; default tolerances "
        "(1e-4 float32, 1e-6 float64)",
    )
    found = diffusion(CORNER, WHOLE)
    if found is None:
        print(f"tortuosity: not measured, since the image {ELECTRODE} or tifffile is missing")
        return
    close = [row["relative difference"] for row in found[1]]
    record.write(
        "microstructure",
        "forward_diffusion",
        claim="Tortuosity factors of a scanned electrode's pores are taufactor's",
        measured=found[0],
        target="within 1 % of 2.0772 along x and 2.0766 along y, and of taufactor on a corner",
        holds=len(close) == 3 and max(close) <= 0.01,
        baselines=found[1],
        command=COMMAND,
        seeds=[],
        spread="none: deterministic; taufactor stops where its fluxes agree within 1 % between layers",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-load", type=int, metavar="SIDE", help="one load of one 3-D cell, in this process")
    options = parser.parse_args()
    if options.one_load:
        torch.set_num_threads(1)
        print(json.dumps(one_load(options.one_load)))
    else:
        main()
