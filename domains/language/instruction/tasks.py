"""Instructions with one right answer, drawn by a seed: words, numbers, lists, and a small world told in the question.

Instruction i of a seed depends on nothing else, so a larger set begins with the smaller one. Words are made of
syllables: there are more of them than any training sees, and what is asked of a held-out word was never read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from domains.language.instruction.chat import Conversation, exchange

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_NAMES = ("Ann", "Bo", "Cleo", "Dan", "Eve", "Finn", "Gus", "Ida")
_THINGS = ("ball", "box", "book", "lamp", "hat", "kite", "cup", "drum")
_COLOURS = ("red", "blue", "green", "white", "black", "yellow")
_DRAWS = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A task, what is asked and what is right.

    Attributes:
        task: one of `TASKS`.
        question: in words.
        answer: the only right one.
    """

    task: str
    question: str
    answer: str

    @property
    def conversation(self) -> Conversation:
        """The question and its answer."""
        return exchange(self.question, self.answer)

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the tenth that is for measuring, by a hash of the question."""
        return hashlib.sha256(self.question.encode()).digest()[0] < 26


def instructions(count: int, seed: int = 0) -> Iterator[Instruction]:
    """The first instructions of a seed.

    Raises:
        ValueError: there are to be none.

    Example:
        >>> for each in instructions(3):
        ...     print(each.question, "->", each.answer)
        How many things are these: kite, lamp, book, hat, drum? -> 5
        What is 99 minus 88? -> 11
        Gus has a blue ball. Ida has a green box. What does Ida have? -> a green box
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    names = tuple(TASKS)
    for number in range(count):
        draws = np.random.default_rng([seed, number])
        task = names[draws.integers(len(names))]
        yield Instruction(task, *TASKS[task](draws))


def _word(draws: _DRAWS) -> str:
    count = int(draws.integers(2, 4))
    return "".join(_one(draws, _CONSONANTS) + _one(draws, _VOWELS) for _ in range(count))


def _one(draws: _DRAWS, of: str | tuple[str, ...]) -> str:
    return of[int(draws.integers(len(of)))]


def _some(draws: _DRAWS, of: tuple[str, ...], count: int) -> list[str]:
    return [of[place] for place in draws.permutation(len(of))[:count]]


def _backwards(draws: _DRAWS) -> tuple[str, str]:
    word = _word(draws)
    return f"Write the word {word} backwards.", word[::-1]


def _capitals(draws: _DRAWS) -> tuple[str, str]:
    word = _word(draws)
    return f"Write the word {word} in capital letters.", word.upper()


def _repeat(draws: _DRAWS) -> tuple[str, str]:
    word, count = _word(draws), int(draws.integers(2, 5))
    return f"Say {word} {count} times.", " ".join([word] * count)


def _letters(draws: _DRAWS) -> tuple[str, str]:
    word = _word(draws)
    letter = word[int(draws.integers(len(word)))]
    return f"How many times is the letter {letter} in {word}?", str(word.count(letter))


def _sum(draws: _DRAWS) -> tuple[str, str]:
    first, second = (int(number) for number in draws.integers(0, 50, 2))
    return f"What is {first} plus {second}?", str(first + second)


def _difference(draws: _DRAWS) -> tuple[str, str]:
    second, first = sorted(int(number) for number in draws.integers(0, 100, 2))
    return f"What is {first} minus {second}?", str(first - second)


def _greater(draws: _DRAWS) -> tuple[str, str]:
    first, second = (int(number) for number in draws.choice(100, 2, replace=False))
    return f"Which is greater, {first} or {second}?", str(max(first, second))


def _sorted_numbers(draws: _DRAWS) -> tuple[str, str]:
    numbers = [int(number) for number in draws.choice(100, int(draws.integers(3, 6)), replace=False)]
    return f"Sort these numbers: {_listed(numbers)}.", _listed(sorted(numbers))


def _last(draws: _DRAWS) -> tuple[str, str]:
    things = _some(draws, _THINGS, int(draws.integers(3, 6)))
    place, name = ((0, "first"), (-1, "last"))[int(draws.integers(2))]
    return f"What is the {name} of these: {_listed(things)}?", things[place]


def _count(draws: _DRAWS) -> tuple[str, str]:
    things = _some(draws, _THINGS, int(draws.integers(2, 7)))
    return f"How many things are these: {_listed(things)}?", str(len(things))


def _world(draws: _DRAWS) -> tuple[str, str]:
    """People, each with a thing of a colour; one of the three is asked for by another."""
    count = int(draws.integers(2, 4))
    held = list(
        zip(*(_some(draws, kind, count) for kind in (_NAMES, _THINGS, _COLOURS)), strict=True)
    )  # each name, thing and colour once
    told = " ".join(f"{name} has a {colour} {thing}." for name, thing, colour in held)
    name, thing, colour = held[int(draws.integers(count))]
    questions = (
        (f"Who has the {thing}?", name),
        (f"What colour is the {thing}?", colour),
        (f"What does {name} have?", f"a {colour} {thing}"),
    )
    question, answer = questions[int(draws.integers(len(questions)))]
    return f"{told} {question}", answer


def _listed(items: list[int] | list[str]) -> str:
    return ", ".join(map(str, items))


TASKS: dict[str, Callable[[_DRAWS], tuple[str, str]]] = {
    "backwards": _backwards,
    "capitals": _capitals,
    "repeat": _repeat,
    "letters": _letters,
    "sum": _sum,
    "difference": _difference,
    "greater": _greater,
    "sort": _sorted_numbers,
    "place": _last,
    "count": _count,
    "world": _world,
}
