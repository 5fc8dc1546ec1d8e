"""Losses of distillation equal the plain formulas, in value and gradient, and hold no table of positions by tokens."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from domains.language.distillation.hidden_states import HiddenMatching, hidden_states
from domains.language.distillation.losses import (
    DIVERGENCES,
    TemporalInterpolation,
    distillation_loss,
    forward_kl,
    jensen_shannon,
    reverse_kl,
    skewed_kl,
)
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

VOCABULARY = 37


def model(seed: int, width: int = 16, embedding: str = "table", tied: bool = True, vocabulary: int = VOCABULARY):
    sizes = {"digits": 2, "seed_dim": 6, "heads": 2, "knots": 4, "rank": 4} if embedding == "generated" else {}
    config = LanguageModelConfig(
        vocabulary,
        TransformerConfig(width=width, layers=2, heads=2, hidden=24),
        embedding_config(embedding, **sizes),
        head_config("table", tied=tied),
    )
    made = LanguageModel(config, torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)  # distributions that are not all alike
    return made


def batch(seed: int = 0):
    tokens = torch.randint(VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(seed))
    targets = tokens[:, 1:].clone()
    targets[0, 2] = -100
    return tokens[:, :-1], targets


def plain(name: str, student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Divergences from logits, by the formulas, one position after another."""
    found = []
    for s, t in zip(student, teacher, strict=True):
        q, p = np.exp(s) / np.exp(s).sum(), np.exp(t) / np.exp(t).sum()
        m, a = (p + q) / 2, 0.1 * p + 0.9 * q
        r = np.exp(0.6 * s + 0.4 * t) / np.exp(0.6 * s + 0.4 * t).sum()
        found.append(
            {
                "forward_kl": (p * np.log(p / q)).sum(),
                "reverse_kl": (q * np.log(q / p)).sum(),
                "jensen_shannon": 0.5 * (p * np.log(p / m)).sum() + 0.5 * (q * np.log(q / m)).sum(),
                "skewed_kl": (p * np.log(p / a)).sum(),
                "taid": (r * np.log(r / q)).sum(),
            }[name]
        )
    return np.array(found)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_is_its_formula(name):
    student, teacher = np.random.default_rng(0).normal(size=(2, 5, 11)) * 2
    given = [torch.from_numpy(logits).log_softmax(-1) for logits in (student, teacher)]
    np.testing.assert_allclose(DIVERGENCES[name]()(*given), plain(name, student, teacher), rtol=1e-6)
    assert DIVERGENCES[name]()(given[0], given[0]).abs().max() < 1e-12


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize(("embedding", "tied"), [("table", False), ("generated", True)])
def test_a_loss_in_chunks_is_the_plain_loss(name, embedding, tied):
    student, teacher = model(0, 16, embedding, tied), model(1, 32).eval()
    tokens, targets = batch()
    held = list(student.parameters())
    divergence, temperature = DIVERGENCES[name](), 1.5
    if isinstance(divergence, TemporalInterpolation):
        divergence.double()
    found = distillation_loss(
        student, teacher, tokens, targets, divergence=divergence, share=0.3, temperature=temperature, chunk=4
    )
    slopes = torch.autograd.grad(found, held)

    logits, told = student(tokens).flatten(0, 1), teacher(tokens).flatten(0, 1).detach()
    kept = targets.flatten() != -100
    entropy = torch.nn.functional.cross_entropy(logits[kept], targets.flatten()[kept])
    apart = divergence((logits / temperature).log_softmax(-1), (told / temperature).log_softmax(-1))[kept].mean()
    wanted = 0.7 * entropy + 0.3 * temperature**2 * apart
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for slope, right in zip(slopes, torch.autograd.grad(wanted, held), strict=True):
        torch.testing.assert_close(slope, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", [("table", {}), ("low_rank", {"rank": 8}), ("hierarchical", {"rank": 16})])
@pytest.mark.parametrize("chunk", [4, None])
def test_bfloat16_is_near_whatever_the_head(head, chunk):
    config = LanguageModelConfig(
        VOCABULARY, TransformerConfig(width=16, layers=2, heads=2), head=head_config(head[0], **head[1])
    )
    student = LanguageModel(config, torch.Generator().manual_seed(1))
    teacher, (tokens, targets) = model(0).float().eval(), batch()

    def found():
        loss = distillation_loss(student, teacher, tokens, targets, chunk=chunk)
        return loss.detach(), torch.autograd.grad(loss, list(student.parameters()))

    expected, slopes = found()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow, of_narrow = found()
    torch.testing.assert_close(narrow, expected, rtol=1e-2, atol=0.0)
    size = max(float(slope.norm()) for slope in slopes)
    for one, other in zip(of_narrow, slopes, strict=True):
        assert float((one - other).norm()) < 0.03 * max(float(other.norm()), 0.1 * size)


def test_the_published_loss_has_the_gradient_of_half_of_each_cross_entropy():
    student, teacher = model(0), model(1).eval()
    tokens, targets = batch()
    held = list(student.parameters())
    slopes = torch.autograd.grad(distillation_loss(student, teacher, tokens, targets.abs() % VOCABULARY), held)
    logits = student(tokens).log_softmax(-1).flatten(0, 1)
    hard = -logits.gather(-1, (targets.abs() % VOCABULARY).flatten()[:, None]).mean()
    soft = -(teacher(tokens).softmax(-1).detach().flatten(0, 1) * logits).sum(-1).mean()
    for slope, right in zip(slopes, torch.autograd.grad(0.5 * hard + 0.5 * soft, held), strict=True):
        torch.testing.assert_close(slope, right, rtol=1e-9, atol=1e-12)


def test_no_gradient_reaches_the_teacher_and_share_zero_is_cross_entropy():
    student, teacher = model(0), model(1).eval()
    tokens, targets = batch()
    distillation_loss(student, teacher, tokens, targets).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    found = distillation_loss(student, teacher, tokens, targets, share=0.0)
    torch.testing.assert_close(found, student.loss(tokens, targets), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_ids_of_any_width_have_the_loss_of_wide_ones(kind):
    vocabulary = 200
    student, teacher = model(0, vocabulary=vocabulary), model(1, vocabulary=vocabulary).eval()
    tokens = torch.randint(vocabulary, (2, 9), generator=torch.Generator().manual_seed(0))
    tokens[:, ::3] = 156  # which -100 is in 8 bits
    tokens, targets = tokens[:, :-1], tokens[:, 1:]
    logits, told = student(tokens).flatten(0, 1), teacher(tokens).flatten(0, 1).detach().log_softmax(-1)
    apart = torch.nn.functional.kl_div(logits.log_softmax(-1), told, reduction="batchmean", log_target=True)
    wanted = 0.5 * torch.nn.functional.cross_entropy(logits, targets.flatten()) + 0.5 * apart
    torch.testing.assert_close(distillation_loss(student, teacher, tokens.to(kind), targets.to(kind)), wanted)
    with pytest.raises(TypeError):
        distillation_loss(student, teacher, tokens, targets.double())


def test_memory_never_holds_all_positions_by_all_tokens():
    class Greatest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for value in out if isinstance(out, tuple | list) else [out]:
                if isinstance(value, torch.Tensor):
                    self.size = max(self.size, value.numel())
            return out

    vocabulary, chunk = 3000, 8
    student, teacher = model(0, 8, tied=False, vocabulary=vocabulary), model(1, 8, vocabulary=vocabulary).eval()
    tokens = torch.randint(vocabulary, (4, 33))
    with Greatest() as seen:
        distillation_loss(student, teacher, tokens[:, :-1], tokens[:, 1:], chunk=chunk).backward()
    assert seen.size <= chunk * vocabulary < 128 * vocabulary


def test_impossible_tokens_add_nothing():
    sure = torch.tensor([[0.0, -math.inf, -math.inf]], dtype=torch.float64)
    other = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    assert float(forward_kl(other, sure)) == pytest.approx(math.log(2))
    assert float(reverse_kl(sure, other)) == pytest.approx(math.log(2))
    assert float(forward_kl(sure, other)) == math.inf
    assert float(skewed_kl(sure, other)) == pytest.approx(0.5 * math.log(0.5 / 0.95) + 0.5 * math.log(0.5 / 0.05))
    mixed = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2)) + 0.5 * math.log(1 / 0.75)
    assert float(jensen_shannon(sure, other)) == pytest.approx(mixed)


def test_taid_moves_by_its_rule_and_is_restored():
    taid = TemporalInterpolation(rate=0.1, momentum=0.5).double()
    losses = [2.0, 1.5, 1.6, 0.8, 0.7]
    u, m, last = 0.4, 0.0, None
    for step, loss in enumerate(losses):
        taid.advance(loss, share=step / 20)
        if last is not None:
            m = 0.5 * m + 0.5 * (last - loss) / last
            u = min(1.0, max(0.4 + 0.6 * step / 20, u + 0.1 / (1 + math.exp(-m)) * (1 - u)))
        last = loss
        assert float(taid.mixing) == pytest.approx(u, rel=1e-6)
    again = TemporalInterpolation(rate=0.1, momentum=0.5).double()
    again.load_state_dict(taid.state_dict())
    again.advance(0.6, 0.3)
    taid.advance(0.6, 0.3)
    assert torch.equal(again.mixing, taid.mixing)
    taid.advance(0.5, 1.0)
    student, teacher = (torch.randn(4, 9, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    torch.testing.assert_close(taid(student, teacher), forward_kl(student, teacher))


def test_states_are_matched_by_a_projection():
    student, teacher = model(0, 16), model(1, 32)
    tokens, _ = batch()
    pairs = [(0, 1), (1, 0)]
    last, states = hidden_states(student, tokens, [s for s, _ in pairs])
    _, aims = hidden_states(teacher, tokens, [t for _, t in pairs])
    torch.testing.assert_close(last, student.hidden(tokens))
    torch.testing.assert_close(student.transformer.norm(states[1]), last)  # the last layer's output, before the norm
    matching = HiddenMatching(16, 32, pairs).double()
    found = matching(states, aims)
    wanted = np.mean(
        [((s @ w.weight.T - t) ** 2).mean().item() for w, s, t in zip(matching.projections, states, aims, strict=True)]
    )
    assert float(found.detach()) == pytest.approx(wanted)
    found.backward()
    assert student.embedding.weight.grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_wrong_arguments_are_refused():
    student, teacher = model(0), model(1).eval()
    tokens, targets = batch()
    for wrong in ({"share": 1.5}, {"temperature": 0.0}, {"chunk": 0}):
        with pytest.raises(ValueError):
            distillation_loss(student, teacher, tokens, targets, **wrong)
    with pytest.raises(ValueError):
        distillation_loss(student, teacher, tokens, targets[:, 1:])
    with pytest.raises(ValueError):
        distillation_loss(student, model(1), tokens, targets)  # in training mode
    with pytest.raises(ValueError):
        distillation_loss(student, model(1, vocabulary=40).eval(), tokens, targets)
    with pytest.raises(IndexError):
        distillation_loss(student, teacher, tokens, targets + 100)
    with pytest.raises(ValueError):
        TemporalInterpolation(start=0.9, end=0.5)
    with pytest.raises(ValueError):
        HiddenMatching(4, 4, [])
    with pytest.raises(ValueError):
        hidden_states(student, tokens, [2])


def test_gradients_of_weights_in_half_precision_are_near():
    """What a chunk adds to the gradient of a row is small beside the sum of all."""
    student, teacher = model(0, tied=False), model(1).eval()
    student.bfloat16()
    chances = 1 / torch.arange(1.0, VOCABULARY + 1)
    tokens = torch.multinomial(chances, 2 * 1025, True, generator=torch.Generator().manual_seed(0)).view(2, 1025)
    gradients = []
    for kind in (torch.bfloat16, torch.float64):
        student.to(kind).zero_grad()
        distillation_loss(student, teacher, tokens[:, :-1], tokens[:, 1:], chunk=4).backward()
        gradients.append(student.head.own_weight.grad.double())
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 0.01
