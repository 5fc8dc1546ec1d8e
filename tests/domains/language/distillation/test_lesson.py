"""The loss of a lesson is that of its formula with all logits in memory, and its target moves as TAID says."""

import math

import pytest
import torch

from domains.language.distillation.lesson import Lesson
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig


def model(seed: int, width: int, layers: int) -> LanguageModel:
    config = LanguageModelConfig(29, TransformerConfig(width=width, layers=layers, heads=2))
    made = LanguageModel(config, torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        made.embedding.weight.mul_(30)
    return made


def states(model: LanguageModel, tokens: torch.Tensor) -> list[torch.Tensor]:
    from separable.sequence.rotary import rotary_angles

    sizes, x, found = model.config.transformer, model.embedding(tokens), []
    angles = rotary_angles(0, tokens.shape[1], sizes.head_width, sizes.rotary_base, device=x.device, dtype=x.dtype)
    for block in model.transformer.blocks:
        x = x + block.attention(block.attention_norm(x), angles)
        x = x + block.perceptron(block.perceptron_norm(x))
        found.append(x)
    return found


def test_taid_with_matched_states_is_its_formula_and_its_target_moves():
    student, teacher = model(0, 8, 2), model(1, 16, 4).eval()
    lesson = Lesson(student, teacher, divergence="taid", share=0.7, temperature=2.0, hidden=0.4).double()
    generator = torch.Generator().manual_seed(5)
    u, gain, earlier = float(torch.tensor(0.4)), 0.0, []  # as a float32 holds it
    for call in range(4):
        drawn = torch.randint(29, (2, 7), generator=generator)
        tokens, targets = drawn[:, :-1], drawn[:, 1:]
        loss, told = lesson((tokens, targets), teacher, call / 20)
        # By hand, with everything in memory.
        mine, theirs = student(tokens), teacher(tokens).detach()
        if call > 1:
            gain = 0.99 * gain + 0.01 * (earlier[-2] - earlier[-1]) / earlier[-2]
            u = min(1.0, max(0.4 + 0.6 * call / 20, u + 5e-4 / (1 + math.exp(-gain)) * (1 - u)))
        # The interpolation is of logarithms at temperature T; softmax makes it one of logits.
        target = ((1 - u) * mine.detach() / 2 + u * theirs / 2).softmax(-1)
        apart = (target * (target.log() - (mine / 2).log_softmax(-1))).sum(-1).mean() * 4
        entropy = torch.nn.functional.cross_entropy(mine.flatten(0, 1), targets.flatten())
        pairs = zip(states(student, tokens), [states(teacher, tokens)[i].detach() for i in (1, 3)], strict=True)
        weights = list(lesson.matching.parameters())
        matched = sum(((s @ w.T - t) ** 2).mean() for (s, t), w in zip(pairs, weights, strict=True)) / 2
        wanted = 0.3 * entropy + 0.7 * apart + 0.4 * matched
        assert float(told["mixing"]) == pytest.approx(u, rel=1e-6)
        assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-9)
        parameters = [*student.parameters(), *weights]
        slopes = torch.autograd.grad(loss, parameters)
        for slope, right in zip(slopes, torch.autograd.grad(wanted, parameters), strict=True):
            torch.testing.assert_close(slope, right, rtol=1e-7, atol=1e-10)
        earlier.append(float(apart.detach()) / 4)


def test_the_target_stands_still_within_a_step_and_moves_by_the_mean_of_its_parts():
    lesson, teacher = Lesson(model(0, 8, 2), divergence="taid").double(), model(1, 16, 4).eval()
    told = []
    for done in (0.0, 0.5):
        for part in range(3):
            drawn = torch.randint(29, (2, 7), generator=torch.Generator().manual_seed(part))
            told.append(lesson((drawn[:, :-1], drawn[:, 1:]), teacher, done)[1])
        assert float(lesson.last) == pytest.approx(float(sum(each["divergence"] for each in told[-3:])) / 3)
    assert [float(each["mixing"]) for each in told] == pytest.approx([0.4] * 6)  # two divergences give the first gain
    lesson((drawn[:, :-1], drawn[:, 1:]), teacher, 0.75)
    assert float(lesson.divergence.mixing) == pytest.approx(0.85)


def test_states_need_a_teacher():
    with pytest.raises(ValueError):
        Lesson(model(0, 8, 2), None, hidden=1.0)
