"""What the domain of microstructures reads: cells, drawings, data sets, models, histories of temperature."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from domains.microstructure import thermal_history
from domains.microstructure.cells import generate
from domains.microstructure.data import CellDataConfig, generate_data, read_data
from domains.microstructure.design import Designer, Library
from domains.microstructure.images import read_cell, read_stl, write_cell
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.sketch import SketchCleaner, read_sketch
from domains.microstructure.stress import StressConfig, StressDecoder
from domains.microstructure.train import TrainConfig, train_janus
from separable.training import RunFolder
from tests.reliability.harness import Reader

CELLS = CellDataConfig((16, 16), 10, ("spinodal",), feature=(0.4, 0.5), materials=Materials(young=None))
MODEL = JanusConfig((16, 16), ("conductivity_xx",), latent=4, width=4)
TRAINING = TrainConfig(steps=2, batch=2)


def cell_writer(name: str) -> Any:
    return lambda folder: write_cell(generate("spinodal", (16, 16), 0.5, seed=0, wavelength=8.0), folder / name)


def read_cells(folder: Path) -> Any:
    (file,) = folder.iterdir()
    return read_cell(file, periodic="accept")


def make_text_vtk(folder: Path) -> None:
    values = " ".join("01"[(n // 3) % 2] for n in range(64))
    (folder / "cell.vtk").write_text(
        "# vtk DataFile Version 3.0\ncell\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 8 8 1\nORIGIN 0 0 0\n"
        f"SPACING 1 1 1\nPOINT_DATA 64\nSCALARS phase int 1\nLOOKUP_TABLE default\n{values}\n"
    )


def make_array(folder: Path) -> None:
    np.save(folder / "cell.npy", np.indices((12, 12)).sum(0) // 3 % 2)


def picture_maker(name: str) -> Any:
    """A picture of grey levels, where the file stores no more than nearly what was drawn."""
    return lambda folder: Image.fromarray((np.indices((16, 16)).sum(0) // 4 % 2 * 255).astype(np.uint8)).save(
        folder / name
    )


def read_picture(folder: Path) -> Any:
    (file,) = folder.iterdir()
    return read_cell(file, threshold=128, periodic="accept")


def make_stack(folder: Path) -> None:
    write_cell(generate("spinodal", (12, 12, 12), 0.5, seed=0, wavelength=6.0), folder / "cell.tif")


def make_surface(folder: Path) -> None:
    write_cell(generate("spinodal", (8, 8, 8), 0.5, seed=0, wavelength=8.0), folder / "cell.stl")


def make_drawing(folder: Path) -> None:
    drawn = np.full((40, 40), 250, np.uint8)
    drawn[10:20] = 20
    Image.fromarray(drawn).save(folder / "drawing.png")


def make_cells(folder: Path) -> None:
    generate_data(folder / "cells.h5", CELLS, block=5, progress=False)


def read_cell_data(folder: Path) -> Any:
    data = read_data(folder / "cells.h5")
    return [data.cells, data.columns, data.kinds, data.config.to_json()]


def make_half_of_the_cells(folder: Path) -> None:
    import h5py

    make_cells(folder)
    with h5py.File(folder / "cells.h5", "r+") as file:
        file["done"][5:] = False


PARTS = (".cells.h5.parts/0-5.npz", ".cells.h5.parts/config.json")


def make_rows_beside(folder: Path) -> None:
    """As a making that was killed before any rows were put into the file leaves them."""
    import h5py

    make_cells(folder)
    parts = folder / ".cells.h5.parts"
    parts.mkdir()
    with h5py.File(folder / "cells.h5") as file:
        (parts / "config.json").write_text(file.attrs["config"])
        columns = {name: values[:5] for name, values in file.items() if name != "done"}
    columns["kind"] = np.array(columns["kind"].tolist())  # without the metadata of h5py, which numpy does not write
    np.savez(parts / "0-5.npz", **columns)
    (folder / "cells.h5").unlink()


def read_half_of_the_cells(folder: Path) -> Any:
    generate_data(folder / "cells.h5", CELLS, block=5, progress=False)
    return read_cell_data(folder)


def janus() -> Janus:
    torch.manual_seed(0)
    return Janus(MODEL, torch.zeros(1), torch.ones(1)).eval()


def make_designer(folder: Path) -> None:
    cells = (torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8)
    values, fractions = torch.rand(3, 1, generator=torch.Generator().manual_seed(1)), cells.float().mean((1, 2))
    Designer(janus(), Library(cells, values, fractions, Materials(young=None))).save(folder)


def read_designer(folder: Path) -> Any:
    designer = Designer.load(folder)
    library = designer.library
    cells = library.cells.float()
    return [
        designer.model.predict(cells).detach(),
        library.cells,
        library.values,
        library.fractions,
        repr(library.materials),
    ]


def make_stress(folder: Path) -> None:
    torch.manual_seed(0)
    StressDecoder(StressConfig(latent=4, young=(0.1, 1.0), poisson=(0.3, 0.2), width=4)).save(folder)


def read_stress(folder: Path) -> Any:
    return StressDecoder.load(folder).state_dict()


def make_cleaner(folder: Path) -> None:
    torch.manual_seed(0)
    SketchCleaner(janus()).save(folder)


def read_cleaner(folder: Path) -> Any:
    return SketchCleaner.load(folder, janus()).state_dict()


def make_training(folder: Path) -> None:
    """A training that is half done, with its data."""
    make_cells(folder)
    read_training(folder, 1)


def read_training(folder: Path, steps: int = 2) -> Any:
    config = TrainConfig(steps=steps, batch=2)
    run = RunFolder(folder / "run", {"seed": 0}, 0)
    return train_janus(read_data(folder / "cells.h5"), MODEL, config, run=run, progress=False).state_dict()


def make_histories(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "histograms.h5", "w") as file:
        file["temp_values"] = thermal_history.EDGES
        file["features"] = np.random.default_rng(0).integers(0, 800, (6, 36))
    rows = "\n".join(f"{3 + n // 3},{'ABC'[n % 3]},{700.5 + n}" for n in range(6))
    (folder / "strengths.csv").write_text(f"sample,point_name,UTS\n{rows}\n")


def read_histories(folder: Path) -> Any:
    found = thermal_history.read(folder / "histograms.h5", folder / "strengths.csv")
    return [found.histogram, found.edges, found.strength, found.wall.tolist()]


READERS = [
    *(
        Reader(f"cell in {name}", cell_writer(f"cell.{name}"), read_cells, (f"cell.{name}",))
        for name in ("png", "vti", "vtk", "h5")
    ),
    *(
        Reader(f"picture in {name}", picture_maker(f"cell.{name}"), read_picture, (f"cell.{name}",))
        for name in ("jpg", "bmp")
    ),
    Reader("cell in text", make_text_vtk, read_cells, ("cell.vtk",)),
    Reader("cell in npy", make_array, read_cells, ("cell.npy",)),
    Reader("stack of pictures", make_stack, read_cells, ("cell.tif",)),
    Reader("surface", make_surface, lambda folder: read_stl(folder / "cell.stl"), ("cell.stl",)),
    Reader("drawing", make_drawing, lambda folder: read_sketch(folder / "drawing.png", (16, 16)), ("drawing.png",)),
    Reader("cells", make_cells, read_cell_data, ("cells.h5",)),
    Reader("rows beside cells", make_rows_beside, read_half_of_the_cells, PARTS, writes=True),
    Reader("half of the cells", make_half_of_the_cells, read_half_of_the_cells, ("cells.h5",), writes=True),
    Reader(
        "designer",
        make_designer,
        read_designer,
        ("janus.json", "janus.safetensors", "library.safetensors", "materials.json"),
        ("janus.json", "materials.json"),
    ),
    Reader("stress decoder", make_stress, read_stress, ("stress.json", "stress.safetensors"), ("stress.json",)),
    Reader("cleaner", make_cleaner, read_cleaner, ("cleaner.json", "cleaner.safetensors"), ("cleaner.json",)),
    Reader("half of a training", make_training, read_training, ("run/last.safetensors",), writes=True),
    Reader("histories", make_histories, read_histories, ("histograms.h5", "strengths.csv")),
]
