"""Students of a wanted config or number of parameters, from scratch or pruned from a teacher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.language.compare import equalised, parameters
from domains.language.distillation.importance import Units
from domains.language.distillation.pruning import MULTIPLE, Kept, choose, parameters_after, select
from domains.language.train import MODEL, LanguageConfig, described
from separable.files import read_json, refusing
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.sequence.embeddings import embedding_config
from separable.sequence.heads import head_config

_KNOWN = {"transformer", "embedding", "head", "vocabulary", "kind", "version", "model_type"}  # the last of saved models


def student_config(told: str, vocabulary: int) -> LanguageModelConfig:
    """A student's config from JSON, or from a file of it, or from the folder of a saved model or a run.

    Args:
        told: the JSON itself, with any of ``transformer`` (sizes), ``embedding`` and ``head`` (words such as
            generated:rank=32, or their settings); or where it lies.
        vocabulary: of the teacher, which the student has too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, names what is not known, or is of another vocabulary or of a pruned model, whose
            layers have sizes of their own.

    Example:
        >>> told = '{"transformer": {"width": 64, "layers": 2}, "embedding": "generated:rank=16"}'
        >>> config = student_config(told, 257)
        >>> config.transformer.width, config.embedding.rank, config.vocabulary
        (64, 16, 257)
    """
    if not told.lstrip().startswith("{"):
        file = _file(Path(told))
        with refusing(file, "a student's settings"):
            return _config(read_json(file), vocabulary)
    try:
        settings = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"student: expected JSON, got {told[:60]!r} ({error})") from None
    return _config(settings, vocabulary)


def _config(settings: dict[str, Any], vocabulary: int) -> LanguageModelConfig:
    unknown = settings.keys() - _KNOWN
    if unknown:
        raise ValueError(
            f"student: expected transformer, embedding, head or vocabulary, got {', '.join(sorted(unknown))}"
        )
    sizes = settings.get("transformer", {})
    if not isinstance(sizes, dict):
        raise ValueError(f"student: expected a transformer's sizes by name, got {sizes!r}")
    if "layer_hidden" in sizes:
        raise ValueError("student: expected a model of equal layers, got one that was pruned to layers of their own")
    wanted = settings.get("vocabulary", vocabulary)
    if wanted != vocabulary:
        raise ValueError(f"student: expected the teacher's {vocabulary} tokens, got {wanted}")
    try:
        embedding, head = settings.get("embedding", "generated"), settings.get("head", "table:tied=false")
        return LanguageModelConfig(
            vocabulary,
            TransformerConfig(**sizes),
            embedding_config(**(described(embedding) if isinstance(embedding, str) else embedding)),
            head_config(**(described(head) if isinstance(head, str) else head)),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"student: a setting is missing or unknown: {error}") from None


def sized(config: LanguageConfig, vocabulary: int, wanted: int) -> LanguageConfig:
    """The config with about as many parameters as wanted: heads of the same width, more or fewer of them.

    The number of heads with the nearest count is taken, a multiple of the key heads if these are named, with
    perceptrons in the usual proportion; these then make up the rest.

    Raises:
        ValueError: even as many heads as there are key heads, one by default, are far too many.

    Example:
        >>> config = LanguageConfig(TransformerConfig(width=64), "table", "table:tied=true")
        >>> [parameters(sized(config, 257, wanted), 257) for wanted in (50_000, 400_000)]
        [49856, 399936]
    """
    each, together = config.transformer.head_width, config.transformer.key_heads or 1

    def of(groups: int) -> LanguageConfig:
        heads = groups * together
        changed = dataclasses.replace(config.transformer, width=heads * each, heads=heads, hidden=None)
        return dataclasses.replace(config, transformer=changed)

    low, high = 1, 2
    while parameters(of(high), vocabulary) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(of(middle), vocabulary) < wanted else (low, middle)
    nearest = min((low, high), key=lambda groups: abs(parameters(of(groups), vocabulary) - wanted))
    try:
        return equalised(of(nearest), vocabulary, wanted, "perceptron")
    except ValueError:
        raise ValueError(
            f"size: expected at least {parameters(of(1), vocabulary):,} parameters, heads={together} of {each} "
            f"features, got {wanted:,}; ask for narrower heads"
        ) from None


def prune_to(teacher: LanguageModel, ranked: Units, wanted: int) -> LanguageModel:
    """Prune a teacher to a number of parameters, to half a neuron.

    Of the sparsities that leave no fewer the greatest is taken, at whole percents of the axes; since it takes features,
    heads and neurons by eights, the least important of the neurons that are left then go one by one.

    Args:
        teacher: To be pruned.
        ranked: Importances of its units, normalised.
        wanted: Parameters of the student.

    Raises:
        ValueError: The teacher has no more parameters than are wanted or cannot have just so few, as where a product
            of a generated embedding is worth many neurons; or as of `prune`.

    Example:
        >>> from domains.language.distillation.importance import full_masks
        >>> teacher = LanguageModel()
        >>> student = prune_to(teacher, full_masks(teacher), 300_000)
        >>> abs(student.n_parameters - 300_000) <= 1.5 * student.config.transformer.width
        True
    """
    if wanted >= teacher.n_parameters:
        raise ValueError(
            f"student: expected fewer parameters than the teacher's {teacher.n_parameters:,}, got {wanted:,}"
        )
    low, high = 0, 100  # percents of the axes; what is left falls with them
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _left(teacher, ranked, middle) >= wanted else (low, middle)
    kept, count = choose(teacher, ranked, _sparsity(low)), _left(teacher, ranked, low)
    each = 3 * len(kept.hidden)  # numbers of a neuron
    fewest = count - each * sum(max(0, len(neurons) - MULTIPLE) for neurons in kept.neurons)
    if wanted < fewest - each / 2:
        raise ValueError(
            f"student: expected a size that pruning by eights and then by neurons reaches, such as {fewest:,}, "
            f"got {wanted:,}, below which is the next"
        )
    return select(teacher, dataclasses.replace(kept, neurons=_fewer(ranked, kept, round((count - wanted) / each))))


def _sparsity(percent: int) -> float:
    """That takes so many percents of each axis."""
    return 1 - (1 - percent / 100) ** 2


def _left(teacher: LanguageModel, ranked: Units, percent: int) -> int:
    """Parameters that are left then; 0 where nothing is."""
    try:
        return parameters_after(teacher, ranked, _sparsity(percent))
    except ValueError:
        return 0


def _fewer(ranked: Units, kept: Kept, count: int) -> tuple[Tensor, ...]:
    """The neurons that stay without the least important ones of all layers; each layer that has any keeps eight."""
    order = sorted(
        (float(ranked.neurons[layer, neuron]), layer, neuron)
        for layer, neurons in enumerate(kept.neurons)
        for neuron in neurons.tolist()
    )
    stay = [set(neurons.tolist()) for neurons in kept.neurons]
    for _, layer, neuron in order:
        if count and len(stay[layer]) > MULTIPLE:
            stay[layer].remove(neuron)
            count -= 1
    return tuple(torch.tensor(sorted(each), dtype=torch.long, device=kept.hidden.device) for each in stay)


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
