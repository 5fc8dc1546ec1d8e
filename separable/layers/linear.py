"""A linear map whose weight is held in factors, with the signature of torch.nn.Linear."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from separable.layers.factorised import Factorisation, Rank, balanced_shape, factorised_matrix


class SeparableLinear(nn.Module):
    """``y = x W^T + b`` with W in canonical polyadic, Tucker or tensor-train form (`separable.layers.factorised`).

    Args:
        in_features: Number I of inputs.
        out_features: Number O of outputs.
        bias: Whether a constant is added to each output.
        device: Where the parameters live.
        dtype: Type of the parameters; inputs have the same.
        factorisation: ``canonical_polyadic``, ``tucker`` or ``tensor_train``.
        rank: For CP the number of terms; for Tucker one rank for each digit (rows first) or one for all; for a tensor
            train the rank between cores, one for each joint or one for all. Ranks beyond what the shapes can use are
            lowered to that.
        in_shape: Digits of the input index, with product I. By default one digit for CP (a low-rank matrix) and two
            nearly equal ones for Tucker and the tensor train.
        out_shape: Digits of the output index, with product O; by default likewise.
        generator: Source of random numbers for the start values.

    Attributes:
        relative_error: What `from_linear` lost, ``|W - W_dense| / |W_dense|`` in the Frobenius norm; None otherwise.

    Start values: normal factors such that the entries of W have torch.nn.Linear's variance ``1 / (3 I)``; the bias is
    torch.nn.Linear's.

    Time of a forward and backward step over that of torch.nn.Linear, one CPU core, square layers of 256, 1024 and 4096
    features, batches of 64 and 1024 (``benchmarks/library_layers.py``):

    - CP, rank up to a quarter of the features: 0.1 to 0.7, at 256 features up to 1.1. The factors win up to rank
      ``I O / (I + O)``, half the features; the ratio grows with the rank, to 1.5 at three quarters.
    - Tucker, ranks up to half of each digit's size: 0.05 to 0.4, at 256 features 0.5 to 2.5.
    - Tensor train, two cores: at 256 features and rank 4 0.7 to 2.2; at 1024 and rank 8 0.7 to 1.1; at 4096 and rank
      16 0.8 to 1.2. The factors win below about rank 8 at 1024 and 12 at 4096 features; above, the dense weight is
      formed first, which costs at most 1.5 with a batch of 1024 and any rank up to 64, but 1.6 (rank 8 at 256 features)
      to 2.7 (rank 64 at 1024) with a batch of 64: take CP there.

    At 256 features and a batch of 64 calls take longer than sums, a third of a millisecond for the dense layer, and the
    ratio moves twofold with the machine and the day.

    Example:
        >>> import torch
        >>> from separable.layers import SeparableLinear
        >>> layer = SeparableLinear(64, 48, factorisation="tensor_train", rank=8)
        >>> layer(torch.randn(5, 64)).shape
        torch.Size([5, 48])
        >>> dense = torch.nn.Linear(64, 48)
        >>> exact = SeparableLinear.from_linear(dense, rank=48)
        >>> exact.relative_error < 1e-5
        True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        rank: Rank,
        factorisation: Factorisation = "canonical_polyadic",
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"SeparableLinear: sizes are positive, got {in_features} -> {out_features}")
        parts = 1 if factorisation == "canonical_polyadic" else 2
        columns = balanced_shape(in_features, parts) if in_shape is None else tuple(in_shape)
        rows = balanced_shape(out_features, parts) if out_shape is None else tuple(out_shape)
        for name, shape, size in (("in_shape", columns, in_features), ("out_shape", rows, out_features)):
            if math.prod(shape) != size:
                raise ValueError(f"SeparableLinear: the product of {name} must be {size}, got {shape}")
        self.in_features, self.out_features, self.factorisation = in_features, out_features, factorisation
        self.matrix = factorised_matrix(rows, columns, factorisation, rank, device=device, dtype=dtype)
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.relative_error: float | None = None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start values."""
        self.matrix.reset_parameters((3 * self.in_features) ** -0.5, generator)
        if self.bias is not None:
            bound = self.in_features**-0.5
            nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        *,
        rank: Rank,
        factorisation: Factorisation = "canonical_polyadic",
        in_shape: Sequence[int] | None = None,
        out_shape: Sequence[int] | None = None,
    ) -> "SeparableLinear":
        """The layer nearest to a dense one; `relative_error` says how near.

        The fit is the singular value decomposition for CP with one digit each (optimal), alternating least squares for
        CP with more, higher-order SVD with orthogonal iteration for Tucker, and the tensor-train SVD (optimal for two
        cores, within sqrt(d - 1) of optimal for d).

        Args:
            linear: The dense layer; it is not changed.
            rank: As in the constructor.
            factorisation: As in the constructor.
            in_shape: As in the constructor.
            out_shape: As in the constructor.

        Raises:
            ValueError: If the dense weight has values that are not finite, or the shapes do not fit.
        """
        weight = linear.weight.detach()
        if not bool(torch.isfinite(weight).all()):
            raise ValueError("SeparableLinear.from_linear: the dense weight has values that are not finite")
        layer = cls(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
            rank=rank,
            factorisation=factorisation,
            in_shape=in_shape,
            out_shape=out_shape,
        )
        layer.matrix.fit(weight)
        if layer.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(linear.bias)
        layer.relative_error = layer.matrix.relative_error(weight)
        return layer

    def to_linear(self) -> nn.Linear:
        """The same map as a dense torch.nn.Linear."""
        factor = next(self.matrix.parameters())
        linear = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, device=factor.device, dtype=factor.dtype
        )
        with torch.no_grad():
            linear.weight.copy_(self.dense())
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear

    def dense(self) -> Tensor:
        """The weight ``W (O, I)``."""
        return self.matrix.dense()

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"{self.in_features}, {self.out_features}, {self.factorisation}, {self.n_parameters} parameters"

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(..., O)`` for inputs ``(..., I)``.

        Raises:
            ValueError: If the last axis is not I.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"SeparableLinear: expected inputs (..., {self.in_features}), got {tuple(x.shape)}")
        outputs: Tensor = self.matrix(x.reshape(-1, self.in_features), self.bias)
        return outputs.reshape(*x.shape[:-1], self.out_features)
