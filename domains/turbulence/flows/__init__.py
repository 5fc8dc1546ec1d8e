"""The flows: one file each, one frozen dataclass of parameters each."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

from domains.turbulence.flows.decaying import DecayingTurbulence
from domains.turbulence.flows.flow import Flow, RandomForcing
from domains.turbulence.flows.kolmogorov import KolmogorovFlow
from domains.turbulence.flows.kuramoto_sivashinsky import KuramotoSivashinsky
from domains.turbulence.flows.stochastic import StochasticTurbulence

__all__ = [
    # one class a flow
    "KolmogorovFlow",
    "DecayingTurbulence",
    "StochasticTurbulence",
    "KuramotoSivashinsky",
    # what they have in common
    "Flow",
    "RandomForcing",
    "AnyFlow",
    "flow_to_settings",
    "flow_from_settings",
]

AnyFlow: TypeAlias = KolmogorovFlow | DecayingTurbulence | StochasticTurbulence | KuramotoSivashinsky
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (KolmogorovFlow, DecayingTurbulence, StochasticTurbulence, KuramotoSivashinsky)
}


def flow_to_settings(flow: Flow) -> dict[str, Any]:
    """Kind and parameters of a flow, for JSON.

    Example:
        >>> flow_to_settings(KuramotoSivashinsky())
        {'kind': 'KuramotoSivashinsky', 'anti_diffusion': 1.0, 'hyperdiffusion': 1.0}
    """
    assert dataclasses.is_dataclass(flow)
    return {"kind": type(flow).__name__, **dataclasses.asdict(flow)}


def flow_from_settings(settings: dict[str, Any]) -> AnyFlow:
    """Read what `flow_to_settings` wrote.

    Raises:
        ValueError: the kind is unknown.
    """
    rest = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    kind = rest.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"flow: expected one of {', '.join(_KINDS)}, got {kind!r}")
    return _KINDS[kind](**rest)
