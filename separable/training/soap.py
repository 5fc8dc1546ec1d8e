"""SOAP: Adam in the basis in which the curvature of each parameter is nearest to diagonal.

For a parameter with gradient G and an axis k of at most `largest` entries let G_k be G unfolded along k. The mean of
G_k G_k^T over the steps has eigenvectors Q_k; Adam is done on G with Q_k^T applied along every such axis, and its step
is turned back. Every `every` steps the bases follow the means by one power iteration and a QR decomposition, and what
Adam remembers is turned into the new ones. What has one axis only is left to plain Adam.

Source: Vyas et al. (2025), "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR, arXiv:2409.11321, Algorithm 3.
Deviations: parameters of the same shape are done together, so that a network of many small matrices costs a few
products of matrices a step instead of many; the bases follow before a step, and so know its gradient, where the paper's
follow after it, and the first step is made and not only looked at; no axes are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class SOAP(torch.optim.Optimizer):
    """The optimiser; its state has an entry for each parameter, as that of AdamW has.

    Args:
        params: parameters or groups of them, real or complex, of any number of axes.
        lr: learning rate; one that suits AdamW suits it.
        betas: of the means of the gradient and of its square in the basis.
        basis_beta: of the means from which the bases come. Where gradients are of few samples, means over more steps
            (0.9, 0.99 and 0.99) did better; where they are of all samples, those of the paper are the safe ones.
        eps: added to the root of the mean square.
        weight_decay: taken off beside the step, as in AdamW.
        every: steps between two looks at the bases.
        largest: entries of an axis that still has a basis; its cost grows as their square.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> import torch
        >>> from separable.training import SOAP
        >>> turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
        >>> steep = turn @ torch.diag(torch.tensor([100.0, 0.01])) @ turn.T  # Adam's axes are not those of this valley
        >>> weight = torch.nn.Parameter(torch.tensor([[1.0, 0.5], [-0.5, 1.0]]))
        >>> optimiser = SOAP([weight])
        >>> for step in range(200):
        ...     optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 200)
        ...     loss = (steep @ weight * weight).sum()
        ...     loss.backward()
        ...     optimiser.step()
        ...     optimiser.zero_grad()
        >>> loss.item() < 0.002  # Adam with the same rates reaches 0.013
        True
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        basis_beta: float = 0.95,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        every: int = 10,
        largest: int = 128,
    ) -> None:
        if not lr >= 0 or not eps > 0 or not weight_decay >= 0:
            raise ValueError(f"lr, eps, weight_decay: expected numbers of at least 0, got {lr}, {eps}, {weight_decay}")
        if not all(0 <= beta < 1 for beta in (*betas, basis_beta)):
            raise ValueError(f"betas, basis_beta: expected numbers from 0 to below 1, got {betas} and {basis_beta}")
        if every < 1 or largest < 0:
            raise ValueError(f"every, largest: expected at least 1 and 0, got {every} and {largest}")
        options = {"lr": lr, "betas": betas, "basis_beta": basis_beta, "eps": eps, "weight_decay": weight_decay}
        # What the entries of the state are parts of, and those entries; a state that was replaced is begun again.
        self._together: dict[tuple[int, ...], tuple[dict[str, Tensor], list[dict[str, Tensor]]]] = {}
        super().__init__(params, options | {"every": every, "largest": largest})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """More parameters, such as those of a part that was frozen.

        Raises:
            ValueError: one is shared by processes, no floating-point number, or has fewer than 32 bits.
        """
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            floating = parameter.is_floating_point() or parameter.is_complex()
            if not floating or torch.finfo(parameter.dtype).bits < 32 or hasattr(parameter, "placements"):
                del self.param_groups[-1]
                shared = ", shared by processes" if hasattr(parameter, "placements") else ""
                raise ValueError(
                    "params: expected whole tensors of floating-point numbers of at least 32 bits, got one of "
                    f"{tuple(parameter.shape)}, {parameter.dtype}{shared}"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; parameters without a gradient stay as they are.

        Raises:
            RuntimeError: a gradient is sparse.
            FloatingPointError: the first gradient of a parameter, or its square, is not finite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.layout != torch.strided:
                    raise RuntimeError(f"SOAP: expected dense gradients, got one that is {parameter.grad.layout}")
                if parameter.grad is not None and parameter.numel():
                    done = float(self.state[parameter].get("step", 0.0))
                    kind = (parameter.shape, parameter.dtype, parameter.device, done)
                    alike.setdefault(kind, []).append(parameter)
            for parameters in alike.values():
                self._step_together(group, parameters)
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._together = {}  # a state that was loaded has tensors of its own

    def _step_together(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """The step of parameters of one shape; the first axis of every tensor here counts them."""
        gradient = torch.stack([_real(parameter.grad) for parameter in parameters])  # type: ignore[arg-type]
        state = self._state_of(group, parameters, gradient)
        axes = [axis for axis in range(1, gradient.ndim) if f"basis_{axis}" in state]
        beta, beta_square = group["betas"]
        step = int(state["step"][0]) + 1
        products = {axis: _products(gradient, axis) for axis in axes}
        if step == 1 and not all(product.isfinite().all() for product in products.values()):
            shape = tuple(parameters[0].shape)
            raise FloatingPointError(f"SOAP: expected a gradient whose square is finite, of a parameter {shape}")
        state["step"] += 1
        for axis, product in products.items():
            state[f"covariance_{axis}"].lerp_(product, 1 - group["basis_beta"])
        if step == 1:
            for axis in axes:
                state[f"basis_{axis}"].copy_(torch.linalg.eigh(state[f"covariance_{axis}"])[1].flip(-1))
        elif axes and step % group["every"] == 0:
            mean = _turned(state["exp_avg"], {axis: state[f"basis_{axis}"].mT for axis in axes})
            for axis in axes:
                _follow(state[f"basis_{axis}"], state[f"covariance_{axis}"], state["exp_avg_sq"], axis)
            state["exp_avg"].copy_(_turned(mean, {axis: state[f"basis_{axis}"] for axis in axes}))
        bases = {axis: state[f"basis_{axis}"] for axis in axes}
        gradient = _turned(gradient, bases)
        state["exp_avg"].lerp_(gradient, 1 - beta)
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - beta_square)
        scale = (1 - beta_square**step) ** 0.5  # of the root; Adam's division by it is left to the rate
        root = state["exp_avg_sq"].sqrt().add_(group["eps"] * scale)
        change = _turned(state["exp_avg"] / root, {axis: basis.mT for axis, basis in bases.items()})
        values = [_real(parameter) for parameter in parameters]
        if group["weight_decay"]:
            torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(values, list(change.unbind()), alpha=-group["lr"] * scale / (1 - beta**step))

    def _state_of(self, group: dict[str, Any], parameters: list[Tensor], gradient: Tensor) -> dict[str, Tensor]:
        """The state of all, of which that of each is a part."""
        key = tuple(id(parameter) for parameter in parameters)
        together, parts = self._together.get(key, ({}, []))
        if parts and all(self.state[parameter] is part for parameter, part in zip(parameters, parts, strict=True)):
            return together
        for other in [other for other in self._together if not set(other).isdisjoint(key)]:
            del self._together[other]  # parameters may stand together with others than before
        for parameter, like in zip(parameters, gradient, strict=True):
            if not self.state[parameter]:
                self.state[parameter] = _begun(like, group["largest"])
        states = [self.state[parameter] for parameter in parameters]
        together = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        values = zip(*(value.unbind() for value in together.values()), strict=True)
        parts = [dict(zip(together, part, strict=True)) for part in values]
        self.state.update(zip(parameters, parts, strict=True))
        self._together[key] = together, parts
        return together


def _begun(like: Tensor, largest: int) -> dict[str, Tensor]:
    """The state of a parameter before its first step."""
    state = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(like), "exp_avg_sq": torch.zeros_like(like)}
    if like.ndim > 1:
        for axis, size in enumerate(like.shape, 1):
            if 1 < size <= largest:
                state[f"covariance_{axis}"] = like.new_zeros(size, size)
                state[f"basis_{axis}"] = torch.eye(size, dtype=like.dtype, device=like.device)
    return state


def _real(value: Tensor) -> Tensor:
    """The numbers of a tensor; those of a complex one have an axis of two."""
    return torch.view_as_real(value) if value.is_complex() else value


def _turned(value: Tensor, bases: Mapping[int, Tensor]) -> Tensor:
    """The coefficients of a tensor in bases along some axes; its axes go round once, so that few products copy it."""
    turned = value
    for axis in range(1, value.ndim):
        first, rest = turned.shape[1], turned.shape[2:]
        if axis in bases:
            turned = (turned.flatten(2).mT @ bases[axis]).view(-1, *rest, first)
        else:
            turned = turned.movedim(1, -1)
    return turned


def _products(value: Tensor, axis: int) -> Tensor:
    """G_k G_k^T of the head of this file."""
    if axis == value.ndim - 1:
        rows = value.flatten(1, -2)
        return rows.mT @ rows
    unfolded = value.movedim(axis, 1).flatten(2)
    return unfolded @ unfolded.mT


def _follow(basis: Tensor, covariance: Tensor, square: Tensor, axis: int) -> None:
    """One power iteration towards the eigenvectors, largest first; the squares keep to their vectors."""
    moved = covariance @ basis
    order = (basis * moved).sum(-2).argsort(-1, descending=True)
    moved = moved.gather(-1, order[:, None, :].expand_as(moved))
    shape = [1] * square.ndim
    shape[0], shape[axis] = order.shape
    square.copy_(square.gather(axis, order.view(shape).expand_as(square)))
    basis.copy_(torch.linalg.qr(moved)[0])
