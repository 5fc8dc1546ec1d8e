"""Output heads that can be exchanged for one another: each a module and a config of plain data."""

from typing import Any

from separable.sequence.heads.adaptive import AdaptiveHead, AdaptiveHeadConfig
from separable.sequence.heads.head import Head, HeadConfig
from separable.sequence.heads.hierarchical import HierarchicalHead, HierarchicalHeadConfig
from separable.sequence.heads.low_rank import LowRankHead, LowRankHeadConfig
from separable.sequence.heads.product_mixture import ProductMixtureHead, ProductMixtureHeadConfig
from separable.sequence.heads.table import TableHead, TableHeadConfig

HEADS: dict[str, type[HeadConfig]] = {
    config.kind: config
    for config in (
        TableHeadConfig,
        LowRankHeadConfig,
        HierarchicalHeadConfig,
        ProductMixtureHeadConfig,
        AdaptiveHeadConfig,
    )
}


def head_config(kind: str, **settings: Any) -> HeadConfig:
    """The config of a kind of head from plain data, as `HeadConfig.settings` gives it.

    Raises:
        ValueError: If there is no such kind or setting.

    Example:
        >>> head_config("table", tied=False)
        TableHeadConfig(tied=False, deviation=0.02)
    """
    if kind not in HEADS:
        raise ValueError(f"head: expected one of {', '.join(HEADS)}; got {kind!r}")
    try:
        return HEADS[kind](**settings)
    except TypeError as error:
        raise ValueError(f"head {kind}: {error}") from None


__all__ = [
    "HEADS",
    "Head",
    "HeadConfig",
    "head_config",
    # kinds
    "AdaptiveHead",
    "HierarchicalHead",
    "LowRankHead",
    "ProductMixtureHead",
    "TableHead",
    # their configs
    "AdaptiveHeadConfig",
    "HierarchicalHeadConfig",
    "LowRankHeadConfig",
    "ProductMixtureHeadConfig",
    "TableHeadConfig",
]
