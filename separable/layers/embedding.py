"""An embedding table held in factors, with the signature of torch.nn.Embedding."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.layers.derivatives import looked_into
from separable.layers.factorised import Factorisation, Rank, balanced_shape, covering_shape, factorised_matrix
from separable.layers.factorised.matrix import relative_distance


class SeparableEmbedding(nn.Module):
    """A lookup ``index -> W[index]`` with W in canonical polyadic, Tucker or tensor-train form.

    See `separable.layers.factorised` for the forms; the rows are the tokens, the columns the features.

    Args:
        num_embeddings: Number V of tokens.
        embedding_dim: Number D of features.
        padding_idx: A token whose vector is zero and stays zero.
        device: Where the parameters live.
        dtype: Type of the parameters.
        factorisation: ``canonical_polyadic``, ``tucker`` or ``tensor_train``.
        rank: As in `SeparableLinear`.
        token_shape: Digits of the token index, whose product is at least V. By default one digit for CP (a low-rank
            table) and two nearly equal ones for Tucker and the tensor train.
        feature_shape: Digits of the feature index, with product D; by default likewise.
        generator: Source of random numbers for the start values.

    Attributes:
        relative_error: What `from_embedding` lost, ``|W - W_dense| / |W_dense|`` in the Frobenius norm; None otherwise.

    Start values: normal factors such that the entries of W have torch.nn.Embedding's variance, one.

    Time of a forward and backward step over that of torch.nn.Embedding, one CPU core, 50,257 tokens and 512 features,
    1024 and 8192 indices a step (``benchmarks/library_layers.py``): CP of rank 64 0.1 and 0.5, tensor train of rank 16
    0.1 and 0.5, Tucker of ranks (16, 16, 8, 8) 0.1 and 1.5. The gain is the gradient, which a dense table writes in
    full. Crossover: a table that fits in the processor's cache is only copied, and then the dense one is faster; at
    10,000 tokens and 256 features by 1 to 1.3 (CP of rank 16), 2 to 4 (CP of rank 64), 2 to 3 (tensor train of rank
    16) and 9 to 11 (Tucker) times. Without gradients a lookup in `to_embedding` is always faster.

    Example:
        >>> import torch
        >>> from separable.layers import SeparableEmbedding
        >>> embedding = SeparableEmbedding(1000, 64, rank=16)
        >>> embedding(torch.tensor([[1, 5], [999, 0]])).shape
        torch.Size([2, 2, 64])
        >>> embedding.n_parameters
        17024
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        rank: Rank,
        factorisation: Factorisation = "canonical_polyadic",
        token_shape: Sequence[int] | None = None,
        feature_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(f"SeparableEmbedding: sizes are positive, got {num_embeddings} x {embedding_dim}")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"SeparableEmbedding: padding_idx {padding_idx} is not one of {num_embeddings} tokens")
        parts = 1 if factorisation == "canonical_polyadic" else 2
        rows = covering_shape(num_embeddings, parts) if token_shape is None else tuple(token_shape)
        columns = balanced_shape(embedding_dim, parts) if feature_shape is None else tuple(feature_shape)
        if math.prod(rows) < num_embeddings:
            raise ValueError(
                f"SeparableEmbedding: the product of token_shape must be at least {num_embeddings}, got {rows}"
            )
        if math.prod(columns) != embedding_dim:
            raise ValueError(f"SeparableEmbedding: the product of feature_shape must be {embedding_dim}, got {columns}")
        self.num_embeddings, self.embedding_dim, self.factorisation = num_embeddings, embedding_dim, factorisation
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.matrix = factorised_matrix(rows, columns, factorisation, rank, device=device, dtype=dtype)
        self.relative_error: float | None = None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""
        self.matrix.reset_parameters(1.0, generator)

    @classmethod
    def from_embedding(
        cls,
        embedding: nn.Embedding,
        *,
        rank: Rank,
        factorisation: Factorisation = "canonical_polyadic",
        token_shape: Sequence[int] | None = None,
        feature_shape: Sequence[int] | None = None,
    ) -> "SeparableEmbedding":
        """The factorised table nearest to a dense one; `relative_error` says how near.

        Fits as in `SeparableLinear.from_linear`. Places of ``token_shape`` beyond the last token are fitted to zero;
        so is a padding token, whose vector is zero here whatever it was: the error counts it.

        Raises:
            ValueError: If the table has values that are not finite, the embedding renormalises (``max_norm``), or the
                shapes do not fit.
        """
        weight = embedding.weight.detach()
        if embedding.max_norm is not None:
            raise ValueError(
                f"SeparableEmbedding.from_embedding: max_norm={embedding.max_norm} has no factorised counterpart"
            )
        if not bool(torch.isfinite(weight).all()):
            raise ValueError("SeparableEmbedding.from_embedding: the table has values that are not finite")
        layer = cls(
            len(weight),
            weight.shape[1],
            padding_idx=embedding.padding_idx,
            device=weight.device,
            dtype=weight.dtype,
            rank=rank,
            factorisation=factorisation,
            token_shape=token_shape,
            feature_shape=feature_shape,
        )
        padded = nn.functional.pad(weight, (0, 0, 0, layer.matrix.n_rows - len(weight))).clone()
        if layer.padding_idx is not None:
            padded[layer.padding_idx] = 0.0
        layer.matrix.fit(padded)
        with torch.no_grad():
            layer.relative_error = relative_distance(layer.dense(), weight)
        return layer

    def to_embedding(self) -> nn.Embedding:
        """The same lookup as a dense torch.nn.Embedding."""
        return nn.Embedding(
            self.num_embeddings, self.embedding_dim, padding_idx=self.padding_idx, _weight=self.dense().detach()
        )

    def dense(self) -> Tensor:
        """The table ``(V, D)``."""
        table = self.matrix.dense()[: self.num_embeddings]
        if self.padding_idx is None:
            return table
        kept = torch.arange(self.num_embeddings, device=table.device) != self.padding_idx
        return table * kept[:, None].to(table.dtype)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.factorisation}, {self.n_parameters} parameters"

    def forward(self, index: Tensor) -> Tensor:
        """Vectors ``(..., D)`` of token indices ``(...)``, int32 or int64.

        Raises:
            TypeError: If the indices are not integers.
            IndexError: If an index lies outside 0 .. V - 1 (reads the data; compiled code leaves this check out).
        """
        if index.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"SeparableEmbedding: indices are int32 or int64, got {index.dtype}")
        if not looked_into(index) and index.numel():
            lowest, highest = int(index.min()), int(index.max())
            if lowest < 0 or highest >= self.num_embeddings:
                raise IndexError(
                    f"SeparableEmbedding: index {lowest if lowest < 0 else highest} lies outside "
                    f"0 .. {self.num_embeddings - 1}"
                )
        tokens = index.reshape(-1)
        if self.matrix.prefers_dense_rows(tokens.shape[0]):
            vectors = nn.functional.embedding(tokens, self.matrix.dense())
        else:
            digits: list[Tensor] = []
            for size in reversed(self.matrix.row_shape[1:]):
                digits.insert(0, tokens % size)
                tokens = tokens.div(size, rounding_mode="floor")
            vectors = self.matrix.rows([tokens, *digits])
        vectors = vectors.reshape(*index.shape, self.embedding_dim)
        if self.padding_idx is not None:
            vectors = vectors * (index != self.padding_idx)[..., None].to(vectors.dtype)
        return vectors
