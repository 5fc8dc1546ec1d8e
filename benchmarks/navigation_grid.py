"""Item 5: how forgiving the choice of learning rate and size is, separable policies and perceptrons."""

import math
from typing import Any

from benchmarks import record
from benchmarks.navigation_learning import SEEDS, Run, fitting_size, run_all, steps_to
from benchmarks.navigation_waypoints import BODY, LENGTHS, WORLD

RATES = (3e-4, 3e-3, 3e-2)
BUDGETS = (300, 1000, 10_000)
CHOSEN = SEEDS[:5]


def main() -> None:
    """Measure and record."""
    rows: list[dict[str, Any]] = []
    shares: dict[tuple[str, str], list[float]] = {}
    for frame, options in (("body", BODY), ("world", WORLD)):
        steps, every, _ = LENGTHS["ppo", frame]
        for budget in BUDGETS:
            for rate in RATES:
                setting = (("learning_rate", rate),)
                row: dict[str, Any] = {"frame": frame, "parameters, at most": budget, "learning rate": rate}
                for side in ("SPAN", "MLP"):
                    size = fitting_size(side, "ppo", options, budget)
                    found = run_all([Run(side, "ppo", size, options, steps, every, setting, s) for s in CHOSEN])
                    reached = sum(steps_to(result) < math.inf for result in found)
                    row[f"{side}: reached 80 %"] = f"{reached} of {len(CHOSEN)}"
                    shares.setdefault((frame, side), []).append(reached / len(CHOSEN))
                rows.append(row)
                print(row, flush=True)
    means = {key: sum(values) / len(values) for key, values in shares.items()}
    text = "; ".join(
        f"{frame} frame {100 * means[frame, 'SPAN']:.0f} % against {100 * means[frame, 'MLP']:.0f} %"
        for frame in ("body", "world")
    )
    record.write(
        "navigation",
        "5",
        claim=f"Share of 3 x 3 settings (and 5 seeds) that reach 80 % success, SPAN against MLP: {text}",
        measured=rows,
        target="a greater share than the MLP's in both frames",
        holds=all(means[frame, "SPAN"] > means[frame, "MLP"] for frame in ("body", "world")),
        baselines="in the same rows",
        command="python -m benchmarks.navigation_grid",
        seeds=CHOSEN,
        spread="5 seeds a setting, PPO; steps 40,960 (body frame) and 102,400 (world frame)",
    )


if __name__ == "__main__":
    main()
