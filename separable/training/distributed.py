"""Several processes that train one module: `torchrun --nproc-per-node N`, or none of it.

Gradients are averaged over the processes (DDP), or parameters, gradients and optimiser are spread over them as well
(FSDP2). Who starts the processes is not our matter: where torchrun did, its variables are in the environment.
"""

import contextlib
import copy
import dataclasses
import functools
import gc
import itertools
import numbers
import os
import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

_JOINED = itertools.count()  # trainings of this process that several processes shared


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: number of this process; 0 keeps the record.
        count: how many there are.
        device: where this process computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process keeps the record."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, in each."""
        return mean_over_processes(values) if self.count > 1 else values

    def of_main(self, value: Any) -> Any:
        """What process 0 has, in each."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def share(self, size: int, part: int, parts: int) -> slice:
        """Which of the rows of a step this process computes in one of its parts; all are of the same size."""
        rows = size // (self.count * parts)
        first = (self.rank * parts + part) * rows
        return slice(first, first + rows)


def is_main_process() -> bool:
    """Whether this process prints and writes; true where there is one process."""
    return int(os.environ.get("RANK", "0")) == 0


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over the processes that train together, in each, for a loss that needs it; all of them must ask."""
    if not dist.is_initialized():
        return values
    whole = values.clone()
    dist.all_reduce(whole)
    return whole / dist.get_world_size()


def process_count() -> int:
    """How many processes train together; one where torchrun started none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@functools.cache
def _meeting() -> tuple[Any, int, int]:
    """The store where the processes find each other, the number of this one, and how many there are.

    One for all trainings of a process: whoever comes early to the next would meet a store that is about to close.
    """
    return next(rendezvous("env://"))  # type: ignore[no-any-return]


@contextlib.contextmanager
def joined(device: torch.device | str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did; leave them at the end."""
    device = torch.device(device)
    count = process_count()
    if count == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    first = not dist.is_initialized()
    if first:
        store, rank, count = _meeting()
        # Under names of its own, as in the store a training would find the addresses of the one before.
        named = dist.PrefixStore(f"training {next(_JOINED)}", store)  # type: ignore[attr-defined]
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=named, rank=rank, world_size=count)
    try:
        yield Processes(dist.get_rank(), count, device)
    finally:
        if first:
            # gloo's threads need the interpreter to let go of their last tensors; destroying does not give it to them.
            gc.collect()
            time.sleep(0.05)
            dist.destroy_process_group()


class Objective(nn.Module):
    """A module and its loss as one module, whose call is what DDP and FSDP2 watch."""

    def __init__(self, model: nn.Module, loss: Any) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the scalars that are told beside it.

        Raises:
            ValueError: one of them is no scalar.
        """
        told = self._loss(self.model, batch)
        loss, scalars = told if isinstance(told, tuple) else (told, {})
        if not isinstance(loss, Tensor) or loss.ndim:
            raise ValueError(f"loss: expected a scalar tensor, got {_described(loss)}")
        for name, value in scalars.items():
            if value.ndim if isinstance(value, Tensor) else not isinstance(value, numbers.Real):
                raise ValueError(f"loss: expected scalars beside it, got for {name} {_described(value)}")
        return loss, {name: torch.as_tensor(value, device=loss.device) for name, value in scalars.items()}


def _described(value: Any) -> str:
    return f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def distribute(
    model: nn.Module, loss: Any, processes: Processes, distribution: Literal["ddp", "fsdp"]
) -> tuple[nn.Module, nn.Module]:
    """The module as it is trained, and its objective, over the processes there are.

    With FSDP2 it is a copy that is trained, since its parameters become parts; the elements of each
    ``torch.nn.ModuleList`` (blocks of a transformer, say) are one unit of communication each, the rest is another.
    """
    model.to(processes.device)
    if processes.count == 1:
        return model, Objective(model, loss)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.data, src=0)
    if distribution == "ddp":
        objective = nn.parallel.DistributedDataParallel(Objective(model, loss))
        return model, objective
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(processes.device.type, (processes.count,))
    trained = copy.deepcopy(model)
    for module in reversed(list(trained.modules())):  # what lies inside first
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    sharded: nn.Module = Objective(trained, loss)
    fully_shard(sharded, mesh=mesh)
    return trained, sharded


@contextlib.contextmanager
def gradients_exchanged(objective: Any, now: bool) -> Iterator[None]:
    """Whether the backward pass inside exchanges gradients; only the last part of a step has to."""
    if isinstance(objective, nn.parallel.DistributedDataParallel) and not now:
        with objective.no_sync():
            yield
        return
    if _is_sharded(objective):
        objective.set_requires_gradient_sync(now)
    yield


@contextlib.contextmanager
def parameters_gathered(objective: nn.Module) -> Iterator[None]:
    """Use the module outside its objective: parameters that FSDP2 spread are whole inside."""
    parts: list[Any] = [module for module in objective.modules() if _is_sharded(module)]
    for module in parts:
        module.unshard()
    yield
    for module in parts:
        module.reshard()


def _is_sharded(module: Any) -> bool:
    """Whether FSDP2 spread the parameters of a module; asks without importing it where nothing else did."""
    return hasattr(module, "unshard")
