"""Item 2: the reversal at the surface level, where names share their words, at multiplicity 1, 2, 5 and 10.

``python -m benchmarks.reversal_surface`` trains every side on facts of two-word names, weight decay and rate chosen for
it at multiplicity 10, on three seeds. Accuracy is exact match of the whole name, among all entities. Trainings are kept
in ``runs/benchmarks/reversal``.
"""

import dataclasses
from typing import Any

from benchmarks import record
from benchmarks.reversal_cells import (
    ASKED,
    BOTH_WAYS,
    MINUTES,
    ONE_WAY,
    SEEDS,
    SIDES,
    accuracy,
    command,
    draw_curves,
    filled,
    over_seeds,
    pairs_row,
    row,
    tuned,
)
from benchmarks.trial import usual
from domains.language.reversal.generate import ReversibleFactsConfig

FACTS = ReversibleFactsConfig(BOTH_WAYS, ONE_WAY, pairs=2, naming="surface")
MULTIPLICITIES = usual((1, 2, 5, 10), trial=(1, 10))
LONGER = 2  # times the time, for the memory as published, which is still rising when it ends
DECAYS, RATES = usual((0.1, 1.0), trial=(1.0,)), (1e-3, 3e-3)


def main() -> None:
    """Measure and record."""
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[int, float]] = {}
    told: dict[str, dict[int, float]] = {}
    panels: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, model in SIDES.items():
        best = tuned(dataclasses.replace(FACTS, multiplicity=10), model, DECAYS, RATES)
        for multiplicity in MULTIPLICITIES:
            cell = dataclasses.replace(best, facts=dataclasses.replace(FACTS, multiplicity=multiplicity))
            results = over_seeds(cell)
            rows.append(row(name, cell, results))
            panels.setdefault(f"multiplicity {multiplicity}", {})[name] = results
            found.setdefault(name, {})[multiplicity] = accuracy(results)
            told.setdefault(name, {})[multiplicity] = accuracy(results, "one way")
        print(name, found[name], flush=True)
        if name == "JEPA + memory":
            longer = [dataclasses.replace(best, facts=facts, minutes=LONGER * MINUTES) for facts in _ends()]
            ends = [over_seeds(cell) for cell in longer]
            label = f"{name}, in {LONGER} times the time"
            rows += [row(label, cell, results) for cell, results in zip(longer, ends, strict=True)]
            later = min(accuracy(results) for results in ends)
            print(label, later, flush=True)
    draw_curves(panels, "2", "Names that share their words: reversed facts over the training")
    cursed = max(found["transformer"].values()) < 0.05 <= min(told["transformer"].values()) - 0.85
    above = all(found["JEPA"][m] > found["transformer"][m] for m in MULTIPLICITIES)
    memory, ours = (min(found[name].values()) for name in ("JEPA + memory", "ours"))
    record.write(
        "reversal",
        "2",
        claim="On names that share their words at multiplicity up to 10, ours, whose parameters do not grow with the "
        f"names, answers reversed facts with an accuracy of at least {ours:.3f}; JEPA + memory {memory:.3f} "
        f"({later:.3f} in {LONGER} times the time, at multiplicity 1 and 10), JEPA "
        f"{min(found['JEPA'].values()):.3f}, the transformer at most {max(found['transformer'].values()):.3f}",
        measured=filled([line for line in rows if line["model"] == "ours"]),
        target="transformer below 0.05 on reversed facts and at least 0.9 in the trained direction; JEPA above it; "
        "JEPA + memory and ours at least 0.9",
        holds=cursed and above and memory >= 0.9 and ours >= 0.9,
        baselines=filled([*(line for line in rows if line["model"] != "ours"), pairs_row(FACTS.pairs)]),
        command=command("reversal_surface"),
        seeds=SEEDS,
        spread=f"mean (least to greatest) of {len(SEEDS)} seeds of facts and start values; {MINUTES:g} minutes of "
        "processor time a training; weight decay and rate chosen for every side at multiplicity 10 on another seed; "
        f"the transformer is asked {ASKED} questions of each kind, the others all",
    )


def _ends() -> list[ReversibleFactsConfig]:
    """Facts of the least and of the greatest multiplicity."""
    return [dataclasses.replace(FACTS, multiplicity=m) for m in (MULTIPLICITIES[0], MULTIPLICITIES[-1])]


if __name__ == "__main__":
    main()
