"""Item 5: pruning's importances against finite differences of masks, and what they are worth beside other rankings.

First, on a tiny model in float64, every mask is moved up and down and the loss of the model as it stands is measured,
with hooks that multiply what the units put out; the mean over batches of the difference quotients' absolute values,
normalised, has to be what `importances` says. Then small teachers are trained on the docstrings of Python's standard
library, pruned by three rankings (random numbers, the norms of a unit's weights, the published importances) at equal
sizes, and distilled for a while.

    python -m benchmarks.distillation_pruning
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.trial import STUDIES, usual
from domains.language.corpus import CorpusConfig
from domains.language.distillation.importance import Units, full_masks, importances
from domains.language.distillation.losses import distillation_loss
from domains.language.distillation.pruning import prune
from domains.language.evaluate import mean_loss
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import TrainingConfig, run_training

FOLDER = STUDIES / "language/docstrings_257"
RANKINGS = ("random", "magnitude", "published")
STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the ablation."""

    width: int = 64
    layers: int = 4
    context: int = 64
    batch: int = 16
    teacher_steps: int = 600
    student_steps: int = 150
    calibration: int = 16
    windows: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    sparsities: tuple[float, ...] = (0.4, 0.6)


SIZE = usual(Size(), trial=Size(32, 2, 32, 4, 4, 2, 2, 4, (0,), (0.5,)))


@contextlib.contextmanager
def masks_on(model: LanguageModel, units: Units) -> Iterator[None]:
    """Hooks that multiply outputs of heads, neurons and the residual stream of an ordinary model by masks."""
    m, per_head = units.hidden, model.config.transformer.head_width
    hooks = [model.embedding.register_forward_hook(lambda _m, _i, out: out * m)]
    for layer, block in enumerate(model.transformer.blocks):
        entered: dict[str, Tensor] = {}
        heads, neurons = units.heads[layer].repeat_interleave(per_head), units.neurons[layer]

        def enter(_m: Any, inputs: Any, entered: dict[str, Tensor] = entered) -> None:
            entered["x"] = inputs[0]

        def masked_sum(_m: Any, _i: Any, out: Tensor, entered: dict[str, Tensor] = entered) -> Tensor:
            x = entered["x"]  # the block adds x itself: what comes out of the sum is m (x + m out)
            return m * (x + m * out) - x

        hooks += [
            block.register_forward_pre_hook(enter),
            block.attention.register_forward_hook(masked_sum),
            block.attention.readout.register_forward_pre_hook(lambda _m, i, mask=heads: (i[0] * mask,)),
            block.perceptron.readout.register_forward_pre_hook(lambda _m, i, mask=neurons: (i[0] * mask,)),
            block.perceptron.register_forward_hook(lambda _m, _i, out: out * m),
            block.register_forward_hook(lambda _m, _i, out: out * m),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def greatest_difference() -> float:
    """Between importances and those of finite differences, on a tiny model with every unit's mask moved."""
    generator = torch.Generator().manual_seed(0)
    config = LanguageModelConfig(31, TransformerConfig(width=16, layers=2, heads=2, hidden=24))
    model = LanguageModel(config, generator).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and name.startswith("transformer"):
                parameter.mul_(5)
    drawn = [torch.randint(31, (3, 9), generator=generator) for _ in range(3)]
    batches = [(tokens[:, :-1], tokens[:, 1:]) for tokens in drawn]
    units = full_masks(model)
    slopes = Units(*(torch.zeros_like(each) for each in units.tensors))
    with torch.no_grad():
        for masks, found in zip(units.tensors[:3], slopes.tensors[:3], strict=True):
            flat, into = masks.view(-1), found.view(-1)
            for place in range(len(flat)):
                losses = []
                for sign in (1, -1):
                    flat[place] = 1 + sign * STEP
                    with masks_on(model, units):
                        losses.append([float(model.loss(*batch)) for batch in batches])
                flat[place] = 1
                up, down = map(np.array, losses)
                into[place] = float(np.abs((up - down) / (2 * STEP)).mean())
    pairs = zip(importances(model, batches).tensors[:3], slopes.normalised().tensors[:3], strict=True)
    return max(float((mine - wanted).abs().max()) for mine, wanted in pairs)


def magnitudes(model: LanguageModel) -> Units:
    """Norms of all weights that belong to a unit, normalised as importances are."""
    config, masks = model.config.transformer, full_masks(model)
    h = config.head_width
    hidden = model.embedding.weight.square().sum(0)
    for layer, block in enumerate(model.transformer.blocks):
        projection, readout = block.attention.projection.weight, block.attention.readout.weight
        rows = projection.square().sum(1).view(3, config.heads, h).sum((0, 2))
        masks.heads[layer] = (rows + readout.square().sum(0).view(config.heads, h).sum(1)).sqrt()
        expansion, down = block.perceptron.expansion.weight, block.perceptron.readout.weight
        masks.neurons[layer] = (expansion.square().sum(1).view(2, -1).sum(0) + down.square().sum(0)).sqrt()
        hidden = hidden + sum(w.square().sum(0) for w in (projection, expansion))
        hidden = hidden + sum(w.square().sum(1) for w in (readout, down))
    return Units(masks.heads, masks.neurons, hidden.sqrt(), masks.ranks).normalised()


def ranking(kind: str, teacher: LanguageModel, tokens: Tokens, size: Size, seed: int) -> Units:
    """Importances of one kind."""
    if kind == "published":
        stream = WindowStream(tokens.part("train"), size.context, 1000 + seed)
        return importances(teacher, [stream.load(stream.draw(size.batch)) for _ in range(size.calibration)])
    if kind == "magnitude":
        with torch.no_grad():
            return magnitudes(teacher)
    generator = torch.Generator().manual_seed(seed)
    return Units(*(torch.rand(each.shape, generator=generator) for each in full_masks(teacher).tensors))


def ablation(tokens: Tokens, size: Size, seed: int) -> list[dict[str, Any]]:
    """Rows of one seed: nats a token on the validation part before and after distillation."""
    training = TrainingConfig(
        steps=size.teacher_steps, batch=size.batch, rate=3e-3, warm_up=20, evaluate_every=10**6, seed=seed
    )
    transformer = TransformerConfig(width=size.width, layers=size.layers)
    config = LanguageConfig(transformer, "table", "table:tied=true", size.context, size.windows, training)
    teacher, _ = train(tokens, config, progress=False)
    teacher.eval()
    validation = tokens.part("validation")
    windows = evenly(len(validation), size.context, size.windows)

    def measured(model: LanguageModel) -> float:
        return mean_loss(model, validation, size.context, windows)

    def loss(student: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
        return distillation_loss(student, teacher, *batch)

    rows = []
    for sparsity in size.sparsities:
        for kind in RANKINGS:
            student = prune(teacher, ranking(kind, teacher, tokens, size, seed), sparsity)
            before, parameters = measured(student), student.n_parameters
            stream = WindowStream(tokens.part("train"), size.context, 2000 + seed)
            settings = dataclasses.replace(training, steps=size.student_steps, rate=1e-3)
            run_training(student, loss, stream, settings, progress=False)
            rows.append(
                {
                    "sparsity": sparsity,
                    "ranking": kind,
                    "seed": seed,
                    "teacher parameters": teacher.n_parameters,
                    "parameters": parameters,
                    "teacher nats": measured(teacher),
                    "pruned nats": before,
                    "distilled nats": measured(student),
                }
            )
            print(rows[-1], flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, with the least and the greatest."""
    found = []
    for sparsity, kind in dict.fromkeys((row["sparsity"], row["ranking"]) for row in rows):
        of = [row for row in rows if (row["sparsity"], row["ranking"]) == (sparsity, kind)]
        line: dict[str, Any] = {"sparsity": sparsity, "ranking": kind}
        for name in ("teacher parameters", "parameters", "teacher nats", "pruned nats", "distilled nats"):
            line[name] = statistics.fmean(row[name] for row in of)
        ends = [row["distilled nats"] for row in of]
        line["distilled nats, least and greatest"] = f"{min(ends):.4f} to {max(ends):.4f}"
        found.append(line)
    return found


def main() -> None:
    """Measure and record."""
    off = greatest_difference()
    print(f"greatest difference of importances: {off:.1e}", flush=True)
    tokens = Tokens(write_tokens(FOLDER, TokenizeConfig(CorpusConfig("docstrings"))))
    rows = summary([row for seed in SIZE.seeds for row in ablation(tokens, SIZE, seed)])
    for row in rows:
        print(row)
    by = {(row["sparsity"], row["ranking"]): row for row in rows}
    better = {
        name: all(
            by[sparsity, "published"][name] < by[sparsity, other][name]
            for sparsity in SIZE.sparsities
            for other in RANKINGS[:2]
        )
        for name in ("pruned nats", "distilled nats")
    }
    record.write(
        "distillation",
        "5",
        claim=f"Importances equal finite differences of every mask to {off:.0e}; pruned by them, students are "
        f"{'better' if better['pruned nats'] else 'not always better'} before and "
        f"{'better' if better['distilled nats'] else 'not always better'} after a short distillation than by weight "
        "norms or at random",
        measured=[row for row in rows if row["ranking"] == "published"],
        target="difference of normalised importances below 1e-6 in float64; mean loss below that of both other "
        "rankings at every sparsity, before and after distillation",
        holds=off < 1e-6 and all(better.values()),
        baselines=[row for row in rows if row["ranking"] != "published"],
        command="python -m benchmarks distillation_pruning",
        seeds=list(SIZE.seeds),
        spread=f"means over {len(SIZE.seeds)} teachers, least and greatest in the table; teachers of "
        f"{SIZE.teacher_steps} and students of {SIZE.student_steps} steps of {SIZE.batch * SIZE.context} tokens, bytes",
    )


if __name__ == "__main__":
    main()
