"""Alternating least squares: one coordinate's coefficients at a time, each a linear problem with an exact solution.

With the others held, ``f_o(x_n) = bias_o + offset_no + sum_(k,q) B_nk C_kq weight_nqo``; the block's design rows are
``a_(no),(kq) = B_nk weight_nqo``, P = K Q unknowns. After the D coordinates comes the core with the bias, for which f
is linear too. A pass over the data costs O(N P^2) for each block; nothing larger than one batch is held.

The ridge and the roughness penalty of a block are relative to its own scale, S = trace(A)/P (ridge I + roughness R),
R the Gram matrix of second derivatives with mean diagonal one, so that neither depends on units or on how a product's
size is shared among its factors.
"""

import torch
from torch import Tensor

from separable.atoms import Atom
from separable.fitting.normal_equations import solve_step
from separable.fitting.state import Seen, State
from separable.interactions import Sweep

# No step shrinks a column by more than this; its square, by which the penalised error rises, is near rounding.
_LEAST = 1e-6


def roughness_matrix(atom: Atom) -> Tensor:
    """Gram matrix of second derivatives (first, where all second ones vanish) with mean diagonal one, ``(K, K)``."""
    if not atom.discrete and not atom.learned:
        for order in (2, 1):
            gram = atom.gram(order)
            if float(gram.diagonal().max()) > 0:
                return gram / gram.diagonal().mean()
    return torch.zeros(atom.size, atom.size, dtype=torch.float64)


def sweep(state: State, seen: Seen, ridge: float, roughness: float) -> None:
    """Improve every coordinate in turn, then the core and the bias, in place."""
    running: Sweep | None = None
    for j in range(len(state.coefficients)):
        if seen.in_memory and running is None:
            ((bases, _),) = seen
            running = state.interaction.sweep(state.factors(bases), state.core)
        _coordinate(state, seen, j, ridge, roughness, running)
    _core(state, seen, ridge)


def _coordinate(state: State, seen: Seen, j: int, ridge: float, roughness: float, running: Sweep | None) -> None:
    size, width = state.coefficients[j].shape
    unknowns = size * width
    normal = state.core.new_zeros(unknowns, unknowns)
    gradient = state.core.new_zeros(unknowns, 1)
    gram = state.core.new_zeros(size, size)
    for bases, (_, y, w) in seen:
        if running is not None:
            weight, offset = running.environment(j)
        else:
            weight, offset = state.interaction.environment(state.factors(bases), state.core, j)
        basis, root = bases[j], w.sqrt()[:, None]
        factor = basis @ state.coefficients[j]
        residual = y - state.bias - offset - (factor[:, None, :] @ weight)[:, 0, :]
        for o in range(residual.shape[1]):
            rows = (basis[:, :, None] * (root * weight[:, :, o])[:, None, :]).flatten(1)
            normal += rows.T @ rows
            gradient += rows.T @ (root * residual[:, o : o + 1])
        gram += (basis * w[:, None]).T @ basis
    mean = normal.diagonal().mean()
    penalty = ridge * mean * torch.eye(unknowns, dtype=normal.dtype, device=normal.device)
    if roughness > 0:
        rough = roughness_matrix(state.layer.atoms[j]).to(normal.device)
        penalty += roughness * mean * torch.kron(rough, torch.eye(width, dtype=normal.dtype, device=normal.device))
    current = state.coefficients[j].reshape(unknowns, 1)
    moved = (current + solve_step(normal, gradient, current, penalty)).reshape(size, width)

    def norms(coefficients: Tensor) -> Tensor:
        return ((gram @ coefficients) * coefficients).sum(0).clamp_min(0).div(seen.rows.total_weight).sqrt()

    # A column that its ridge puts out is all rounding, which must not be scaled back up; the error hardly feels this.
    least = _LEAST * state.coefficients[j]
    moved = torch.where(norms(moved) < norms(least), least, moved)
    scale, state.core = state.interaction.rescale(norms(moved), state.core)
    state.coefficients[j] = moved / scale
    if running is not None:
        ((bases, _),) = seen
        running.core = state.core
        running.replace(j, bases[j] @ state.coefficients[j])


def _core(state: State, seen: Seen, ridge: float) -> None:
    outputs, has_bias = state.core.shape[-1], state.layer.bias is not None
    inputs = state.core.numel() // outputs
    unknowns = inputs + has_bias
    normal = state.core.new_zeros(unknowns, unknowns)
    gradient = state.core.new_zeros(unknowns, outputs)
    for bases, (_, y, w) in seen:
        features = state.interaction.features(state.factors(bases))
        residual = y - state.bias - features @ state.core.reshape(inputs, outputs)
        rows = torch.cat([features, features.new_ones(len(features), 1)], dim=1) if has_bias else features
        normal += (rows * w[:, None]).T @ rows
        gradient += (rows * w[:, None]).T @ residual
    current = state.core.reshape(inputs, outputs)
    penalty = ridge * normal.diagonal().mean() * torch.eye(unknowns, dtype=normal.dtype, device=normal.device)
    if has_bias:
        current = torch.cat([current, state.bias[None]])
        penalty[-1] = 0.0  # the mean level is free
    moved = current + solve_step(normal, gradient, current, penalty)
    state.core = moved[:inputs].reshape(state.core.shape)
    if has_bias:
        state.bias = moved[-1]
