"""The verbs of `separable language distillation`, plain functions: distil, recommend_teacher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tyro

from domains.language.distillation.law import fit_law, optimal_teachers, read_trials
from domains.language.distillation.pruned_model import load
from domains.language.distillation.pruning import prune
from domains.language.distillation.recommendation import Recommendation
from domains.language.distillation.recommendation import recommend_teacher as recommended
from domains.language.distillation.train import DistillationConfig, calibrated
from domains.language.distillation.train import distil as distil_model
from domains.language.tokenisers import load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import MODEL
from separable.training import RunFolder, is_main_process

_CONFIG = DistillationConfig()
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def distil(
    tokens: Path = Path("runs/tokens"),
    /,
    teacher: Path = Path("runs/language"),
    run: Path = Path("runs/student"),
    sparsity: float = 0.6,
    config: tyro.conf.OmitArgPrefixes[DistillationConfig] = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Prune a teacher to a student and train the student by it; a run that was cut off goes on exactly.

    Args:
        tokens: a folder of `separable language tokenize`, of the teacher's tokeniser.
        teacher: a run folder of `separable language train`, or a folder with a model and its tokeniser.
        run: the run folder: settings, record, checkpoints, report, the student.
        sparsity: share of the teacher's parameters that goes, before rounding; 0.6 is the published optimum.
        config: of loss and training.
        device: where to train, such as cuda.
    """
    folder = teacher / MODEL if (teacher / MODEL).is_dir() else teacher
    held = Tokens(tokens)
    if load_tokeniser(folder).digest != held.digest:
        raise ValueError(
            f"tokens: expected the teacher's tokeniser, {load_tokeniser(folder).digest}, got {held.digest}; "
            f"tokenise the text with that of {folder}"
        )
    model = load(folder, device).eval()
    student = prune(model, calibrated(model, held, config), sparsity)
    settings = {
        "teacher": str(folder),
        "tokens": held.digest,
        "sparsity": sparsity,
        "student": student.n_parameters,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
    }
    result = distil_model(
        student, model, held, config, run=RunFolder(run, settings, config.training.seed), device=device
    )
    if is_main_process():
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.best_scores.items())
        print(
            f"{run}: {student.n_parameters:,} of the teacher's {model.n_parameters:,} parameters, {result.steps} steps "
            f"in {result.seconds / 60:.1f} minutes, {scores or f'loss {result.loss:.4f}'}"
        )
    return run


def recommend_teacher(
    student_parameters: str, /, trials: Path | None = None, tokens: str | None = None
) -> Recommendation:
    """Say which teacher a student should learn from, by each law, and where the laws disagree.

    Args:
        student_parameters: such as 3M or 1.5B.
        trials: JSON lines with student, teacher and loss, to which the law is fitted.
        tokens: that the student is trained on, such as 100B; by default 20 a parameter.
    """
    student = _number("student_parameters", student_parameters)
    fitted = None
    if trials is not None:
        told = read_trials(trials)
        fitted = fit_law(told)
        low, high = fitted.slope_interval() or (fitted.slope, fitted.slope)
        print(
            f"fitted: T = {fitted.slope:.3f} S {fitted.intercept / 1e6:+.3f} million, R^2 {fitted.r_squared:.4f}, "
            f"slope {low:.3f} to {high:.3f}; published 2.498 S -11.498 million, R^2 0.9957"
        )
        open_ended = [each.student for each in optimal_teachers(told) if not each.inside]
        if open_ended:
            sizes = ", ".join(f"{size / 1e6:,.4g}" for size in open_ended)
            print(f"  no rise and fall over teacher size was seen for students of {sizes} million")
    said = recommended(student, fitted=fitted, tokens=None if tokens is None else _number("tokens", tokens))
    for each in said.advice:
        teacher = "        -" if each.teacher is None else f"{each.teacher / 1e6:8,.1f}M"
        ends = "" if each.interval is None else f" ({each.interval[0] / 1e6:,.1f} to {each.interval[1] / 1e6:,.1f})"
        print(f"{each.source:10}{teacher}{ends}  {each.remark}")
    for sentence in said.disagreements:
        print(f"disagreement: {sentence}")
    if said.sparsity is not None:
        print(f"pruned from the first of these, the student is {100 * said.sparsity:.0f} % sparse")
    return said


def _number(name: str, text: str) -> float:
    unit = _UNITS.get(text[-1:].upper(), 1.0)
    try:
        return float(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise ValueError(f"{name}: expected a number such as 3M or 1.5B, got {text!r}") from None
