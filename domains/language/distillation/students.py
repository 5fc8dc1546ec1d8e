"""Students of a wanted config or number of parameters, from scratch or pruned from a teacher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from domains.language.compare import equalised, parameters
from domains.language.distillation.importance import Units
from domains.language.distillation.pruning import parameters_after
from domains.language.train import MODEL, LanguageConfig, described
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

_KNOWN = {"transformer", "embedding", "head", "vocabulary", "kind", "version", "model_type"}  # the last of saved models
_PERCENTS = range(1, 100)  # of an axis


def student_config(told: str, vocabulary: int) -> LanguageModelConfig:
    """A student's config from JSON, or from a file of it, or from the folder of a saved model or a run.

    Args:
        told: the JSON itself, with any of ``transformer`` (sizes), ``embedding`` and ``head`` (words such as
            generated:rank=32, or their settings); or where it lies.
        vocabulary: of the teacher, which the student has too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, names what is not known, or is of another vocabulary.

    Example:
        >>> told = '{"transformer": {"width": 64, "layers": 2}, "embedding": "generated:rank=16"}'
        >>> config = student_config(told, 257)
        >>> config.transformer.width, config.embedding.rank, config.vocabulary
        (64, 16, 257)
    """
    text = told if told.lstrip().startswith("{") else _file(Path(told)).read_text(encoding="utf-8")
    try:
        settings: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"student: expected JSON, got {text[:60]!r} ({error})") from None
    unknown = settings.keys() - _KNOWN
    if unknown:
        raise ValueError(
            f"student: expected transformer, embedding, head or vocabulary, got {', '.join(sorted(unknown))}"
        )
    wanted = settings.get("vocabulary", vocabulary)
    if wanted != vocabulary:
        raise ValueError(f"student: expected the teacher's {vocabulary} tokens, got {wanted}")
    try:
        embedding, head = settings.get("embedding", "generated"), settings.get("head", "table:tied=false")
        return LanguageModelConfig(
            vocabulary,
            TransformerConfig(**settings.get("transformer", {})),
            embedding_config(**(described(embedding) if isinstance(embedding, str) else embedding)),
            head_config(**(described(head) if isinstance(head, str) else head)),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"student: a setting is missing or unknown: {error}") from None


def sized(config: LanguageConfig, vocabulary: int, wanted: int) -> LanguageConfig:
    """The config with about as many parameters as wanted: heads of the same width, more or fewer of them.

    The number of heads with the nearest count is taken, with perceptrons in the usual proportion; these then make up
    the rest.

    Raises:
        ValueError: even one head is far too many.

    Example:
        >>> config = LanguageConfig(TransformerConfig(width=64), "table", "table:tied=true")
        >>> [parameters(sized(config, 257, wanted), 257) for wanted in (50_000, 400_000)]
        [49856, 399936]
    """
    each = config.transformer.head_width

    def of(heads: int) -> LanguageConfig:
        changed = dataclasses.replace(config.transformer, width=heads * each, heads=heads, hidden=None, key_heads=None)
        return dataclasses.replace(config, transformer=changed)

    low, high = 1, 2
    while parameters(of(high), vocabulary) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(of(middle), vocabulary) < wanted else (low, middle)
    nearest = min((low, high), key=lambda heads: abs(parameters(of(heads), vocabulary) - wanted))
    try:
        return equalised(of(nearest), vocabulary, wanted, "perceptron")
    except ValueError:
        raise ValueError(
            f"size: expected at least {parameters(of(1), vocabulary):,} parameters, of one head of {each} features, "
            f"got {wanted:,}; ask for narrower heads"
        ) from None


def sparsity_for(teacher: LanguageModel, ranked: Units, wanted: int) -> float:
    """The sparsity at which a pruned student has the number of parameters nearest to a wanted one.

    Tables lose features only and layers lose both ways, so it is not quite ``1 - S / T``; every whole percent of the
    axes is tried.

    Raises:
        ValueError: the teacher has no more parameters than are wanted.

    Example:
        >>> from domains.language.distillation.importance import full_masks
        >>> teacher = LanguageModel()
        >>> sparsity = sparsity_for(teacher, full_masks(teacher), teacher.n_parameters // 2)
        >>> round(parameters_after(teacher, full_masks(teacher), sparsity) / teacher.n_parameters, 2)
        0.49
    """
    if wanted >= teacher.n_parameters:
        raise ValueError(
            f"student: expected fewer parameters than the teacher's {teacher.n_parameters:,}, got {wanted:,}"
        )
    best, off = 0.0, float(teacher.n_parameters - wanted)
    for percent in _PERCENTS:
        sparsity = 1 - (1 - percent / 100) ** 2
        try:
            difference = parameters_after(teacher, ranked, sparsity) - wanted
        except ValueError:  # nothing is left
            break
        if abs(difference) < off:
            best, off = sparsity, float(abs(difference))
        if difference < 0:
            break
    return best


def multiplied(model: LanguageModel) -> int:
    """Numbers that a token is multiplied with: those of layers and head; looking up its vector costs nothing.

    A token of training costs 6 operations each, one that is only read 2.
    """
    head = sum(parameter.numel() for parameter in model.head.parameters())
    tied = model.config.vocabulary * model.config.transformer.width
    return sum(parameter.numel() for parameter in model.transformer.parameters()) + (head or tied)


def _file(path: Path) -> Path:
    for file in (path, path / MODEL / "config.json", path / "config.json"):
        if file.is_file():
            return file
    raise FileNotFoundError(f"student: expected JSON or a file of it, got {path}, where there is none")
