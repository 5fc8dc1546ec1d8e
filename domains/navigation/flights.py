"""Flights as data for offline learning: one HDF5 file in the layout of Minari, written whole, checked when it is read.

Layout of a file of E episodes, episode i with T steps, observations of F entries, actions of A::

    episode_i/observations    (T + 1, F) float32    the last is the one after the last action
    episode_i/actions         (T, A) float32        or (T,) int64 if discrete; what was flown, noise included
    episode_i/rewards         (T,) float32
    episode_i/terminations    (T,) bool             whether the task ended
    episode_i/truncations     (T,) bool             whether the time limit cut it
    episode_i/infos/is_success (T + 1,) bool        whether every waypoint was reached
    episode_i attributes      id, seed, total_steps, noise
    attributes                total_episodes, total_steps, options and the rest of Minari's metadata, as JSON where
                              they are no numbers

Minari (0.5) keeps the metadata in ``metadata.json`` beside ``main_data.hdf5``; `write_minari` lays a file out so.
Episode i depends on the seed and on i alone, so a shorter file holds the first episodes of a longer one; to rounding
where a model flies, for its sums depend on how many worlds it flies at once.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from domains.navigation.environment import action_space, observation_space
from domains.navigation.evaluation import Pilot, as_trained, check_fits
from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Worlds
from separable.atomic_files import replacing, writer
from separable.hdf5 import open_hdf5, writing_hdf5

Rows = npt.NDArray[np.float32]
PilotLike = Pilot | Callable[[Rows], npt.NDArray[Any]]
_AT_ONCE = 256  # episodes in one pass
_NEEDED = ("observations", "actions", "rewards", "terminations", "truncations")
_MINARI = "0.5.0"  # the oldest whose layout this is
_MEANING = ("dynamics", "frame", "scaled", "discrete")  # options without which observations and actions mean nothing


@dataclasses.dataclass(frozen=True)
class FlightData:
    """Flights in memory: N steps of E episodes, one episode after the other.

    Args:
        observations: ``(N, F)`` float32, before the action.
        actions: ``(N, A)`` float32, or ``(N,)`` int64 if discrete.
        rewards: ``(N,)`` float32.
        next_observations: ``(N, F)`` float32, after the action.
        terminations: ``(N,)``, whether the task ended with this step; nothing more is to be expected then.
        truncations: ``(N,)``, whether the time limit cut the episode; a return is still to be expected then.
        episode: ``(N,)`` int64, which episode a step belongs to.
        success: ``(E,)``, whether it reached every waypoint; None if the file does not say.
        noise: ``(E,)``, size of the noise in its actions, see `record_flights`; None if the file does not say.
        options: Of the worlds; None if the file does not say.
    """

    observations: Rows
    actions: npt.NDArray[Any]
    rewards: Rows
    next_observations: Rows
    terminations: npt.NDArray[np.bool_]
    truncations: npt.NDArray[np.bool_]
    episode: npt.NDArray[np.int64]
    success: npt.NDArray[np.bool_] | None
    noise: npt.NDArray[np.float64] | None
    options: WaypointOptions | None

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode[-1]) + 1

    @property
    def discrete(self) -> bool:
        """Whether actions are numbers of a table."""
        return self.actions.ndim == 1

    def returns(self) -> npt.NDArray[np.float64]:
        """Sum of the rewards of each episode ``(E,)``."""
        return np.bincount(self.episode, self.rewards).astype(np.float64)


def record_flights(
    path: str | Path,
    pilot: PilotLike,
    options: WaypointOptions,
    episodes: int,
    seed: int = 0,
    *,
    noise: float = 0.0,
    noisy: float = 0.5,
    name: str = "separable/waypoints/flights-v0",
    progress: bool = False,
) -> Path:
    """Fly episodes and write them; an older file is replaced when the new one is complete.

    Args:
        path: The HDF5 file.
        pilot: A model of stable-baselines3, whose best actions are flown, or a function from observations ``(W, F)``
            to actions ``(W, A)``. What is written is what the worlds showed, also where the model's ``VecNormalize``
            stands before it.
        options: Of the worlds.
        episodes: Their number.
        seed: Of the first; the others follow.
        noise: Standard deviation of what is added to each command, which is cut at -1 and 1 then; with discrete
            actions the chance that any number of the table is flown instead.
        noisy: Share of the episodes with noise, evenly spread: 0.5 makes every second one noisy.
        name: Minari's name of the data set.
        progress: Whether to show a bar with the time left.

    Returns:
        The path.

    Raises:
        ValueError: If a number is out of range, the pilot is a model of other worlds, or its actions do not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "flights.h5"
        >>> _ = record_flights(path, lambda seen: seen[:, :2], WaypointOptions(time_limit=1.0), 4, noise=0.1)
        >>> data = read_flights(path, share=0.5)
        >>> data.observations.shape, data.actions.shape, data.n_episodes
        ((40, 7), (40, 2), 2)
    """
    if episodes < 1:
        raise ValueError(f"record_flights: episodes is at least 1; got {episodes!r}")
    if not 0 <= noise < np.inf or not 0 <= noisy <= 1:
        raise ValueError(f"record_flights: noise is at least 0, noisy from 0 to 1; got {noise!r}, {noisy!r}")
    check_fits(pilot, Worlds(options, 1))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = [noise if int(noisy * (i + 1)) > int(noisy * i) else 0.0 for i in range(episodes)]
    bar = tqdm(total=episodes, unit="flight", disable=not progress)
    with bar, replacing(path) as temporary, writing_hdf5(temporary) as file:
        steps = 0
        for start in range(0, episodes, _AT_ONCE):
            for i, flight in enumerate(_flown(pilot, options, seed + start, sizes[start : start + _AT_ONCE]), start):
                group = file.create_group(f"episode_{i}")
                # Not compressed: a chunk's index would be larger than what compression saves.
                for entry, values in flight.items():
                    group.create_dataset(entry, data=values)
                n = len(flight["rewards"])
                group.attrs.update({"id": i, "seed": seed + i, "total_steps": n, "noise": sizes[i]})
                steps += n
                bar.update()
        file.attrs.update({"total_episodes": episodes, "total_steps": steps, **_metadata(options, name)})
    return path


def _flown(
    pilot: PilotLike, options: WaypointOptions, seed: int, noise: list[float]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Entries of the episodes, one by one, that are flown side by side."""
    n = len(noise)
    worlds = Worlds(options, n)
    predict = getattr(pilot, "predict", None)
    draws = [np.random.default_rng([seed + i, 1]) for i in range(n)]
    observation = worlds.reset(seeds=[seed + i for i in range(n)])
    seen, flown, given, ended, success = [observation], [], [], [], [worlds.success.copy()]
    lengths = np.zeros(n, np.int64)
    while not lengths.all():
        expected = as_trained(pilot, observation)
        actions = predict(expected, deterministic=True)[0] if predict else pilot(expected)  # type: ignore[operator]
        actions = _disturbed(np.array(actions), noise, draws, worlds)
        step = worlds.step(actions)
        observation = step.observation
        seen.append(observation)
        flown.append(actions)
        given.append(step.reward.astype(np.float32))
        ended.append((step.terminated.copy(), step.truncated.copy()))
        success.append(worlds.success.copy())
        # Worlds go on after their end, so the first end is the one that counts.
        lengths = np.where((lengths == 0) & (step.terminated | step.truncated), len(flown), lengths)
    columns = {
        "observations": np.stack(seen),
        "actions": np.stack(flown),
        "rewards": np.stack(given),
        "terminations": np.stack([terminated for terminated, _ in ended]),
        "truncations": np.stack([truncated for _, truncated in ended]),
        "infos/is_success": np.stack(success),
    }
    for i, length in enumerate(lengths.tolist()):
        after = {"observations": length + 1, "infos/is_success": length + 1}
        yield {name: values[: after.get(name, length), i] for name, values in columns.items()}


def _disturbed(
    actions: npt.NDArray[Any], noise: list[float], draws: list[np.random.Generator], worlds: Worlds
) -> npt.NDArray[Any]:
    worlds.checked(actions)  # before anything is added
    if worlds.commands is not None:
        for i, (size, draw) in enumerate(zip(noise, draws, strict=True)):
            if size and draw.random() < size:
                actions[i] = draw.integers(len(worlds.commands))
        return actions.astype(np.int64)
    if actions.dtype.kind != "f":
        actions = actions.astype(np.float32)
    for i, (size, draw) in enumerate(zip(noise, draws, strict=True)):
        if size:
            actions[i] += size * draw.normal(size=actions.shape[1])
    return np.clip(actions, -1.0, 1.0).astype(np.float32)


def _metadata(options: WaypointOptions, name: str) -> dict[str, str]:
    """What Minari wants to know, and the options."""
    from gymnasium.envs.registration import EnvSpec

    worlds, plain = Worlds(options, 1), dataclasses.asdict(options)
    spec = EnvSpec(
        id=f"separable/Waypoints{options.dimensions}D-v0",
        entry_point="domains.navigation.environment:WaypointEnv",
        kwargs=plain,
    )
    seen, acted = observation_space(worlds), action_space(worlds)
    if worlds.commands is not None:
        table = {"type": "Discrete", "dtype": "int64", "start": 0, "n": len(worlds.commands)}
    else:
        table = _box(acted)
    return {
        "options": json.dumps(plain),
        "observation_space": json.dumps(_box(seen)),
        "action_space": json.dumps(table),
        "env_spec": spec.to_json(),
        "dataset_id": name,
        "data_format": "hdf5",
        "minari_version": _MINARI,
    }


def _box(space: Any) -> dict[str, Any]:
    low, high = space.low.tolist(), space.high.tolist()
    return {"type": "Box", "dtype": "float32", "shape": list(space.shape), "low": low, "high": high}


def read_flights(path: str | Path, share: float = 1.0, options: WaypointOptions | None = None) -> FlightData:
    """Read flights; files of other environments in this layout too, if observations are rows of numbers.

    Args:
        path: The HDF5 file.
        share: Of its episodes, the first ones; at least one is read.
        options: Of the worlds that the flights have to fit; those in the file if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not such, or damaged; the place is named.
    """
    path = Path(path)
    if not 0 < share <= 1:
        raise ValueError(f"read_flights: share is greater than 0 and at most 1; got {share!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of flights; record_flights makes one")
    with open_hdf5(path, "flights in HDF5") as file:
        return _read(file, path, share, options)


def _read(file: Any, path: Path, share: float, options: WaypointOptions | None) -> FlightData:
    total = file.attrs.get("total_episodes", 0)
    if not isinstance(total, int | np.integer) or total < 1:
        raise ValueError(f"{path}: expected the attribute total_episodes, a whole number of at least 1; got {total!r}")
    if "options" in file.attrs:
        try:
            own = WaypointOptions().changed(**json.loads(file.attrs["options"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected waypoint options as JSON in the attribute options; {error}") from None
        options = own if options is None else options
        for name in _MEANING:
            if getattr(own, name) != getattr(options, name):
                raise ValueError(
                    f"{path}: expected flights of {name} {getattr(options, name)!r}, got {getattr(own, name)!r}"
                )
    if options is not None:
        worlds = Worlds(options, 1)
        width: int | None = len(worlds.low)
        n_commands = len(worlds.vehicle.commands)
        table = 0 if worlds.commands is None else len(worlds.commands)
    else:
        width, n_commands, table = None, 0, 0
    episodes: list[dict[str, Any]] = []
    for i in range(max(1, round(share * total))):
        place = f"{path}: episode_{i}"
        if f"episode_{i}" not in file:
            raise ValueError(
                f"{place}: expected {total} episodes, as total_episodes says; there is none of this number"
            )
        episode = _checked(file[f"episode_{i}"], place)
        if width is not None:
            _fits(episode, place, width, n_commands, table)
        if episodes:
            for name in ("observations", "actions"):
                if episode[name].shape[1:] != (before := episodes[0][name].shape[1:]):
                    raise ValueError(
                        f"{place}/{name}: expected entries {before} as before; got {episode[name].shape[1:]}"
                    )
        episodes.append(episode)
    return _joined(episodes, options)


def _checked(group: Any, place: str) -> dict[str, Any]:
    """The arrays of one episode."""
    found: dict[str, Any] = {}
    for name in _NEEDED:
        if name not in group or not hasattr(group[name], "shape"):
            raise ValueError(
                f"{place}/{name}: expected a data set of this name; got {', '.join(map(str, group)) or 'nothing'}"
            )
        values = group[name][()]
        if not np.issubdtype(values.dtype, np.number) and values.dtype != np.bool_:
            raise ValueError(f"{place}/{name}: expected numbers; got {values.dtype}")
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ValueError(f"{place}/{name}: expected finite numbers; step {row} is {values[row]}")
        found[name] = values
    if found["observations"].ndim != 2 or found["actions"].ndim not in (1, 2):
        shapes = f"{found['observations'].shape} and {found['actions'].shape}"
        raise ValueError(f"{place}: expected observations (T + 1, F) and actions (T, A) or (T,); got {shapes}")
    if found["actions"].ndim == 1 and found["actions"].dtype.kind not in "iub":
        raise ValueError(
            f"{place}/actions: expected whole numbers (T,), or commands (T, A); "
            f"got {found['actions'].dtype} of shape {found['actions'].shape}"
        )
    n = len(found["observations"]) - 1
    for name in _NEEDED[1:]:
        if len(found[name]) != n or n < 1 or (name != "actions" and found[name].ndim != 1):
            raise ValueError(f"{place}/{name}: expected {n} steps, one less than observations; got {found[name].shape}")
    told = "infos" in group and "is_success" in group["infos"]
    found["success"] = bool(group["infos"]["is_success"][-1]) if told else None
    found["noise"] = group.attrs.get("noise")
    return found


def _fits(episode: dict[str, Any], place: str, width: int, n_commands: int, table: int) -> None:
    """Whether an episode is one of a world; ``table`` is the number of discrete actions or 0."""
    entries, actions = episode["observations"].shape[1], episode["actions"]
    if entries != width:
        raise ValueError(f"{place}/observations: expected {width} entries with these options; got {entries}")
    if table:
        if actions.ndim != 1 or actions.dtype.kind not in "iu" or actions.min() < 0 or actions.max() >= table:
            raise ValueError(
                f"{place}/actions: expected whole numbers from 0 to {table - 1}; got {actions.dtype} "
                f"of shape {actions.shape}"
            )
    elif actions.ndim != 2 or actions.shape[1] != n_commands or np.abs(actions).max() > 1:
        raise ValueError(
            f"{place}/actions: expected {n_commands} commands from -1 to 1 with these options; got shape "
            f"{actions.shape} from {actions.min():g} to {actions.max():g}"
        )


def _joined(episodes: list[dict[str, Any]], options: WaypointOptions | None) -> FlightData:
    def joined(name: str, dtype: Any, rows: slice = slice(None)) -> npt.NDArray[Any]:
        return np.concatenate([episode[name][rows] for episode in episodes]).astype(dtype)

    def told(name: str, dtype: Any) -> npt.NDArray[Any] | None:
        values = [episode[name] for episode in episodes]
        return None if any(value is None for value in values) else np.array(values, dtype)

    return FlightData(
        observations=joined("observations", np.float32, slice(None, -1)),
        actions=joined("actions", np.float32 if episodes[0]["actions"].ndim == 2 else np.int64),
        rewards=joined("rewards", np.float32),
        next_observations=joined("observations", np.float32, slice(1, None)),
        terminations=joined("terminations", np.bool_),
        truncations=joined("truncations", np.bool_),
        episode=np.repeat(np.arange(len(episodes)), [len(episode["rewards"]) for episode in episodes]),
        success=told("success", np.bool_),
        noise=told("noise", np.float64),
        options=options,
    )


def write_minari(path: str | Path, folder: str | Path) -> Path:
    """Lay a file of flights out as Minari's local storage keeps it: ``<folder>/data`` with its two files.

    With the folder at ``<MINARI_DATASETS_PATH>/<name of the data set>``, ``minari.load_dataset(name)`` opens it.

    Args:
        path: A file of `record_flights`.
        folder: Is made.

    Returns:
        The folder ``data``, which ``minari.MinariDataset`` opens.

    Raises:
        FileExistsError: If the folder holds a data set.
        ValueError: If the file is damaged.
    """
    import h5py

    read_flights(path)  # says what is wrong with it
    data = Path(folder) / "data"
    if data.exists():
        raise FileExistsError(f"{data}: holds a data set; choose another folder")
    with h5py.File(path, "r") as file:
        metadata = {name: value if isinstance(value, str) else int(value) for name, value in file.attrs.items()}
    metadata.pop("options", None)
    temporary = data.with_name(f".data.{writer()}")
    temporary.mkdir(parents=True)
    try:
        shutil.copyfile(path, temporary / "main_data.hdf5")
        (temporary / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        temporary.rename(data)
    except OSError:
        shutil.rmtree(temporary)
        raise
    return data
