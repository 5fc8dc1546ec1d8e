"""The verbs of `separable language` on answers, plain functions: instruct, chat."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tyro

from domains.language.digests import digest_of_file, digest_of_model
from domains.language.distillation.pruned_model import load, model_folder
from domains.language.instruction.chat import Message, read_conversations
from domains.language.instruction.tasks import instructions
from domains.language.instruction.train import InstructionConfig, accuracy, reply, tune
from domains.language.tokenisers import load_tokeniser
from separable.training import RunFolder, is_main_process

_CONFIG = InstructionConfig()


def instruct(
    model: Path = Path("runs/student"),
    /,
    run: Path = Path("runs/chat"),
    source: Path | None = None,
    count: int = 20000,
    asked: int = 200,
    config: tyro.conf.OmitArgPrefixes[InstructionConfig] = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Train a model to answer, on the answers' tokens alone; a run that was cut off goes on exactly.

    Args:
        model: a run folder of `train` or `distil`, or a folder with a model and its tokeniser.
        run: the run folder: settings, record, checkpoints, report, the model.
        source: JSON lines with messages of role and content, of which every tenth is held out; by default instructions
            of our own on words, numbers, lists and a small world.
        count: how many of our own are drawn.
        asked: of the held-out ones of our own that are answered at the end.
        config: of the training.
        device: where to train.
    """
    folder = model_folder(model)
    tokeniser, tuned = load_tokeniser(folder), load(folder, device)
    if source is None:
        drawn = list(instructions(count, config.training.seed))
        held = list(dict.fromkeys(each for each in drawn if each.held_out))
        learnt = [each.conversation for each in drawn if not each.held_out]
        measured = [each.conversation for each in held]
    else:
        held, read = [], read_conversations(source)
        learnt = [each for number, each in enumerate(read) if number % 10 != 9]
        measured = read[9::10]
    settings = {
        "model": str(folder),
        "source": "our own" if source is None else str(source),
        "count": count,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
    }
    inputs = {"model": digest_of_model(tuned)} | ({} if source is None else {"source": digest_of_file(source)})
    made = RunFolder(run, settings, config.training.seed, inputs)
    result = tune(tuned, tokeniser, learnt, measured, config, run=made, device=device)
    right = accuracy(tuned, tokeniser, held[:asked]) if held and asked else {}
    if is_main_process():
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.best_scores.items())
        print(f"{run}: {len(learnt):,} conversations, {result.steps} steps, {scores or f'loss {result.loss:.4f}'}")
        for task, share in right.items():
            print(f"  {task:12} {share:6.1%} of {sum(task in ('all', each.task) for each in held[:asked])} right")
    return run


def chat(
    run: Path,
    question: str,
    /,
    steps: int = 200,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> str:
    """Ask a model that was trained by `instruct`.

    Args:
        run: its run folder, or a folder with a model and its tokeniser.
        question: in words.
        steps: most tokens of the answer.
        temperature: 0 takes the most probable token.
        seed: of the draws.
        device: where to compute.
    """
    folder = model_folder(run)
    model, tokeniser = load(folder, device), load_tokeniser(folder)
    said = reply(model, tokeniser, [Message("user", question)], steps=steps, temperature=temperature, seed=seed)
    print(said)
    return said
