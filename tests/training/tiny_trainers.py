"""A tiny training by every trainer that `run_training` is under: what the tests of several processes run.

Each takes a run folder and the number of parts in which a process computes a step, and gives what it trained. For
programs in a process of their own (`tests.training.ranks`): the corpus in ``tokens`` is made before by `write_corpus`.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from domains.language.corpus import CorpusConfig
from domains.language.distillation.adaptation import adapt
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.train import distil
from domains.language.instruction.chat import Conversation
from domains.language.instruction.tasks import instructions
from domains.language.instruction.train import InstructionConfig, tune
from domains.language.reversal import chaining
from domains.language.reversal.additions import AdditionConfig
from domains.language.reversal.arithmetic import ArithmeticConfig, arithmetic_task
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.recognisers import RecogniserConfig
from domains.language.reversal.train import save as save_facts
from domains.language.reversal.train import train as train_facts
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import ByteTokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from domains.language.train import train as train_language
from domains.microstructure.data import read_data
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.sketch import SketchConfig, train_cleaner
from domains.microstructure.stress import StressConfig
from domains.microstructure.stress_training import StressTraining, train_stress
from domains.microstructure.train import TrainConfig as JanusTraining
from domains.microstructure.train import train_janus
from domains.turbulence import training_data
from domains.turbulence.descent import DescentConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.innovation_forecaster import InnovationConfig
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.token_forecaster import TokenConfig
from domains.turbulence.train import TrainConfig, train
from domains.turbulence.train_innovations import InnovationTrainConfig, train_innovations
from domains.turbulence.train_tokens import TokenTrainConfig, train_tokens
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import RunFolder, TrainingConfig
from tests.training.ranks import ROOT, rank
from tests.training.stopping import Stopping

STEPS = 6
NOISE = NoiseForecasterConfig(channels=6, products=4, blocks=2, modes=(6, 6), noise_fields=1, noise_vector=2)
CORE = DeterministicConfig(SeparableNetwork(channels=4, products=3, blocks=1))
INNOVATIONS = InnovationNetworkConfig(
    width=16, layers=1, heads=2, features=3, channels=4, products=3, blocks=1, rank=4, seed_dim=4, knots=4
)
FRAMES = TokenConfig(digits=3, levels=5, coder_width=6, width=16, layers=1, heads=2, rank=3, seed_dim=4)
SMALL = TransformerConfig(width=16, layers=2, heads=2)

# Looks at the held-out samples, which are not what is tested, take most of the time.
training_data._STARTS, training_data._MEMBERS, training_data._LEADS = 2, 2, 1


@functools.cache
def flow() -> Any:
    """Frames that every forecaster learns from."""
    return read_flow(str(ROOT / "datasets/kolmogorov_flow/sample.h5"), scan=False)


@functools.cache
def cells() -> Any:
    """Cells of two phases."""
    return read_data(str(ROOT / "datasets/two_phase_cells/sample.h5"))


def janus_config() -> JanusConfig:
    """A small model of the cells."""
    return JanusConfig(cells().config.size, ("conductivity_xx", "youngs_y"), latent=4, width=4, modes=4, rank=2)


def untrained_janus() -> Janus:
    """For trainings that need a model."""
    torch.manual_seed(0)
    return Janus(janus_config(), torch.zeros(2), torch.ones(2)).eval()


def noise_forecaster(run: RunFolder | None, parts: int, optimiser: Literal["soap", "adamw"] = "soap") -> Any:
    """Head A, whose noise is made as loud as it errs at last."""
    config = TrainConfig(
        NOISE,
        steps=STEPS,
        batch=4,
        accumulation=parts,
        optimiser=optimiser,
        rate=0.1,
        rollout_from=0.5,
        spread_windows=4,
    )
    return train(flow(), config, run=run, progress=False)


def core(run: RunFolder | None, parts: int, steps: int = STEPS) -> Any:
    """The forecaster without noise that head B stands on."""
    return train(flow(), TrainConfig(CORE, steps=steps, batch=4, accumulation=parts), run=run, progress=False)


def innovations(run: RunFolder, parts: int) -> Any:
    """Head B: its code is set before, its spectrum held after the training."""
    config = InnovationTrainConfig(
        InnovationConfig(INNOVATIONS, levels=2, patch=7, bins=8),
        DescentConfig(steps=STEPS, batch=4, accumulation=parts, rate=1e-2),
        examples=60,
        spectrum_steps=6,
        spectrum_runs=3,
    )
    return train_innovations(core(None, parts, steps=1), flow(), config, run=run, progress=False)


def tokens_of_frames(run: RunFolder, parts: int) -> Any:
    """Frames as tokens: a code, then their model."""
    coder = DescentConfig(steps=3, batch=4, accumulation=parts)
    config = TokenTrainConfig(FRAMES, coder, dataclasses.replace(coder, steps=STEPS))
    return train_tokens(flow(), config, run=run, progress=False)


def janus(run: RunFolder, parts: int) -> Any:
    """Cells and their properties."""
    config = JanusTraining(steps=STEPS, batch=8, accumulation=parts, rate=0.01)
    return train_janus(cells(), janus_config(), config, run=run, progress=False)


def cleaner(run: RunFolder, parts: int) -> Any:
    """Drawings of cells."""
    config = SketchConfig(touch=4, steps=STEPS, batch=8, accumulation=parts, rate=1e-2, drawings=24)
    return train_cleaner(cells().cells, untrained_janus(), config, run=run, progress=False)


def stress(run: RunFolder, parts: int) -> Any:
    """The local stress of cells."""
    training = StressTraining(cells=8, steps=STEPS, batch=4, accumulation=parts, rate=1e-2)
    sizes = StressConfig(latent=4, width=4)
    return train_stress(cells().cells, untrained_janus(), sizes, training, run=run, progress=False)


def text_training(parts: int, distribution: Literal["ddp", "fsdp"] = "ddp") -> TrainingConfig:
    """Of all models of text."""
    return TrainingConfig(
        steps=STEPS,
        batch=8,
        accumulation=parts,
        rate=3e-3,
        warm_up=2,
        evaluate_every=4,
        log_every=1,
        distribution=distribution,
    )


def language(run: RunFolder, parts: int) -> Any:
    """A language model of generated embeddings."""
    config = LanguageConfig(
        TransformerConfig(width=24, layers=2, heads=2),
        embedding="generated:rank=8,frequent=16",
        context=16,
        validation_windows=8,
        training=text_training(parts),
    )
    return train_language(Tokens("tokens"), config, run=run, samples=False, progress=False)[0]


def text_model(seed: int) -> LanguageModel:
    """An untrained one."""
    return LanguageModel(LanguageModelConfig(257, SMALL), torch.Generator().manual_seed(seed))


def distillation(run: RunFolder, parts: int, distribution: Literal["ddp", "fsdp"] = "ddp") -> Any:
    """A student whose target moves with the steps, with states to match."""
    student = text_model(1)
    config = DistillationConfig(
        divergence="taid",
        hidden=0.1,
        context=16,
        validation_windows=8,
        training=text_training(parts, distribution),
    )
    distil(student, text_model(0), Tokens("tokens"), config, run=run, progress=False)
    return student


def adaptation(run: RunFolder, parts: int) -> Any:
    """A teacher made used to a corpus."""
    teacher = text_model(0)
    config = DistillationConfig(
        context=16, validation_windows=8, adapt_steps=STEPS, adapt_rate=1e-3, training=text_training(parts)
    )
    adapt(teacher, Tokens("tokens"), config, run=run, progress=False)
    return teacher


def instruction(run: RunFolder, parts: int) -> Any:
    """Answers, of several lengths."""
    model = text_model(0)
    talks: list[Conversation] = [each.conversation for each in instructions(60, seed=0)]
    config = InstructionConfig(context=256, measured=8, training=text_training(parts))
    tune(model, ByteTokeniser(), talks[:40], talks[40:], config, run=run, progress=False)
    return model


def facts(run: RunFolder, parts: int) -> Any:
    """Facts that are told one way."""
    told = reversible_facts(ReversibleFactsConfig(both_ways=20, one_way=10, multiplicity=3))
    training = TrainingConfig(steps=2 * STEPS, batch=32, accumulation=parts, rate=3e-3, warm_up=2, log_every=1)
    return train_facts(told, JointModelConfig(width=16), training, run=run, progress=False)[0]


def chain(run: RunFolder, parts: int) -> Any:
    """Sums that are learnt, then values that follow are written; no record is kept of it."""
    task = arithmetic_task(
        ArithmeticConfig(modulus=23, copies=4, steps=(3, 9), branching=3, problems=6, values=(0, 22), told=0.6)
    )
    training = TrainingConfig(steps=STEPS, batch=32, accumulation=parts, rate=5e-3, warm_up=2)
    writing = AdditionConfig(steps=4, batch=256)
    model = JointModelConfig(recogniser=RecogniserConfig(rows=256), width=32)
    config = chaining.ChainingConfig(model, training, writing, epochs=1, rounds=2, sure=0.01)
    learnt = chaining.learn_core(task, config, progress=False)
    return chaining.write_trees(learnt, task, config, progress=False)[0]


def write_corpus() -> None:
    """Some lines of text, as tokens in the folder ``tokens``."""
    texts = Path("texts")
    texts.mkdir()
    for i in range(40):
        (texts / f"{i}.txt").write_text(f"line {i} says {i * i} and no more\n" * 20)
    write_tokens("tokens", TokenizeConfig(CorpusConfig("texts", validation=0.2, test=0.1)), progress=False)


TRAINERS: dict[str, Callable[[RunFolder, int], Any]] = {
    "noise forecaster": noise_forecaster,
    "noise forecaster, AdamW": functools.partial(noise_forecaster, optimiser="adamw"),
    "core": core,
    "innovations": innovations,
    "tokens of frames": tokens_of_frames,
    "janus": janus,
    "cleaner": cleaner,
    "stress": stress,
    "language": language,
    "distillation": distillation,
    "distillation, spread": functools.partial(distillation, distribution="fsdp"),
    "adaptation": adaptation,
    "instruction": instruction,
    "facts": facts,
    "chain": chain,
}


def trained(name: str, folder: Path, parts: int, stop: int = 0, launcher: bool = False) -> None:
    """Train in a folder, or until a signal at a step; each process keeps what it has at the end."""
    made = TRAINERS[name](Stopping(folder, stop, launcher), parts)
    kept = folder / "ends" / str(rank())
    if name in ("facts", "chain"):
        save_facts(made, kept, {})
    else:
        made.save(kept)
