"""Values that no fact states: they follow from chains of facts about sums, modulo P.

Every entity has a value. Core entities, P of each of ``copies`` kinds, have theirs stated: (c, =, value). A sum is a
fact (a, b, e) with value(a) + value(b) = value(e) modulo P, in which a or b, in random order, is a *step*: a core
entity with one of two values s. So a fact says how far two entities are apart, and which is the greater.

Each problem X has a value of its own that is not stated, and a tree of two levels: X - B bridges - B^2 leaves - core
entities. Neighbours are joined by a sum in a random direction, so X follows from its bridge in half of the facts and
has to be found backwards in the others. Most ways are cut: of the bridges and of the leaves a share is dead, half of
these towards X and half away from it.

Source: Wang and Sun (2025, arXiv:2504.01928), first version, section 5, with P = 10,007, 10 copies, steps from 10 to
49 and values of X from 200 to 800. Their text leaves open how many core entities a leaf is joined to: five give about
their number of facts a problem (4.2 B^2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from domains.language.reversal.facts import Fact

EQUALS = "="


@dataclasses.dataclass(frozen=True)
class ArithmeticConfig:
    """Sizes of the task.

    Attributes:
        modulus: P.
        copies: core entities of each value.
        steps: least and greatest value of a step; two are drawn.
        told: share of all sums of a core entity and a step that are told.
        problems: number of problems.
        values: least and greatest value of a problem; by default 2 % and 8 % of the modulus.
        branching: B, bridges of a problem and leaves of a bridge.
        links: core entities that a leaf is joined to.
        dead: share of bridges, and of leaves, on which a way ends.
        seed: of everything.
    """

    modulus: int = 211
    copies: int = 10
    steps: tuple[int, int] = (10, 49)
    told: float = 0.3
    problems: int = 20
    values: tuple[int, int] | None = None
    branching: int = 10
    links: int = 5
    dead: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("copies", "problems", "branching", "links"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.modulus < 3:
            raise ValueError(f"modulus: expected at least 3, got {self.modulus}")
        if not 0 < self.told <= 1 or not 0 <= self.dead < 1:
            raise ValueError(f"told, dead: expected shares, got {self.told} and {self.dead}")
        for name, (low, high) in (("steps", self.steps), ("values", self.problem_values)):
            if not 0 <= low < high < self.modulus:
                raise ValueError(f"{name}: expected 0 <= least < greatest < {self.modulus}, got {low} and {high}")

    @property
    def problem_values(self) -> tuple[int, int]:
        """Least and greatest value of a problem, with the default filled in."""
        return self.values or (self.modulus // 50, max(self.modulus * 2 // 25, self.modulus // 50 + 1))


@dataclasses.dataclass(frozen=True)
class ArithmeticTask:
    """Facts to learn from, facts to chain, and what follows.

    Attributes:
        config: of which it was made.
        core: sums and values of core entities.
        trees: sums round the problems, a tuple for each problem.
        answers: (X, =, value) of each problem, which is told nowhere.
    """

    config: ArithmeticConfig
    core: tuple[Fact, ...]
    trees: tuple[tuple[Fact, ...], ...]
    answers: tuple[Fact, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values, in order."""
        return tuple(value_name(value) for value in range(self.config.modulus))


def value_name(value: int) -> str:
    """The name of a value.

    Example:
        >>> value_name(17)
        'value17'
    """
    return f"value{value}"


def arithmetic_task(config: ArithmeticConfig | None = None) -> ArithmeticTask:
    """Make the task.

    Example:
        >>> task = arithmetic_task(ArithmeticConfig(modulus=61, branching=3, problems=4))
        >>> sums = [fact for tree in task.trees for fact in tree]
        >>> [chained((*task.core, *sums), 61)[fact.head] == fact.tail for fact in task.answers]
        [True, True, True, True]
    """
    config = config or ArithmeticConfig()
    random = np.random.default_rng([config.seed, 2])
    low, high = config.steps
    steps = tuple(random.choice(np.arange(low, high + 1), 2, replace=False).tolist())
    core = [Fact(_core(v, c), EQUALS, value_name(v)) for v in range(config.modulus) for c in range(config.copies)]
    for value in range(config.modulus):
        for copy in range(config.copies):
            for step in steps:
                for step_copy in range(config.copies):
                    if random.random() < config.told:
                        end = _core((value + step) % config.modulus, random.integers(config.copies))
                        core.append(_sum(random, _core(value, copy), _core(step, step_copy), end))
    values = random.integers(config.problem_values[0], config.problem_values[1] + 1, config.problems).tolist()
    trees = tuple(_tree(config, random, i, value, steps) for i, value in enumerate(values))
    answers = tuple(Fact(f"x{i}", EQUALS, value_name(value)) for i, value in enumerate(values))
    return ArithmeticTask(config, tuple(core), trees, answers)


def chained(facts: Sequence[Fact], modulus: int) -> Mapping[str, str]:
    """Names of the values that follow, by plain forward chaining: the definition of a right answer.

    Raises:
        ValueError: Two values of one entity follow.
    """
    found = {fact.head: int(fact.tail.removeprefix("value")) for fact in facts if fact.relation == EQUALS}
    sums = [fact for fact in facts if fact.relation != EQUALS]
    while True:
        before = len(found)
        for a, b, end in sums:
            known = (a in found, b in found, end in found)
            if known == (True, True, False):
                found[end] = (found[a] + found[b]) % modulus
            elif known == (True, False, True):
                found[b] = (found[end] - found[a]) % modulus
            elif known == (False, True, True):
                found[a] = (found[end] - found[b]) % modulus
            elif all(known) and (found[a] + found[b] - found[end]) % modulus:
                raise ValueError(f"{Fact(a, b, end)}: contradicts what follows from other facts")
        if len(found) == before:
            return {name: value_name(value) for name, value in found.items()}


def _core(value: int, copy: int | np.integer) -> str:
    return f"core{value}.{copy}"


def _sum(random: np.random.Generator, entity: str, step: str, end: str) -> Fact:
    return Fact(entity, step, end) if random.random() < 0.5 else Fact(step, entity, end)


def _tree(
    config: ArithmeticConfig, random: np.random.Generator, problem: int, value: int, steps: Sequence[int]
) -> tuple[Fact, ...]:
    def joined(inner: str, its_value: int, outer: str | None) -> tuple[Fact, int]:
        """A sum of an entity and another, which is a core entity of the right value if it has no name yet."""
        step = steps[int(random.integers(2))]
        up = random.random() < 0.5
        other_value = (its_value + (step if up else -step)) % config.modulus
        other = outer or _core(other_value, random.integers(config.copies))
        ends = (inner, other) if up else (other, inner)
        return _sum(random, ends[0], _core(step, random.integers(config.copies)), ends[1]), other_value

    while True:
        facts: list[Fact] = []
        ways = 0
        for i in range(config.branching):
            bridge = f"x{problem}.{i}"
            fact, bridge_value = joined(f"x{problem}", value, bridge)
            # A dead bridge leads nowhere: either not to X, or not to its leaves.
            cut = random.choice(["inner", "outer"]) if random.random() < config.dead else ""
            if cut != "inner":
                facts.append(fact)
            for j in range(config.branching):
                leaf = f"{bridge}.{j}"
                fact, leaf_value = joined(bridge, bridge_value, leaf)
                its_cut = random.choice(["inner", "outer"]) if random.random() < config.dead else ""
                if its_cut != "inner" and cut != "outer":
                    facts.append(fact)
                if its_cut != "outer":
                    facts += [joined(leaf, leaf_value, None)[0] for _ in range(config.links)]
                ways += not cut and not its_cut
        if ways:
            return tuple(facts)
