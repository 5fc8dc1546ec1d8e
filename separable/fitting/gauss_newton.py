"""Gauss-Newton with Levenberg-Marquardt damping: all parameters of a layer at once.

The Jacobian of the multilinear part is exact and cheap, ``df_o / dC_j[k, q] = B_jk weight_qo`` with the environments of
the interaction; that of learned coordinates and learned atoms comes from automatic differentiation. One step solves

    (J^T W J + S + mu (diag(J^T W J) + small)) d = J^T W r - S c,        S = ridge mean(diag) I on the coefficients

and is accepted if the penalised error falls; mu shrinks after good steps and grows after refused ones
(Levenberg 1944; Marquardt 1963; damping relative to the diagonal, as in More 1978). Joint steps cross the long flat
valleys ("swamps") in which alternating sweeps crawl, at O(N P^2) for P parameters in all.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from separable.fitting.normal_equations import solve_step
from separable.fitting.rows import Batch, Rows
from separable.fitting.state import Seen, State


def learned_parameters(state: State) -> dict[str, Tensor]:
    """Parameters of learned coordinates and learned atoms, by their names in the layer."""
    kinds = ("coordinates.", "expansion.atom_parameters.")
    return {name: p for name, p in state.layer.named_parameters() if name.startswith(kinds)}


class LevenbergMarquardt:
    """Damped Gauss-Newton steps on a state; keeps the damping from step to step.

    Args:
        state: What is fitted, moved in place.
        rows: The data.
        ridge: Penalty on all coefficients but the bias, relative to the mean diagonal of the normal matrix.
        damping: First value of mu.
    """

    def __init__(self, state: State, rows: Rows, ridge: float, damping: float = 1e-3) -> None:
        self.state, self.rows, self.ridge, self.damping = state, rows, ridge, damping
        self.learned = learned_parameters(state)
        self._seen = None if self.learned else Seen(rows, state)  # atom values do not move: compute them once

    def _batches(self) -> Iterator[tuple[list[Tensor], Batch]]:
        if self._seen is not None:
            yield from self._seen
            return
        for batch in self.rows:
            yield self.state.bases(batch[0]), batch

    def root_mean_square(self) -> float:
        """Weighted root mean square error over rows and outputs."""
        return float((self._error() / (self.rows.total_weight * self.rows.outputs)) ** 0.5)

    def step(self) -> bool:
        """Try damped steps until one lowers the penalised error; False if none of twelve does."""
        flat = self._flat()
        normal, gradient, error = self._normal_equations()
        mean = normal.diagonal().mean()
        penalty = self.ridge * mean * torch.ones(len(flat), dtype=flat.dtype, device=flat.device)
        if self.state.layer.bias is not None:
            penalty[self._bias_rows()] = 0.0
        objective = error + float((penalty * flat**2).sum())
        diagonal = normal.diagonal()
        saved = self.state.clone(), {name: p.clone() for name, p in self.learned.items()}
        growth = 4.0
        for _ in range(12):
            damped = normal + torch.diag(self.damping * (diagonal + 0.01 * mean) + penalty)
            move = solve_step(damped, (gradient - penalty * flat)[:, None], flat[:, None] * 0, damped * 0)[:, 0]
            self._move(flat + move)
            reached = self._error() + float((penalty * (flat + move) ** 2).sum())
            if reached < objective:
                self.damping = max(self.damping * (0.1 if reached < 0.5 * objective else 0.3), 1e-15)
                return True
            self._restore(*saved)
            self.damping = max(self.damping, 1e-12) * growth
            growth *= 2
        return False

    def _flat(self) -> Tensor:
        s = self.state
        return torch.cat(
            [c.flatten() for c in s.coefficients]
            + [s.core.flatten()]
            + ([s.bias] if s.layer.bias is not None else [])
            + [p.flatten() for p in self.learned.values()]
        )

    def _bias_rows(self) -> slice:
        start = sum(c.numel() for c in self.state.coefficients) + self.state.core.numel()
        return slice(start, start + self.state.bias.numel())

    def _move(self, flat: Tensor) -> None:
        s, at = self.state, 0

        def take(like: Tensor) -> Tensor:
            nonlocal at
            at += like.numel()
            return flat[at - like.numel() : at].reshape(like.shape).clone()

        s.coefficients = [take(c) for c in s.coefficients]
        s.core = take(s.core)
        if s.layer.bias is not None:
            s.bias = take(s.bias)
        for p in self.learned.values():
            p.copy_(take(p))

    def _restore(self, state: State, learned: dict[str, Tensor]) -> None:
        self.state.coefficients, self.state.core, self.state.bias = (
            [c.clone() for c in state.coefficients],
            state.core.clone(),
            state.bias.clone(),
        )
        for name, p in self.learned.items():
            p.copy_(learned[name])

    def _error(self) -> float:
        total = 0.0
        for bases, (_, y, w) in self._batches():
            total += float((w[:, None] * (y - self.state.values(self.state.factors(bases))) ** 2).sum())
        return total if total == total else float("inf")

    def _normal_equations(self) -> tuple[Tensor, Tensor, float]:
        size = len(self._flat())
        normal = self.state.core.new_zeros(size, size)
        gradient = self.state.core.new_zeros(size)
        error = 0.0
        for bases, batch in self._batches():
            step = max(1, 50_000_000 // (8 * size))  # rows whose Jacobian takes about 50 MB
            for start in range(0, len(batch[0]), step):
                part = slice(start, start + step)
                x, y, w = (values[part] for values in batch)
                jacobian, values = self._jacobian(x, [basis[part] for basis in bases])
                residual, root = y - values, w.sqrt()[:, None]
                error += float((w[:, None] * residual**2).sum())
                for o in range(residual.shape[1]):
                    rows = jacobian[:, o] * root
                    normal += rows.T @ rows
                    gradient += rows.T @ (root[:, 0] * residual[:, o])
        return normal, gradient, error

    def _jacobian(self, x: Tensor, bases: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Jacobian ``(n, O, P)`` and values ``(n, O)``."""
        s = self.state
        factors = s.factors(bases)
        outputs = s.core.shape[-1]
        values = s.values(factors)
        blocks, weights = list[Tensor](), list[Tensor]()
        running = s.interaction.sweep(factors, s.core)
        for j, basis in enumerate(bases):
            weight, _ = running.environment(j)
            weights.append(weight)
            blocks.append(torch.einsum("nk,nqo->nokq", basis, weight).flatten(2))
            running.replace(j, factors[j])
        features = s.interaction.features(factors)
        eye = torch.eye(outputs, dtype=x.dtype, device=x.device)
        blocks.append(torch.einsum("nf,op->nofp", features, eye).flatten(2))
        if s.layer.bias is not None:
            blocks.append(eye.expand(len(x), -1, -1))
        for name, parameter in self.learned.items():
            if name.startswith("coordinates."):
                blocks.append(self._coordinate_block(name, x, weights))
            else:
                blocks.append(self._atom_block(parameter, x, weights))
        return torch.cat(blocks, dim=2), values

    def _coordinate_block(self, name: str, x: Tensor, weights: list[Tensor]) -> Tensor:
        """By the chain rule df / dW_ji = df / dz_j squash'(z_j) x_i, and without x_i for the bias of the map."""
        s, coordinates = self.state, self.state.layer.coordinates
        assert coordinates is not None
        z = coordinates(x)
        slopes = [s.layer.expansion.basis(z[:, j], j, 1) @ c for j, c in enumerate(s.coefficients)]
        by_z = torch.stack([(p[:, None] @ w)[:, 0] for p, w in zip(slopes, weights, strict=True)], dim=-1)
        by_z = by_z * coordinates.slope(z)[:, None, :]  # (n, O, D)
        return by_z if name.endswith("bias") else torch.einsum("noj,ni->noji", by_z, x).flatten(2)

    def _atom_block(self, parameter: Tensor, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Slopes along a learned atom's own parameters, by automatic differentiation of that atom alone."""
        expansion = self.state.layer.expansion
        j, position = expansion.place_of(parameter)
        own = list(expansion.parameters_of(j))
        z = x if self.state.layer.coordinates is None else self.state.layer.coordinates(x)

        def values(theta: Tensor, row: Tensor) -> Tensor:
            return expansion.atoms[j](row, 0, (*own[:position], theta, *own[position + 1 :]))

        by_basis = torch.func.vmap(torch.func.jacrev(values), in_dims=(None, 0))(parameter, z[:, j])  # (n, K, ...)
        pull = torch.einsum("kq,nqo->nok", self.state.coefficients[j], weights[j])
        return torch.einsum("nok,nkt->not", pull, by_basis.flatten(2))
