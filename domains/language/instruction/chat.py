"""Conversations as tokens, with what the assistant says told from what it is asked.

A conversation becomes

    end  [|User|] question end  [|Assistant|] answer end  ...

where ``end`` is the id that ends documents, which no text can spell, and the markers are text: one counts only after an
end, so what a user writes cannot open a turn of another role. The targets of a training are the tokens of the answers
with the end of each, and nothing else.

Source: the published template of MiniChat (Zhang et al. 2023, arXiv:2311.07052), which has these markers; ours has no
system line unless the conversation brings one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.language.tokenisers import Tokeniser
from separable.files import refusing

ROLES = {"system": "[|System|]", "user": "[|User|]", "assistant": "[|Assistant|]"}
IGNORED = -100  # a target that is none

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        role: system, user or assistant.
        text: what is said.
    """

    role: str
    text: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role: expected {', '.join(ROLES)}; got {self.role!r}")


Conversation = tuple[Message, ...]


def exchange(question: str, answer: str) -> Conversation:
    """One question and its answer."""
    return Message("user", question), Message("assistant", answer)


def encode(tokeniser: Tokeniser, conversation: Sequence[Message]) -> tuple[Array, Array]:
    """Ids ``(n,)`` of a conversation, and which of them the assistant says ``(n,)``.

    Example:
        >>> from domains.language.tokenisers import ByteTokeniser
        >>> ids, said = encode(ByteTokeniser(), exchange("1 + 1?", "2"))
        >>> ByteTokeniser().decode(ids[said])
        '2'
        >>> int(said.sum())  # with the end of the answer
        2
    """
    pieces, said = [np.array([tokeniser.end], np.int64)], [np.zeros(1, bool)]
    for message in conversation:
        marker = tokeniser.encode(ROLES[message.role]).astype(np.int64)
        text = np.append(tokeniser.encode(message.text).astype(np.int64), tokeniser.end)
        pieces += [marker, text]
        said += [np.zeros(len(marker), bool), np.full(len(text), message.role == "assistant")]
    return np.concatenate(pieces), np.concatenate(said)


def asked(tokeniser: Tokeniser, conversation: Sequence[Message]) -> Array:
    """Ids ``(n,)`` of a conversation and the marker after which the assistant answers."""
    return np.concatenate([encode(tokeniser, conversation)[0], tokeniser.encode(ROLES["assistant"]).astype(np.int64)])


def padded(encoded: Sequence[tuple[Array, Array]], end: int) -> tuple[Tensor, Tensor]:
    """Tokens and targets ``(B, T)`` of conversations as of `encode`; targets that nobody says are `IGNORED`.

    Example:
        >>> from domains.language.tokenisers import ByteTokeniser
        >>> pair = [encode(ByteTokeniser(), exchange(*words)) for words in (("a", "bc"), ("de", "f"))]
        >>> tokens, targets = padded(pair, ByteTokeniser().end)
        >>> [row[row >= 0].tolist() for row in targets]
        [[98, 99, 256], [102, 256]]
    """
    length = max(len(ids) for ids, _ in encoded) - 1
    tokens = torch.full((len(encoded), length), end)
    targets = torch.full((len(encoded), length), IGNORED)
    for row, (ids, said) in enumerate(encoded):
        tokens[row, : len(ids) - 1] = torch.from_numpy(ids[:-1])
        targets[row, : len(ids) - 1] = torch.from_numpy(np.where(said[1:], ids[1:], IGNORED))
    return tokens, targets


def read_conversations(file: str | Path) -> list[Conversation]:
    """Conversations from JSON lines with ``messages``, each of a ``role`` and ``content``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is none of these, a role or content is no text, or its assistant says nothing; with its
            number. Or the file is not in UTF-8.
    """
    found = []
    with refusing(file, "conversations as lines of JSON in UTF-8"):
        text = Path(file).read_text(encoding="utf-8")
    # Not `splitlines`: JSON may hold what that takes for the end of a line, such as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)["messages"]
            conversation = tuple(Message(_text(turn, "role"), _text(turn, "content")) for turn in told)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{file}, line {number}: expected messages of role and content ({error})") from None
        if not any(message.role == "assistant" for message in conversation):
            raise ValueError(f"{file}, line {number}: expected something that the assistant says, got nothing")
        found.append(conversation)
    return found


def _text(turn: Any, name: str) -> str:
    if not isinstance(turn[name], str):
        raise TypeError(f"expected a text as {name}, got {turn[name]!r}")
    text: str = turn[name]
    text.encode()  # JSON can spell what UTF-8 has no bytes for
    return text
