"""Item 4: forward chaining over the arithmetic task at branching 10, 20, 30 and 40, the memory as what is written to.

``python -m benchmarks.reversal_chaining`` learns the core of the task, writes the trees of 20 problems into the memory
and reads their values, on three seeds, at a modulus that fits the machine; ``MODULUS=10007`` is the published one.
Results are kept in ``runs/benchmarks/reversal``.
"""

import concurrent.futures
import dataclasses
import json
import os
import statistics
from typing import Any

import torch

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.reversal_cells import FOLDER, SEEDS
from benchmarks.trial import usual
from domains.language.reversal.additions import AdditionConfig
from domains.language.reversal.arithmetic import ArithmeticConfig, arithmetic_task
from domains.language.reversal.chaining import ChainingConfig, chain
from separable.training import TrainingConfig

MODULUS = usual(int(os.environ.get("MODULUS", 211)), trial=61)
BRANCHING = usual((10, 20, 30, 40), trial=(2, 3, 4, 5))
CONFIG = usual(
    ChainingConfig(),
    trial=ChainingConfig(
        training=TrainingConfig(steps=20, batch=512), writing=AdditionConfig(steps=5), epochs=1, sure=0.02
    ),
)
# Right answers of 20 on the published prompts at modulus 10,007, as counted from the answers that were released.
PUBLISHED = {"o3-mini-high": (17, 4, 0, 0), "Gemini 2.0 Flash Thinking": (9, 9, 7, 5)}


def measured(branching: int, seed: int) -> dict[str, Any]:
    """The kept result, or what is computed now."""
    task = ArithmeticConfig(modulus=MODULUS, branching=branching, values=_values(), seed=seed)
    config = dataclasses.replace(
        CONFIG,
        training=dataclasses.replace(CONFIG.training, seed=seed),
        writing=dataclasses.replace(CONFIG.writing, seed=seed),
    )

    def compute() -> dict[str, Any]:
        torch.set_num_threads(1)
        made = arithmetic_task(task)
        found = dataclasses.asdict(chain(made, config, progress=False))
        return {**found, "facts": sum(map(len, made.trees)) / len(made.trees)}

    text = json.dumps(["chaining", dataclasses.asdict(task), dataclasses.asdict(config)])
    return kept(kept_path(FOLDER, text), compute)


def _values() -> tuple[int, int] | None:
    """The published range at the published modulus; else all values, so that guessing does not help."""
    return (200, 800) if MODULUS == 10_007 else (0, MODULUS - 1)


def main() -> None:
    """Measure and record."""
    jobs = [(branching, seed) for branching in BRANCHING for seed in SEEDS]
    with concurrent.futures.ProcessPoolExecutor(int(os.environ.get("PROCESSES", os.cpu_count() or 1))) as pool:
        results = dict(zip(jobs, pool.map(measured, *zip(*jobs, strict=True)), strict=True))
    rows = []
    for branching in BRANCHING:
        of_seeds = [results[branching, seed] for seed in SEEDS]
        right = [result["right"] for result in of_seeds]
        rows.append(
            {
                "branching": branching,
                "modulus": MODULUS,
                "facts a problem": round(statistics.mean(result["facts"] for result in of_seeds)),
                "right of 20": f"{statistics.mean(right):.1f} ({min(right)} to {max(right)})",
                "core values read rightly": f"{statistics.mean(result['core_accuracy'] for result in of_seeds):.3f}",
                "parameters": of_seeds[0]["parameters"],
                "processor s, core": round(statistics.mean(result["learning_seconds"] for result in of_seeds)),
                "processor s, trees": round(statistics.mean(result["writing_seconds"] for result in of_seeds)),
            }
        )
        print(rows[-1], flush=True)
    least = [min(results[branching, seed]["right"] for seed in SEEDS) for branching in BRANCHING]
    record.write(
        "reversal",
        "4",
        claim=f"Values that follow by several steps from facts written into the memory: at least {min(least)} of 20 "
        f"right at branching {BRANCHING[0]} to {BRANCHING[-1]}, modulus {MODULUS:,}",
        measured=rows,
        target="at least 18 of 20 at every branching and seed",
        holds=min(least) >= 18,
        baselines=[
            {"model": f"{name}, published, modulus 10,007", **dict(zip(map(str, BRANCHING), right, strict=True))}
            for name, right in PUBLISHED.items()
        ],
        command="python -m benchmarks.reversal_chaining",
        seeds=SEEDS,
        spread=f"mean (least to greatest) of {len(SEEDS)} seeds of tasks and start values; the core is learnt anew "
        "for each",
    )


if __name__ == "__main__":
    main()
