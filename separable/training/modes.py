"""Training and evaluation mode of a module and its parts."""

import contextlib
from collections.abc import Iterator

from torch import nn


def enter_training(model: nn.Module) -> None:
    """Put a module into training mode, but for parts of it that are frozen.

    A part is frozen that is in evaluation mode and has parameters, none of which needs a gradient, while the whole is
    in training mode; a module that comes in evaluation mode as a whole, as a loaded one may, is trained as a whole.
    """
    frozen = [part for part in model.modules() if _is_frozen(part)] if model.training else []
    model.train()
    for part in frozen:
        part.eval()


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part is in the mode that it had."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:  # a part comes before those in it, which its own change would change
            if part.training != training:
                part.train(training)


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return not part.training and bool(parameters) and not any(one.requires_grad for one in parameters)
