"""A factorised matrix by the name of its kind."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import torch

from separable.layers.factorised.canonical_polyadic import CanonicalPolyadicMatrix
from separable.layers.factorised.matrix import FactorisedMatrix, Rank
from separable.layers.factorised.tensor_train import TensorTrainMatrix
from separable.layers.factorised.tucker import TuckerMatrix

Factorisation = Literal["canonical_polyadic", "tucker", "tensor_train"]

_KINDS: dict[str, type[CanonicalPolyadicMatrix] | type[TuckerMatrix] | type[TensorTrainMatrix]] = {
    "canonical_polyadic": CanonicalPolyadicMatrix,
    "tucker": TuckerMatrix,
    "tensor_train": TensorTrainMatrix,
}


def factorised_matrix(
    row_shape: Sequence[int],
    column_shape: Sequence[int],
    factorisation: Factorisation,
    rank: Rank,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> FactorisedMatrix:
    """A factorised matrix of zeros.

    Raises:
        ValueError: If the factorisation is unknown, or shapes and ranks do not fit it.
    """
    if factorisation not in _KINDS:
        raise ValueError(f"factorisation is one of {', '.join(get_args(Factorisation))}; got {factorisation!r}")
    for name, shape in (("row", row_shape), ("column", column_shape)):
        if not shape or min(shape) < 1:
            raise ValueError(f"{factorisation}: the {name} shape is a sequence of positive sizes, got {tuple(shape)}")
    ranks = tuple(rank) if isinstance(rank, Iterable) else (rank,)
    if not ranks or any(isinstance(r, bool) or not isinstance(r, int | np.integer) or r < 1 for r in ranks):
        raise ValueError(f"{factorisation}: rank is a positive integer or a tuple of them, got {rank!r}")
    plain = tuple(int(r) for r in ranks) if isinstance(rank, Iterable) else int(rank)
    return _KINDS[factorisation](row_shape, column_shape, plain, {"device": device, "dtype": dtype})
