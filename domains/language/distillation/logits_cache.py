"""A teacher's distributions, computed once and kept on disk: its k most probable tokens with the rest, or n draws.

For every position of the windows of a part of the tokens, one of

    top_k     ids of the k most probable tokens, log-probabilities of these and of all others together (a bucket)
    sampled   ids of n tokens drawn from the teacher, with repetition

The first gives ``sum p log(p / q)`` over k tokens and the bucket, never more than the whole divergence; a student
cannot lower it by taking mass from the k tokens alone. The second gives ``- mean log q`` of the draws, whose
expectation is the teacher's cross-entropy: without bias, where cutting off the tail and renormalising has one.

A folder holds an index and two files a shard, ids and float16 logarithms, each with its checksum; writing that was cut
off goes on with the next shard. Source: Anshumann et al., Sparse Logit Sampling (2025, arXiv:2503.16870).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from domains.language.digests import digest_of_model
from domains.language.distillation.losses import Divergence, forward_kl, loss_in_chunks
from domains.language.tokens import TokenPart, Tokens
from separable.atomic_files import replacing
from separable.files import member, read_json, refusing
from separable.sequence import LanguageModel
from separable.training import process_count
from separable.training.modes import evaluation_mode
from separable.training.run_lock import sole_user

Array = np.ndarray[Any, Any]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # tokens, targets (B, T), ids (B, T, k), log-probabilities (B, T, k + 1)
_LEAST = -60000.0  # a logarithm that float16 holds
_EXPECTED = "the index of a teacher's logits"


@dataclasses.dataclass(frozen=True)
class LogitsCacheConfig:
    """What is kept of a teacher.

    Attributes:
        kind: top_k or sampled.
        entries: tokens k or draws n of a position.
        context: tokens of a window; windows lie side by side.
        part: of the tokens: train, validation or test.
        shard: windows of a pair of files.
        together: windows that the teacher reads at a time.
        seed: of the draws.
    """

    kind: Literal["top_k", "sampled"] = "top_k"
    entries: int = 32
    context: int = 256
    part: str = "train"
    shard: int = 4096
    together: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("top_k", "sampled"):
            raise ValueError(f"kind: expected top_k or sampled, got {self.kind!r}")
        for name in ("entries", "context", "shard", "together"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


def write_logits(
    folder: str | Path, teacher: LanguageModel, tokens: Tokens, config: LogitsCacheConfig | None = None
) -> Path:
    """Keep a teacher's distributions; finished shards are left as they are. Returns the folder.

    Args:
        folder: for the files.
        teacher: on any device; its modules keep their modes.
        tokens: that it reads.
        config: what is kept.

    Raises:
        ValueError: If the teacher does not know all ids, there are not more tokens than entries, the part is shorter
            than a window, the folder holds another cache, its index is damaged, or torchrun started several processes
            and something is left to write.
        OSError: If there is no space or no permission; finished shards stay, and the same call goes on after them.
        RuntimeError: If another process writes into the folder.
    """
    config, folder = config or LogitsCacheConfig(), Path(folder)
    vocabulary = teacher.config.vocabulary
    tokens.check_model(vocabulary)
    if config.kind == "top_k" and config.entries >= vocabulary:
        raise ValueError(f"entries: expected fewer than the {vocabulary} tokens, got {config.entries}")
    part = tokens.part(config.part)
    windows = (len(part) - 1) // config.context
    if windows < 1:
        raise ValueError(f"tokens: expected at least {config.context + 1}, a window and its target, got {len(part)}")
    described = {
        **belonging(tokens, vocabulary),
        "teacher": digest_of_model(teacher),
        "config": dataclasses.asdict(config),
    }
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"made_from": described, "windows": windows, "shards": []}
    if (folder / "index.json").is_file():
        with refusing(folder / "index.json", _EXPECTED):
            held = read_json(folder / "index.json", _EXPECTED)
            _compare(folder, described, held["made_from"])
            if held["windows"] != windows or any(
                shard["windows"] != len(_rows(place, windows, config)) for place, shard in enumerate(held["shards"])
            ):
                raise ValueError(f"expected {windows} windows, {config.shard} of a shard")
        index = held
    if len(index["shards"]) < -(-windows // config.shard):
        if process_count() > 1:
            raise ValueError(f"{folder}: expected kept logits, or one process that keeps them, got {process_count()}")
        with sole_user(folder):
            _write_shards(folder, teacher, part, config, index)
    return folder


def _write_shards(
    folder: Path, teacher: LanguageModel, part: TokenPart, config: LogitsCacheConfig, index: dict[str, Any]
) -> None:
    """The shards that an index lacks, and the index after each."""
    windows = index["windows"]
    with evaluation_mode(teacher):
        for shard in range(len(index["shards"]), -(-windows // config.shard)):
            rows = _rows(shard, windows, config)
            ids, values = _of_shard(teacher, part, rows, config, shard)
            files = {}
            for name, numbers in (("ids", ids), ("values", values)):
                content = numbers.tobytes()
                file = f"{config.part}-{shard:05d}.{name}.bin"
                _write(folder / file, content)
                files[name] = {"file": file, "sha256": hashlib.sha256(content).hexdigest()}
            index["shards"].append({"windows": len(rows), **files})
            _write(folder / "index.json", (json.dumps(index, indent=2) + "\n").encode())


class LogitsCache:
    """What `write_logits` left in a folder, beside the tokens it belongs to.

    Args:
        folder: with the index.
        tokens: that the student reads.

    Attributes:
        windows: how many there are.
        bytes_per_token: on disk.

    Raises:
        FileNotFoundError: If there is no cache.
        ValueError: If it belongs to another tokeniser, vocabulary or corpus, with the difference, is not finished, or
            a file is damaged.
    """

    def __init__(self, folder: str | Path, tokens: Tokens) -> None:
        self.folder = Path(folder)
        if not (self.folder / "index.json").is_file():
            raise FileNotFoundError(f"{self.folder}: expected a teacher's logits, but there is no index.json")
        with refusing(self.folder / "index.json", _EXPECTED):
            self._open(read_json(self.folder / "index.json", _EXPECTED), tokens)

    def _open(self, index: dict[str, Any], tokens: Tokens) -> None:
        made_from = index["made_from"]
        self.config = LogitsCacheConfig(**made_from["config"])
        self.vocabulary, self.windows = int(made_from["vocabulary"]), int(index["windows"])
        tokens.check_model(self.vocabulary)
        _compare(self.folder, belonging(tokens, self.vocabulary), made_from)
        written = sum(int(shard["windows"]) for shard in index["shards"])
        if written != self.windows:
            raise ValueError(
                f"{self.folder / 'index.json'}: expected {self.windows} windows, got {written}; write it again to go on"
            )
        self.part = tokens.part(self.config.part)
        shape = (self.config.context, self.config.entries)
        kept = (*shape[:1], shape[1] + 1) if self.config.kind == "top_k" else (shape[0], 0)
        kinds = {"ids": (_id_type(self.vocabulary), shape), "values": (np.dtype("<f2"), kept)}
        self._held: dict[str, list[Array]] = {"ids": [], "values": []}
        size = 0
        if (len(self.part) - 1) // self.config.context != self.windows:
            raise ValueError(f"expected as many windows as the tokens have, got {self.windows}")
        for place, shard in enumerate(index["shards"]):
            rows = len(_rows(place, self.windows, self.config))
            for name, (kind, each) in kinds.items():
                file = member(self.folder, shard[name]["file"])
                content = file.read_bytes() if file.is_file() else b""
                if hashlib.sha256(content).hexdigest() != shard[name]["sha256"]:
                    raise ValueError(f"{file}: expected the bytes that were written, got others (checksum)")
                size += len(content)
                held = np.memmap(file, kind, "r") if content else np.zeros(0, kind)
                self._held[name].append(held.reshape(rows, *each))
        self.bytes_per_token = size / (self.windows * self.config.context)

    def load(self, windows: Array) -> Batch:
        """Tokens and targets ``(B, T)``, ids ``(B, T, k)`` and log-probabilities ``(B, T, k + 1)`` of some windows.

        The last log-probability is that of all other tokens; there are none, ``(B, T, 0)``, of sampled ids.
        """
        inputs, targets = self.part.windows(np.asarray(windows) * self.config.context, self.config.context)
        where = [divmod(int(window), self.config.shard) for window in windows]
        ids = np.stack([self._held["ids"][shard][row] for shard, row in where]).astype(np.int64)
        values = np.stack([self._held["values"][shard][row] for shard, row in where]).astype(np.float32)
        told = torch.from_numpy(values)  # rounded to float16: made to sum to one again
        return inputs, targets, torch.from_numpy(ids), told.log_softmax(-1) if told.shape[-1] else told


def cached_loss(
    student: LanguageModel,
    batch: Batch,
    *,
    divergence: Divergence = forward_kl,
    share: float = 0.5,
    ignore: int = -100,
    chunk: int | None = None,
) -> Tensor:
    """`losses.distillation_loss` with a teacher from a cache; of sampled ids, its cross-entropy takes the place of KL.

    Args:
        student: over the teacher's vocabulary.
        batch: as of `LogitsCache.load`, on the student's device.
        divergence: of the k tokens and the bucket; not asked for sampled ids.
        share: as of `distillation_loss`, and so the rest.
        ignore: as there.
        chunk: as there.
    """
    tokens, targets, ids, values = batch
    ids, values = ids.flatten(0, 1), values.flatten(0, 1)

    def apart(logits: Tensor, rows: slice) -> Tensor:
        normaliser = logits.logsumexp(-1, keepdim=True)
        near = logits.gather(-1, ids[rows]) - normaliser
        if not values.shape[-1]:
            return -near.mean(-1)
        others = logits.scatter(-1, ids[rows], -torch.inf).logsumexp(-1, keepdim=True) - normaliser
        return divergence(torch.cat([near, others], -1), values[rows].to(logits.dtype))

    return loss_in_chunks(student, apart, tokens, targets, share=share, ignore=ignore, chunk=chunk)


def _of_shard(
    teacher: LanguageModel, part: Any, rows: range, config: LogitsCacheConfig, shard: int
) -> tuple[Array, Array]:
    device = next(teacher.parameters()).device
    generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + shard)
    ids, values = [], []
    for start in range(rows.start, rows.stop, config.together):
        places = np.arange(start, min(start + config.together, rows.stop)) * config.context
        inputs, _ = part.windows(places, config.context)
        with torch.no_grad():
            known = teacher(inputs.to(device)).double().log_softmax(-1)
            if config.kind == "top_k":
                top = known.topk(config.entries, -1)
                rest = known.scatter(-1, top.indices, -torch.inf).logsumexp(-1, keepdim=True)
                ids.append(top.indices.cpu().numpy())
                values.append(torch.cat([top.values, rest], -1).clamp(min=_LEAST).cpu().numpy())
            else:
                drawn = known.exp().flatten(0, 1).multinomial(config.entries, replacement=True, generator=generator)
                ids.append(drawn.view(*inputs.shape, -1).cpu().numpy())
                values.append(np.zeros((*inputs.shape, 0)))
    return np.concatenate(ids).astype(_id_type(teacher.config.vocabulary)), np.concatenate(values).astype("<f2")


def _rows(shard: int, windows: int, config: LogitsCacheConfig) -> range:
    """The windows of a shard."""
    return range(shard * config.shard, min(windows, (shard + 1) * config.shard))


def belonging(tokens: Tokens, vocabulary: int) -> dict[str, Any]:
    """Digests of what logits belong to: tokeniser, vocabulary, and the corpus by its tokens, wherever they lie."""
    return {"tokeniser": tokens.digest, "vocabulary": vocabulary, "corpus": tokens.corpus}


def _compare(folder: Path, wanted: dict[str, Any], held: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if held.get(name) != value:
            raise ValueError(
                f"{folder / 'index.json'}: expected logits of {name} {value}, got those of {held.get(name)}"
            )


def _id_type(vocabulary: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocabulary <= 2**16 else "<u4")


def _write(file: Path, content: bytes) -> None:
    with replacing(file) as temporary:
        temporary.write_bytes(content)
