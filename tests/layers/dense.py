"""Separable layers of every family of atoms and interaction, and the definition evaluated by loops and one einsum."""

import itertools

import numpy as np
import torch

from separable import SeparableLayer
from separable.atoms import BSpline, Chebyshev, Fourier, Gaussian, Perceptron, Table
from separable.interactions import CanonicalPolyadic, TensorTrain, Tucker

# Problems as data: every family, alone and together, on domains of their own.
ATOMS = {
    "splines": [BSpline(intervals=3, degree=2, domain=(-1.0, 1.0))] * 3,
    "splines on three domains": [BSpline(intervals=3, degree=2, domain=(0.0, s)) for s in (1.0, 2.0, 500.0)],
    "smooth": [Chebyshev(degree=3, domain=(-2.0, 1.0)), Fourier(modes=2, domain=(0.0, 6.0)), BSpline(intervals=2)],
    "discrete": [BSpline(intervals=2, degree=1), Table(3), Chebyshev(degree=2), Table(3)],
    "learned": [Perceptron(functions=3, width=4), BSpline(intervals=2), Perceptron(functions=3, width=4)],
    "knots": [BSpline(knots=(0.0, 0.2, 1.0)), BSpline(knots=(0.0, 0.4, 2.0)), BSpline(intervals=4, periodic=True)],
    "one": [Chebyshev(degree=4)],
}
BUMPS = [Gaussian(centres=4), Gaussian(centres=3, width=1.5, domain=(0.0, 3.0)), BSpline(intervals=2)]
INTERACTIONS = {
    "product": CanonicalPolyadic(rank=3),
    "additive": CanonicalPolyadic(rank=3, order=1),
    "quadratic": CanonicalPolyadic(rank=2, order=2),
    "cubic": CanonicalPolyadic(rank=2, order=3),
    "tucker": Tucker(rank=2),
    "train": TensorTrain(rank=2),
    "chain of products": TensorTrain(rank=1),
}
FITTING = [
    (atoms, name)
    for (atoms, family), (name, interaction) in itertools.product(ATOMS.items(), INTERACTIONS.items())
    if (getattr(interaction, "order", None) or 1) <= len(family)
]


def build(atoms, interaction, outputs=2, **others):
    generator = torch.Generator().manual_seed(4)
    layer = SeparableLayer(
        len(atoms), outputs, atoms=atoms, interaction=interaction, generator=generator, dtype=torch.float64, **others
    )
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.normal_(generator=generator)
    return layer.requires_grad_(True)


def draw(atoms, *batch, seed=0):
    rng = np.random.default_rng(seed)
    columns = []
    for atom in atoms:
        a, b = atom.domain
        t = rng.integers(0, atom.size, batch).astype(float) if atom.discrete else a + (b - a) * rng.random(batch)
        columns.append(t)
    return torch.from_numpy(np.stack(columns, axis=-1))


def bases(layer, x, orders=None):
    """Atom values of every coordinate, from the atoms alone."""
    orders = orders or [0] * layer.n_coordinates
    return [atom(x[..., j], orders[j], layer.expansion.parameters_of(j)).detach() for j, atom in enumerate(layer.atoms)]


def contracted(tensor, vectors):
    """``sum_a T_(a_1 .. a_D, o) prod_j v_(j,a_j)`` for rows ``v_j (n, K_j)``, with one einsum."""
    letters = "abcdefgh"[: len(vectors)]
    return torch.einsum(f"{letters}o,{','.join('n' + c for c in letters)}->no", tensor.detach(), *vectors)


def subsets(layer, factors, units=None):
    """Independent outputs ``(n, O)`` from factor values ``(n, Q_j)``, by the definition, in numpy loops."""
    core, interaction = layer.core.detach().numpy(), layer.interaction
    factors = [f.detach().numpy() for f in factors]
    coordinates, n, outputs = range(len(factors)), len(factors[0]), core.shape[-1]
    units = [1.0] * len(factors) if units is None else units
    total = np.zeros((n, outputs))
    if isinstance(interaction, CanonicalPolyadic):
        sizes = [len(factors)] if interaction.order is None else range(1, interaction.order + 1)
        for subset in (s for size in sizes for s in itertools.combinations(coordinates, size)):
            values = [factors[j] if j in subset else np.full_like(factors[j], units[j]) for j in coordinates]
            total += np.prod(values, axis=0) @ core
    elif isinstance(interaction, Tucker):
        for entry in itertools.product(*map(range, core.shape[:-1])):
            total += np.prod([f[:, a] for f, a in zip(factors, entry, strict=True)], axis=0)[:, None] * core[entry]
    else:
        for i in range(n):
            row = np.ones((1, 1))
            for f in factors:
                row = row @ f[i].reshape(row.shape[1], -1)
            total[i] = (row @ core)[0]
    return torch.from_numpy(total)


def bias_of(layer):
    return 0.0 if layer.bias is None else layer.bias.detach()
