"""From a sketch to its stress: a rough drawing becomes a clean periodic cell, and a decoder gives its local stress.

Usage: python 33_sketch_to_stress.py [drawing.png] [cells to learn from] [steps of a training]

Everything is made on the spot and therefore small: 300 cells of 32^2 voxels, a Janus of a few thousand parameters, and
seconds of training.  `separable microstructure sketch` does the same with a model of your own data.
"""

import sys
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFilter

from domains.microstructure.data import CellData, CellDataConfig, random_cell
from domains.microstructure.elasticity import elastic_response
from domains.microstructure.janus import JanusConfig
from domains.microstructure.materials import Materials
from domains.microstructure.pictures import stress_picture
from domains.microstructure.sketch import SketchConfig, drawn_fraction, read_sketch, train_cleaner
from domains.microstructure.stress import StressConfig, relative_error, under, von_mises
from domains.microstructure.stress_training import StressTraining, solved_stress, train_stress
from domains.microstructure.train import TrainConfig, train_janus

SIZE = (32, 32)
STRAIN = (0.01, 0.0, 0.0)  # 1 % along x, none along y, no shear
PHASES = Materials(conductivities=None, young=(0.1, 1.0), poisson=(0.3, 0.3))


def draw(path: Path) -> None:
    """A page of 500 x 420 pixels: two struts and a blob, in ink that is not even and with lines that do not join."""
    page = Image.new("L", (500, 420), 236)
    pen = ImageDraw.Draw(page)
    pen.line([(0, 120), (120, 105), (260, 140), (385, 118), (500, 128)], fill=60, width=76, joint="curve")
    pen.line([(150, 0), (165, 90), (140, 215), (158, 300), (148, 420)], fill=80, width=72, joint="curve")
    pen.ellipse((300, 235, 432, 352), fill=70)
    pen.line([(345, 262), (372, 270)], fill=215, width=9)  # a gap in the ink
    pen.ellipse((60, 330, 76, 344), fill=110)  # a blot
    page.filter(ImageFilter.GaussianBlur(3)).save(path)


def learn(count: int, steps: int) -> tuple:
    """A Janus, what cleans drawings, and what gives the stress."""
    config = CellDataConfig(SIZE, count, feature=(0.25, 0.6), materials=PHASES)
    kinds, found = zip(*(random_cell(config, row) for row in range(count)), strict=True)
    cells = torch.stack(found).float()
    data = CellData(cells.byte(), PHASES.solve(cells), list(kinds), config)
    janus = train_janus(
        data, JanusConfig(SIZE, ("youngs_x", "youngs_y"), width=8), TrainConfig(steps=steps, batch=24), progress=False
    )
    cleaner = train_cleaner(
        cells[:-16], janus, SketchConfig(steps=3 * steps // 5, rate=1e-3, drawings=2 * count), progress=False
    )
    decoder = train_stress(
        cells[:-16], janus, StressConfig(width=8), StressTraining(steps=3 * steps // 10), progress=False
    )
    truth = solved_stress(cells[-16:], PHASES.elastic()).float()
    with torch.no_grad():
        errors = relative_error(decoder(janus.encode(cells[-16:]), cells[-16:]), truth)
    print(f"stress of 16 cells never trained on, three loads: {float(errors.mean()):.1%} from the solver's")
    return janus, cleaner, decoder


def main(file: str = "", cells: str = "300", steps: str = "500") -> None:
    """Learn, draw, clean, and compare."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    janus, cleaner, decoder = learn(int(cells), int(steps))
    print(f"trained in {time.perf_counter() - started:.0f} s")
    path = Path(file or "drawing.png")
    if not file:
        draw(path)
    drawing = read_sketch(path, SIZE)
    cell = cleaner.clean(drawing[None])
    print(f"{path}: {drawn_fraction(drawing):.0%} inked, {float(cell.mean()):.0%} phase 1 in the clean cell")
    with torch.no_grad():
        decoded = under(decoder(janus.encode(cell), cell), STRAIN)
    solved = under(elastic_response(cell, PHASES.elastic())[1].stress, STRAIN)
    print(f"stress under the mean strain {STRAIN}: {float(relative_error(decoded, solved)):.1%} from the solver's")
    xx = float(decoded[0, 0].mean()), float(solved[0, 0].mean())
    print(f"mean stress along x, in the unit of the moduli: {xx[0]:.5f} decoded, {xx[1]:.5f} solved")
    both = [von_mises(stress, cell, PHASES.elastic())[0] for stress in (decoded, solved)]
    stress_picture(drawing, cell[0], *both).savefig("sketch_to_stress.png", dpi=110)
    print("picture: sketch_to_stress.png")


if __name__ == "__main__":
    main(*sys.argv[1:4])
