"""A sweep trains each cell once, in one process or several, and its report says what the cells measured."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import domains.language.distillation.sweep as module
from domains.command_line import main
from domains.language.corpus import CorpusConfig
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.law import read_trials
from domains.language.distillation.pruned_model import load
from domains.language.distillation.sweep import ARMS, SweepConfig, cells, sweep
from domains.language.distillation.sweep_report import Point, curses, law, points, statement, write_sweep_report
from domains.language.evaluate import evaluate
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from separable.sequence import TransformerConfig
from separable.training import TrainingConfig

TRAINING = TrainingConfig(steps=12, batch=4, rate=5e-3, warm_up=2, evaluate_every=12)
CONFIG = SweepConfig(
    (9_000,),
    (12_000, 20_000),
    arms=ARMS,
    seeds=1,
    patience=20.0,
    teacher=LanguageConfig(TransformerConfig(width=16, layers=2, heads=2), "table", "table:tied=true", 16, 4, TRAINING),
    student=DistillationConfig(
        context=16, validation_windows=4, calibration=2, training=dataclasses.replace(TRAINING, steps=10)
    ),
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Tokens:
    folder = tmp_path_factory.mktemp("text")
    (folder / "text").mkdir()
    for i in range(60):
        (folder / "text" / f"{i:02d}.txt").write_text(f"{i}: " + " ".join("abcd"[(i * j) % 4] * 3 for j in range(30)))
    corpus = CorpusConfig(str(folder / "text"), validation=0.15, test=0.15)
    return Tokens(write_tokens(folder / "tokens", TokenizeConfig(corpus), progress=False))


@pytest.fixture(scope="module")
def finished(tokens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return folder, sweep(tokens, folder, CONFIG, progress=False)


def test_every_cell_is_trained_at_its_size_for_its_tokens(tokens, finished):
    folder, rows = finished
    assert [row["arm"] for row in rows] == ["teacher"] * 2 + [arm for arm in ARMS for _ in range(2)]
    for row in rows:
        wanted = row["student"] or row["teacher"]
        assert abs(row["parameters"] - wanted) < 0.01 * wanted, row
    by = {(row["arm"], row["teacher"]): row for row in rows}

    def products(model) -> int:  # numbers of layers and tied table
        return sum(p.numel() for p in model.parameters()) if model.head.tied else 0

    for teacher in CONFIG.teachers:
        read = products(load(folder / f"teacher-{teacher}-seed_0" / "model"))
        for arm in ARMS:
            row = by[arm, teacher]
            model = load(folder / f"{arm}-9000-{teacher}-seed_0" / "model")
            cost = 6 * products(model) + (0 if arm == "alone" else 2 * read)
            assert row["operations"] == cost * row["steps"] * 4 * 16
            assert row["nats"] == pytest.approx(evaluate(model, tokens, "test", 16).nats_per_token, rel=1e-12)
        assert by["pruned", teacher]["steps"] == by["scratch", teacher]["steps"] == 10
        scratch, alone = by["scratch", teacher], by["alone", teacher]
        assert alone["operations"] == pytest.approx(scratch["operations"], rel=0.05)  # to a whole step
    costs = [by["scratch_compute", teacher]["operations"] for teacher in CONFIG.teachers]
    assert costs[1] == pytest.approx(costs[0], rel=0.06)
    assert by["scratch_compute", 20_000]["steps"] < by["scratch_compute", 12_000]["steps"] == 10


def test_finished_cells_are_left_and_others_are_refused(tokens, finished, monkeypatch):
    folder, rows = finished

    def never(*_):
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(module, "_work", never)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError):
        sweep(tokens, folder, CONFIG, progress=False)
    monkeypatch.delenv("WORLD_SIZE")
    assert sweep(tokens, folder, CONFIG, progress=False) == rows
    other = dataclasses.replace(CONFIG, student=dataclasses.replace(CONFIG.student, share=0.9))
    with pytest.raises(FileExistsError):
        sweep(tokens, folder, other, progress=False)
    tiny = dataclasses.replace(CONFIG, students=(300,), arms=("scratch",))  # no head is that narrow
    with pytest.raises(ValueError):
        sweep(tokens, folder, tiny, progress=False)


def test_two_processes_divide_the_cells(tokens, tmp_path):
    program = (
        "import sys; from domains.command_line import main; sys.exit(main(['language', 'capacity-gap', *sys.argv[1:]]))"
    )
    told = "--students 9K --teachers 12K 20K --arms pruned --seeds 1 --patience 20 --width 16 --layers 2 --heads 2"
    told += " --embedding table --head table:tied=true --context 16 --steps 12 --batch 4 --warm-up 2"
    told += " --lesson.context 16 --lesson.training.steps 10 --lesson.training.batch 4 --lesson.calibration 2"
    command = [sys.executable, "-c", program, str(tokens.folder), "--folder", str(tmp_path / "shared"), *told.split()]
    root = Path(__file__).parents[4]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "no law is fitted" in said[0]
    names = [cell.name for cell in cells(SweepConfig((9_000,), (12_000, 20_000), ("pruned",), seeds=1))]
    for name in names:
        assert (tmp_path / "shared" / name / "result.json").is_file()
        lines = (tmp_path / "shared" / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line).get("step") for line in lines]
        assert steps == sorted(steps)  # trained once, from the first step to the last
        assert not (tmp_path / "shared" / name / "claim-1").exists()
    assert len(read_trials(tmp_path / "shared" / "trials-pruned.jsonl")) == 2
    assert (tmp_path / "shared" / "report.html").is_file()


def law_rows(noise: float) -> list[dict[str, object]]:
    """Losses with a best teacher of 3 S + 5, and seeds that differ."""
    random, rows = np.random.default_rng(0), []
    for student in (10, 20, 40):
        for teacher in (20, 35, 50, 65, 95, 125, 155):
            for seed in range(3):
                nats = ((teacher - 3 * student - 5) / 100) ** 2 + noise * float(random.normal())
                rows.append(
                    {"arm": "pruned", "student": student, "teacher": teacher, "seed": seed}
                    | {"teacher_parameters": teacher + 1, "nats": nats}
                )
    return rows


def test_the_report_finds_a_law_that_is_there(tmp_path):
    found = points(law_rows(0.0), "pruned")
    fitted = law(found)
    assert (fitted.slope, fitted.intercept) == pytest.approx((3, 6))  # teachers have one parameter more
    for row in curses(found):
        assert row["curse"]
        assert row["best teacher"] == 3 * row["student"] + 6
    assert "3 of 3 students" in statement(found)
    write_sweep_report(tmp_path, law_rows(0.0))
    for name in ("curves", "law-pruned"):
        assert (tmp_path / "figures" / f"{name}.png").is_file()
    assert len(read_trials(tmp_path / "trials-pruned.jsonl")) == 3 * 7 * 3


def test_a_rise_within_the_spread_of_seeds_is_no_curse():
    flat = [Point(10, 20.0, (1.0, 1.2, 1.1)), Point(10, 30.0, (1.0, 1.1, 1.05)), Point(10, 40.0, (1.2, 1.0, 1.1))]
    (row,) = curses(flat)
    assert row["best teacher"] == 30
    assert not row["curse"]
    # The deviation of a difference of two means of three, by hand.
    variances = [np.var([1.2, 1.0, 1.1], ddof=1) / 3, np.var([1.0, 1.1, 1.05], ddof=1) / 3]
    assert row["deviation of that"] == pytest.approx(sum(variances) ** 0.5)
    rising = [*flat[:2], Point(10, 40.0, (1.5, 1.6, 1.55))]
    assert curses(rising)[0]["curse"]


def test_wrong_settings_are_refused():
    for wrong in (
        {"students": (20_000,)},
        {"arms": ("other",)},
        {"seeds": 0},
        {"student": DistillationConfig(context=16)},  # minutes, not steps
        {"student": dataclasses.replace(CONFIG.student, context=8)},
        {"student": dataclasses.replace(CONFIG.student, adapt_steps=3)},
        {"teachers": (12_000, 12_000)},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(CONFIG, **wrong)
    with pytest.raises(FileNotFoundError):
        Tokens("nowhere")
    assert main(["language", "capacity-gap", "nowhere"]) == 1
