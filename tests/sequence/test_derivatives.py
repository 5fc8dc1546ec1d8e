"""What hand-written gradients leave to torch: second derivatives, torch.func, traces and exports of sequence models."""

import io

import pytest
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from separable.layers import DepthwiseSeparableFilter, SeparableLinear
from separable.sequence import LanguageModel, LanguageModelConfig, Transformer, TransformerConfig
from separable.sequence.embeddings import EMBEDDINGS, embedding_config
from separable.sequence.gated_perceptron import GatedPerceptron
from separable.sequence.heads import HEADS, head_config
from separable.sequence.normalisation import RootMeanSquareNorm

BODY = TransformerConfig(width=8, layers=1, heads=2)
MAKERS = {
    "norm": lambda: RootMeanSquareNorm(8, 1e-5),
    "perceptron": lambda: GatedPerceptron(8, 6),
    "transformer": lambda: Transformer(BODY),
}


def model(**changes):
    torch.manual_seed(0)
    config = LanguageModelConfig(vocabulary=13, transformer=BODY, **changes)
    return LanguageModel(config, torch.Generator().manual_seed(0)).double().eval()


class Measured(torch.nn.Module):
    """A model whose output is its loss."""

    def __init__(self, language):
        super().__init__()
        self.language = language

    def forward(self, tokens):
        return self.language.loss(tokens, tokens.roll(1), chunk=5)


def differences(function, x, step=1e-5):
    """Derivatives ``(len(x), ..)`` of a function of a vector by central differences."""
    steps = step * torch.eye(len(x), dtype=x.dtype)
    return torch.stack([(function(x + s) - function(x - s)) / (2 * step) for s in steps])


@pytest.mark.parametrize("maker", MAKERS)
def test_second_derivatives_are_those_of_the_first(maker):
    """Of a linear function of the outputs, whose slope does not depend on the inputs."""
    torch.manual_seed(0)
    module = MAKERS[maker]().double().eval()
    start, weight = torch.randn(1, 2, 8, dtype=torch.float64), torch.randn(1, 2, 8, dtype=torch.float64)

    def summed(x):
        return (module(x.view(1, 2, 8)) * weight).sum()

    def slope(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(summed(x), x)[0]

    with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has one derivative
        found = torch.autograd.functional.hessian(summed, start.flatten())
        expected = differences(slope, start.flatten())
    assert expected.abs().max() > 1e-2
    assert torch.allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_a_loss_has_second_derivatives(head):
    embedding = embedding_config("low_rank" if head == "low_rank" else "table")
    settings = {"shares": (0.3, 0.6), "division": 2.0} if head == "adaptive" else {}
    language = model(head=head_config(head, **settings), embedding=embedding)
    tokens = torch.randint(13, (2, 6))
    gain = language.transformer.norm.weight

    def slope(values):
        with torch.no_grad():
            gain.copy_(values)
        return torch.autograd.grad(language.loss(tokens, tokens.roll(1), chunk=5), gain, create_graph=True)[0]

    at = torch.linspace(0.5, 1.5, 8, dtype=torch.float64)
    expected = differences(lambda v: slope(v).detach(), at)
    found = torch.stack([torch.autograd.grad(one, gain, retain_graph=True)[0] for one in slope(at)])
    assert expected.abs().max() > 1e-5
    assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_gradients_of_single_samples_are_those_of_a_loop(embedding):
    language, tokens = model(embedding=embedding_config(embedding)), torch.randint(13, (3, 6))
    values = {name: value.detach() for name, value in language.named_parameters()}

    def loss(values, sample):
        return functional_call(language, values, (sample[None],)).square().mean()

    found = vmap(grad(loss), in_dims=(None, 0))(values, tokens)
    for row, sample in enumerate(tokens):
        wanted = torch.autograd.grad(language(sample[None]).square().mean(), list(language.parameters()))
        for name, one in zip(values, wanted, strict=True):
            assert torch.allclose(found[name][row], one, atol=1e-12), name


@pytest.mark.parametrize("head", HEADS)
def test_losses_have_gradients_under_transforms(head):
    embedding = embedding_config("low_rank" if head == "low_rank" else "table")
    settings = {"shares": (0.3, 0.6), "division": 2.0} if head == "adaptive" else {}
    language, tokens = model(head=head_config(head, **settings), embedding=embedding), torch.randint(13, (2, 6))
    measured = Measured(language)
    values = {name: value.detach() for name, value in measured.named_parameters()}
    found = grad(lambda values: functional_call(measured, values, (tokens,)))(values)
    wanted = torch.autograd.grad(measured(tokens), list(measured.parameters()))
    for name, one in zip(values, wanted, strict=True):
        assert torch.allclose(found[name], one, atol=1e-12), name


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:.torch.jit:FutureWarning")
def test_transforms_of_a_transformer_agree():
    torch.manual_seed(0)
    transformer, x = Transformer(BODY).double().eval(), torch.randn(1, 3, 8, dtype=torch.float64)
    direction = torch.randn_like(x)
    jacobian = torch.autograd.functional.jacobian(transformer, x)
    assert torch.allclose(jacrev(transformer)(x), jacobian)
    assert torch.allclose(
        jvp(transformer, (x,), (direction,))[1].flatten(), jacobian.view(24, 24) @ direction.flatten()
    )
    start = x.clone().requires_grad_()
    slopes = torch.eye(24, dtype=x.dtype).view(24, 1, 3, 8)
    with sdpa_kernel(SDPBackend.MATH):
        (batched,) = torch.autograd.grad(transformer(start), start, slopes, is_grads_batched=True)
    assert torch.allclose(batched.view(24, 24), jacobian.view(24, 24))


@pytest.mark.filterwarnings("ignore")  # of torch, of what it traces
def test_a_transformer_is_traced():
    transformer, x = Transformer(BODY).eval(), torch.randn(2, 5, 8)
    held = io.BytesIO()
    torch.jit.save(torch.jit.trace(transformer, x), held)
    held.seek(0)
    assert torch.allclose(torch.jit.load(held)(x), transformer(x), atol=1e-6)


EXPORTED = {
    "transformer": lambda: (Transformer(BODY), torch.randn(5, 7, 8)),
    "model": lambda: (model().float(), torch.randint(13, (5, 7))),
    "filter": lambda: (DepthwiseSeparableFilter(3, (2, 2)), torch.randn(5, 3, 8, 8)),
    "linear": lambda: (SeparableLinear(16, 16, rank=2), torch.randn(5, 16)),
}


@pytest.mark.parametrize("kind", EXPORTED)
def test_an_export_takes_any_number_of_samples(kind):
    module, x = EXPORTED[kind]()
    module.eval()
    many = {0: torch.export.Dim("batch", min=2, max=64)}
    exported = torch.export.export(module, (x,), dynamic_shapes=(many,)).module()
    for other in (x, torch.cat([x, x, x])):
        assert torch.allclose(exported(other), module(other), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint32])
def test_tokens_of_any_integers_have_the_same_loss(dtype):
    language = LanguageModel(LanguageModelConfig(vocabulary=256, transformer=BODY)).eval()
    tokens = torch.tensor([[1, 156, 156, 2], [255, 156, 0, 156]])  # 156 is -100 in eight bits
    expected = language.loss(tokens, tokens.roll(-1, 1))
    assert torch.equal(language.loss(tokens.to(dtype), tokens.roll(-1, 1).to(dtype)), expected)
