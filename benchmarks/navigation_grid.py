"""Item 5: how forgiving the choice of learning rate and size is, separable policies and perceptrons."""

import math
from typing import Any

from benchmarks import record
from benchmarks.navigation_learning import SEEDS, Run, fitting_size, run_all, steps_to
from benchmarks.navigation_waypoints import BODY, LENGTHS

RATES = (3e-4, 3e-3, 3e-2)
BUDGETS = (300, 1000, 10_000)
CHOSEN = SEEDS[:5]


def main() -> None:
    """Measure and record."""
    rows: list[dict[str, Any]] = []
    shares: dict[str, list[float]] = {"SPAN": [], "MLP": []}
    steps, every, _ = LENGTHS["ppo", "body"]
    for budget in BUDGETS:
        for rate in RATES:
            row: dict[str, Any] = {"parameters, at most": budget, "learning rate": rate}
            for side, found_shares in shares.items():
                size = fitting_size(side, "ppo", BODY, budget)
                setting = (("learning_rate", rate),)
                found = run_all([Run(side, "ppo", size, BODY, steps, every, setting, seed) for seed in CHOSEN])
                reached = sum(steps_to(result) < math.inf for result in found)
                row[f"{side}: reached 80 %"] = f"{reached} of {len(CHOSEN)}"
                found_shares.append(reached / len(CHOSEN))
            rows.append(row)
            print(row, flush=True)
    ours, theirs = (sum(values) / len(values) for values in shares.values())
    record.write(
        "navigation",
        "5",
        claim=f"{100 * ours:.0f} % of trainings over a 3 x 3 grid of learning rate and size reach 80 % success, "
        f"of the MLP's {100 * theirs:.0f} %",
        measured=rows,
        target="a greater share than the MLP's",
        holds=ours > theirs,
        baselines="in the same rows",
        command="python -m benchmarks.navigation_grid",
        seeds=CHOSEN,
        spread=f"5 seeds a setting, PPO in the body frame, {steps} steps",
    )


if __name__ == "__main__":
    main()
