"""A device that is not there: tensors in the CPU's memory that say "cuda", and refuse what a GPU would refuse.

Every operation is really computed, by the CPU, so that results can be compared with those of the CPU and steps that
depend on values are taken. What a tensor is said to be on is kept with its memory, so views and changes in place know
it too. An operation that mixes devices, takes a generator of another device or hands memory of the device to numpy
fails, as it does in torch. Random numbers of the device come from a stream of its own: who promises the numbers of the
CPU must draw them there.

What it cannot tell: how a GPU rounds and how fast it is, which operations have no kernel there, and what goes wrong
where the host reads memory before a GPU has written it. Where there is a GPU, `some_device` is that one instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch._dynamo.trace_rules
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Torch's compiler knows functions by tables that it makes when it is first asked, which must be before any is replaced.
torch._dynamo.trace_rules.get_torch_obj_rule_map()

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default}
_FILLED = {_aten.fill.Tensor, _aten.fill_.Tensor}
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
# What takes a device and makes a tensor.
_MADE = "arange empty eye full linspace logspace ones rand randint randn randperm tensor tril_indices triu_indices"
_LIKE = "zeros zeros_like empty_like full_like ones_like rand_like randint_like randn_like"
_NEW = "new_empty new_full new_ones new_zeros"
_MOVED = "asarray as_tensor"  # may share the memory of what they are given


def _where(tensor: Tensor) -> torch.device:
    """The device of a tensor: that of its memory."""
    real: torch.device = torch._C.TensorBase.device.__get__(tensor)
    if real.type != "cpu":
        return real
    return CUDA if getattr(tensor.untyped_storage(), "pretended", False) else CPU


class _Placing(TorchDispatchMode):
    """Passes on to what an operation makes where its tensors are, and refuses those that do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = torch.Generator().manual_seed(987654321)  # of random numbers of the device
        self.making: torch.device | None = None

    @contextlib.contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """All that is made within is there."""
        before, self.making = self.making, device
        try:
            yield
        finally:
            self.making = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tree_leaves((args, kwargs))
        there = self.making or self._common(func, args, [t for t in given if isinstance(t, Tensor)])
        random = torch.Tag.nondeterministic_seeded in func.tags and there == CUDA
        if random and any(isinstance(one, torch.Generator) for one in given):
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
        if random:
            before = torch.get_rng_state()
            torch.set_rng_state(self.stream.get_state())
        found = func(*args, **kwargs)
        if random:
            self.stream.set_state(torch.get_rng_state())
            torch.set_rng_state(before)
        if there == CUDA:
            for made in tree_leaves(found):
                if isinstance(made, Tensor) and made.device.type == "cpu":
                    made.untyped_storage().pretended = True
        return found

    @staticmethod
    def _common(func: Any, args: Any, tensors: list[Tensor]) -> torch.device:
        """The device of an operation on tensors."""
        if func in _COPIES:
            return _where(tensors[0])
        if func in _INDEXED and _where(args[0]) == CUDA:  # places on the CPU are moved
            tensors = [t for t in tensors if all(t is not place for place in args[1])]
            tensors = [t for t in tensors if t.ndim or _where(t) == CUDA]  # so is a single number
        found = {_where(t) for t in tensors} & {CPU, CUDA}
        if len(found) < 2:
            return found.pop() if found else CPU
        # These take single numbers from the CPU.
        single = torch.Tag.pointwise in func.tags or func in _FILLED or "_foreach_" in func.name()
        if not single or any(t.ndim for t in tensors if _where(t) == CPU):
            told = ", ".join(f"{tuple(t.shape)} on {_where(t)}" for t in tensors)
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, got {told}")
        return CUDA


class _Move(torch.autograd.Function):
    """A copy on another device; its gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, there: torch.device, placing: _Placing) -> Tensor:
        ctx.here, ctx.placing = _where(tensor), placing
        with placing.on(there):
            return tensor.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return _Move.apply(slope, ctx.here, ctx.placing), None, None


def _meant(device: Any) -> bool:
    return isinstance(device, torch.device | str) and torch.device(device).type == "cuda"


@contextlib.contextmanager
def pretended_device() -> Iterator[torch.device]:
    """The device, which is one as long as this lasts.

    Example:
        >>> with pretended_device() as device:
        ...     x = torch.ones(2, device=device)
        ...     print(x.device, (x + x).tolist())
        cuda:0 [2.0, 2.0]
    """
    placing, tensor = _Placing(), torch.Tensor
    move, to_numpy, to_array = tensor.to, tensor.numpy, tensor.__array__

    def to(self: Tensor, *args: Any, **named: Any) -> Tensor:
        wanted = [a for a in (*args, *named.values()) if isinstance(a, torch.device | str | Tensor)]
        args = tuple(CPU if _meant(a) else a for a in args)
        same: Tensor = move(self, *args, **{name: CPU if _meant(a) else a for name, a in named.items()})
        if not wanted or {same.device.type, self.device.type} & {"meta"}:
            return same
        there = wanted[0].device if isinstance(wanted[0], Tensor) else torch.device(wanted[0])
        return same if there.type == self.device.type else _Move.apply(same, there, placing)

    def numpy(self: Tensor, *, force: bool = False) -> Any:
        if not force and self.is_cuda:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return to_numpy(self, force=force)

    def array(self: Tensor, *args: Any) -> Any:
        if self.is_cuda:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return to_array(self, *args)

    def making(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(*args: Any, device: Any = None, **named: Any) -> Tensor:
            if device is None:
                return make(*args, **named)
            if not _meant(device):
                with placing.on(CPU):
                    return make(*args, device=device, **named)
            with placing.on(CUDA):
                return make(*args, device=CPU, **named)

        return made

    def moving(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def moved(data: Any, *args: Any, device: Any = None, **named: Any) -> Tensor:
            found = make(data, *args, **named)
            return found if device is None else to(found, device)

        return moved

    def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)

    changed: list[tuple[Any, str, Any]] = [
        (tensor, "device", property(_where)),
        (tensor, "is_cpu", property(lambda self: _where(self).type == "cpu")),
        (tensor, "is_cuda", property(lambda self: _where(self).type == "cuda")),
        (tensor, "to", to),
        (tensor, "cpu", lambda self: to(self, CPU)),
        (tensor, "cuda", lambda self: to(self, CUDA)),
        (tensor, "type_as", lambda self, other: to(self, other)),
        (tensor, "numpy", numpy),
        (tensor, "__array__", array),
        (torch.cuda, "manual_seed", placing.stream.manual_seed),
        (torch.cuda, "get_rng_state", lambda _: placing.stream.get_state()),
        (torch.cuda, "set_rng_state", lambda state, _: placing.stream.set_state(state)),
        *((torch, name, moving(getattr(torch, name))) for name in _MOVED.split()),
        *((torch, name, making(getattr(torch, name))) for name in f"{_MADE} {_LIKE}".split()),
        *((torch.fft, name, making(getattr(torch.fft, name))) for name in ("fftfreq", "rfftfreq")),
        *((tensor, name, making(getattr(tensor, name))) for name in _NEW.split()),
        (tensor, "new_tensor", new_tensor),
    ]
    with contextlib.ExitStack() as stack:
        for place, name, value in changed:
            stack.enter_context(mock.patch.object(place, name, value))
        stack.enter_context(placing)
        yield CUDA


@contextlib.contextmanager
def some_device() -> Iterator[torch.device]:
    """A GPU where there is one, and the pretended device elsewhere."""
    if not torch.cuda.is_available():
        with pretended_device() as device:
            yield device
        return
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield CUDA


def assert_as_on_the_cpu(found: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Close where the CPU pretends; on a GPU, which adds up in another order, within tolerances."""
    if not torch.cuda.is_available():
        rtol, atol = min(rtol, 1e-6), min(atol, 1e-7)
    torch.testing.assert_close(found.cpu(), expected, rtol=rtol, atol=atol, check_stride=False)
