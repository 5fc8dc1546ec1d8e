"""Contracts that every atom and every interaction fulfils: a new family names its cases and an independent evaluation.

A test file subclasses `AtomContract` or `InteractionContract` under a name that pytest collects, and inherits its
tests. This package needs pytest and is imported by tests only.
"""

from separable.testing.atom_contract import AtomContract
from separable.testing.comparison import close
from separable.testing.interaction_contract import InteractionCase, InteractionContract

__all__ = ["AtomContract", "InteractionCase", "InteractionContract", "close"]
