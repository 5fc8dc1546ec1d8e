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
    "register",
    # the interactions
    "CanonicalPolyadic",
    "TensorTrain",
    "Tucker",
]

_FAMILIES: dict[str, type[Interaction]] = {
    family.__name__: family for family in (CanonicalPolyadic, TensorTrain, Tucker)
}


def register(family: type[Interaction]) -> type[Interaction]:
    """Let `from_config`, and so saved layers, know a family of your own: a decorator for its class.

    Raises:
        TypeError: If it is not a class of Interaction.
        ValueError: If another family has its name.
    """
    if not (isinstance(family, type) and issubclass(family, Interaction)):
        raise TypeError(f"interactions.register: expected a class of Interaction, got {family!r}")
    if _FAMILIES.setdefault(family.__name__, family) is not family:
        raise ValueError(f"interactions.register: there is another family of the name {family.__name__}")
    return family


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
