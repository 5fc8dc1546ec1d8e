"""The law is fitted as least squares does it, Apple's is their equation, and what they say is told with its limits."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import linregress

from domains.command_line import main
from domains.language.distillation.apple_law import RANGE, best_teacher, distilled_loss, loss_from_teacher
from domains.language.distillation.law import PUBLISHED, LinearLaw, Trial, fit_law, optimal_teachers, read_trials
from domains.language.distillation.recommendation import recommend_teacher

STUDENTS = np.array([3.0, 5.0, 8.0, 13.0]) * 1e6
TEACHERS = np.arange(6, 40, 2) * 1e6


def trials(noise: float = 0.0, seeds: int = 1) -> list[Trial]:
    """Losses with a least value at 2.2 S + 1 million."""
    generator = np.random.default_rng(0)
    return [
        Trial(s, t, 2 + ((t - 2.2 * s - 1e6) / 1e8) ** 2 + noise * generator.normal())
        for s in STUDENTS
        for t in TEACHERS
        for _ in range(seeds)
    ]


def test_the_best_teachers_are_found_and_a_line_is_put_through_them():
    told = trials()
    best = optimal_teachers(told)
    wanted = [TEACHERS[np.abs(TEACHERS - 2.2 * s - 1e6).argmin()] for s in STUDENTS]
    assert [each.teacher for each in best] == wanted
    assert all(each.inside for each in best)
    law, line = fit_law(told), linregress(STUDENTS, wanted)
    assert law.slope == pytest.approx(line.slope)
    assert law.intercept == pytest.approx(line.intercept)
    assert law.r_squared == pytest.approx(line.rvalue**2)
    assert (law.smallest, law.greatest) == (STUDENTS[0], STUDENTS[-1])


def test_a_best_teacher_at_the_end_of_those_tried_is_no_rise_and_fall():
    best = optimal_teachers([Trial(1.0, t, 1 / t) for t in (2.0, 3.0, 4.0)])
    assert not best[0].inside


def test_the_interval_is_that_of_runs_drawn_again():
    told = trials(noise=2e-3, seeds=3)
    law = fit_law(told, draws=400)
    generator, slopes = np.random.default_rng(5), []
    table = np.array([each.loss for each in told]).reshape(len(STUDENTS), len(TEACHERS), 3)
    for _ in range(400):
        drawn = np.take_along_axis(table, generator.integers(3, size=table.shape), -1).mean(-1)
        slopes.append(linregress(STUDENTS, TEACHERS[drawn.argmin(1)]).slope)
    wanted = np.quantile(slopes, [0.025, 0.975])
    np.testing.assert_allclose(law.slope_interval(), wanted, atol=0.2 * np.ptp(wanted))
    low, high = law.interval(6e6)
    assert low < law.teacher(6e6) < high
    # With one seed it is points that are drawn, and a line through all of them does not move.
    exact = [Trial(s, t, abs(t - 3 * s)) for s in (1.0, 2.0, 4.0) for t in (3.0, 6.0, 12.0)]
    assert fit_law(exact, draws=50).slope_interval() == pytest.approx((3.0, 3.0))


def test_one_pair_tried_twice_does_not_make_the_others_certain():
    once = trials(noise=2e-3, seeds=1)
    twice = [*once, dataclasses.replace(once[0], loss=once[0].loss + 1e-6)]
    assert fit_law(twice).slope_interval() == pytest.approx(fit_law(once).slope_interval())
    assert np.ptp(fit_law(twice).slope_interval()) > 0


def test_apples_law_is_their_equation_and_their_measurement():
    # Their student of 546 million from a teacher of 1.82 billion, both at 20 tokens a parameter, was measured at 2.42.
    assert float(loss_from_teacher(546e6, 20 * 546e6, 1.82e9)) == pytest.approx(2.42, abs=0.01)
    n, d, teacher = 1e9, 8e10, 2.2
    alone = 1.220 + math.pow(3355 / n**0.408 + 18186 / d**0.431, 0.452)
    gap = math.pow(1 + math.pow(teacher / (alone * 1.315), 1 / 0.09), -522.6 * 0.09) / math.pow(teacher, 2.549)
    wanted = teacher + gap * math.pow(2243 / n**0.321 + 24181 / d**0.637, 0.764)
    assert float(distilled_loss(n, d, teacher)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("tokens_each", [80, 320])
def test_apples_best_teacher_is_many_times_the_student(tokens_each):
    student = 1e9
    found = best_teacher(student, tokens_each * student)
    assert 8 <= found / student <= 10.5
    losses = [float(loss_from_teacher(student, tokens_each * student, found * factor)) for factor in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_a_recommendation_says_what_each_law_may_say():
    said = recommend_teacher(1e9, fitted=LinearLaw(3.0, 1e6, 0.9, np.tile([3.0, 1e6], (5, 1)), 1e8, 2e9), tokens=8e10)
    fitted, published, apple = said.advice
    assert fitted.teacher == pytest.approx(3.001e9)
    assert fitted.interval == pytest.approx((3.001e9, 3.001e9))
    assert published.teacher == pytest.approx(2.498e9 - 11.498e6)
    assert apple.teacher == best_teacher(1e9, 8e10)
    assert said.teacher == fitted.teacher
    assert said.sparsity == pytest.approx(1 - 1 / 3.001)
    assert len(said.disagreements) == 2  # 3.0 and 2.49 billion are called alike


def test_laws_keep_silent_where_they_do_not_reach():
    published, apple = recommend_teacher(3e6).advice
    assert published.teacher is None  # 2.5 * 3 - 11.5 is below zero
    assert apple.teacher is None
    assert recommend_teacher(3e6).sparsity is None
    assert recommend_teacher(RANGE[0] / 2).advice[1].teacher is None
    assert recommend_teacher(20e6).teacher == pytest.approx(PUBLISHED.teacher(20e6))


def test_the_command_reads_trials_and_tells(tmp_path, capsys):
    file = tmp_path / "trials.jsonl"
    file.write_text("\n".join(json.dumps(vars(each)) for each in trials(1e-3, 2)))
    assert main(["language", "recommend-teacher", "--student-parameters", "6M", "--trials", str(file)]) == 0
    assert f"{fit_law(read_trials(file)).teacher(6e6) / 1e6:,.1f}M" in capsys.readouterr().out
    assert main(["language", "recommend-teacher", "--student-parameters", "many"]) == 1
    file.write_text('{"student": 1}')
    assert main(["language", "recommend-teacher", "--student-parameters", "6M", "--trials", str(file)]) == 1


def test_wrong_trials_are_refused():
    with pytest.raises(ValueError):
        Trial(0.0, 1.0, 1.0)
    with pytest.raises(ValueError):
        Trial(1.0, 1.0, math.nan)
    with pytest.raises(ValueError):
        fit_law([each for each in trials() if each.student < 8e6])
    with pytest.raises(ValueError):
        fit_law([each for each in trials() if each.teacher == TEACHERS[0]])
    with pytest.raises(ValueError):
        recommend_teacher(0.0)
    with pytest.raises(ValueError):
        recommend_teacher(1e9, tokens=0.0)
    with pytest.raises(ValueError):
        best_teacher(1e6, 1e9)
