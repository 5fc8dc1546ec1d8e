"""The settings of `separable.training` that the trainings of this domain have in common."""

from separable.training import TrainingConfig


def loop_settings(
    steps: int, batch: int, rate: float, seed: int, *, warm_up: int, accumulation: int = 1
) -> TrainingConfig:
    """AdamW whose rate rises over ``warm_up`` steps and falls to nothing as a cosine; 20 looks, 200 lines.

    Example:
        >>> loop_settings(1000, 8, 4e-3, 0, warm_up=50).evaluate_every
        50
    """
    return TrainingConfig(
        steps=steps,
        batch=batch,
        accumulation=accumulation,
        rate=rate,
        warm_up=warm_up,
        floor=0.0,
        weight_decay=1e-4,
        betas=(0.9, 0.999),
        evaluate_every=max(1, steps // 20),
        log_every=max(1, steps // 200),
        seed=seed,
    )
