"""SeparableConvolution against numpy: filters summed term by term, convolved by the definition or by numpy's FFT."""

import itertools

import numpy as np
import pytest
import torch

from separable.atoms import BSpline, Fourier, Perceptron, Table
from separable.layers import convolution, periodic_kernel
from separable.layers.convolution import SeparableConvolution

GRIDS = {1: (9,), 2: (6, 7), 3: (4, 5, 6)}


def numpy_taps(filters, n, atom=None, period=1.0):
    """Filter values at offsets 0 .. n - 1, one offset at a time."""
    taps = np.zeros((len(filters), n))
    if atom is None:
        size = filters.shape[1]
        for t in range(size):
            taps[:, (t - size // 2) % n] += filters[:, t]
        return taps
    lower, upper = atom.domain
    for t in range(n):
        for turn in (-1, 0, 1):  # the representative of the offset inside the filter's domain, if there is one
            offset = t * period / n + turn * period
            if lower - 1e-12 <= offset <= upper + 1e-12:
                values = atom(torch.tensor(min(max(offset, lower), upper), dtype=torch.float64)).numpy()
                taps[:, t] = filters @ values * period / n
                break
    return taps


def numpy_kernel(kernel, grid, atoms=None, periods=None):
    """The dense filters (O, C, *grid): an explicit sum of outer products."""
    output_mix, input_mix = (p.detach().double().numpy() for p in (kernel.output_mix, kernel.input_mix))
    taps = [
        numpy_taps(
            f.detach().double().numpy(), n, None if atoms is None else atoms[j], 1.0 if periods is None else periods[j]
        )
        for j, (f, n) in enumerate(zip(kernel.filters, grid, strict=True))
    ]
    dense = np.zeros((len(output_mix), input_mix.shape[1], *grid))
    for r in range(input_mix.shape[0]):
        outer = np.ones(())
        for t in taps:
            outer = np.multiply.outer(outer, t[r])
        dense += output_mix[:, r].reshape(-1, 1, *[1] * len(grid)) * input_mix[r].reshape(-1, *[1] * len(grid)) * outer
    return dense


def convolve_by_definition(kernel, u):
    """Sum over channels and offsets of k(s) u(x - s), with numpy.roll."""
    grid = u.shape[1:]
    y = np.zeros((len(kernel), *grid))
    for s in itertools.product(*(range(n) for n in grid)):
        shifted = np.roll(u, s, axis=tuple(range(1, u.ndim)))
        y += np.tensordot(kernel[(slice(None), slice(None), *s)], shifted, axes=1)
    return y


def convolve_by_fft(kernel, u):
    axes = tuple(range(-(u.ndim - 1), 0))
    return np.fft.ifftn((np.fft.fftn(kernel, axes=axes) * np.fft.fftn(u, axes=axes)).sum(1), axes=axes).real


def reference(layer, u, atoms=None, periods=None):
    grid = u.shape[1:]
    y = convolve_by_definition(numpy_kernel(layer.linear, grid, atoms, periods), u)
    if layer.order == 2:
        first = convolve_by_definition(numpy_kernel(layer.first, grid, atoms, periods), u)
        second = convolve_by_definition(numpy_kernel(layer.second, grid, atoms, periods), u)
        y = y + np.tensordot(layer.mix.detach().numpy(), first * second, axes=1)
    return y + layer.bias.detach().numpy().reshape(-1, *[1] * len(grid))


def make(dimensions, order, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    options = {"kernel_size": None if "atoms" in options else 3, **options}
    layer = SeparableConvolution(
        2, 3, 4, dimensions=dimensions, order=order, generator=generator, dtype=torch.float64, **options
    )
    with torch.no_grad():
        layer.bias.normal_(generator=generator)
    return layer


@pytest.mark.parametrize("way", ["stencil", "pairs", "terms"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_taps_equal_the_dense_circular_convolution(monkeypatch, dimensions, order, kernel_size, way):
    monkeypatch.setattr(convolution, "_prefers_stencil", lambda *sizes: way == "stencil")
    monkeypatch.setattr(periodic_kernel, "_prefers_pairs", lambda *sizes: way == "pairs")
    layer = make(dimensions, order, kernel_size=kernel_size)
    u = np.random.default_rng(1).standard_normal((2, 2, 2, *GRIDS[dimensions]))
    y = layer(torch.from_numpy(u)).detach().numpy()
    assert y.shape == (2, 2, 3, *GRIDS[dimensions])
    for i, j in itertools.product(range(2), range(2)):
        np.testing.assert_allclose(y[i, j], reference(layer, u[i, j]), rtol=1e-10, atol=1e-11)


def test_taps_over_the_whole_period_and_numpy_fft():
    layer = make(2, 1, kernel_size=(6, 7))
    u = np.random.default_rng(2).standard_normal((2, 6, 7))
    expected = convolve_by_fft(numpy_kernel(layer.linear, (6, 7)), u) + layer.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(layer(torch.from_numpy(u)).detach().numpy(), expected, rtol=1e-10, atol=1e-11)


ATOMS = [
    ((Fourier(modes=3), Fourier(modes=2)), (1.0, 1.0)),
    (
        (Fourier(modes=3, domain=(-1.0, 1.0)), BSpline(intervals=5, degree=2, periodic=True, domain=(0.0, 3.0))),
        (2.0, 3.0),
    ),
    (
        (BSpline(intervals=2, degree=2, domain=(-0.25, 0.25)), BSpline(intervals=2, degree=1, domain=(0.1, 0.4))),
        (1.0, 0.7),
    ),
]


@pytest.mark.parametrize(("atoms", "periods"), ATOMS)
@pytest.mark.parametrize("order", [1, 2])
def test_atoms_equal_the_dense_circular_convolution(atoms, periods, order):
    layer = make(2, order, atoms=atoms, period=periods)
    grid = (10, 9)
    u = np.random.default_rng(3).standard_normal((2, *grid))
    expected = reference(layer, u, atoms, periods)
    assert np.abs(numpy_kernel(layer.linear, grid, atoms, periods)).max() > 1e-3
    np.testing.assert_allclose(layer(torch.from_numpy(u)).detach().numpy(), expected, rtol=1e-10, atol=1e-11)
    dense = layer.linear.dense(grid).detach().numpy()
    np.testing.assert_allclose(dense, numpy_kernel(layer.linear, grid, atoms, periods), rtol=1e-11, atol=1e-13)


def band_limited(modes, n, seed, channels=1):
    """A random real field with frequencies up to ``modes``, sampled on n^2 points: the same field for every n."""
    rng = np.random.default_rng(seed)
    x = np.arange(n) * 2 * np.pi / n
    field = np.zeros((channels, n, n))
    for k, m in itertools.product(range(-modes, modes + 1), range(0, modes + 1)):
        amplitude, phase = rng.standard_normal((2, channels))
        wave = k * x[:, None] + m * x[None, :]
        field += amplitude[:, None, None] * np.cos(wave + phase[:, None, None] * 6)
    return field


@pytest.mark.parametrize("order", [1, 2])
def test_fourier_filters_are_the_same_operator_on_every_resolution(order):
    layer = make(2, order, atoms=Fourier(modes=4, domain=(0.0, 2 * np.pi)), period=2 * np.pi)
    coarse, fine = (layer(torch.from_numpy(band_limited(4, n, 4, channels=2))).detach() for n in (12, 36))
    torch.testing.assert_close(fine[..., ::3, ::3], coarse, rtol=1e-9, atol=1e-9)


def test_a_local_filter_approaches_its_integral():
    atom = BSpline(intervals=4, degree=3, domain=(-1.0, 1.0))
    layer = make(2, 1, atoms=atom, period=2 * np.pi)
    values = [
        layer(torch.from_numpy(band_limited(2, n, 5, channels=2))).detach()[..., :: n // 24, :: n // 24]
        for n in (24, 96, 384)
    ]
    errors = [float((v - values[-1]).abs().max()) for v in values[:-1]]
    assert errors[1] < errors[0] / 3


def velocity_and_gradient_kernels(n):
    """Dense filters (2, n, n) of velocity from vorticity and of its gradient, on [0, 2 pi)^2, Nyquist left out."""
    k = np.fft.fftfreq(n, 1 / n)
    kept = np.ones((n, n), dtype=bool)
    kept[n // 2], kept[:, n // 2] = False, False
    kx, ky = np.meshgrid(k, k, indexing="ij")
    square = np.where((kx**2 + ky**2) > 0, kx**2 + ky**2, np.inf)
    # psi = -inverse Laplacian of w, velocity = (d psi / dy, -d psi / dx)
    velocity = np.stack([1j * ky / square, -1j * kx / square]) * kept
    gradient = np.stack([1j * kx, 1j * ky]) * kept
    return (np.fft.ifft2(s).real for s in (velocity, gradient))


def advection(w):
    """The advection term u . grad w by numpy's FFT."""
    velocity, gradient = velocity_and_gradient_kernels(w.shape[-1])
    u = convolve_by_fft(velocity[:, None], w[None])
    return (u * convolve_by_fft(gradient[:, None], w[None])).sum(0)


def advecting_layer(rank, n, **options):
    """An order-2 layer set to advection: one product for each direction."""
    layer = SeparableConvolution(1, 1, rank, order=2, products=2, bias=False, dtype=torch.float64, **options)
    velocity, gradient = (torch.from_numpy(k[:, None]) for k in velocity_and_gradient_kernels(n))
    errors = (layer.first.fit(velocity), layer.second.fit(gradient))
    with torch.no_grad():
        layer.mix.fill_(1.0)
        layer.linear.output_mix.zero_()
    return layer, errors


def test_advection_of_vorticity_to_the_accuracy_that_the_rank_allows():
    n = 32
    w = band_limited(7, n, 6)[0]
    exact = advection(w)
    velocity, _ = velocity_and_gradient_kernels(n)
    values = np.sort(np.concatenate([np.linalg.svd(k, compute_uv=False) for k in velocity]))[::-1]
    found = []
    for rank in (4, 8, 16, 32):
        layer, (velocity_error, gradient_error) = advecting_layer(rank, n, kernel_size=n)
        tail = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
        assert velocity_error == pytest.approx(tail, rel=1e-5, abs=1e-12)
        assert gradient_error < 1e-12  # one term a direction
        error = np.linalg.norm(layer(torch.from_numpy(w[None]))[0].detach().numpy() - exact) / np.linalg.norm(exact)
        assert error < 30 * tail + 1e-11
        found.append(error)
    assert found[0] > 1e-3  # too few terms do not do it
    assert found[2] < 1e-4
    assert found[3] < 1e-8


def test_advection_learned_on_one_grid_holds_on_a_finer_one():
    atom = Fourier(modes=7, domain=(0.0, 2 * np.pi))
    layer, (velocity_error, _) = advecting_layer(24, 16, atoms=atom, period=2 * np.pi)
    assert velocity_error < 1e-9
    w = band_limited(7, 64, 7)[0]
    error = np.abs(layer(torch.from_numpy(w[None]))[0].detach().numpy() - advection(w)).max()
    assert error < 1e-7 * np.abs(advection(w)).max()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_fit_recovers_kernels_of_its_own_rank(dimensions):
    grid = {1: (8,), 2: (7, 6), 3: (5, 4, 6)}[dimensions]
    source = make(dimensions, 1, kernel_size=3)
    with torch.no_grad():  # one term a pair of channels: what the pairwise fit can also represent
        source.linear.output_mix.copy_(torch.eye(3, 4))
    # Three outputs of one term, each fed by both channels: six pairs.
    target = SeparableConvolution(2, 3, 6, kernel_size=3, dimensions=dimensions, dtype=torch.float64)
    kernel = torch.from_numpy(numpy_kernel(source.linear, grid))
    reported = target.linear.fit(kernel)
    error = np.linalg.norm(numpy_kernel(target.linear, grid) - kernel.numpy()) / np.linalg.norm(kernel.numpy())
    assert reported == pytest.approx(error, rel=1e-5, abs=1e-13)
    assert error < (1e-2 if dimensions == 3 else 1e-12)  # three dimensions: alternating least squares


@pytest.mark.parametrize("order", [1, 2])
def test_gradients(order):
    layer = make(2, order, atoms=Fourier(modes=1))
    u = torch.randn(1, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8), requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def evaluate(u, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (u,))

    assert torch.autograd.gradcheck(evaluate, (u, *(p.detach().requires_grad_() for p in layer.parameters())))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "options", [{"kernel_size": 5}, {"atoms": Fourier(modes=8)}, {"atoms": BSpline(intervals=8, domain=(-0.4, 0.4))}]
)
def test_start_keeps_the_variance_of_a_resolved_field(order, options):
    variances = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        layer = SeparableConvolution(3, 4, 16, order=order, generator=generator, **options)
        if "kernel_size" in options:
            u = torch.randn(2, 3, 17, 17, generator=generator)
        else:
            u = torch.from_numpy(band_limited(8, 17, seed, channels=3)).float()[None]
            u = u / u.std()
        variances.append(float(layer(u).detach().square().mean()))
    assert 0.3 < np.mean(variances) < 3
    assert (layer.bias == 0).all()


def test_single_precision_is_close_to_double():
    layer = make(2, 2)
    u = torch.randn(2, 16, 16, dtype=torch.float64)
    single = make(2, 2).float()(u.float())
    torch.testing.assert_close(single.double(), layer(u).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kernel_size": 3, "atoms": Fourier()},
        {"kernel_size": 0},
        {"kernel_size": (3, 3, 3)},
        {"kernel_size": 3, "dimensions": 4},
        {"kernel_size": 3, "order": 3},
        {"kernel_size": 3, "products": 2},
        {"kernel_size": 3, "order": 2, "products": 0},
        {"atoms": Fourier(domain=(0.0, 2.0))},
        {"atoms": Fourier(), "period": -1.0},
        {"atoms": Table(categories=3)},
        {"atoms": Perceptron()},
    ],
)
def test_constructor_refuses(wrong):
    with pytest.raises(ValueError):
        SeparableConvolution(2, 3, 4, **wrong)


def test_inputs_are_checked():
    layer = SeparableConvolution(2, 3, 4, kernel_size=5)
    for shape in ((3, 8, 8), (8, 8), (2, 4, 8)):
        with pytest.raises(ValueError):
            layer(torch.zeros(shape))
    with pytest.raises(TypeError):
        layer(torch.zeros(2, 8, 8, dtype=torch.float64))
    with pytest.raises(TypeError):
        SeparableConvolution(2, 3, 4, kernel_size=5, dtype=torch.float16)
    with pytest.raises(ValueError):
        SeparableConvolution(2, 3, 4, atoms=Fourier(modes=4))(torch.zeros(2, 8, 9))  # 9 functions, 8 points
    with pytest.raises(ValueError):
        layer.linear.fit(torch.zeros(2, 2, 8, 8))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("options", [{"kernel_size": 3}, {"atoms": Fourier(modes=2)}])
def test_an_empty_batch_gives_empty_fields_and_no_gradient(options, order):
    layer = SeparableConvolution(2, 3, 4, order=order, **options)
    u = torch.zeros(0, 2, 8, 9, requires_grad=True)
    y = layer(u)
    assert y.shape == (0, 3, 8, 9)
    assert layer(torch.zeros(4, 0, 2, 8, 9)).shape == (4, 0, 3, 8, 9)
    y.sum().backward()
    assert u.grad.shape == u.shape
    assert all(bool((p.grad == 0).all()) for p in layer.parameters())


def test_training_after_inference_mode():
    layer = SeparableConvolution(1, 1, 2, atoms=Fourier(modes=3, domain=(0.0, 1.25)), period=1.25, dtype=torch.float64)
    u = torch.randn(1, 11, 11, dtype=torch.float64)
    with torch.inference_mode():
        before = layer(u).clone()
    values = layer(u)
    values.sum().backward()
    # Not to the bit: without gradients torch may take another product, which rounds otherwise on some processors.
    torch.testing.assert_close(before, values.detach(), rtol=1e-12, atol=1e-12)
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_compiled_code_is_the_same():
    u = torch.randn(2, 1, 8, 8)
    for options in ({"kernel_size": 3}, {"atoms": Fourier(modes=2)}):
        layer = SeparableConvolution(1, 2, 4, order=2, **options)
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(u), layer(u), rtol=1e-4, atol=1e-5)


def test_a_refused_atom_draws_nothing():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="without parameters"):
        SeparableConvolution(1, 1, 1, atoms=Perceptron())
    assert torch.equal(torch.get_rng_state(), before)
