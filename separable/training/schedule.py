"""The learning rate of a step: a rise over W steps, and a fall with the share s in [0, 1] of the training that is done.

    rate(step, s) = peak min(1, (step + 1) / W) (floor + (1 - floor) fall(u)),    u = max(0, s - s_0) / (1 - s_0)

with ``fall(u) = (1 + cos(pi u)) / 2`` (cosine), ``1 - u`` (linear) or 1 (constant); s_0 is where the fall begins.
"""

import math

from separable.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, share: float) -> float:
    """The rate of one step.

    Args:
        config: peak, W, floor, the fall and where it begins.
        step: steps that are done.
        share: of the training that is done; steps or minutes, as the training is measured.

    Example:
        >>> from separable.training import TrainingConfig
        >>> config = TrainingConfig(steps=100, rate=0.5, warm_up=10, floor=0.0, decay="linear")
        >>> [round(learning_rate(config, step, step / 100), 3) for step in (0, 9, 50, 100)]
        [0.05, 0.455, 0.25, 0.0]
    """
    rise = min(1.0, (step + 1) / config.warm_up) if config.warm_up else 1.0
    fallen = max(0.0, min(1.0, share) - config.decay_from) / (1 - config.decay_from) if config.decay_from < 1 else 0.0
    if config.decay == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * fallen))
    else:
        fall = 1 - fallen if config.decay == "linear" else 1.0
    return config.rate * rise * (config.floor + (1 - config.floor) * fall)
