"""Layers and fits agree in every precision, tell of NaN, and are the same in every process and with every thread."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

import separable
from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian
from separable.files import read_json
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker
from separable.layers import (
    DepthwiseSeparableFilter,
    Khronos,
    LeviathanEmbedding,
    SeparableConvolution,
    SeparableEmbedding,
    SeparableLayer,
    SeparableLinear,
    Span,
)
from tests.reliability import seeded


def points(*shape: int) -> torch.Tensor:
    # Multiples of 1/256 are the same number in all four types.
    return torch.randint(8, 248, shape, generator=torch.Generator().manual_seed(1)).double() / 256


def tokens() -> torch.Tensor:
    return torch.arange(40).reshape(4, 10)


LAYERS = {
    "splines": (lambda: SeparableLayer(3, 2, atoms=BSpline(5), interaction=CanonicalPolyadic(4)), points(64, 3)),
    "order two": (lambda: SeparableLayer(3, 2, atoms=BSpline(5), interaction=CanonicalPolyadic(4, 2)), points(64, 3)),
    "train": (lambda: SeparableLayer(3, 2, atoms=Chebyshev(4), interaction=TensorTrain(2)), points(64, 3)),
    "tucker": (lambda: SeparableLayer(3, 2, atoms=Fourier(2), interaction=Tucker((2, 2, 2))), points(64, 3)),
    "gaussian": (lambda: SeparableLayer(3, 2, atoms=Gaussian(5), interaction=CanonicalPolyadic(4)), points(64, 3)),
    "khronos": (lambda: Khronos(3, 2, grid_points=5, rank=4), points(64, 3)),
    "span": (lambda: Span(3, 2, coordinates=4, rank=4), points(64, 3)),
    "linear": (lambda: SeparableLinear(12, 10, rank=3), points(64, 12)),
    "embedding": (lambda: SeparableEmbedding(40, 12, rank=3), tokens()),
    "leviathan": (lambda: LeviathanEmbedding(40, 12, digits=2, seed_dim=6, heads=2, knots=4, rank=8), tokens()),
    "convolution": (lambda: SeparableConvolution(2, 3, 2, kernel_size=5), points(2, 2, 12, 12)),
    "filter": (lambda: DepthwiseSeparableFilter(2, (5, 5)), points(2, 2, 12, 12)),
}
# Of the largest value; the significands have 24, 11 and 8 bits, and a layer has some ten operations one after another.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
WHOLE = ("convolution", "filter")  # transforms by FFT, which torch has in single and double precision


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_agrees_with_itself_in_double_precision(name, dtype):
    make, x = LAYERS[name]
    torch.manual_seed(0)
    low = make()
    if name in WHOLE and dtype != torch.float32:
        pytest.skip("takes float32 and float64")
    low = low.to(dtype)
    high = copy.deepcopy(low).double()  # the same rounded parameters
    wanted = high(x)
    found = low(x if x.dtype == torch.int64 else x.to(dtype))
    assert found.dtype == dtype
    error = (found.detach().double() - wanted.detach()).abs().max() / wanted.detach().abs().max()
    assert float(error) < TOLERANCES[dtype]
    found.sum().backward()
    wanted.sum().backward()
    for parameter, truth in zip(low.parameters(), high.parameters(), strict=True):
        assert bool(torch.isfinite(parameter.grad).all())
        scale = max(float(truth.grad.abs().max()), 1e-6)
        assert float((parameter.grad.double() - truth.grad).abs().max()) < 4 * TOLERANCES[dtype] * scale


@pytest.mark.parametrize("name", [name for name, (_, x) in LAYERS.items() if x.dtype != torch.int64])
def test_a_nan_is_refused_or_comes_out(name):
    make, x = LAYERS[name]
    torch.manual_seed(0)
    layer, spoiled = make().double(), x.clone()
    spoiled[1].view(-1)[0] = torch.nan
    try:
        found = layer(spoiled)
    except ValueError:
        return
    assert bool(found[1].isnan().any())  # never a number made of it
    assert torch.equal(found[0], layer(x)[0])  # and no other row is touched


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_a_fit_works_in_double_precision_whatever_the_layer_holds(dtype):
    x = points(400, 2)
    y = (torch.sin(3 * x[:, :1]) * x[:, 1:]).contiguous()
    found = []
    for kind in (dtype, torch.float64):
        torch.manual_seed(0)
        layer = SeparableLayer(2, 1, atoms=BSpline(4), interaction=CanonicalPolyadic(2)).to(kind)
        separable.fit(layer, x.to(kind), y.to(kind), method="alternating_least_squares", max_steps=10)
        found.append(layer.double()(x).detach())
    assert float((found[0] - found[1]).abs().max()) < {torch.float32: 1e-4}.get(dtype, 5e-2)


def test_a_seed_gives_the_same_in_every_process_and_nearly_so_with_two_threads():
    words = [sys.executable, "-m", "tests.reliability.seeded", "1", "2"]
    found = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
    one, (again, two) = seeded.values(threads=1), np.frombuffer(found).reshape(2, -1)
    assert len(one) == 1000
    assert one.tobytes() == again.tobytes()
    # Two threads add up in another order: 1e-16 and 1e-7 at a time, of which the least squares make up to 2e-9.
    assert np.abs(two - one)[:500].max() < 1e-7
    assert np.abs(two - one)[500:].max() < 1e-4


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[-1e400]"])
def test_plain_data_that_is_not_finite_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"rank": {text}, "rate": 1e-3}}')
    with pytest.raises(ValueError, match=r"config\.json"):
        read_json(tmp_path / "config.json")
    assert read_json(tmp_path / "config.json", finite=False)["rate"] == 1e-3
