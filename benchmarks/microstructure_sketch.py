"""Item sketch: rough drawings of held-out cells become clean cells and their stress, beside the solver and baselines.

The model and the data are those of `benchmarks.microstructure_design`.  Everything is trained on one thread; times of
training are of the processor and stand beside every model.
"""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from benchmarks import microstructure_design, record
from benchmarks.trial import STUDIES, usual
from domains.microstructure.elasticity import effective_stiffness, elastic_response, young_moduli
from domains.microstructure.images import otsu
from domains.microstructure.pictures import stress_picture
from domains.microstructure.sketch import SketchConfig, drawings, mirrored_alike, rough, train_cleaner, wobbled
from domains.microstructure.stress import StressConfig, relative_error, von_mises
from domains.microstructure.stress_training import StressTraining, solved_stress, train_stress
from domains.microstructure.train import TrainConfig, split
from separable.training import RunFolder

FOLDER = STUDIES / "microstructure_sketch"
COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.microstructure_sketch"
UNSEEN = 2**31  # seeds of the training drawings are below
CELLS = usual(100, trial=4)
DRAWINGS = usual(200, trial=20)  # on which the width of the median is chosen
CLEANING = usual(SketchConfig(), trial=SketchConfig(steps=20, drawings=100))
TRAINING = usual(StressTraining(), trial=StressTraining(cells=40, steps=10))


class UNet(nn.Module):
    """The usual network from picture to picture: three scales, two convolutions at each, down and up."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()

        def pair(inputs: int, outputs: int) -> nn.Sequential:
            first, second = (
                nn.Conv2d(i, outputs, 3, padding=1, padding_mode="circular", bias=False) for i in (inputs, outputs)
            )
            return nn.Sequential(first, nn.BatchNorm2d(outputs), nn.ReLU(), second, nn.BatchNorm2d(outputs), nn.ReLU())

        w = width
        self.down = nn.ModuleList([pair(1, w), pair(w, 2 * w), pair(2 * w, 4 * w)])
        self.raise_ = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, 2), nn.ConvTranspose2d(4 * w, 2 * w, 2, 2)])
        self.up = nn.ModuleList([pair(2 * w, w), pair(4 * w, 2 * w)])
        self.last = nn.Conv2d(w, 1, 1)

    def forward(self, sketches: Tensor) -> Tensor:
        """Logits ``(B, n_1, n_2)``."""
        first = self.down[0](sketches[:, None] - 0.5)
        second = self.down[1](nn.functional.max_pool2d(first, 2))
        third = self.down[2](nn.functional.max_pool2d(second, 2))
        second = self.up[1](torch.cat([second, self.raise_[1](third)], 1))
        found: Tensor = self.last(self.up[0](torch.cat([first, self.raise_[0](second)], 1)))[:, 0]
        return found


def trained_unet(cells: Tensor, config: SketchConfig, seconds: float) -> UNet:
    """A U-Net trained as long as the cleaner, on as many drawings, made within that time too."""
    started = time.process_time()
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    drawn, truth = drawings(cells, config.drawings, config.seed)
    model, rate = UNet(), 3e-3
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-4)
    began = time.process_time() - started
    while (passed := (time.process_time() - started - began) / (seconds - began)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 50 * passed + 1e-3) * 0.5 * (1 + math.cos(math.pi * passed))
        chosen = torch.randint(len(drawn), (config.batch,), generator=generator)
        shown, target = mirrored_alike(drawn[chosen].float() / 255, truth[chosen].float(), generator)
        loss = nn.functional.binary_cross_entropy_with_logits(model(shown), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def thresholded(sketches: Tensor, width: int) -> Tensor:
    """Otsu's threshold, then the median over ``width`` voxels a side, periodic."""
    found = []
    for sketch in sketches.double().numpy():
        binary = (sketch > otsu(sketch)).astype(np.float32)
        found.append(torch.from_numpy(ndimage.median_filter(binary, width, mode="wrap")))
    return torch.stack(found)


def cleaning_row(name: str, found: Tensor, truth: Tensor, stiffness: Tensor, pair: Any, seconds: Any) -> dict[str, Any]:
    """How far clean cells are from the true ones, voxel by voxel and in what they mean."""
    wrong = (found != truth).float().mean((1, 2))
    solid = effective_stiffness(found, pair)
    return {
        "way": name,
        "wrong voxels": float(wrong.mean()),
        "90 % of drawings below": float(wrong.quantile(0.9)),
        "volume fraction off by (mean)": float((found.mean((1, 2)) - truth.mean((1, 2))).abs().mean()),
        "Young's moduli off by (median)": float((young_moduli(solid) / young_moduli(stiffness) - 1).abs().median()),
        "training, processor seconds": seconds,
    }


def stress_row(name: str, found: Tensor, truth: Tensor, others: dict[str, Any]) -> dict[str, Any]:
    """Relative errors over cells and the three unit loads."""
    errors = relative_error(found.float(), truth.float())
    return {
        "way": name,
        "error (median)": float(errors.median()),
        "error under shear (median)": float(errors[:, 2].median()),
        "90 % of errors below": float(errors.flatten().quantile(0.9)),
        **others,
    }


def milliseconds(function: Callable[[], Any], count: int = 1, repetitions: int = 15) -> float:
    """Median wall-clock milliseconds of a call, divided by ``count``."""
    function()
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times) / count


def spent(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its processor seconds."""
    started = time.process_time()
    return function(), time.process_time() - started


def trained(run: RunFolder, train: Callable[[], Any]) -> tuple[Any, float]:
    """What is trained in a folder, and its processor seconds; where it was trained before, those of that time."""
    model, seconds = spent(train)
    if not any("training_seconds" in line for line in run.metrics()):
        run.log(training_seconds=seconds)
    return model, next(line["training_seconds"] for line in run.metrics() if "training_seconds" in line)


def main(cleaning: SketchConfig, training: StressTraining) -> None:
    """Train, measure, record."""
    torch.set_num_threads(1)
    data = microstructure_design.cells()
    janus = microstructure_design.training(data).designer.model
    pair = data.config.materials.elastic()
    rows, held_out = split(data, TrainConfig().held_out)
    cells = data.cells[: rows.stop]
    chosen = held_out.start + torch.randperm(len(held_out), generator=torch.Generator().manual_seed(1))[:CELLS]
    truth = data.cells[chosen].float()
    sketches = torch.stack([rough(cell, UNSEEN + k) for k, cell in enumerate(truth)])
    stiffness = effective_stiffness(truth, pair)

    run = RunFolder(FOLDER / "cleaner", cleaning, cleaning.seed)
    cleaner, seconds = trained(run, lambda: train_cleaner(cells, janus, cleaning, run=run, progress=False))
    clean = cleaner.clean(sketches)
    with torch.no_grad():
        draft = (cleaner.decoder(torch.sigmoid(cleaner.encoder(sketches[:, None])))[:, 0] > 0).float()
    shown, original = drawings(cells, DRAWINGS, cleaning.seed + 1)
    width = min((3, 5, 7), key=lambda w: float((thresholded(shown / 255, w) != original).float().mean()))
    median = thresholded(sketches, width)
    with torch.no_grad():
        through = (janus.decode(janus.encode(median)) > 0).float()
    unet = trained_unet(cells, cleaning, seconds)
    with torch.no_grad():
        rival = (unet(sketches) > 0).float()
    wobble = torch.stack([(wobbled(cell, UNSEEN + k) > 0.5).float() for k, cell in enumerate(truth)])
    ways = [
        ("ours: Janus drawn anew, and a touch", clean, seconds),
        ("its draft alone, before the touch", draft, seconds),
        (f"Otsu's threshold and a median of {width}", median, "-"),
        ("the same, through Janus as it is", through, "-"),
        (f"U-Net of {sum(p.numel() for p in unet.parameters())} parameters", rival, seconds),
        ("the lines as the hand led them, in clean ink", wobble, "-"),
    ]
    table = [cleaning_row(name, found, truth, stiffness, pair, spent_) for name, found, spent_ in ways]
    for line in table:
        print(line, flush=True)

    fields, solving = spent(lambda: solved_stress(cells[: training.cells], pair))
    config = StressConfig(janus.config.latent, data.config.materials.young or (0.0, 0.0), data.config.materials.poisson)
    run = RunFolder(FOLDER / "stress", training, training.seed)
    decoder, seconds = trained(
        run, lambda: train_stress(cells, janus, config, training, stress=fields, run=run, progress=False)
    )
    published = StressConfig(config.latent, config.young, config.poisson, predicts="stress")
    longer = StressTraining(training.cells, round(1.4 * training.steps), training.batch, training.rate, training.seed)
    plain, plain_seconds = spent(lambda: train_stress(cells, janus, published, longer, stress=fields, progress=False))

    def solver(given: Tensor, tolerance: float | None = None) -> Tensor:
        found = [elastic_response(part, pair, tolerance=tolerance)[1] for part in given.split(4)]
        return torch.cat([f.stress.float() for f in found if f is not None])

    on_clean, on_truth = solver(clean.double()), solver(truth.double())
    one = clean[:1]
    with torch.no_grad():
        decoded = decoder(janus.encode(clean), clean)
        direct = plain(janus.encode(clean), clean)
        alone = type(decoder)(config).eval()(janus.encode(clean), clean)  # the same steps, nothing learned
        time_ours = milliseconds(lambda: decoder(janus.encode(one), one))
        time_plain = milliseconds(lambda: plain(janus.encode(one), one))
        time_batch = milliseconds(lambda: decoder(janus.encode(clean[:64]), clean[:64]), 64, 5)
    time_all = milliseconds(lambda: cleaner.clean(sketches[:1]))
    empty = {"ms a cell": "-", "training, processor seconds": "-"}
    errors = [
        stress_row("decoder, against the solver on the same clean cell", decoded, on_clean, {"ms a cell": time_ours})
        | {"training, processor seconds": seconds + solving},
        stress_row("decoder, against the solver on the true cell", decoded, on_truth, empty),
        stress_row("solver on the clean cell, against the true cell", on_clean, on_truth, empty),
    ]
    against = [
        stress_row("the network gives the stress itself", direct, on_clean, {"ms a cell": time_plain})
        | {"training, processor seconds": plain_seconds + solving},
        stress_row("the decoder's equilibrium steps, nothing learned", alone, on_clean, empty),
    ]
    for tolerance in (0.3, 0.1, 0.03, 0.01):
        cost = milliseconds(lambda t=tolerance: solver(one, t), repetitions=9)
        name = f"solver stopped at {tolerance:g}, float32"
        against.append(
            stress_row(name, solver(clean, tolerance), on_clean, {"ms a cell": cost})
            | {"training, processor seconds": "-"}
        )
    for name, given in (("solver, float32, 1e-4", one), ("solver, float64, 1e-6", one.double())):
        cost = milliseconds(lambda g=given: solver(g), repetitions=9)
        against.append(
            stress_row(name, solver(clean.to(given.dtype)), on_clean, {"ms a cell": cost})
            | {"training, processor seconds": "-"}
        )
    for line in errors + against:
        print(line, flush=True)
    figures = RunFolder(FOLDER, {"cells": CELLS}, 0)
    for k in range(4):
        both = [von_mises(s[k : k + 1, 0], clean[k : k + 1], pair)[0] for s in (decoded, on_clean)]
        figures.figure(f"drawing_{k}", stress_picture(sketches[k], clean[k], *both))

    ours, measured = table[0], errors[0]
    rivals = [table[2]["wrong voxels"], table[4]["wrong voxels"]]
    record.write(
        "microstructure",
        "sketch",
        claim=f"Rough drawings become cells with {ours['wrong voxels']:.1%} of the voxels wrong "
        f"(threshold and median: {rivals[0]:.1%}), and their stress within {measured['error (median)']:.1%} of the "
        "solver's on the same cell",
        measured=[{"part": "cell", "way": row["way"], "result": _told(row)} for row in table[:2]]
        + [{"part": "stress", "way": row["way"], "result": _told(row)} for row in errors]
        + [{"part": "time", "way": "cleaning, one drawing", "result": f"{time_all:.2f} ms"}]
        + [{"part": "time", "way": "stress decoder, 64 cells at once", "result": f"{time_batch:.2f} ms a cell"}],
        target="fewer wrong voxels than threshold and median and than a U-Net trained as long; median stress error at "
        "most 10 % of the solver's field on the same cell; training at most 10 minutes a model",
        holds=ours["wrong voxels"] < min(rivals)
        and measured["error (median)"] <= 0.1
        and max(table[0]["training, processor seconds"], seconds + solving) <= 600,
        baselines=[{"part": "cell", "way": row["way"], "result": _told(row)} for row in table[2:]]
        + [{"part": "stress", "way": row["way"], "result": _told(row)} for row in against],
        command=COMMAND,
        seeds=[cleaning.seed],
        spread=f"one training; {CELLS} held-out cells drawn by seeds that training cannot use, quantiles in the table; "
        "three unit loads; drawings are made by `sketch.rough`, none by a hand",
    )


def _told(row: dict[str, Any]) -> str:
    parts = []
    for name, value in row.items():
        if name == "way" or value == "-":
            continue
        share = isinstance(value, float) and not name.startswith(("ms", "training"))
        parts.append(f"{name} {value:.2%}" if share else f"{name} {value:.3g}")
    return ", ".join(parts)


if __name__ == "__main__":
    main(CLEANING, TRAINING)
