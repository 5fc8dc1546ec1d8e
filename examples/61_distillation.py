"""A small language model that learns from a larger one: which teacher, pruned by importance, told by its distributions.

Usage: python 61_distillation.py [steps of the teacher] [steps of the students]

First the laws are asked for the best teacher of a student of a billion parameters; they do not agree, which they say.
Then, at a size for seconds, a teacher is trained on bytes of the standard library, the least important 60 % of it are
pruned, and the student is trained twice from there: told the teacher's distributions, and by the text alone. At this
size and length the two hardly differ.
"""

import copy
import dataclasses
import sys

import torch

from domains.language.corpus import CorpusConfig
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.pruning import prune
from domains.language.distillation.recommendation import recommend_teacher
from domains.language.distillation.train import calibrated, distil
from domains.language.evaluate import mean_loss
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, evenly, train
from separable.sequence import TransformerConfig
from separable.training import TrainingConfig

CONTEXT = 48


def main(teacher_steps: str = "250", student_steps: str = "60") -> None:
    """Ask the laws, train a teacher, prune, distil, compare."""
    torch.manual_seed(0)
    said = recommend_teacher(1e9, tokens=80e9)
    for law in said.advice:
        found = "says nothing" if law.teacher is None else f"a teacher of {law.teacher / 1e9:.1f} billion"
        print(f"{law.source}: {found}")

    corpus = CorpusConfig("docstrings", validation=0.05, test=0.0)
    tokens = Tokens(write_tokens("runs/example_docstrings", TokenizeConfig(corpus, vocabulary=257), progress=False))
    long = TrainingConfig(steps=int(teacher_steps), batch=8, rate=1e-2, warm_up=20, evaluate_every=125)
    teacher, _ = train(
        tokens,
        LanguageConfig(
            TransformerConfig(width=64, layers=2, heads=4),
            embedding="table",
            context=CONTEXT,
            validation_windows=16,
            training=long,
        ),
        progress=False,
    )

    short = dataclasses.replace(long, steps=int(student_steps), evaluate_every=int(student_steps))
    told = DistillationConfig(context=CONTEXT, validation_windows=16, calibration=4, training=short)
    pruned = prune(teacher, calibrated(teacher, tokens, told), sparsity=0.6)
    students = {"pruned, untrained": pruned}
    for name, share in (("told by the teacher", 0.5), ("by the text alone", 0.0)):
        students[name] = copy.deepcopy(pruned)
        distil(students[name], teacher, tokens, dataclasses.replace(told, share=share), progress=False)

    validation = tokens.part("validation")
    windows = evenly(len(validation), CONTEXT, 64)
    for name, model in {"teacher": teacher, **students}.items():
        nats = mean_loss(model.eval(), validation, CONTEXT, windows)
        print(f"{name}: {model.n_parameters:,} parameters, {nats:.3f} nats a byte")


if __name__ == "__main__":
    main(*sys.argv[1:3])
