"""The verbs of `separable navigation`, which are plain functions: train, evaluate, render, inspect, export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import tyro

from domains.navigation.evaluation import UNSEEN, Evaluation, fly
from domains.navigation.evaluation import evaluate as evaluate_model
from domains.navigation.flight_pictures import draw_flights, film
from domains.navigation.learning_curves import learning_curve
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import parameter_count
from domains.navigation.saved import BASELINES, baseline_names, load_baseline, load_policy
from domains.navigation.training import TrainConfig
from domains.navigation.training import train as train_model
from separable.training import RunFolder

_TRAINING = TrainConfig()
_SHIPPED = Path("waypoints2d")


@dataclasses.dataclass(frozen=True)
class WorldChanges:
    """What is different from the worlds that the policy was trained in; None leaves a field as it was.

    Args:
        waypoints: Number of waypoints.
        arena: Side of the arena, m.
        reach_radius: Distance at which a waypoint counts as reached, m.
        obstacles: Number of obstacles; not for a policy that was trained without any, which has no rays.
        obstacle_radius: Their radius, m.
        wind: Speed of the steady wind, m/s.
        gusts: Standard deviation of the gusts in each direction, m/s.
        gust_time: In which gusts forget, s.
        sensor_noise: Standard deviation of the noise on readings as a share of their scale.
        time_limit: Of an episode, s.
        time_step: Between two actions, s.
    """

    waypoints: int | None = None
    arena: float | None = None
    reach_radius: float | None = None
    obstacles: int | None = None
    obstacle_radius: float | None = None
    wind: float | None = None
    gusts: float | None = None
    gust_time: float | None = None
    sensor_noise: float | None = None
    time_limit: float | None = None
    time_step: float | None = None

    def of(self, options: WaypointOptions) -> WaypointOptions:
        """The options with these changes."""
        return options.changed(**{name: value for name, value in vars(self).items() if value is not None})


_SAME = WorldChanges()


def train(run: Path = Path("runs/navigation"), config: tyro.conf.OmitArgPrefixes[TrainConfig] = _TRAINING) -> Path:
    """Train a policy on waypoint worlds; an interrupted run goes on where it was last evaluated.

    Args:
        run: the run folder: settings, measurements, the best and the last policy, the learning curve.
        config: of the training and its worlds.
    """
    folder = RunFolder(run, config, config.seed)
    model = train_model(config, folder)
    rows = learning_curve(folder)
    best = [row for row in rows if row["best"]][-1]
    print(
        f"{run}: {parameter_count(model.policy)} parameters; best of {len(rows)} evaluations after {best['step']} steps"
    )
    _print_rows([{"policy": str(run), **_evaluation(best).row()}])
    return folder.path


def evaluate(
    model: Path = _SHIPPED,
    /,
    episodes: int = 500,
    seed: int = UNSEEN,
    out: Path = Path("runs/evaluation.json"),
    last: bool = False,
    changes: tyro.conf.OmitArgPrefixes[WorldChanges] = _SAME,
) -> Evaluation:
    """Fly episodes that the training has not seen, and write what came out.

    Args:
        model: a run folder, a folder of a saved policy, or the name of a shipped one.
        episodes: their number.
        seed: of the first episode; training evaluates with seeds from 1,000,000 on.
        out: the JSON file to write.
        last: whether to take the last policy of a run instead of its best.
        changes: of the worlds.
    """
    policy, config = _load(model, last)
    options = changes.of(config.options)
    found = evaluate_model(policy, options, episodes, seed)
    _print_rows([{"policy": str(model), **found.row()}])
    told = {"policy": str(model), "seed": seed, "options": dataclasses.asdict(options), **dataclasses.asdict(found)}
    _write_text(out, json.dumps(told, indent=2) + "\n")
    print(f"{out}")
    return found


def render(
    model: Path = _SHIPPED,
    /,
    out: Path = Path("runs/flights.gif"),
    episodes: int = 4,
    seed: int = UNSEEN,
    every: int = 4,
    last: bool = False,
    changes: tyro.conf.OmitArgPrefixes[WorldChanges] = _SAME,
) -> list[Path]:
    """Draw flights: a moving picture, and beside it a still one of the paths.

    Args:
        model: a run folder, a folder of a saved policy, or the name of a shipped one.
        out: a .gif or .mp4 file (MP4 needs imageio and its ffmpeg), or a .png for the paths alone.
        episodes: how many, at most 16 in a moving picture.
        seed: of the first episode.
        every: a frame for so many steps.
        last: whether to take the last policy of a run instead of its best.
        changes: of the worlds.
    """
    if out.suffix not in (".gif", ".mp4", ".png"):
        raise ValueError(f"out: expected a path ending in .gif, .mp4 or .png; got {out.name!r}")
    policy, config = _load(model, last)
    options = changes.of(config.options)
    out.parent.mkdir(parents=True, exist_ok=True)
    still, written = out.with_suffix(".png"), []
    if out.suffix == ".png":
        flights = fly(policy, options, episodes, seed)
    else:
        flights = film(policy, options, out, episodes=episodes, seed=seed, every=every)
        written.append(out)
    written.append(_save(draw_flights(flights, episodes), still))
    _print_rows([{"policy": str(model), **Evaluation.of(flights).row()}])
    print(", ".join(str(path) for path in written))
    return written


def inspect(model: Path = _SHIPPED, /, out: Path = Path("runs/policy.png"), last: bool = False) -> Path:
    """Draw what a policy does with its coordinates.

    Args:
        model: a run folder, a folder of a saved policy, or the name of a shipped one.
        out: the picture to write, a .png, .pdf or .svg file.
        last: whether to take the last policy of a run instead of its best.
    """
    from domains.navigation.inspection import draw_policy

    if out.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"out: expected a path ending in .png, .pdf or .svg; got {out.name!r}")
    policy, config = _load(model, last)
    out.parent.mkdir(parents=True, exist_ok=True)
    print(_save(draw_policy(policy, options=config.options), out))
    return out


def export(model: Path = _SHIPPED, /, out: Path = Path("runs/policy.npz"), last: bool = False) -> Path:
    """Write a policy for a vehicle: numpy arrays that one small file evaluates, or ONNX.

    Args:
        model: a run folder, a folder of a saved policy, or the name of a shipped one.
        out: a .npz file, for `numpy_policy.NumpyPolicy`, or an .onnx file.
        last: whether to take the last policy of a run instead of its best.
    """
    from domains.navigation.export import export_numpy, export_onnx

    if out.suffix not in (".npz", ".onnx"):
        raise ValueError(f"out: expected a path ending in .npz or .onnx; got {out.name!r}")
    policy, _ = _load(model, last)
    out.parent.mkdir(parents=True, exist_ok=True)
    size = (export_numpy if out.suffix == ".npz" else export_onnx)(policy, out)
    print(f"{out}: {size} bytes")
    return out


def _load(model: Path, last: bool) -> tuple[Any, TrainConfig]:
    file = "last.safetensors" if last else "policy.safetensors"
    if model.exists() or str(model) not in baseline_names():
        if not model.exists():
            names = ", ".join(baseline_names())
            raise FileNotFoundError(f"model: expected a folder or one of {names}; {model} is neither")
        return load_policy(model, file)
    if last:
        raise ValueError(f"last: expected a run folder, got the shipped {model} of {BASELINES}")
    return load_baseline(str(model))


def _evaluation(row: dict[str, Any]) -> Evaluation:
    return Evaluation(**{field.name: row[field.name] for field in dataclasses.fields(Evaluation)})


def _print_rows(rows: list[dict[str, str]]) -> None:
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for line in ({name: name for name in widths}, *rows):
        print("  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip())


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _save(figure: Any, path: Path) -> Path:
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # the ending tells matplotlib the format
    figure.savefig(temporary, dpi=110)
    temporary.replace(path)
    return path
