"""Facts written into a trained model: only what its memory holds of names is trained, what relations mean stays.

Each step takes rows of the new facts and as many of the old ones, which are rehearsed and give the concepts that the
new ones have to be told from. As the predictor is not trained, a fact that is written in one direction can be asked
in the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from domains.language.reversal.facts import Fact
from domains.language.reversal.model import JointFactModel


@dataclasses.dataclass(frozen=True)
class AdditionConfig:
    """How facts are written.

    Attributes:
        steps: of AdamW on the stored parameters.
        batch: rows in a step, half of them new.
        rate: learning rate, falling linearly to zero.
        seed: of the draws.
    """

    steps: int = 300
    batch: int = 512
    rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or not self.rate > 0:
            raise ValueError(
                "steps, batch, rate: expected at least 1, at least 2 and above 0, "
                f"got {self.steps}, {self.batch} and {self.rate}"
            )


def add_facts(
    model: JointFactModel,
    old: Sequence[Fact],
    new: Sequence[Fact],
    config: AdditionConfig | None = None,
    *,
    progress: bool = False,
    look: Callable[[int, JointFactModel], None] | None = None,
) -> JointFactModel:
    """Write facts into a model's memory, in place.

    Args:
        model: A trained one.
        old: Facts that it knows, to be rehearsed.
        new: To be written; their names and relations may be new to the model.
        config: How.
        progress: Whether to show a bar.
        look: Is called with the number of the step and the model before each step.

    Returns:
        The same parameters over the longer list of names, in evaluation mode.

    Raises:
        ValueError: There is nothing to write, or the memory takes no new names, see `JointFactModel.extended`.
    """
    config = config or AdditionConfig()
    if not new or not old:
        raise ValueError(f"facts: expected old and new ones, got {len(old)} and {len(new)}")
    names = [name for fact in new for name in (fact.head, fact.tail)]
    relations = [fact.relation for fact in new]
    if not set(names) <= set(model.entities) or not set(relations) <= set(model.relations):
        model = model.extended(names, relations)
    generator = torch.Generator().manual_seed(config.seed)
    rows = [model.rows(facts) for facts in (new, old)]
    stored = model.recogniser.stored()
    optimiser = torch.optim.AdamW(stored, lr=config.rate, weight_decay=0.0, betas=(0.9, 0.99))
    model.train()
    for step in tqdm(range(config.steps), disable=not progress, desc="writing"):
        if look is not None:
            look(step, model)
        for group in optimiser.param_groups:
            group["lr"] = config.rate * (1 - step / config.steps)
        drawn = [_drawn(part, config.batch // 2, generator) for part in rows]
        loss = model.loss(torch.cat(drawn).to(model.addresses.device), generator=generator)
        for parameter, gradient in zip(stored, torch.autograd.grad(loss, stored), strict=True):
            parameter.grad = gradient
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return model.eval()


def write_concepts(
    model: JointFactModel, names: Sequence[str], concepts: Tensor, config: AdditionConfig | None = None
) -> None:
    """Write concepts of some names into a model's memory, in place; those of all others are rehearsed.

    Args:
        model: A trained one, which has the names among its entities.
        names: Of entities.
        concepts: That they are to have, ``(n, width)``, normed.
        config: How; half of a batch are names to be written.
    """
    config = config or AdditionConfig()
    generator = torch.Generator().manual_seed(config.seed)
    rows = model.rows([Fact(name, model.relations[0], name) for name in names])[:, 0]
    with torch.no_grad():
        wanted = model.joint.concepts(model.addresses)
        wanted[rows] = concepts
    kept = torch.ones(len(model.names), dtype=torch.bool)
    kept[rows] = False
    parts = [part for part in (rows, kept.nonzero()[:, 0]) if len(part)]
    stored = model.recogniser.stored()
    optimiser = torch.optim.AdamW(stored, lr=config.rate, weight_decay=0.0, betas=(0.9, 0.99))
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * (1 - step / config.steps)
        drawn = torch.cat([_drawn(part, config.batch // 2, generator) for part in parts]).to(wanted.device)
        missed = (model.joint.concepts(model.addresses[drawn]) - wanted[drawn]).square().sum(1).mean()
        for parameter, gradient in zip(stored, torch.autograd.grad(missed, stored), strict=True):
            parameter.grad = gradient
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """All rows if there are few, else so many, each once."""
    return rows if len(rows) <= count else rows[torch.randperm(len(rows), generator=generator)[:count]]
