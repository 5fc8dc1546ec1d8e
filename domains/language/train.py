"""Training of a language model on tokens: the same windows in the same order for every model with the same seed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.language.evaluate import mean_loss
from domains.language.generate import continued
from domains.language.tokens import Tokens, WindowStream
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config
from separable.sequence.token_order import TokenOrder, context_order
from separable.training import RunFolder, TrainingConfig, TrainingResult, is_main_process, load_weights, run_training

_SEEN_FOR_ORDER = 4_000_000  # training tokens from which it is learned which are alike
_SAMPLE = 200  # tokens of a sample in the report
MODEL = "model"  # folder of the finished model, inside that of the run


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """A language model and its training.

    Attributes:
        transformer: its sizes.
        embedding: its kind, with settings after a colon: table, low_rank:rank=64, generated:rank=32,frequent=256.
        head: likewise, such as table:tied=false.
        context: tokens of a window.
        validation_windows: windows of an evaluation, evenly over the validation part; 0 for all.
        training: length, batches, rates and habits; a row is a window.
    """

    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    embedding: str = "generated"
    head: str = "table:tied=false"
    context: int = 256
    validation_windows: int = 64
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(minutes=10.0, batch=16, rate=2e-3)
    )

    def __post_init__(self) -> None:
        if self.context < 1 or self.validation_windows < 0:
            raise ValueError(
                f"context, validation_windows: expected at least 1 and 0, got {self.context}, {self.validation_windows}"
            )
        self.model(257)

    def model(self, vocabulary: int) -> LanguageModelConfig:
        """The model's config for V tokens."""
        return LanguageModelConfig(
            vocabulary,
            self.transformer,
            embedding_config(**described(self.embedding)),
            head_config(**described(self.head)),
        )


def described(text: str) -> dict[str, Any]:
    """A kind and its settings from a word.

    Raises:
        ValueError: settings are not of the form name=value.

    Example:
        >>> described("generated:rank=32,frequent=256")
        {'kind': 'generated', 'rank': 32, 'frequent': 256}
        >>> described("adaptive:shares=[0.1,0.5],division=2")
        {'kind': 'adaptive', 'shares': [0.1, 0.5], 'division': 2}
    """
    kind, _, settings = text.partition(":")
    found: dict[str, Any] = {"kind": kind}
    for setting in re.split(r",(?![^\[]*\])", settings) if settings else []:  # not within a list
        name, _, value = setting.partition("=")
        try:
            found[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f"{text}: expected settings such as rank=32 or tied=false, got {setting!r}") from None
    return found


def build(tokens: Tokens, config: LanguageConfig) -> LanguageModel:
    """An untrained model for these tokens, told how often they occur and which are alike."""
    return untrained(tokens, config.model(tokens.vocabulary), config.training.seed)


def untrained(tokens: Tokens, config: LanguageModelConfig, seed: int) -> LanguageModel:
    """`build` from a model's own config; ids beyond those of the tokens count as ones that never occur."""
    model = LanguageModel(config, torch.Generator().manual_seed(seed))
    if any(isinstance(module, TokenOrder) for module in model.modules()):
        tokens.check_model(config.vocabulary)
        counts = torch.from_numpy(np.pad(tokens.counts(), (0, config.vocabulary - tokens.vocabulary)))
        part = tokens.part("train")
        seen = torch.from_numpy(part.read(0, min(len(part), _SEEN_FOR_ORDER)))
        order = context_order(seen, config.vocabulary)
        model.embedding.assign(counts, order)
        model.head.assign(counts, order)
    return model


def train(
    tokens: Tokens,
    config: LanguageConfig | None = None,
    *,
    run: RunFolder | None = None,
    samples: bool = True,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[LanguageModel, TrainingResult]:
    """Train a model on the training part; with a run and a validation part the best weights are kept, else the last.

    Args:
        tokens: what `write_tokens` left.
        config: of model and training.
        run: the folder that gets record, checkpoints, report and in ``model`` the finished model with its tokeniser;
            a training that was cut off goes on exactly.
        samples: whether the record gets some text at each evaluation.
        progress: whether to show a bar with tokens a second and the time left.
        device: where to train.

    Returns:
        The model in evaluation mode, on the device, and how the training ended.

    Raises:
        ValueError: a window is longer than the training part, or a shard is damaged; and all that
            `separable.training.run_training` raises.
    """
    config = config or LanguageConfig()
    model = build(tokens, config)
    validation = tokens.part("validation")
    looks = len(validation) > config.context
    windows = evenly(len(validation), config.context, config.validation_windows) if looks else None

    def loss(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.loss(*batch)

    def evaluate(model: LanguageModel) -> dict[str, float]:
        return {"validation_loss": mean_loss(model, validation, config.context, windows)}

    def sample(model: LanguageModel) -> str:
        pieces = continued(model, tokens.tokeniser, "", steps=min(_SAMPLE, config.context), seed=0, stop=False)
        return "".join(pieces)

    result = run_training(
        model,
        loss,
        WindowStream(tokens.part("train"), config.context, config.training.seed),
        config.training,
        run=run,
        evaluate=evaluate if looks else None,
        sample=sample if samples and run is not None else None,
        unit="tokens",
        units_per_row=config.context,
        device=device,
        progress=progress,
    )
    if run is not None:
        keep_model(run, model, tokens, best=bool(looks and result.best_step))
    return model, result


def keep_model(run: RunFolder, model: LanguageModel, tokens: Tokens, best: bool) -> None:
    """Write a trained model and its tokeniser into a run folder.

    Args:
        run: the folder of the training.
        model: what was trained; with ``best`` it takes the weights that did best on the validation part.
        tokens: what it was trained on.
        best: whether there are such weights.
    """
    if best:
        load_weights(run.path / "best.safetensors", model)
    if is_main_process():
        model.save(run.path / MODEL)
        shutil.copyfile(tokens.folder / "tokenizer.json", run.path / MODEL / "tokenizer.json")


def evenly(length: int, context: int, windows: int) -> np.ndarray[Any, Any]:
    """Starts of windows that are spread evenly over a part and do not overlap; 0 windows for as many as fit.

    Example:
        >>> evenly(101, 10, 3).tolist()
        [0, 40, 90]
    """
    most = (length - 1) // context
    chosen = np.linspace(0, most - 1, min(windows or most, most)).round().astype(int)
    return np.unique(chosen) * context
