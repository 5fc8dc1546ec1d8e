"""Language models for transformers: the folder of a saved `LanguageModel` opens as an `AutoModelForCausalLM`.

Importing this file tells transformers of the class. Files are the same both ways: what `LanguageModel.save` wrote is
read by ``AutoModelForCausalLM.from_pretrained``, and what ``save_pretrained`` wrote by `LanguageModel.load`, bit for
bit. `export` adds the tokeniser, as `AutoTokenizer` reads it, to the model of a finished training.

Needs the extra ``huggingface``. transformers' own ``generate`` computes all positions anew for each token here;
`LanguageModel.generate` keeps keys and values and is the faster one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import CausalLMOutput

from domains.language.distillation.pruned_model import trained_context
from domains.language.tokenisers import END, ByteTokeniser, Tokeniser, byte_letters, load_tokeniser
from domains.language.train import MODEL
from separable.files import read_json
from separable.sequence import LanguageModel, LanguageModelConfig
from separable.sequence.language_model import KIND, MODEL_TYPE, VERSION


class SeparableConfig(PretrainedConfig):  # type: ignore[misc]
    """The settings of a `LanguageModelConfig` with what transformers keeps beside them.

    Args:
        vocabulary: As in `LanguageModelConfig`.
        transformer: Likewise, as plain data.
        embedding: Likewise.
        head: Likewise.
        **others: Of transformers.
    """

    model_type = MODEL_TYPE
    attribute_map = {"vocab_size": "vocabulary"}  # noqa: RUF012  as transformers declares it

    def __init__(
        self,
        vocabulary: int = 256,
        transformer: dict[str, Any] | None = None,
        embedding: dict[str, Any] | None = None,
        head: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        defaults = LanguageModelConfig(vocabulary).settings()
        self.kind, self.version = others.pop("kind", KIND), others.pop("version", VERSION)
        self.vocabulary = vocabulary
        self.transformer = transformer or defaults["transformer"]
        self.embedding, self.head = embedding or defaults["embedding"], head or defaults["head"]
        # Ties are the model's own: nothing for transformers to tie. Nor has it a cache of its own here.
        super().__init__(**{"tie_word_embeddings": False, "use_cache": False, **others})

    def language_model(self) -> LanguageModelConfig:
        """The settings as our config.

        Raises:
            ValueError: If they are of another version.
        """
        if self.version != VERSION:
            raise ValueError(f"SeparableConfig: expected version {VERSION}, got {self.version!r}")
        return LanguageModelConfig.from_settings(
            {name: getattr(self, name) for name in ("vocabulary", "transformer", "embedding", "head")}
        )

    @property
    def hidden_size(self) -> int:
        """Width, by transformers' name."""
        return int(self.transformer["width"])

    @property
    def num_hidden_layers(self) -> int:
        """Layers, by transformers' name."""
        return int(self.transformer["layers"])

    @property
    def num_attention_heads(self) -> int:
        """Query heads, by transformers' name."""
        return int(self.transformer["heads"])


class SeparableForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A `LanguageModel` with the face of a transformers model; made by ``from_pretrained`` or `of`.

    Args:
        config: Its settings.
    """

    config_class = SeparableConfig
    main_input_name = "input_ids"
    # The loss is a mean whatever else comes with a batch: a Trainer has to divide by the parts of a step itself.
    accepts_loss_kwargs = False

    def __init__(self, config: SeparableConfig) -> None:
        super().__init__(config)
        # transformers builds models without memory, and loses in reading what follows from the config alone and is not
        # in a file, such as hash functions and the centres of splines: it is kept here until `from_pretrained` is done.
        with torch.device("cpu"):
            self._hold(LanguageModel(config.language_model()))
        held = self.state_dict().keys()
        self._derived = {path: value.clone() for path, value in self.named_buffers() if path not in held}
        self.post_init()

    @classmethod
    def of(cls, model: LanguageModel) -> SeparableForCausalLM:
        """The same model, its parameters shared."""
        wrapped = cls(SeparableConfig(**model.config.settings()))
        wrapped._hold(model)
        return wrapped.train(model.training)

    @property
    def language_model(self) -> LanguageModel:
        """The model inside, its parameters shared."""
        return self._language_model[0]

    def _hold(self, model: LanguageModel) -> None:
        # Registered part by part, so that parameters have the names of `LanguageModel.save`.
        self._language_model = (model,)
        self.embedding, self.transformer, self.head = model.embedding, model.transformer, model.head

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
        """As of transformers; see there."""
        loaded = super().from_pretrained(*arguments, **options)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for path, value in model._derived.items():
            parent, _, name = path.rpartition(".")
            owner = model.get_submodule(parent)
            setattr(owner, name, value.to(next(owner.parameters()).device))
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Start values are those of `LanguageModel`."""

    def get_input_embeddings(self) -> nn.Module:
        """From tokens to vectors."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Not possible: config and head belong to the embedding.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("SeparableForCausalLM: the embedding follows from the config; make another model")

    def get_output_embeddings(self) -> None:
        """None: a head need not have a row for each token."""
        return

    def resize_token_embeddings(self, *arguments: Any, **options: Any) -> Any:
        """Not possible: vectors of tokens may follow from the digits of V.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"SeparableForCausalLM: made for {self.config.vocabulary} tokens; make another model for another number"
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> CausalLMOutput | tuple[Tensor, ...]:
        """Logits ``(B, T, V)`` and, with labels, the mean cross-entropy of each label after what precedes it.

        Args:
            input_ids: ``(B, T)``.
            attention_mask: Zero for padding, before or after a sequence; logits at padding mean nothing.
            labels: ``(B, T)``, the tokens themselves; -100 is left out.
            return_dict: Whether to give a named output.

        Raises:
            ValueError: If padding lies inside a sequence.
        """
        logits = self._logits(input_ids, attention_mask)
        loss = None
        if labels is not None:
            loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten().to(logits.device))
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return CausalLMOutput(loss=loss, logits=logits)

    def _logits(self, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is None or bool(attention_mask.all()):
            return self.language_model(tokens)
        kept = attention_mask.bool()
        count = tokens.shape[1]
        before = kept.int().argmax(1)  # padding before the first token
        place = torch.arange(count, device=tokens.device)
        if not torch.equal(kept, (place >= before[:, None]) & (place < (before + kept.sum(1))[:, None])):
            raise ValueError("SeparableForCausalLM: padding lies before or after a sequence, got some inside one")
        # Turned so that padding comes last, where causal attention does not see it; and turned back.
        forth, back = (place + before[:, None]) % count, (place - before[:, None]) % count
        logits = self.language_model(tokens.gather(1, forth))
        return logits.gather(1, back[..., None].expand_as(logits))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """All tokens so far."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def fast_tokeniser(tokeniser: Tokeniser, context: int | None = None) -> PreTrainedTokenizerFast:
    """The same ids from transformers' class of tokenisers; needs the package `tokenizers`.

    The end of a document is its beginning, end and padding. None is added to a text, and a text that spells its name
    is read as one.

    Args:
        tokeniser: of bytes or byte pairs.
        context: tokens of a window, which transformers and others take as the longest text; none for no limit.
    """
    import tokenizers

    if isinstance(tokeniser, ByteTokeniser):  # byte pairs without a pair
        letters = {letter: byte for byte, letter in byte_letters().items()}
        inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={**letters, END: tokeniser.end}, merges=[]))
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
        inner.add_special_tokens([END])
    else:
        inner = tokenizers.Tokenizer.from_str(tokeniser.settings())
    limit = {} if context is None else {"model_max_length": context}
    names = {"bos_token": END, "eos_token": END, "pad_token": END}
    return PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **names, **limit)


def export(run: str | Path, folder: str | Path) -> Path:
    """Write the model of a finished training and its tokeniser as transformers reads them.

    Args:
        run: the folder of the training.
        folder: what to write; ``AutoModelForCausalLM`` and ``AutoTokenizer`` open it once this file is imported.

    Raises:
        FileNotFoundError: the training has left no model.
        ValueError: it was pruned to layers of different sizes, for which there is no class of transformers; or its
            files are damaged.
    """
    run, folder = Path(run), Path(folder)
    file = run / MODEL / "config.json"
    sizes = read_json(file).get("transformer") if file.is_file() else None
    if isinstance(sizes, dict) and "layer_hidden" in sizes:
        raise ValueError(f"{run}: expected a model whose layers have one size, got one that was pruned to several")
    model = LanguageModel.load(run / MODEL)
    tokeniser = fast_tokeniser(load_tokeniser(run / MODEL), trained_context(run))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        SeparableForCausalLM.of(model).save_pretrained(partial)
        tokeniser.save_pretrained(partial)
        for file in Path(partial).iterdir():
            file.replace(folder / file.name)
    return folder


AutoConfig.register(MODEL_TYPE, SeparableConfig)
AutoModelForCausalLM.register(SeparableConfig, SeparableForCausalLM)
