"""What every score asks of its arguments, before any arithmetic."""

from collections.abc import Sequence

import torch
from torch import Tensor


def members_first(score: str, ensemble: Tensor, observation: Tensor, member_axis: int, least: int = 1) -> Tensor:
    """The ensemble as ``(M, *observation.shape)``, or an error that says what does not fit.

    Shapes are equal, never broadcast: an axis that is stretched by accident gives a plausible, wrong score.

    Args:
        score: Name of the caller, for the message.
        ensemble: Members along ``member_axis``.
        observation: What came true.
        member_axis: Which axis of the ensemble counts members.
        least: Fewest members that the caller can do with.
    """
    for name, values in (("ensemble", ensemble), ("observation", observation)):
        if not isinstance(values, Tensor) or not values.is_floating_point():
            kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise TypeError(f"{score}: {name} is a floating-point torch.Tensor, got {kind}")
    if not -ensemble.ndim <= member_axis < ensemble.ndim:
        raise ValueError(f"{score}: member_axis is an axis of the ensemble {tuple(ensemble.shape)}, got {member_axis}")
    members = ensemble.movedim(member_axis, 0)
    if members.shape[1:] != observation.shape:
        raise ValueError(
            f"{score}: observation has the ensemble's shape without its member axis {member_axis}, "
            f"{tuple(members.shape[1:])}; got {tuple(observation.shape)}"
        )
    if observation.numel() == 0:
        raise ValueError(f"{score}: observation holds at least one value, got the shape {tuple(observation.shape)}")
    if len(members) < least:
        raise ValueError(
            f"{score}: ensemble has at least {least} member{'s' if least > 1 else ''} along axis {member_axis}, "
            f"got {len(members)}"
        )
    if not torch.compiler.is_compiling():  # a compiled loss cannot stop to look at its values
        _refuse_missing(score, members, observation)
    return members


def widened(ensemble: Tensor, observation: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """Both in one dtype, float32 at least, and the dtype of the result.

    Squares and sums of numbers in half precision leave its range where the score itself lies in it.
    """
    dtype = torch.promote_types(ensemble.dtype, observation.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    return ensemble.to(wide), observation.to(wide), dtype


def _refuse_missing(score: str, members: Tensor, observation: Tensor) -> None:
    for name, values in (("ensemble", members), ("observation", observation)):
        missing = ~torch.isfinite(values)
        if bool(missing.any()):
            where = ""
            if values is members:
                where = f", in members {missing.flatten(1).any(1).nonzero().flatten().tolist()}"
            raise ValueError(
                f"{score}: {name} has no missing values (NaN or infinity); "
                f"got {int(missing.sum())} of {missing.numel()}{where}"
            )


def axes_of(score: str, name: str, axes: int | Sequence[int] | None, observation: Tensor) -> tuple[int, ...]:
    """Axes of the observation counted from its first, each once; None means all of them."""
    dimensions = observation.ndim
    given = tuple(range(dimensions)) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
    inside = all(-dimensions <= axis < dimensions for axis in given)
    counted = tuple(axis % dimensions for axis in given) if inside else ()
    # Without axes torch would reduce all of them, so an empty list is refused; a lone number has none and needs none.
    if not inside or len(set(counted)) < len(given) or (not given and axes is not None):
        raise ValueError(
            f"{score}: {name} are distinct axes of the observation {tuple(observation.shape)}, at least one; got {axes}"
        )
    return counted


def refuse_level(score: str, level: float) -> None:
    """An error unless ``level`` is a probability strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"{score}: level lies strictly between 0 and 1, got {level}")
