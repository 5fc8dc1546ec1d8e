"""The verbs of `separable language` on distillation, plain functions: distil, capacity_gap, recommend_teacher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import tyro

from domains.language.digests import digest_of_model
from domains.language.distillation.adaptation import adapt
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.law import fit_law, optimal_teachers, read_trials
from domains.language.distillation.logits_cache import LogitsCache, LogitsCacheConfig, write_logits
from domains.language.distillation.pruned_model import load, model_folder
from domains.language.distillation.pruning import axis_sparsity, prune
from domains.language.distillation.recommendation import Recommendation
from domains.language.distillation.recommendation import recommend_teacher as recommended
from domains.language.distillation.students import student_config
from domains.language.distillation.sweep import ARMS, SweepConfig, cells, sweep
from domains.language.distillation.sweep_report import points, statement, write_sweep_report
from domains.language.distillation.train import calibrated
from domains.language.distillation.train import distil as distil_model
from domains.language.tokenisers import load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig, untrained
from separable.files import read_json, refusing
from separable.sequence import LanguageModel
from separable.training import RunFolder, is_main_process

_CONFIG, _SWEEP = DistillationConfig(), SweepConfig((1,), (2,))
_UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def distil(
    tokens: Path = Path("runs/tokens"),
    /,
    teacher: Path = Path("runs/language"),
    run: Path = Path("runs/student"),
    sparsity: float | None = None,
    student: str | None = None,
    cache: Path | None = None,
    entries: int | None = None,
    drawn: bool = False,
    config: tyro.conf.OmitArgPrefixes[DistillationConfig] = _CONFIG,
    device: str = "cpu",
) -> Path:
    """Train a student by its teacher, from which it is pruned or not; a run that was cut off goes on exactly.

    Args:
        tokens: a folder of `separable language tokenize`, of the teacher's tokeniser.
        teacher: a run folder of `separable language train`, or a folder with a model and its tokeniser.
        run: the run folder: settings, record, checkpoints, report, the student; in teacher the adapted one, if any.
        sparsity: share of the teacher's parameters that pruning takes; 0.6, the published optimum, if nothing is said.
        student: of a student from scratch instead, JSON such as {"transformer": {"width": 64}, "embedding":
            "generated:rank=16"}, a file of it, or the folder of a model.
        cache: a folder for the teacher's distributions, computed once for any number of students.
        entries: most probable tokens, or draws, that are kept of a position there; if nothing is said those of the
            folder, and 32 in a new one.
        drawn: keep draws, which are unbiased, and not the most probable tokens.
        config: of loss and training.
        device: where to train, such as cuda.
    """
    if sparsity is not None and student is not None:
        raise ValueError(f"sparsity, student: expected one of them, got {sparsity} and {student}")
    folder = model_folder(teacher)
    held = Tokens(tokens)
    if load_tokeniser(folder).digest != held.digest:
        raise ValueError(
            f"tokens: expected the teacher's tokeniser, {load_tokeniser(folder).digest}, got {held.digest}; "
            f"tokenise the text with that of {folder}"
        )
    model = load(folder, device).eval()
    wanted = None if student is None else student_config(student, model.config.vocabulary)
    sparsity = (0.6 if sparsity is None else sparsity) if wanted is None else None
    if sparsity is not None:
        axis_sparsity(sparsity)  # refused before anything is written
    keeping = None if cache is None else _keeping(cache, config, entries, drawn)
    settings: dict[str, Any] = {
        "teacher": str(folder),
        "tokens": held.digest,
        "sparsity": sparsity,
        "student": None if wanted is None else wanted.settings(),
        "cache": None if cache is None else str(cache),
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
    }
    told = {"corpus": held.corpus, "kept": None if keeping is None else dataclasses.asdict(keeping)}
    described = run / "config.json"
    if described.exists():  # older runs go on without
        begun = read_json(described, "the settings of a run")
        told = {name: value for name, value in told.items() if name in begun}
    settings |= told
    seed = config.training.seed
    inputs = {"teacher": digest_of_model(model)}
    made = RunFolder(run, settings, seed, inputs)
    if config.adapt_steps:
        adapt(model, held, config, run=RunFolder(run / "teacher", settings, seed, inputs), device=device)
    learner = (
        untrained(held, wanted, seed)
        if wanted is not None
        else prune(model, calibrated(model, held, config), sparsity or 0.0)
    )
    source: LanguageModel | LogitsCache = model
    if cache is not None:  # computed or finished now where they are missing
        source = LogitsCache(write_logits(cache, model, held, keeping), held)
    result = distil_model(learner, source, held, config, run=made, device=device)
    if is_main_process():
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result.best_scores.items())
        print(
            f"{run}: {learner.n_parameters:,} parameters by a teacher of {model.n_parameters:,}, {result.steps} steps "
            f"in {result.seconds / 60:.1f} minutes, {scores or f'loss {result.loss:.4f}'}"
        )
    return run


def _keeping(folder: Path, config: DistillationConfig, entries: int | None, drawn: bool) -> LogitsCacheConfig:
    """What is kept of a teacher in a folder, if there is something, or is to be."""
    if not (folder / "index.json").is_file():
        kind: Literal["top_k", "sampled"] = "sampled" if drawn else "top_k"
        return LogitsCacheConfig(kind, 32 if entries is None else entries, config.context, seed=config.training.seed)
    with refusing(folder / "index.json", "the index of a teacher's logits"):
        held = LogitsCacheConfig(**read_json(folder / "index.json")["made_from"]["config"])
    if entries not in (None, held.entries) or (drawn and held.kind != "sampled"):
        asked = f"{held.entries if entries is None else entries} {'draws' if drawn else 'entries'}"
        raise ValueError(f"{folder}: holds {held.kind} of {held.entries} entries, got {asked}; choose another folder")
    return held


def capacity_gap(
    tokens: Path = Path("runs/tokens"),
    /,
    folder: Path = Path("runs/capacity_gap"),
    students: tuple[str, ...] = ("100K", "200K", "400K", "800K"),
    teachers: tuple[str, ...] = ("150K", "300K", "600K", "1.2M", "2.4M", "4.8M"),
    arms: tuple[str, ...] = ARMS[:3],
    seeds: int = 3,
    part: str = "test",
    patience: float = 120.0,
    wait: bool = True,
    config: tyro.conf.OmitArgPrefixes[LanguageConfig] = _SWEEP.teacher,
    lesson: DistillationConfig = _SWEEP.student,
    device: str = "cpu",
) -> Path:
    """Distil students of several sizes from teachers of several sizes, and fit the law of capacity gap to them.

    Finished cells are never run again, and those that were cut off go on; the same command in several processes, on
    one machine or on several that share the folder, divides the cells between them.

    Args:
        tokens: a folder of `separable language tokenize`.
        folder: for a run folder of each cell, the report, pictures, and trials for `recommend-teacher`.
        students: parameters of the students, such as 200K.
        teachers: parameters of the teachers, such as 1.2M.
        arms: pruned (from the teacher, as published), scratch (from scratch, as many tokens), scratch_compute (from
            scratch, as much compute with every teacher), alone (no teacher, as much compute as with it).
        seeds: trainings of each cell, each with teachers of its own; those of config and lesson have no effect.
        part: that is measured: train, validation or test.
        patience: seconds without a sign of life after which a process has lost its cell.
        wait: for cells of other processes, to take over those of dead ones.
        config: of all models but for their width, and of all training from scratch; it needs a number of steps.
        lesson: of the distillation; it needs a number of steps.
        device: where to train.
    """
    asked = SweepConfig(
        tuple(round(_number("students", size)) for size in students),
        tuple(round(_number("teachers", size)) for size in teachers),
        arms,
        seeds,
        part,
        patience,
        config,
        lesson,
    )
    rows = sweep(Tokens(tokens), folder, asked, wait=wait, device=device)
    for arm in arms:
        found = points(rows, arm)
        for point in found:
            spread = f"{min(point.nats):.4f} to {max(point.nats):.4f}"
            print(f"{arm:15} {point.student:>12,} by {point.teacher:>14,.0f}  {point.mean:.4f} nats ({spread})")
        if found:
            print(f"{arm}: {statement(found)}")
    missing = len(cells(asked)) - len(rows)
    print(f"{write_sweep_report(folder, rows)}" + (f"; {missing} cells are with other processes" if missing else ""))
    return folder


def recommend_teacher(student_parameters: str, trials: Path | None = None, tokens: str | None = None) -> Recommendation:
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
