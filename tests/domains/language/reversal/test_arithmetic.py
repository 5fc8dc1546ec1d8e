"""Values follow from the facts and from nothing less; the published sizes are met."""

import pytest

from domains.language.reversal.arithmetic import EQUALS, ArithmeticConfig, arithmetic_task, chained
from domains.language.reversal.facts import Fact

CONFIG = ArithmeticConfig(modulus=61, branching=5, problems=6, seed=1)


@pytest.fixture(scope="module")
def task():
    return arithmetic_task(CONFIG)


def number(name):
    return int(name.removeprefix("value"))


def test_core_sums_are_sums(task):
    values = {fact.head: number(fact.tail) for fact in task.core if fact.relation == EQUALS}
    assert len(values) == 61 * 10
    sums = [fact for fact in task.core if fact.relation != EQUALS]
    assert all((values[a] + values[b] - values[e]) % 61 == 0 for a, b, e in sums)
    assert len(sums) == pytest.approx(0.3 * 61 * 10 * 20, rel=0.05)
    assert all(10 <= min(values[a], values[b]) <= 49 or 10 <= max(values[a], values[b]) <= 49 for a, b, _ in sums)


def test_answers_follow_and_are_told_nowhere(task):
    told = [*task.core, *(fact for tree in task.trees for fact in tree)]
    found = chained(told, 61)
    assert [found[fact.head] for fact in task.answers] == [fact.tail for fact in task.answers]
    assert not {fact.head for fact in told if fact.relation == EQUALS} & {fact.head for fact in task.answers}
    alone = chained(task.core, 61)
    assert all(fact.head not in alone for fact in task.answers)


def test_an_answer_needs_its_own_tree_and_more_than_one_step(task):
    for i, answer in enumerate(task.answers):
        others = [fact for j, tree in enumerate(task.trees) if j != i for fact in tree]
        assert answer.head not in chained([*task.core, *others], 61)
        # no fact joins the problem to a core entity
        near = [fact for fact in task.trees[i] if answer.head in fact]
        assert near
        assert all(sum(name.startswith("core") for name in fact) == 1 for fact in near)


def test_numbers_of_facts_are_about_the_published_ones():
    for branching, published in ((10, 416), (20, 1635)):
        task = arithmetic_task(ArithmeticConfig(modulus=61, branching=branching))
        mean = sum(map(len, task.trees)) / len(task.trees)
        assert mean == pytest.approx(published, rel=0.1)


def test_a_contradiction_is_found():
    facts = [Fact("a", EQUALS, "value1"), Fact("b", EQUALS, "value2"), Fact("c", EQUALS, "value4"), Fact("a", "b", "c")]
    with pytest.raises(ValueError):
        chained(facts, 61)
    for wrong in ({"modulus": 2}, {"told": 0.0}, {"dead": 1.0}, {"values": (5, 5)}, {"branching": 0}):
        with pytest.raises(ValueError):
            ArithmeticConfig(**wrong)
