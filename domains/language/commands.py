"""The verbs of `separable language`, plain functions: tokenize, train, sample, evaluate, compare_embeddings.

Those on distillation and on answers lie in `domains.language.distillation.commands` and
`domains.language.instruction.commands` and are named here, where the command looks.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tyro

from domains.language.compare import KINDS, Spend, compare
from domains.language.distillation.commands import capacity_gap, distil, recommend_teacher
from domains.language.distillation.pruned_model import load, model_folder, trained_context
from domains.language.evaluate import evaluate as evaluated
from domains.language.generate import continued
from domains.language.instruction.commands import chat, instruct
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from domains.language.train import train as train_model
from separable.training import RunFolder, is_main_process

__all__ = [
    "capacity_gap",
    "chat",
    "compare_embeddings",
    "distil",
    "evaluate",
    "instruct",
    "recommend_teacher",
    "sample",
    "tokenize",
    "train",
]

_TOKENS, _CONFIG = TokenizeConfig(), LanguageConfig()
_STEPS, _CONTEXT = 300, 256  # where a folder does not tell how long the windows of the training were


def tokenize(
    folder: Path = Path("runs/tokens"), /, config: tyro.conf.OmitArgPrefixes[TokenizeConfig] = _TOKENS
) -> Path:
    """Make tokens of a corpus, by default the sources of Python's standard library; goes on where it was cut off.

    Args:
        folder: for shards, tokeniser and index.
        config: what to tokenise and how.
    """
    written = Tokens(write_tokens(folder, config))
    for name, part in written.index["parts"].items():
        print(f"{name:10} {part['documents']:>9,} documents {part['bytes']:>13,} bytes {part['tokens']:>13,} tokens")
    print(f"{folder}: {written.vocabulary} ids, tokeniser {written.digest}")
    return folder


def train(
    tokens: Path = Path("runs/tokens"),
    /,
    run: Path = Path("runs/language"),
    config: tyro.conf.OmitArgPrefixes[LanguageConfig] = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Train a model; a run that was cut off goes on exactly. Several processes: torchrun -m -- domains.command_line ...

    Args:
        tokens: a folder of `tokenize`.
        run: the run folder: settings, record, checkpoints, report, the model.
        config: of model and training.
        device: where to train, such as cuda.
    """
    held = Tokens(tokens)
    settings = {"tokens": held.digest, "made_from": held.index["made_from"], "config": _plain(config)}
    folder = RunFolder(run, settings, config.training.seed, {"corpus": held.corpus})
    model, result = train_model(held, config, run=folder, device=device)
    if is_main_process():
        scores = ", ".join(
            f"{name} {value:.4f} at step {result.best_step}" for name, value in result.best_scores.items()
        )
        print(
            f"{run}: {model.n_parameters:,} parameters, {result.steps} steps in {result.seconds / 60:.1f} minutes, "
            f"{result.speed:,.0f} tokens/s, {scores or f'loss {result.loss:.4f}'}"
        )
    return run


def sample(
    run: Path = Path("runs/language"),
    /,
    beginning: str = "",
    steps: int | None = None,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Write on from a beginning, as the text comes.

    Args:
        run: a run folder of `train`, `distil` or `instruct`, or a folder with a model and its tokeniser.
        beginning: what the text begins with.
        steps: most tokens to add; by default as many as the training's windows had, beyond which a model is not at
            home, or 300 if the folder does not tell.
        temperature: 0 takes the most probable token.
        top_k: draw from the k most probable tokens; 0 for all.
        top_p: draw from the most probable tokens that hold this share.
        seed: of the draws.
        device: where to compute.
    """
    folder = model_folder(run)
    model, tokeniser = load(folder, device), load_tokeniser(folder)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    steps = steps if steps is not None else trained_context(run) or _STEPS
    print(beginning, end="", flush=True)
    for piece in continued(model, tokeniser, beginning, steps=steps, **settings):  # type: ignore[arg-type]
        print(piece, end="", flush=True)
    print()


def window_of(run: Path, context: int | None) -> int:
    """Tokens of a window that a model is measured over: as asked for, or those of its training."""
    return context if context is not None else trained_context(run) or _CONTEXT


def evaluate(
    run: Path = Path("runs/language"),
    tokens: Path = Path("runs/tokens"),
    /,
    part: str = "test",
    context: int | None = None,
    device: str = "cpu",
) -> dict[str, object]:
    """Measure nats a token, bits a byte, and nats by how frequent tokens are.

    Args:
        run: a run folder of `train`, `distil` or `instruct`, or a folder with a model and its tokeniser.
        tokens: a folder of `tokenize`, of the same tokeniser.
        part: train, validation or test.
        context: tokens of a window; by default those of the training, or 256 if the folder does not tell.
        device: where to compute.
    """
    folder, held = model_folder(run), tokens_of_model(run, tokens)
    context = window_of(run, context)
    scores = evaluated(load(folder, device), held, part, context)
    print(
        f"{part}: {scores.nats_per_token:.4f} nats a token, {scores.bits_per_byte:.4f} bits a byte, "
        f"{scores.tokens:,} tokens in windows of {context}"
    )
    for band in scores.bands:
        print(f"  ranks {band['ranks']:>12} {band['targets']:>10,} targets {band['nats']:8.4f} nats")
    return {"nats_per_token": scores.nats_per_token, "bits_per_byte": scores.bits_per_byte}


def compare_embeddings(
    tokens: Path = Path("runs/tokens"),
    /,
    folder: Path = Path("runs/embeddings"),
    kinds: tuple[str, ...] = KINDS,
    seeds: int = 1,
    spend: Spend = "perceptron",
    config: tyro.conf.OmitArgPrefixes[LanguageConfig] = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Train several embeddings and heads at equal numbers of parameters; what is finished is not trained again.

    Args:
        tokens: a folder of `tokenize`.
        folder: for a run folder of each training, and the report.
        kinds: embedding and head with a space between; the first sets the number of parameters.
        seeds: trainings of each kind.
        spend: what saved parameters go to.
        config: of model and training, but for embedding and head.
        device: where to train.
    """
    rows = compare(Tokens(tokens), folder, config, kinds, seeds=seeds, spend=spend, device=device)
    for row in rows if is_main_process() else []:
        print(
            f"{row['kind']:40} seed {row['seed']} {row['parameters']:>11,} parameters "
            f"{row['bits_per_byte']:.4f} bits a byte {row['tokens_per_second']:>9,.0f} tokens/s"
        )
    return folder


def tokens_of_model(run: Path, tokens: Path) -> Tokens:
    """The tokens in a folder, if they are of the tokeniser of a model."""
    folder, held = model_folder(run), Tokens(tokens)
    tokeniser = load_tokeniser(folder)
    if tokeniser.digest != held.digest:
        raise ValueError(
            f"tokens: expected the model's tokeniser, {tokeniser.digest}, got {held.digest}; "
            f"tokenise the text with that of {folder}"
        )
    return held


def _plain(config: LanguageConfig) -> dict[str, object]:
    plain: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
