"""A fitted function answers over HTTP, and on a page with sliders.

`Surrogate` needs nothing else; the server itself (`separable.serving.application`) needs the extra ``serve``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from separable.serving.description import CoordinateRange, Uncertainty
    from separable.serving.surrogate import Found, Surrogate

__all__ = ["CoordinateRange", "Found", "Surrogate", "Uncertainty"]

_HOMES = {
    "CoordinateRange": "description",
    "Uncertainty": "description",
    "Found": "surrogate",
    "Surrogate": "surrogate",
}


def __getattr__(name: str) -> Any:
    """What is exported, imported when it is first asked for: a server passes bytes on and computes nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'separable.serving' has no attribute {name!r}")
    return getattr(importlib.import_module(f"separable.serving.{_HOMES[name]}"), name)
