"""Joint-embedding prediction: the concept of what is missing is predicted from the concepts of what is there.

Patches p are turned into concepts ``c = norm(f(p))`` (U, d) by a recogniser f. From the concepts of K patches of
context a predictor g makes ``q = norm(g(c_1 .. c_K))`` (B, d), which is to pick its target among all U concepts of the
batch::

    loss = mean over B of  -log softmax(s q C^T)[target]

f is the same for context and target, with no stopped gradient and no moving average: what keeps the concepts apart are
the negatives. s is 1 for the published norms, and a fixed scale for unit vectors.

Source: Wang and Sun (2025, arXiv:2504.01928), section 4, for the objective over the concepts of a whole batch and the
norms "variance" and "affine". Ours: the norm "unit". With vectors of length one and s not far above the logarithm of
the number of negatives, the loss falls to its floor only if prediction and target coincide; with the published norms,
whose scores reach d, a rough direction is enough, and facts are remembered before their reverse is understood.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

Norm = Literal["unit", "variance", "affine"]


class ConceptNorm(nn.Module):
    """The norm of concepts and predictions.

    Args:
        width: d.
        kind: "unit" divides by the length, "variance" by the root mean square; "affine" is LayerNorm.
        scale: s, for "unit"; 1 otherwise.

    Raises:
        ValueError: On another kind or a scale that is not positive.

    Example:
        >>> ConceptNorm(4, "unit", scale=8.0)(torch.tensor([[3.0, 0.0, 4.0, 0.0]]))
        tensor([[0.6000, 0.0000, 0.8000, 0.0000]])
    """

    def __init__(self, width: int, kind: Norm = "unit", scale: float = 10.0) -> None:
        super().__init__()
        if kind not in ("unit", "variance", "affine"):
            raise ValueError(f"ConceptNorm: kind is unit, variance or affine, got {kind!r}")
        if not 0 < scale < math.inf:
            raise ValueError(f"ConceptNorm: scale is positive, got {scale}")
        self.kind, self.scale = kind, scale if kind == "unit" else 1.0
        self.affine = nn.LayerNorm(width) if kind == "affine" else None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` to the same."""
        if self.affine is not None:
            return self.affine(x)  # type: ignore[no-any-return]
        if self.kind == "unit":
            return normalize(x, dim=-1)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class JointEmbedding(nn.Module):
    """The recogniser, the predictor and the norm of the head of this file.

    Args:
        recogniser: f, from patches ``(U, ...)`` to ``(U, d)``.
        predictor: g, from concepts ``(B, K, d)`` to ``(B, d)``.
        norm: Of concepts and predictions.
        target_recogniser: Another f for targets; by default the same, which is what lets a fact be reversed.

    Example:
        >>> predictor = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
        >>> model = JointEmbedding(nn.Embedding(20, 8), predictor, ConceptNorm(8))
        >>> patches = torch.arange(20)
        >>> context, target = torch.tensor([[0, 1], [2, 3], [4, 3]]), torch.tensor([5, 6, 7])
        >>> model.loss(patches, context, target).ndim, model.scores(patches, context).shape
        (0, torch.Size([3, 20]))
    """

    def __init__(
        self, recogniser: nn.Module, predictor: nn.Module, norm: ConceptNorm, target_recogniser: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.recogniser, self.predictor, self.norm = recogniser, predictor, norm
        self.target_recogniser = target_recogniser

    def concepts(self, patches: Tensor) -> Tensor:
        """Concepts ``(U, d)`` of patches, as context."""
        return self.norm(self.recogniser(patches))  # type: ignore[no-any-return]

    def target_concepts(self, patches: Tensor) -> Tensor:
        """Concepts ``(U, d)`` of patches, as targets."""
        return self.norm((self.target_recogniser or self.recogniser)(patches))  # type: ignore[no-any-return]

    def predict(self, concepts: Tensor) -> Tensor:
        """Predicted concepts ``(B, d)`` from those ``(B, K, d)`` of the context."""
        return self.norm(self.predictor(concepts))  # type: ignore[no-any-return]

    def scores(self, patches: Tensor, context: Tensor) -> Tensor:
        """``s q C^T``, ``(B, U)``.

        Args:
            patches: ``(U, ...)``, what the recogniser takes.
            context: ``(B, K)``, rows of patches.
        """
        concepts = self.concepts(patches)
        targets = concepts if self.target_recogniser is None else self.target_concepts(patches)
        return self.norm.scale * self.predict(concepts[context]) @ targets.T

    def loss(self, patches: Tensor, context: Tensor, target: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Mean cross-entropy in nats.

        Args:
            patches: ``(U, ...)``, each once.
            context: ``(B, K)``, rows of patches.
            target: ``(B,)``, rows of patches.
            negatives: Mask ``(U,)`` of the patches that targets are told from; by default all. Targets are among them.

        Raises:
            ValueError: If context and target do not have the same number of rows.
        """
        if context.ndim != 2 or target.shape != context.shape[:1]:
            raise ValueError(
                f"JointEmbedding: expected context (B, K) and target (B,), got {tuple(context.shape)} "
                f"and {tuple(target.shape)}"
            )
        scores = self.scores(patches, context)
        if negatives is not None:
            scores = scores.masked_fill(~negatives, -torch.inf)
        return cross_entropy(scores, target)
