"""Networks of policies: features written anew in numpy, the start of splines, their refinement, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from domains.navigation.coordinates import Coordinates
from domains.navigation.networks import PublishedSpan, QuadraticNetwork, make_network

KNOWN = Coordinates(vectors=((0, 1), (2, 3)), angles=(6,))


def built(network, seed=0, n_inputs=7):
    torch.manual_seed(seed)
    return network.build(n_inputs, KNOWN).double()


def observations(n=30):
    return np.random.default_rng(1).normal(size=(n, 7))


def known(x):
    columns = [x]
    for i, j in ((0, 1), (2, 3)):
        length = np.sqrt(x[:, i] ** 2 + x[:, j] ** 2 + 1e-6)
        columns.append(np.stack([length, x[:, i] / length, x[:, j] / length], 1))
    return np.concatenate([*columns, np.stack([np.cos(x[:, 6]), np.sin(x[:, 6])], 1)], 1)


def numbers(module):
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def quadratic(z, weight, bias, pairs, linear, carried=lambda u: u):
    """Products of two, single ones and the known coordinates, one feature after another."""
    u = carried(np.tanh(z @ weight.T + bias))
    columns = [u[:, k] * u[:, pairs + k] for k in range(pairs)]
    columns += [u[:, k] for k in range(2 * pairs, u.shape[1])]
    return np.stack(columns + ([*z.T] if linear else []), 1)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize(("pairs", "singles"), [(4, 3), (0, 5), (3, 0)])
def test_quadratic_features_are_those_of_the_formula(pairs, singles, linear):
    features, x = built(QuadraticNetwork(pairs=pairs, singles=singles, linear=linear)), observations()
    p = numbers(features)
    expected = quadratic(known(x), p["learned.weight"], p["learned.bias"], pairs, linear)
    np.testing.assert_allclose(features(torch.from_numpy(x)).detach(), expected, rtol=1e-12, atol=1e-14)
    assert features.n_outputs == expected.shape[1] == pairs + singles + 15 * linear


@pytest.mark.parametrize(("pairs", "singles"), [(4, 3), (0, 5), (3, 0)])
def test_slopes_of_the_features_are_those_of_differences(pairs, singles):
    features = built(QuadraticNetwork(pairs=pairs, singles=singles))
    x = torch.from_numpy(observations(4)).requires_grad_()
    given = [x, features.learned.weight, features.learned.bias]
    assert torch.autograd.gradcheck(lambda x, *_: features(x), given)

    def slope(x, *_):  # which a loss may be of as well
        return torch.autograd.grad(features(x).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(slope, given)
    single = torch.func.vmap(torch.func.jacrev(lambda one: features(one[None])[0]))(x.detach())
    whole = torch.autograd.functional.jacobian(features, x.detach())
    assert torch.allclose(single, whole[range(4), :, range(4)])


def test_a_linear_network_is_its_known_coordinates():
    features, x = built(QuadraticNetwork(pairs=0, singles=0)), observations()
    np.testing.assert_allclose(features(torch.from_numpy(x)), known(x), rtol=1e-12)
    assert not list(features.parameters())


def test_splines_start_as_the_identity():
    x = torch.from_numpy(observations())
    spline, tanh = (built(QuadraticNetwork(atoms=atoms)) for atoms in ("spline", "tanh"))
    tanh.load_state_dict(spline.state_dict(), strict=False)
    np.testing.assert_allclose(spline(x).detach(), tanh(x).detach(), atol=1e-6)


def test_spline_features_are_those_of_scipys_splines():
    features, x = built(QuadraticNetwork(pairs=2, singles=3, atoms="spline", intervals=5)), observations()
    torch.nn.init.normal_(features.splines.coefficients[0])
    p = numbers(features)
    knots = np.concatenate([[-1, -1], np.linspace(-1, 1, 6), [1, 1]])
    curves = [BSpline(knots, c, 2) for c in p["splines.coefficients.0"][:, :, 0]]
    expected = quadratic(
        known(x),
        p["learned.weight"],
        p["learned.bias"],
        2,
        True,
        lambda u: np.stack([curve(column) for curve, column in zip(curves, u.T, strict=True)], 1),
    )
    np.testing.assert_allclose(features(torch.from_numpy(x)).detach(), expected, rtol=1e-10, atol=1e-12)


def test_refinement_doubles_the_intervals_and_keeps_the_features():
    features, x = built(QuadraticNetwork(atoms="spline", intervals=3)), torch.from_numpy(observations())
    torch.nn.init.normal_(features.splines.coefficients[0])
    before = features(x).detach()
    features.refine()
    assert features.splines.coefficients[0].shape[1] == 2 * 3 + 2
    np.testing.assert_allclose(features(x).detach(), before, atol=1e-10)
    assert features.splines.coefficients[0].requires_grad
    with pytest.raises(ValueError):
        built(QuadraticNetwork()).refine()


def test_splines_grow_to_those_that_are_loaded_and_to_no_others():
    network = QuadraticNetwork(pairs=2, singles=3, atoms="spline", intervals=3)
    refined, features, x = built(network), built(network, seed=1), torch.from_numpy(observations())
    for _ in range(2):
        refined.refine()
    torch.nn.init.normal_(refined.splines.coefficients[0])
    kept = features.splines.coefficients[0]
    features(x).sum().backward()
    features.load_state_dict(refined.state_dict())
    assert torch.equal(features(x), refined(x))
    assert features.splines.coefficients[0] is kept
    features(x).sum().backward()
    assert kept.grad.shape == kept.shape == (7, 4 * 3 + 2, 1)
    for other in (4, 2):  # neither is a refinement of 12 intervals
        with pytest.raises(RuntimeError):
            features.load_state_dict(built(dataclasses.replace(network, intervals=other)).state_dict())


@pytest.mark.parametrize("coordinates", [3, 4, 6])
def test_published_modes_are_those_of_the_formula(coordinates):
    features, x = built(PublishedSpan(coordinates=coordinates, grid_points=5, rank=4)), observations(8)
    torch.nn.init.normal_(features.khronos.weights)
    features.khronos.scale.data += torch.randn(coordinates).double()
    p = numbers(features)
    u = 1 / (1 + np.exp(-(known(x) @ p["learned.weight"].T + p["learned.bias"])))
    expected = np.ones((len(x), 4))
    for n in range(len(x)):
        for r in range(4):
            for j in range(coordinates):
                factor = 0.0
                for g in range(5):
                    far = abs(u[n, j] - g / 4) * p["khronos.scale"][j]
                    kernel = 0.75 - far**2 if far < 0.5 else 0.5 * (1.5 - far) ** 2 if far < 1.5 else 0.0
                    factor += kernel * p["khronos.weights"][j, g, r]
                expected[n, r] *= factor
    np.testing.assert_allclose(features(torch.from_numpy(x)).detach(), expected, rtol=1e-5, atol=1e-8)
    assert not any(q.requires_grad for q in features.khronos.readout.parameters())


@pytest.mark.parametrize("network", [QuadraticNetwork(), QuadraticNetwork(atoms="spline"), PublishedSpan()])
def test_slopes_are_finite_where_all_is_zero(network):
    features = built(network)
    x = torch.zeros(3, 7, dtype=torch.float64, requires_grad=True)
    features(x).sum().backward()
    gradients = [x.grad, *(p.grad for p in features.parameters() if p.requires_grad)]
    assert all(torch.isfinite(g).all() for g in gradients)


def test_sizes_come_from_plain_data():
    assert make_network(None) == make_network({}) == make_network("quadratic") == QuadraticNetwork()
    assert make_network({"kind": "published", "rank": 3}) == PublishedSpan(rank=3)
    assert make_network(PublishedSpan(rank=2)) == PublishedSpan(rank=2)
    given = {"kind": "published"}
    make_network(given)
    assert given == {"kind": "published"}


@pytest.mark.parametrize(
    "wrong",
    [
        "cubic",
        {"kind": "cubic"},
        {"rank": 3},
        {"kind": "published", "pairs": 3},
        {"pairs": -1},
        {"pairs": 0, "singles": 0, "linear": False},
        {"atoms": "fourier"},
        {"intervals": 0},
        {"gain": 0.0},
        {"bias": -1.0},
        {"kind": "published", "grid_points": 1},
        {"kind": "published", "rank": 0},
    ],
)
def test_networks_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        make_network(wrong).build(7, KNOWN)
