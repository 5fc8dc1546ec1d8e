"""How factor functions of single coordinates combine: canonical polyadic, Tucker, tensor train."""

from typing import Any

from separable.interactions.canonical_polyadic import CanonicalPolyadic
from separable.interactions.interaction import Factors, Interaction, Sweep
from separable.interactions.tensor_train import TensorTrain
from separable.interactions.tucker import Tucker

__all__ = [
    # the interface
    "Factors",
    "Interaction",
    "Sweep",
    "from_config",
    # the interactions
    "CanonicalPolyadic",
    "TensorTrain",
    "Tucker",
]

_FAMILIES: dict[str, type[Interaction]] = {
    family.__name__: family for family in (CanonicalPolyadic, TensorTrain, Tucker)
}


def from_config(config: dict[str, Any]) -> Interaction:
    """Rebuild an interaction from `Interaction.config`.

    Raises:
        ValueError: If the family is unknown or a field does not belong to it.
    """
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    name = fields.pop("family", None)
    if name not in _FAMILIES:
        raise ValueError(f"interactions.from_config: family is one of {', '.join(_FAMILIES)}; got {name!r}")
    try:
        return _FAMILIES[name](**fields)
    except TypeError as error:
        raise ValueError(f"interactions.from_config: {name} does not take these fields: {sorted(fields)}") from error
