"""A language model: tokens to vectors, a transformer, and a distribution over the next token."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from separable.atomic_files import write_together
from separable.files import filled, read_json, read_tensors, refusing, stored_tensors
from separable.sequence.cache import Cache
from separable.sequence.embeddings import EmbeddingConfig, TableEmbeddingConfig, check_tokens, embedding_config
from separable.sequence.heads import HeadConfig, TableHeadConfig, head_config
from separable.sequence.sampling import check_sampling, sample
from separable.sequence.token_order import frequency_order
from separable.sequence.transformer import Transformer, TransformerConfig, check_prefix

KIND, VERSION = "LanguageModel", 1  # of the files that `LanguageModel.save` writes
MODEL_TYPE = "separable"  # by which transformers finds the class


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig:
    """What a language model is made of.

    Attributes:
        vocabulary: number V of tokens.
        transformer: its sizes.
        embedding: from tokens to vectors.
        head: from vectors to the next token's distribution.
    """

    vocabulary: int = 256
    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    embedding: EmbeddingConfig = dataclasses.field(default_factory=TableEmbeddingConfig)
    head: HeadConfig = dataclasses.field(default_factory=TableHeadConfig)

    def __post_init__(self) -> None:
        if self.vocabulary < 1:
            raise ValueError(f"LanguageModelConfig: vocabulary is positive, got {self.vocabulary}")

    def settings(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "vocabulary": self.vocabulary,
            "transformer": dataclasses.asdict(self.transformer),
            "embedding": self.embedding.settings(),
            "head": self.head.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> LanguageModelConfig:
        """From plain JSON data, as `settings` gives it.

        Example:
            >>> config = LanguageModelConfig(vocabulary=100)
            >>> LanguageModelConfig.from_settings(config.settings()) == config
            True
        """
        return cls(
            vocabulary=settings["vocabulary"],
            transformer=TransformerConfig(**settings["transformer"]),
            embedding=embedding_config(**settings["embedding"]),
            head=head_config(**settings["head"]),
        )


class LanguageModel(nn.Module):
    """A decoder over token ids.

    Args:
        config: What it is made of.
        generator: Source of random numbers for the start values.

    Example:
        >>> model = LanguageModel(LanguageModelConfig(vocabulary=50, transformer=TransformerConfig(width=32, layers=2)))
        >>> tokens = torch.randint(50, (2, 9))
        >>> model(tokens[:, :-1]).shape
        torch.Size([2, 8, 50])
        >>> float(model.loss(tokens[:, :-1], tokens[:, 1:]).detach()) < 4.5  # near log 50 before training
        True
        >>> torch.stack(list(model.generate(tokens, steps=5, top_k=10)), 1).shape
        torch.Size([2, 5])
    """

    def __init__(self, config: LanguageModelConfig | None = None, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config or LanguageModelConfig()
        width = self.config.transformer.width
        self.embedding = self.config.embedding.build(self.config.vocabulary, width, generator)
        self.transformer = Transformer(self.config.transformer, generator)
        self.head = self.config.head.build(width, self.embedding, generator)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def assign(self, counts: Tensor, order: Tensor | None = None) -> None:
        """Tell embedding and head, before training, how often tokens occur and which are alike; see `TokenOrder`.

        Kinds that know tokens by digits are much better with it; others do not ask. It is saved with the model.

        Args:
            counts: Of each token in the training data, ``(V,)``.
            order: Token ids ``(V,)`` in which neighbours are alike, of `context_order`; by default by frequency.

        Raises:
            ValueError: If the shapes are not (V,), or the order is not a permutation.
        """
        if counts.shape != (self.config.vocabulary,):
            raise ValueError(f"counts: expected ({self.config.vocabulary},), got {tuple(counts.shape)}")
        order = frequency_order(counts) if order is None else order
        self.embedding.assign(counts, order)
        self.head.assign(counts, order)

    def cache(self, batch: int, length: int) -> Cache:
        """Room for ``length`` positions of ``batch`` sequences, see `Transformer.cache`."""
        return self.transformer.cache(batch, length)

    def hidden(self, tokens: Tensor, *, prefix: int | Tensor = 0, cache: Cache | None = None) -> Tensor:
        """The transformer's outputs ``(B, T, width)``; arguments and errors as of `forward`."""
        if tokens.ndim != 2:
            raise ValueError(f"LanguageModel: expected tokens (B, T), got {tuple(tokens.shape)}")
        return self.transformer(self.embedding(tokens), prefix=prefix, cache=cache)  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, *, prefix: int | Tensor = 0, cache: Cache | None = None) -> Tensor:
        """Logits ``(B, T, V)`` of the token that follows each position.

        Args:
            tokens: Ids ``(B, T)``, any integer dtype.
            prefix: Positions that see one another both ways, see `Transformer.forward`.
            cache: The tokens follow those in it and are added to it; the outputs carry no gradient then.

        Raises:
            TypeError: If the ids are not integers.
            IndexError: If one lies outside 0 .. V - 1.
            ValueError: On shapes or a prefix that do not fit, or a full cache.
        """
        hidden = self.hidden(tokens, prefix=prefix, cache=cache)
        logits: Tensor = self.head.logits(hidden.flatten(0, 1))
        return logits.view(*tokens.shape, self.config.vocabulary)

    def loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        *,
        prefix: int | Tensor = 0,
        ignore: int = -100,
        chunk: int | None = None,
    ) -> Tensor:
        """Mean cross-entropy of the targets in nats; zero where all of them are left out.

        Args:
            tokens: Ids ``(B, T)``.
            targets: The ids that follow, ``(B, T)``: usually the tokens moved by one.
            prefix: Positions that see one another both ways; their own targets are left out only if they say so.
            ignore: Targets of this value are left out.
            chunk: Positions whose logits are held at a time; by default as many as suit the device.

        Raises:
            TypeError, IndexError, ValueError: As of `forward`, for tokens and targets.
        """
        if targets.shape != tokens.shape:
            raise ValueError(
                f"LanguageModel.loss: expected targets {tuple(tokens.shape)} as the tokens, got {tuple(targets.shape)}"
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"LanguageModel.loss: chunk is positive, got {chunk}")
        targets = targets.long()  # of a narrower type the number to ignore would be one of its own
        kept = targets != ignore
        targets = targets.where(kept, targets.new_zeros(()))
        check_tokens(targets, self.config.vocabulary)
        hidden = self.hidden(tokens, prefix=prefix)
        weights = kept.flatten().to(torch.promote_types(hidden.dtype, torch.float32))
        weights = weights / weights.sum().clamp(min=1)
        return self.head.weighted_loss(hidden.flatten(0, 1), targets.flatten(), weights, chunk)

    def generate(
        self,
        tokens: Tensor,
        steps: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        prefix: int | Tensor = 0,
        stop: int | Collection[int] = (),
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Continue sequences, one token each at a time, as they are drawn.

        Args:
            tokens: The beginnings ``(B, T)``, at least one token each.
            steps: Most tokens to add.
            temperature: See `sample`; 0 takes the most probable token.
            top_k: See `sample`.
            top_p: See `sample`.
            prefix: Positions of the beginning that see one another both ways.
            stop: Tokens that end a sequence. One that has ended repeats its last token until all have.
            generator: Source of random numbers.

        Yields:
            The next ids ``(B,)``. Dropout is off while they are computed and no gradient is kept.

        Raises:
            ValueError: On settings outside their range, a prefix that does not fit or an empty beginning, at the call.
        """
        check_sampling(temperature, top_k, top_p)
        if steps < 0:
            raise ValueError(f"LanguageModel.generate: steps is 0 or more, got {steps}")
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"LanguageModel.generate: expected tokens (B, T) with B, T > 0, got {tuple(tokens.shape)}")
        check_tokens(tokens, self.config.vocabulary)
        check_prefix(prefix, len(tokens), 0, tokens.shape[1])
        stops = list(stop) if isinstance(stop, Collection) else [int(stop)]
        ends = torch.tensor(stops, dtype=torch.long, device=tokens.device)
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator}
        return self._continued(tokens, steps, prefix, ends, settings)

    def _continued(
        self, tokens: Tensor, steps: int, prefix: int | Tensor, ends: Tensor, settings: dict[str, Any]
    ) -> Iterator[Tensor]:
        batch, count = tokens.shape
        if not steps:
            return
        cache = self.cache(batch, count + steps - 1)  # the last token drawn is not read
        ended = torch.zeros(batch, dtype=torch.bool, device=tokens.device)
        last = tokens[:, -1]
        for step in range(steps):
            fresh = tokens if step == 0 else last[:, None]
            drawn = self._drawn(fresh, prefix if step == 0 else 0, cache, settings)
            last = torch.where(ended, last, drawn)
            yield last
            ended = ended | torch.isin(last, ends)
            if len(ends) and bool(ended.all()):
                return

    def _drawn(self, tokens: Tensor, prefix: int | Tensor, cache: Cache, settings: dict[str, Any]) -> Tensor:
        # Modes are set and reset round each step: between two of them the caller may train.
        training = [module for module in self.modules() if module.training]
        for module in training:
            module.training = False
        try:
            with torch.no_grad():
                hidden = self.hidden(tokens, prefix=prefix, cache=cache)[:, -1]
                return sample(self.head.logits(hidden), **settings)
        finally:
            for module in training:
                module.training = True

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder; an older copy goes only when both are whole.

        The same bits come back; what is tied or generated is stored once or not at all.
        """
        described = {"kind": KIND, "version": VERSION, "model_type": MODEL_TYPE, **self.config.settings()}
        contents = {
            "model.safetensors": stored_tensors(self.state_dict(), {"format": "pt"}),
            "config.json": (json.dumps(described, indent=2) + "\n").encode(),
        }
        write_together(folder, contents)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> LanguageModel:
        """Read a model that `save` wrote, in its dtype.

        Raises:
            FileNotFoundError: If the folder holds no model.
            ValueError: If it holds another kind, another version, or a file that is cut off or does not fit.
        """
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder}: expected a saved LanguageModel, but there is no {name}")
        described = read_json(folder / "config.json", "the settings of a LanguageModel")
        kind, version = described.pop("kind", None), described.pop("version", None)
        if kind != KIND:
            raise ValueError(f"{folder}: expected a LanguageModel, got {kind!r}")
        if version != VERSION:
            raise ValueError(f"{folder}: expected a LanguageModel of version {VERSION}, got {version!r}")
        tensors = read_tensors(folder / "model.safetensors", "the parameters of a LanguageModel")
        with refusing(folder, "a saved LanguageModel"):
            config = LanguageModelConfig.from_settings(copy.deepcopy(described))
            kind = next(value.dtype for value in tensors.values() if value.is_floating_point())
        return filled(folder, described, lambda: cls(config).to(kind), tensors).to(device)
