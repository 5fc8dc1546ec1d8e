"""Names of people of two and three words, made up, with the statistics of real lists.

Rank k of the G given names has a share proportional to ``(k + 10)^-1.1``, and so has rank k of the S family names: with
G = S = 2000, the most frequent name has a share of 2 %, the first hundred 51 %, as in lists of real people; so many
full names share a word. No full name is given twice, which evens long lists out: among 100,000 the first hundred have
42 %. A share of the names has a second given name, and some family names are double.
"""

from __future__ import annotations

import numpy as np

# Parts of words, with spaces between.
_ONSETS = "b br c ch d dr f fr g gr h j k kl l m n p pr r s sh st t th tr v w y z"
_VOWELS = "a e i o u ai ea ie oa ei"
_CODAS = "n l r s m th nd rk ss t"
_GIVEN_ENDS = "a an el en e ia in is o on us y"
_FAMILY_ENDS = "berg dale ek er ez field ford ing ini land man ova ski son sen ton wood"


def natural_names(
    count: int, seed: int = 0, *, given: int = 2000, family: int = 2000, middle: float = 0.15, double: float = 0.05
) -> tuple[str, ...]:
    """Names of people, no two the same.

    Args:
        count: how many.
        seed: of the names.
        given: number G of given names.
        family: number S of family names.
        middle: share of names with a second given name.
        double: share of names with two family names, joined by a hyphen.

    Raises:
        ValueError: On shares outside [0, 1], or more names than half of the pairs of a given and a family name.

    Example:
        >>> names = natural_names(1000, seed=0)
        >>> len(set(names)), len({name.split()[-1] for name in names}) < 700
        (1000, True)
    """
    if count < 0 or 2 * count > given * family:
        raise ValueError(f"count: expected 0 to {given * family // 2} of {given} x {family} names, got {count}")
    for label, share in (("middle", middle), ("double", double)):
        if not 0 <= share <= 1:
            raise ValueError(f"{label}: expected a share from 0 to 1, got {share}")
    random = np.random.default_rng([seed, 1])
    words = _words(random, given, _GIVEN_ENDS), _words(random, family, _FAMILY_ENDS)
    shares = [_shares(len(list_)) for list_ in words]
    found: dict[str, None] = {}
    while len(found) < count:
        first, second, last, other = (words[i][random.choice(len(words[i]), p=shares[i])] for i in (0, 0, 1, 1))
        has_middle, is_double = random.random() < middle, random.random() < double
        parts = [first, second] if has_middle and second != first else [first]
        found[" ".join([*parts, f"{last}-{other}" if is_double and other != last else last])] = None
    return tuple(found)


def _shares(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights = (np.arange(1, count + 1) + 10.0) ** -1.1
    return weights / weights.sum()


def _words(random: np.random.Generator, count: int, ends: str) -> list[str]:
    def drawn(parts: str) -> str:
        choices = parts.split()
        return choices[random.integers(len(choices))]

    found: dict[str, None] = {}
    while len(found) < count:
        stem = drawn(_ONSETS) + drawn(_VOWELS)
        if random.random() < 0.4:
            stem += drawn(_CODAS)
        if random.random() < 0.5:
            stem += drawn(_ONSETS) + drawn(_VOWELS)
        end = drawn(ends)
        found[(stem.rstrip("aeiou") + end if end[0] in "aeiouy" else stem + end).capitalize()] = None
    return list(found)
