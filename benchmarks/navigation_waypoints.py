"""Items 1 and 2: how soon separable policies and perceptrons of equal size learn waypoints, both tuned alike.

``python -m benchmarks.navigation_waypoints [1 | 1b | 1c | 2]``; without a number, all four: the unicycle with PPO
(1), what each part is worth (1b), the unicycle with SAC (1c), the quadrotor (2).
"""

import math
import sys
from typing import Any

from benchmarks import record
from benchmarks.navigation_learning import (
    SEEDS,
    SETTINGS,
    SIDES,
    TUNING_SEEDS,
    Run,
    draw_curves,
    fitting_size,
    interval,
    iqm,
    picture,
    run_all,
    steps_to,
    summary,
    trained_parameters,
    tuned,
)
from benchmarks.trial import usual
from domains.navigation.options import WaypointOptions
from domains.navigation.stable_baselines import WaypointVecEnv

SHORT: tuple[tuple[str, Any], ...] = usual((), trial=(("time_limit", 2.0),))
BODY, WORLD = (("frame", "body"), *SHORT), (("frame", "world"), *SHORT)
# (algorithm, frame): steps of a training, steps between evaluations, seeds (SAC: others than those of its trials)
LENGTHS = {
    ("ppo", "body"): (*usual((40_960, 1024), trial=(512, 256)), SEEDS),
    ("ppo", "world"): (*usual((102_400, 2048), trial=(512, 256)), SEEDS[:5]),
    ("sac", "body"): (*usual((16_384, 1024), trial=(640, 320)), SEEDS[-5:]),
    ("sac", "world"): (*usual((20_480, 1024), trial=(640, 320)), SEEDS[-5:]),
}
# Of the perceptron: about 500 and 3,000 parameters, and 64 x 64.
WIDTHS = {
    (algorithm, frame): usual(widths, trial=widths[:1])
    for algorithm, widths in (("ppo", (12, 33, 64)), ("sac", (8, 25, 64)))
    for frame in ("body", "world")
}
QUADROTOR = (("dynamics", "quadrotor"), ("gusts", 0.5), *SHORT, ("wind", 1.0))
HARD = usual((102_400, 4096), trial=(512, 256))
# The sides of the ablation; in the world's frame, where a training is longer, the main ones.
ABLATION = {
    "body": [side for side in SIDES if side not in ("SPAN", "MLP", "SPAN with B-splines, fine")],
    "world": [
        "MLP with our coordinates",
        "SPAN without coordinates",
        "SPAN of order 1",
        "SPAN with a curvature-aware step",
        "MLP with a curvature-aware step",
    ],
}


def compared(
    algorithm: str, options: tuple[tuple[str, Any], ...], width: int, lengths: tuple[int, int, tuple[int, ...]]
) -> dict[str, list[dict[str, Any]]]:
    """Results of both sides with as many parameters, each with the setting that was best for it."""
    steps, every, seeds = lengths
    runs = {"MLP": width}
    budget = Run("MLP", algorithm, width, options, 1, 1, tuple(SETTINGS[algorithm][0].items()), 0)
    parameters = trained_parameters(budget.model(WaypointVecEnv(2, WaypointOptions(**dict(options)))))
    runs["SPAN"] = fitting_size("SPAN", algorithm, options, parameters)
    found = {}
    for side, size in runs.items():
        if algorithm == "sac":  # long: tuned in the body frame alone, on both sides
            there = LENGTHS["sac", "body"]
            setting = tuned(side, algorithm, size_in_body_frame(side, "sac", width), BODY, *there[:2])
        else:
            setting = tuned(side, algorithm, size, options, steps, every)
        found[side] = run_all([Run(side, algorithm, size, options, steps, every, setting, seed) for seed in seeds])
    return found


def size_in_body_frame(side: str, algorithm: str, width: int) -> int:
    """Size in the body frame of a network that is as large as the perceptron of this width there."""
    if side == "MLP":
        return width
    budget = Run("MLP", algorithm, width, BODY, 1, 1, tuple(SETTINGS[algorithm][0].items()), 0)
    return fitting_size(side, algorithm, BODY, trained_parameters(budget.model(WaypointVecEnv(2))))


def rows_of(task: dict[str, Any], found: dict[str, list[dict[str, Any]]], steps: int) -> list[dict[str, Any]]:
    """A row for each side, and the ratio of their steps."""
    ratio, (low, high) = ratio_of(found, steps)
    text = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
    return [
        {
            **task,
            "policy": side,
            **summary(results, steps),
            "setting": str(dict(results[0]["setting"])),
            "ratio of steps, SPAN to MLP": text if side == "SPAN" else "",
        }
        for side, results in found.items()
    ]


def ratio_of(found: dict[str, list[dict[str, Any]]], steps: int) -> tuple[float, tuple[float, float]]:
    """Interquartile means' ratio with its interval; a training that fails counts its whole budget."""
    ours, theirs = ([min(steps_to(r), steps) for r in found[side]] for side in ("SPAN", "MLP"))
    return iqm(ours) / iqm(theirs), interval(ours, theirs)


def unicycle(item: str, algorithm: str) -> None:
    """All budgets, two frames."""
    rows, pictures, bars = [], {}, {}
    for frame, options in (("body", BODY), ("world", WORLD)):
        lengths = LENGTHS[algorithm, frame]
        for i, width in enumerate(WIDTHS[algorithm, frame]):
            found = compared(algorithm, options, width, lengths)
            rows += rows_of({"algorithm": algorithm, "frame": frame}, found, lengths[0])
            name = f"{frame} frame, {found['MLP'][0]['parameters']} parameters"
            pictures[name] = found
            ratio, _ = ratio_of(found, lengths[0])
            limit = 0.7 if frame == "body" and i < 2 else 1.0
            final = iqm([result["curve"][-1][1] for result in found["SPAN"]])
            reached = any(steps_to(result) < math.inf for result in found["SPAN"])  # else the ratio means nothing
            bars[f"{name}: ratio at most {limit:g}"] = reached and ratio <= limit
            bars[f"{name}: final success at least 98 %"] = final >= 0.98
            print(name, f"ratio {ratio:.2f}, final {final:.3f}", flush=True)
    title = f"Waypoints2D, unicycle, 4 waypoints, {algorithm.upper()}: success on unseen episodes"
    draw_curves(pictures, picture(item), title)
    missed = [name for name, held in bars.items() if not held]
    record.write(
        "navigation",
        item,
        claim=f"Waypoints2D, {algorithm.upper()}: environment steps to 80 % success beside perceptrons of equal size; "
        + (f"not reached: {'; '.join(missed)}" if missed else "every bar is reached"),
        measured=[row for row in rows if row["policy"] == "SPAN"],
        target="steps to 80 %: at most 0.7 of the MLP's (body frame, two small budgets), else at most 1.0; final "
        "success at least 98 %",
        holds=not missed,
        baselines=[row for row in rows if row["policy"] == "MLP"],
        command=f"python -m benchmarks.navigation_waypoints {item}",
        seeds=LENGTHS[algorithm, "body"][2],
        spread=f"95 % bootstrap intervals over 10 (PPO, body frame) or 5 seeds; {len(SETTINGS[algorithm])} "
        f"settings tried by both sides on seeds {TUNING_SEEDS}"
        + (" in the body frame" if algorithm == "sac" else "")
        + "; a training that fails counts its whole length",
    )


def item_1() -> None:
    """Unicycle, PPO."""
    unicycle("1", "ppo")


def item_1c() -> None:
    """Unicycle, SAC."""
    unicycle("1c", "sac")


def item_1b() -> None:
    """What each part is worth: PPO at about 500 parameters, in both frames; the record is written after each."""
    rows: list[dict[str, Any]] = []
    pictures: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for frame, options in (("body", BODY), ("world", WORLD)):
        steps, every, _ = LENGTHS["ppo", frame]
        found = compared("ppo", options, WIDTHS["ppo", frame][0], LENGTHS["ppo", frame])
        budget = found["MLP"][0]["parameters"]
        for side in ABLATION[frame]:
            size = fitting_size(side, "ppo", options, budget)
            setting = tuned(side, "ppo", size, options, steps, every)
            found[side] = run_all([Run(side, "ppo", size, options, steps, every, setting, s) for s in SEEDS[:5]])
        rows += rows_of({"frame": frame}, found, steps)
        pictures[f"{frame} frame"] = found
        write_ablation(rows, pictures)


def write_ablation(rows: list[dict[str, Any]], pictures: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """The record of the frames that are measured."""
    draw_curves(pictures, picture("1b"), "Waypoints2D, PPO, about 500 parameters: what each part is worth")
    record.write(
        "navigation",
        "1b",
        claim="What each part of the separable policy is worth, at about 500 parameters with PPO; "
        + " and ".join(pictures),
        measured=[row for row in rows if row["policy"].startswith("SPAN")],
        target="each part left out or changed alone, all sides tuned alike, in the body frame and in the world frame",
        holds=len(pictures) == 2,
        baselines=[row for row in rows if not row["policy"].startswith("SPAN")],
        command="python -m benchmarks.navigation_waypoints 1b",
        seeds=SEEDS,
        spread="95 % bootstrap intervals over 5 seeds (body frame, SPAN and MLP: 10); 3 learning rates tried by every "
        f"side on seeds {TUNING_SEEDS}",
    )


def item_2() -> None:
    """Quadrotor in wind and gusts, PPO."""
    rows, pictures, bars = [], {}, {}
    steps, every = HARD
    for width in WIDTHS["ppo", "body"]:
        found = compared("ppo", QUADROTOR, width, (steps, every, SEEDS[:5]))
        rows += rows_of({"algorithm": "ppo"}, found, steps)
        name = f"{found['MLP'][0]['parameters']} parameters"
        pictures[name] = found
        ratio, _ = ratio_of(found, steps)
        final = iqm([result["curve"][-1][1] for result in found["SPAN"]])
        bars[f"{name}: success at least 80 %"] = final >= 0.8
        bars[f"{name}: no later than the MLP"] = ratio <= 1.0
        bars[f"{name}: within 30 minutes"] = max(result["seconds"] for result in found["SPAN"]) <= 1800
        print(name, f"ratio {ratio:.2f}, final {final:.3f}", flush=True)
    draw_curves(pictures, picture("2"), "Waypoints3D, quadrotor, wind of 1 m/s and gusts: success on unseen episodes")
    missed = [name for name, held in bars.items() if not held]
    record.write(
        "navigation",
        "2",
        claim="Waypoints3D, a quadrotor in wind: separable policies succeed within minutes; "
        + (f"not reached: {'; '.join(missed)}" if missed else "every bar is reached"),
        measured=[row for row in rows if row["policy"] == "SPAN"],
        target="success at least 80 % within 30 minutes on 2 cores, no later than the MLP",
        holds=not missed,
        baselines=[row for row in rows if row["policy"] == "MLP"],
        command="python -m benchmarks.navigation_waypoints 2",
        seeds=SEEDS[:5],
        spread=f"95 % bootstrap intervals over 5 seeds; 3 learning rates tried by both sides on seeds {TUNING_SEEDS}",
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and record."""
    items = {"1": item_1, "1b": item_1b, "1c": item_1c, "2": item_2}
    for item in arguments or items:
        items[item]()


if __name__ == "__main__":
    main(sys.argv[1:])
