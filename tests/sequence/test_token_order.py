"""Orders of a vocabulary: contexts that are planted are found."""

import pytest
import torch

from separable.sequence import TokenOrder, context_order, frequency_order


def test_planted_classes_become_groups():
    """Words of A and B take turns, and A's first kind is followed by B's first; ids are shuffled."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(24, generator=generator).view(4, 6)  # A1, A2, B1, B2
    first = torch.rand(3000, generator=generator) < 0.5
    follows = torch.rand(3000, generator=generator) < 0.8
    kinds = torch.stack([1 - first.long(), 3 - (first == follows).long()], 1).flatten()
    text = ids[kinds, torch.randint(6, (6000,), generator=generator)]
    found = {frozenset(group.tolist()) for group in context_order(text, 24, group=6).split(6)}
    assert found == {frozenset(kind.tolist()) for kind in ids}


def test_groups_follow_the_size_of_a_digit():
    tokens = torch.randint(23, (500,), generator=torch.Generator().manual_seed(1))
    first = context_order(tokens, 23)
    assert torch.equal(first, context_order(tokens, 23))
    assert sorted(first.tolist()) == list(range(23))
    assert torch.equal(context_order(tokens, 23, group=23), torch.arange(23))  # nothing to cut


def test_frequency_order_keeps_ids_of_equals():
    assert frequency_order(torch.tensor([2, 7, 2, 0, 7])).tolist() == [1, 4, 0, 2, 3]


def test_place_is_the_inverse():
    order = TokenOrder(50)
    permutation = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    order.assign(permutation)
    assert torch.equal(order.place[permutation], torch.arange(50))
    assert torch.equal(permutation[order.place], torch.arange(50))


@pytest.mark.parametrize("wrong", [[], [1], [0, 5], [-1, 0]])
def test_tokens_are_checked(wrong):
    with pytest.raises(ValueError):
        context_order(torch.tensor(wrong, dtype=torch.long), 5)
