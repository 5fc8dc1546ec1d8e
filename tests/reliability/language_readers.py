"""What the domain of language reads: corpora, tokens, tokenisers, models, stored logits, facts, trials."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.language.compare import compare
from domains.language.corpus import CorpusConfig, documents
from domains.language.distillation import pruned_model
from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.importance import importances
from domains.language.distillation.law import read_trials
from domains.language.distillation.logits_cache import LogitsCache, LogitsCacheConfig, write_logits
from domains.language.distillation.pruning import prune
from domains.language.distillation.sweep import SweepConfig, sweep
from domains.language.instruction.chat import read_conversations
from domains.language.reversal import train as reversal
from domains.language.reversal.generate import ReversibleFactsConfig, reversible_facts
from domains.language.reversal.model import JointModelConfig
from domains.language.reversal.reader import read_facts
from domains.language.shards import TokenizeConfig, write_tokens
from domains.language.tokenisers import BytePairTokeniser, load_tokeniser
from domains.language.tokens import Tokens
from domains.language.train import LanguageConfig
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import TrainingConfig
from tests.reliability.harness import Reader

TEXTS = [f"document {n}: {'colour ' * n}ü 漢 {n * n}" for n in range(8)]


def make_text(folder: Path) -> None:
    (folder / "corpus.txt").write_text("\n".join(TEXTS), encoding="utf-8")


def make_lines(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"text": t, "n": 1}) for t in TEXTS), encoding="utf-8")


def make_table(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS, "n": [1] * 8}), folder / "corpus.parquet")


def read_corpus(folder: Path) -> Any:
    (file,) = folder.glob("corpus.*")
    return [[d.name.rpartition("/")[2], d.text, d.part] for d in documents(CorpusConfig(str(file)))]


def make_byte_pairs(folder: Path) -> None:
    BytePairTokeniser.trained(TEXTS, 270).save(folder)


def read_byte_pairs(folder: Path) -> Any:
    tokeniser = load_tokeniser(folder)
    return [tokeniser.digest, tokeniser.lengths, tokeniser.encode(TEXTS[3])]


def make_tokens(folder: Path) -> None:
    (folder / "text").mkdir()
    for number, text in enumerate(TEXTS):
        (folder / "text" / f"{number}.txt").write_text(text, encoding="utf-8")
    # Named from where the tests run, so that the tokens say the same of their making in every copy.
    corpus = CorpusConfig(str(folder / "text"), validation=0.2, test=0.0)
    write_tokens(folder / "tokens", TokenizeConfig(corpus, shard=100), progress=False)


def read_tokens(folder: Path) -> Any:
    tokens = Tokens(folder / "tokens")
    part = tokens.part("train")
    return [
        part.read(0, len(part)),
        part.bytes,
        part.documents,
        tokens.counts(),
        tokens.lengths(),
        tokens.tokeniser.end,
    ]


def make_half_written(folder: Path) -> None:
    """A writing that is cut off with its journal on disk."""
    (folder / "text.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in TEXTS), encoding="utf-8")
    from domains.language import shards

    class CutOffError(Exception):
        pass

    def finish(self: Any) -> None:
        raise CutOffError

    kept, shards._Writing.finish = shards._Writing.finish, finish
    try:
        read_half_written(folder)
    except CutOffError:
        pass
    finally:
        shards._Writing.finish = kept


def read_half_written(folder: Path) -> Any:
    """Go on; the corpus has one name in every copy."""
    import os

    there = Path.cwd()
    os.chdir(folder)
    try:
        corpus = CorpusConfig("text.jsonl", validation=0.0, test=0.0)
        tokens = Tokens(write_tokens(folder / "tokens", TokenizeConfig(corpus, shard=100), progress=False))
        part = tokens.part("train")
        return [part.read(0, len(part)), part.documents, tokens.counts()]
    finally:
        os.chdir(there)


def teacher() -> LanguageModel:
    config = LanguageModelConfig(257, TransformerConfig(width=8, layers=1, heads=2))
    return LanguageModel(config, torch.Generator().manual_seed(0)).eval()


def make_logits(folder: Path) -> None:
    make_tokens(folder)
    settings = LogitsCacheConfig(entries=3, context=8, shard=40, together=20)
    write_logits(folder / "logits", teacher(), Tokens(folder / "tokens"), settings)


def read_logits(folder: Path) -> Any:
    cache = LogitsCache(folder / "logits", Tokens(folder / "tokens"))
    return [*cache.load(np.arange(cache.windows)), cache.bytes_per_token]


def read_half_written_logits(folder: Path) -> Any:
    settings = LogitsCacheConfig(entries=3, context=8, shard=40, together=20)
    write_logits(folder / "logits", teacher(), Tokens(folder / "tokens"), settings)
    return read_logits(folder)


def make_pruned(folder: Path) -> None:
    config = LanguageModelConfig(31, TransformerConfig(width=16, layers=2, heads=2, hidden=20))
    model = LanguageModel(config, torch.Generator().manual_seed(0)).eval()
    tokens = torch.arange(14).reshape(2, 7)
    prune(model, importances(model, [(tokens[:, :-1], tokens[:, 1:])]), 0.5).save(folder)


def read_pruned(folder: Path) -> Any:
    model = pruned_model.load(folder)
    with torch.no_grad():
        return [model.state_dict(), model(torch.arange(6)[None])]


def small_facts() -> Any:
    return reversible_facts(ReversibleFactsConfig(both_ways=6, one_way=4, pairs=1, multiplicity=2))


def fact_model(facts: Any) -> Any:
    return JointModelConfig(width=8).build(facts.entities, facts.relations, torch.Generator().manual_seed(0))


def make_fact_model(folder: Path) -> None:
    facts = small_facts()
    reversal.save(fact_model(facts), folder, dict(facts.inverses))


def read_fact_model(folder: Path) -> Any:
    model, inverses = reversal.load(folder)
    return [model.state_dict(), inverses, list(model.entities), list(model.relations)]


def make_facts(name: str) -> Any:
    return lambda folder: small_facts().save(folder / name)


def make_csv(folder: Path) -> None:
    rows = "\n".join(f"Ada {n},wife,Bo {n},husband,train" for n in range(5))
    (folder / "facts.csv").write_text(f"head,relation,tail,inverse,part\n{rows}\n", encoding="utf-8")


def read_fact_files(folder: Path) -> Any:
    (file,) = folder.glob("facts.*")
    facts = read_facts(file)
    return [[tuple(f) for f in part] for part in (facts.train, facts.test)] + [dict(facts.inverses)]


def make_trials(folder: Path) -> None:
    lines = (json.dumps({"student": s, "teacher": t, "loss": s / t}) for s in (1, 2) for t in (4, 8))
    (folder / "trials.jsonl").write_text("\n".join(lines))


def read_trial_file(folder: Path) -> Any:
    return [[t.student, t.teacher, t.loss] for t in read_trials(folder / "trials.jsonl")]


def make_conversations(folder: Path) -> None:
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4 \u2028"}]
    lines = [json.dumps({"messages": turns * n}, ensure_ascii=False) for n in (1, 2)]
    (folder / "conversations.jsonl").write_text("\n".join(lines), encoding="utf-8")


def read_conversation_file(folder: Path) -> Any:
    return [[(m.role, m.text) for m in told] for told in read_conversations(folder / "conversations.jsonl")]


SMALL = LanguageConfig(
    TransformerConfig(width=16, layers=1, heads=2),
    "table",
    "table:tied=true",
    16,
    validation_windows=2,
    training=TrainingConfig(steps=2, batch=2),
)
LESSON = DistillationConfig(context=16, validation_windows=2, calibration=1, training=SMALL.training)
SWEEP = SweepConfig((9_120,), (12_000,), ("pruned",), seeds=1, part="validation", teacher=SMALL, student=LESSON)


def make_sweep(folder: Path) -> None:
    make_tokens(folder)
    sweep(Tokens(folder / "tokens"), folder / "sweep", SWEEP, progress=False)


def read_sweep(folder: Path) -> Any:
    return sweep(Tokens(folder / "tokens"), folder / "sweep", SWEEP, wait=False, progress=False)


def make_comparison(folder: Path) -> None:
    make_tokens(folder)
    read_comparison(folder)


def read_comparison(folder: Path) -> Any:
    return compare(Tokens(folder / "tokens"), folder / "compared", SMALL, ("table",), progress=False)


TOKEN_FILES = ("index.json", "train-00000.bin", "counts.bin", "lengths.bin", "tokenizer.json")
STUDENT = ("sweep/pruned-9120-12000-seed_0/result.json",)
SCORES = ("compared/table-seed_0/scores_validation.json",)
FACT_MODEL = ("config.json", "model.safetensors")
READERS = [
    Reader("text", make_text, read_corpus, ("corpus.txt",)),
    Reader("lines of JSON", make_lines, read_corpus, ("corpus.jsonl",)),
    Reader("parquet", make_table, read_corpus, ("corpus.parquet",)),
    Reader("byte pairs", make_byte_pairs, read_byte_pairs, ("tokenizer.json",)),
    Reader(
        "tokens",
        make_tokens,
        read_tokens,
        tuple(f"tokens/{name}" for name in TOKEN_FILES),
        tuple(f"tokens/{name}" for name in TOKEN_FILES[1:]),
    ),
    Reader("half-written tokens", make_half_written, read_half_written, ("tokens/writing.json",), writes=True),
    Reader(
        "stored logits",
        make_logits,
        read_logits,
        ("logits/index.json", "logits/train-00000.ids.bin", "logits/train-00000.values.bin"),
        ("logits/train-00000.ids.bin", "logits/train-00000.values.bin"),
    ),
    Reader("half-written logits", make_logits, read_half_written_logits, ("logits/index.json",), writes=True),
    Reader("pruned model", make_pruned, read_pruned, ("config.json", "model.safetensors")),
    Reader("model of facts", make_fact_model, read_fact_model, FACT_MODEL, FACT_MODEL),
    Reader("facts in lines", make_facts("facts.jsonl"), read_fact_files, ("facts.jsonl",)),
    Reader("facts in HDF5", make_facts("facts.h5"), read_fact_files, ("facts.h5",)),
    Reader("facts in CSV", make_csv, read_fact_files, ("facts.csv",)),
    Reader("conversations", make_conversations, read_conversation_file, ("conversations.jsonl",)),
    Reader("trials", make_trials, read_trial_file, ("trials.jsonl",)),
    Reader("what a sweep measured", make_sweep, read_sweep, STUDENT, STUDENT),
    Reader("scores of a comparison", make_comparison, read_comparison, SCORES, SCORES, writes=True),
]
