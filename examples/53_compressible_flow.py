"""Compressible turbulence in PDEBench's recipe: a file in its layout, read back, and what its Mach number does.

Usage: python 53_compressible_flow.py [cells]

A gas in a periodic box of side 1, solved by finite volumes. At Mach 0.1 the density hardly changes and the flow is
nearly that of a liquid; at Mach 1 shocks form. Speeds are in units of the start's mean speed, so that a unit of time is
what it takes to cross the box.
"""

import dataclasses
import sys
from pathlib import Path

from domains.turbulence.compressible import CompressibleFlow
from domains.turbulence.compressible_data import CompressibleDataConfig, generate_compressible
from domains.turbulence.readers import read_flow


def main(cells: str = "32") -> None:
    """Solve at two Mach numbers, read the files, compare."""
    import h5py

    config = CompressibleDataConfig(size=(int(cells), int(cells)), samples=2, frames=5, batch=2)
    for mach in (0.1, 1.0):
        gas = dataclasses.replace(config, flow=CompressibleFlow(mach=mach))
        path = Path(f"2D_CFD_Turb_M{mach}_periodic_{cells}.hdf5")
        path.unlink(missing_ok=True)
        generate_compressible(path, gas, progress=False)
        with h5py.File(path) as file:
            density = file["density"][:, -1]
        flow = read_flow(path)  # vorticity is worked out from the velocities
        frame = flow.fields[0, -1]
        print(f"Mach {mach}: density from {density.min():.2f} to {density.max():.2f} at the last frame;")
        print(f"  vorticity {flow.fields.shape}, standard deviation {float(frame.std()):.2f} at the last frame: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
