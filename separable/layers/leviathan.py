"""Leviathan's learned embedding vectorisation: token vectors computed from the digits of the token's index.

For V tokens, k digits in base ``b = ceil(V^(1/k))``, seed size d, H heads, E knots, rank R and D features:

    i -> (i_1 .. i_k), most significant digit first;      z = sum_q C_q[i_q]                       C (k, b, d)
    for each head l:
        t       = sigmoid(LN_l(W_l z) / 2)  in (0, 1)^d                                            W (H, d, d)
        B_(j,g) = phi(|t_j - c_g| (E - 1)) / sum_g phi(..),     c_g = g / (E - 1)
        p_(j,r) = sum_g B_(j,g) (1 + Delta_(l,j,g,r))                                              Delta (H, d, E, R)
        M_(l,r) = prod_j p_(j,r)
    embedding_i = sum_l M_l Wout_l                                                                 Wout (H, R, D)

with the quadratic spline kernel ``phi`` of `separable.layers.khronos`. The products are taken as they stand
(`separable.layers.spline_products`); the published detour by ``log(|p| + 1e-9)`` and a parity of signs differs from
them by 1e-9 / |p| of the value. Parameters:
``k b d + H d^2 + 2 H d + H d E R + H R D``; 2,252,928 for the published 200,376 tokens and 2,048 features.

Source: Batley and Saha, Leviathan (2026, arXiv:2601.22040), section 3.1, as re-implemented in
github Kitsunp/ml-cross-entropy, whose count agrees with the paper's.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from separable.layers.derivatives import looked_into, transformed
from separable.layers.spline_products import spline_products

_BLOCK = 4096  # distinct indices whose positions, H d numbers each and some times over, are held at once


class LeviathanEmbedding(nn.Module):
    """An embedding without a table, with the call of torch.nn.Embedding.

    Each distinct index of a batch is evaluated once. Factors are made in chunks, and anew in the backward pass, so
    memory is that of one chunk, and of some H d numbers for each of up to 4096 indices, whatever the batch.

    Args:
        num_embeddings: Number V of tokens.
        embedding_dim: Number D of features.
        digits: Number k of digits of an index.
        seed_dim: Size d of the seed and number of coordinates of each product.
        heads: Number H of heads.
        knots: Kernels E >= 2 per coordinate.
        rank: Number R of products per head.
        output_std: If given, Wout is scaled once at the start so that the embeddings have this standard deviation
            (ours; None is the published start, whose standard deviation is about 0.2 at the default sizes).
        normalise: Whether each embedding is divided by its root mean square and multiplied by a learned gain that
            starts at one (ours; not published).
        chunk_size: Distinct indices whose factors are made at a time, head by head; each takes about ``16 d R`` bytes
            in float32. By default as many as stay in a processor's cache, or suit a GPU.
        generator: Source of random numbers for the start values.
        device: Where the parameters live.
        dtype: Type of the parameters.

    Start values (published): C and W normal with deviation 0.02, gains of the norms one and their biases zero, Delta
    normal with deviation 0.1, Wout normal with deviation ``0.02 / sqrt(H)``.

    Cautions: a product of d = 128 factors keeps its scale only while the factors stay near one; weight decay on Delta
    pulls them there, which is why Delta and not ``1 + Delta`` is the parameter. Products start positive with mean near
    one, so at the start the embeddings of different tokens share a common part (mean cosine 0.6 at the default
    sizes). An evaluation costs about ``2 H d (d + E R) + 2 H R D`` operations a token, which pays off where a table
    would not fit or its rare rows would not be trained; for inference take `frozen`.

    Example:
        >>> import torch
        >>> from separable.layers import LeviathanEmbedding
        >>> embedding = LeviathanEmbedding(1000, 32, seed_dim=16, heads=2, knots=8, rank=8)
        >>> embedding(torch.tensor([[1, 5, 5], [999, 0, 1]])).shape
        torch.Size([2, 3, 32])
        >>> embedding.table().shape
        torch.Size([1000, 32])
    """

    places: Tensor
    centres: Tensor

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        digits: int = 3,
        seed_dim: int = 128,
        heads: int = 8,
        knots: int = 16,
        rank: int = 64,
        *,
        output_std: float | None = None,
        normalise: bool = False,
        chunk_size: int | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "num_embeddings": num_embeddings,
            "embedding_dim": embedding_dim,
            "digits": digits,
            "seed_dim": seed_dim,
            "heads": heads,
            "rank": rank,
            "chunk_size": 1 if chunk_size is None else chunk_size,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"LeviathanEmbedding: {name} is positive, got {size}")
        if knots < 2:
            raise ValueError(f"LeviathanEmbedding: knots is at least 2, got {knots}")
        if output_std is not None and not output_std > 0:
            raise ValueError(f"LeviathanEmbedding: output_std is positive, got {output_std}")
        self.num_embeddings, self.embedding_dim, self.chunk_size = num_embeddings, embedding_dim, chunk_size
        self.base = _least_base(num_embeddings, digits)
        options = {"device": device, "dtype": dtype}
        self.codebooks = nn.Parameter(torch.empty(digits, self.base, seed_dim, **options))  # type: ignore[arg-type]
        self.projections = nn.Parameter(torch.empty(heads, seed_dim, seed_dim, **options))  # type: ignore[arg-type]
        self.gains = nn.Parameter(torch.ones(heads, seed_dim, **options))  # type: ignore[arg-type]
        self.shifts = nn.Parameter(torch.zeros(heads, seed_dim, **options))  # type: ignore[arg-type]
        self.deltas = nn.Parameter(torch.empty(heads, seed_dim, knots, rank, **options))  # type: ignore[arg-type]
        self.readout = nn.Parameter(torch.empty(heads, rank, embedding_dim, **options))  # type: ignore[arg-type]
        self.norm = nn.RMSNorm(embedding_dim, eps=1e-6, device=device, dtype=dtype) if normalise else None
        # Indices beyond int64 there are none: such an embedding is called by its digits.
        self.indexed = self.base ** (digits - 1) < 2**63 > num_embeddings
        self.register_buffer("places", torch.empty(digits, dtype=torch.long, device=device), persistent=False)
        self.register_buffer("centres", torch.empty(knots, device=device, dtype=dtype), persistent=False)
        self.reset_parameters(output_std, generator)

    def reset_parameters(self, output_std: float | None = None, generator: torch.Generator | None = None) -> None:
        """Draw the published start values, and scale the readout if a standard deviation is given."""
        powers = [self.base**place if self.indexed else 1 for place in reversed(range(len(self.places)))]
        self.places.copy_(torch.tensor(powers))
        self.centres.copy_(torch.linspace(0.0, 1.0, len(self.centres), dtype=self.centres.dtype))
        nn.init.normal_(self.codebooks, std=0.02, generator=generator)
        nn.init.normal_(self.projections, std=0.02, generator=generator)
        nn.init.ones_(self.gains)
        nn.init.zeros_(self.shifts)
        nn.init.normal_(self.deltas, std=0.1, generator=generator)
        nn.init.normal_(self.readout, std=0.02 * len(self.readout) ** -0.5, generator=generator)
        if output_std is not None:
            with torch.no_grad():
                count = min(self.num_embeddings, 256)
                if self.indexed:
                    probe = torch.linspace(0, self.num_embeddings - 1, count).long().to(self.places.device)
                    digits = self._digits(probe)
                else:
                    step = torch.arange(count * len(self.places), device=self.places.device)
                    digits = (step * 7919 % self.base).reshape(count, -1)
                self.readout.mul_(output_std / self._readout_of(digits).square().mean().sqrt())

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.num_embeddings}, {self.embedding_dim}, base={self.base}, {self.n_parameters} parameters"

    def forward(self, index: Tensor) -> Tensor:
        """Embeddings ``(..., D)`` of token indices ``(...)``, any integer dtype.

        Raises:
            TypeError: If the indices are not integers.
            IndexError: If an index lies outside 0 .. V - 1 (reads the data; compiled code leaves this check out).
            ValueError: If V is beyond int64, so that only digits can name a token.
        """
        self._require_indices()
        if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
            raise TypeError(f"LeviathanEmbedding: indices are integers, got {index.dtype}")
        index = index.long()  # torch finds no least of unsigned numbers
        if not looked_into(index) and index.numel():
            lowest, highest = int(index.min()), int(index.max())
            if lowest < 0 or highest >= self.num_embeddings:
                raise IndexError(
                    f"LeviathanEmbedding: index {lowest if lowest < 0 else highest} lies outside "
                    f"0 .. {self.num_embeddings - 1}"
                )
        if torch.compiler.is_exporting() or transformed(index):  # how many are distinct has to be known before
            return self._evaluate(self._digits(index.flatten())).reshape(*index.shape, -1)
        distinct, where = torch.unique(index, return_inverse=True)
        return self._evaluate(self._digits(distinct))[where]

    def of_digits(self, digits: Tensor) -> Tensor:
        """Embeddings ``(..., D)`` of tokens given by their digits ``(..., k)``, most significant first.

        For tokens that are made of digits, of which there may be more than int64 can count. Each is evaluated, so
        repeated tokens cost their full price.

        Raises:
            ValueError: If the digits are not integers ``(..., k)`` in 0 .. base - 1 (reads the data; compiled code
                leaves the check of the range out).

        Example:
            >>> import torch
            >>> embedding = LeviathanEmbedding(32**16, 8, digits=16, seed_dim=16, heads=2, knots=8, rank=8)
            >>> embedding.of_digits(torch.randint(32, (5, 7, 16))).shape
            torch.Size([5, 7, 8])
        """
        k = len(self.places)
        if digits.dtype.is_floating_point or digits.dtype == torch.bool or digits.ndim < 1 or digits.shape[-1] != k:
            raise ValueError(
                f"LeviathanEmbedding: expected whole digits (..., {k}), got {tuple(digits.shape)} of {digits.dtype}"
            )
        if not torch.compiler.is_compiling() and digits.numel():
            lowest, highest = int(digits.min()), int(digits.max())
            if lowest < 0 or highest >= self.base:
                raise ValueError(
                    f"LeviathanEmbedding: digit {lowest if lowest < 0 else highest} lies outside 0 .. {self.base - 1}"
                )
        return self._evaluate(digits.long().reshape(-1, k)).reshape(*digits.shape[:-1], self.embedding_dim)

    def table(self) -> Tensor:
        """All embeddings ``(V, D)``, without gradients: what a lookup table would hold."""
        self._require_indices()
        with torch.no_grad():
            return self._evaluate(self._digits(torch.arange(self.num_embeddings, device=self.places.device)))

    def frozen(self) -> nn.Embedding:
        """A frozen torch.nn.Embedding with the same vectors, for inference at the speed and memory of a table."""
        table = self.table()
        lookup = nn.Embedding(self.num_embeddings, self.embedding_dim, _weight=table)
        return lookup.requires_grad_(False)

    def _require_indices(self) -> None:
        if not self.indexed:
            raise ValueError(
                f"LeviathanEmbedding: {self.num_embeddings:.3g} tokens have no indices in int64; call of_digits"
            )

    def _digits(self, index: Tensor) -> Tensor:
        """Digits ``(n, k)`` of indices ``(n,)``, most significant first."""
        return index[:, None] // self.places % self.base

    def _evaluate(self, digits: Tensor) -> Tensor:
        blocks = torch.split(digits, _BLOCK)
        if len(blocks) == 1 or not torch.is_grad_enabled():
            values = torch.cat([self._readout_of(block) for block in blocks])
        else:
            values = torch.cat([checkpoint(self._readout_of, block, use_reentrant=False) for block in blocks])
        if self.norm is None:
            return values
        return self.norm(values.to(self.norm.weight.dtype))  # type: ignore[no-any-return]  # narrower under autocast

    def _readout_of(self, digits: Tensor) -> Tensor:
        seed = sum(book[column] for book, column in zip(self.codebooks, digits.unbind(1), strict=True))
        projected = torch.matmul(seed, self.projections.transpose(1, 2))  # (H, n, d)
        # The norm in at least float32: its inputs have a variance of 1e-4 at the start.
        wide = projected.dtype if projected.dtype == torch.float64 else torch.float32
        projected = nn.functional.layer_norm(projected.to(wide), projected.shape[-1:], eps=1e-5)
        projected = projected * self.gains[:, None] + self.shifts[:, None]
        position = torch.sigmoid(projected / 2).to(seed.dtype).transpose(1, 2)
        return torch.einsum("hnr,hrf->nf", spline_products(position, self.deltas, self.chunk_size), self.readout)


def _least_base(count: int, digits: int) -> int:
    """The least b with ``b^digits >= count``, in integers: a root in floating point misses perfect powers."""
    base = max(1, int(count ** (1.0 / digits)) - 1)
    while base**digits < count:
        base += 1
    return base
