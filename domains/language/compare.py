"""Embeddings and heads side by side: the same data, batches and number of parameters, one training each.

The first kind sets the number of parameters. Each other one spends what it saves on the rest of the model, on a greater
width, wider perceptrons or more layers, until its number is as near as that allows; a kind that costs more than the
first gets less of the rest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from domains.language.evaluate import evaluate, side_by_side
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, train
from separable.files import checked_text, read_checked_json
from separable.sequence import LanguageModel
from separable.training import Report, RunFolder, is_main_process

Spend = Literal["width", "perceptron", "layers", "nothing"]
KINDS = ("table table:tied=false", "table table:tied=true", "generated table:tied=false")


def compare(
    tokens: Tokens,
    folder: str | Path,
    config: LanguageConfig,
    kinds: Sequence[str] = KINDS,
    *,
    seeds: int = 1,
    spend: Spend = "perceptron",
    part: str = "validation",
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Train one model of each kind and seed; what is finished in the folder is not trained again.

    Args:
        tokens: what `write_tokens` left.
        folder: a run folder of each training goes in there, and ``report.html``.
        config: of every model but for embedding and head.
        kinds: an embedding and a head each, with a space between, as in `LanguageConfig`.
        seeds: trainings of each kind; seeds count from that of the config.
        spend: what saved parameters go to.
        part: that the models are measured on.
        progress: whether to show bars.
        device: where to train.

    Returns:
        A row for each training.

    Raises:
        FileExistsError: the folder holds trainings on other tokens or of other settings.
        ValueError: there is nothing to compare, a kind is not known, or cannot have as few parameters as the first;
            the part that models are measured on has no window.
    """
    if not kinds or seeds < 1:
        raise ValueError(f"kinds, seeds: expected at least one of each, got {len(kinds)} and {seeds}")
    side_by_side(tokens.part(part), config.context)  # refused now, and not after a training
    folder = Path(folder)
    wanted = None
    cells = []
    for kind in kinds:
        embedding, _, head = kind.partition(" ")
        cell = dataclasses.replace(config, embedding=embedding, head=head or config.head)
        if wanted is None:
            wanted = parameters(cell, tokens.vocabulary)
        cells.append(equalised(cell, tokens.vocabulary, wanted, spend))
    rows = []
    for seed in range(config.training.seed, config.training.seed + seeds):
        for kind, cell in zip(kinds, cells, strict=True):
            seeded = dataclasses.replace(cell, training=dataclasses.replace(cell.training, seed=seed))
            name = f"{kind.replace(' ', '_').replace(':', '-').replace(',', '-').replace('=', '_')}-seed_{seed}"
            rows.append({"kind": kind, **_trained(tokens, folder / name, seeded, part, progress, device)})
    if is_main_process():
        _report(folder, rows)
    return rows


def parameters(config: LanguageConfig, vocabulary: int) -> int:
    """Number of parameters of a model, which is not built in memory.

    Example:
        >>> one = LanguageConfig(embedding="table", head="table:tied=true")
        >>> two = LanguageConfig(embedding="table", head="table:tied=false")
        >>> parameters(two, 1000) - parameters(one, 1000) == 1000 * one.transformer.width
        True
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in LanguageModel(config.model(vocabulary)).parameters())


def equalised(config: LanguageConfig, vocabulary: int, wanted: int, spend: Spend) -> LanguageConfig:
    """The config with as many parameters as wanted, as near as the size that is changed allows.

    With "width" there are as many attention heads of the same size as fit, and perceptrons take the rest.

    Raises:
        ValueError: the rest of the model would have to vanish.
    """
    if spend == "nothing":
        return config
    if spend == "width":
        config, spend = _widened(config, vocabulary, wanted), "perceptron"
    field = "hidden" if spend == "perceptron" else "layers"
    now = config.transformer.hidden_width if spend == "perceptron" else config.transformer.layers

    def changed(size: int) -> LanguageConfig:
        return dataclasses.replace(config, transformer=dataclasses.replace(config.transformer, **{field: size}))

    # Parameters are linear in both sizes.
    each = parameters(changed(now + 1), vocabulary) - parameters(changed(now), vocabulary)
    size = now + round((wanted - parameters(config, vocabulary)) / each)
    if size < 1:
        raise ValueError(
            f"{config.embedding} {config.head}: expected room for {wanted} parameters, "
            f"got {parameters(changed(1), vocabulary)} with {field}=1"
        )
    return changed(size)


def _widened(config: LanguageConfig, vocabulary: int, wanted: int) -> LanguageConfig:
    """The config with as many attention heads as fit, one at least, and perceptrons in proportion."""
    transformer = config.transformer
    size, together = transformer.width // transformer.heads, transformer.key_heads or 1
    found = config
    for heads in itertools.count(together, together):
        sizes = dataclasses.replace(transformer, width=heads * size, heads=heads, hidden=None)
        wider = dataclasses.replace(config, transformer=sizes)
        if heads > together and parameters(wider, vocabulary) > wanted:
            break
        found = wider
    return found


def _trained(
    tokens: Tokens, folder: Path, config: LanguageConfig, part: str, progress: bool, device: torch.device | str
) -> dict[str, Any]:
    settings = {"tokens": tokens.digest, "made_from": tokens.index["made_from"], "config": dataclasses.asdict(config)}
    run = RunFolder(folder, settings, config.training.seed, {"corpus": tokens.corpus})
    file = folder / f"scores_{part}.json"
    if not file.exists():
        model, result = train(tokens, config, run=run, progress=progress, device=device)
        scores = evaluate(model, tokens, part, config.context)
        embedding = sum(p.numel() for p in model.embedding.parameters())
        head = sum(p.numel() for p in model.head.parameters())
        found = {
            "seed": config.training.seed,
            "parameters": sum(p.numel() for p in model.parameters()),
            "embedding": embedding,
            "head": head,
            "bits_per_byte": scores.bits_per_byte,
            "nats_per_token": scores.nats_per_token,
            **{f"ranks {band['ranks']}": band["nats"] for band in scores.bands},
            "steps": result.steps,
            "minutes": result.seconds / 60,
            "tokens_per_second": result.speed,
        }
        if not is_main_process():
            return found
        run.write(file.name, checked_text(found))
    return read_checked_json(file, "scores of a training; delete it, and they are computed again")


def _report(folder: Path, rows: list[dict[str, Any]]) -> None:
    page = Report("Embeddings and heads", "One training each, on the same batches; bits a byte of text not trained on.")
    page.section("Scores")
    page.table(rows, best=min(range(len(rows)), key=lambda i: float(rows[i]["bits_per_byte"])))
    temporary = folder / ".report.html"
    temporary.write_text(page.html(), encoding="utf-8")
    temporary.replace(folder / "report.html")
