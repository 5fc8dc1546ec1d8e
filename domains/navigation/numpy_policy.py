"""A trained controller in numpy alone: this file and the one that `export.export_numpy` wrote are all that flies.

    policy = NumpyPolicy.load("controller.npz")
    action = policy(observation)                  # as model.predict(observation, deterministic=True)[0]

It needs nothing of the project, so it can be copied to where a controller runs.  The formulas are those of
`coordinates` and `networks`, in float32: known coordinates z, learned coordinates u = squash(W z + w), features of
them, a linear readout, and what the algorithm does with its mean.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

_FORMAT = 1
_SHORTEST = 1e-3  # as in coordinates.py


class NumpyPolicy:
    """The deterministic action of a trained policy.

    Args:
        description: What the file says of the policy, as plain data.
        arrays: Its numbers by name.

    Raises:
        ValueError: If the file is of a later form than this one reads.

    Example:
        >>> import numpy as np
        >>> description = {"format": 1, "kind": "quadratic", "vectors": [[0, 1]], "angles": [], "between": [],
        ...                "pairs": 0, "singles": 0, "linear": True, "keys": None, "observation": [2], "action": [1],
        ...                "choose": False, "squash": False, "limit": None}
        >>> arrays = {"readout": np.array([[0, 0, 1, 0, 0]]), "constant": np.zeros(1), "low": -9, "high": 9}
        >>> NumpyPolicy(description, arrays)([3.0, 4.0]).round(3).tolist()  # the length, which is the third coordinate
        [5.0]
    """

    def __init__(self, description: dict[str, Any], arrays: dict[str, Any]) -> None:
        if description.get("format") != _FORMAT:
            raise ValueError(f"NumpyPolicy: this file reads format {_FORMAT}; got {description.get('format')!r}")
        self.description = description
        self.arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
        self.observation_shape = tuple(description["observation"])
        self.action_shape = tuple(description["action"])
        self._entries = int(np.prod(self.observation_shape))
        self._vectors = _together(description["vectors"], description["between"])
        self._features = {"quadratic": self._quadratic, "published": self._published}[description["kind"]]

    @classmethod
    def load(cls, path: str | Path) -> NumpyPolicy:
        """Read a controller; nothing in the file is executed.

        Raises:
            OSError: If it cannot be opened.
            ValueError: If it is not a controller, damaged, or of a later form.
        """
        try:
            _refuse_bombs(path)
            with np.load(path, allow_pickle=False) as file:
                if "description" not in file:
                    raise ValueError("it has no description; export_numpy writes one")
                arrays = {name: file[name] for name in file.files}
            policy = cls(json.loads(arrays.pop("description").tobytes()), arrays)
            if not all(np.isfinite(values).all() for values in policy.arrays.values()):
                raise ValueError("it holds numbers that are not finite")
            policy(np.zeros(policy.observation_shape, np.float32))  # sizes that do not fit show here
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except Exception as error:  # whatever numpy, zipfile and json raise, depending on where the damage is
            raise ValueError(f"NumpyPolicy: {path} is no controller, or damaged: {error}") from error
        return policy

    def __call__(self, observation: Any) -> Any:
        """The action for one observation, or a row of actions for each of a batch.

        Args:
            observation: ``(F,)`` or ``(B, F)``, in general the space's shape with or without a batch before it. Of a
                dictionary either the dictionary or its entries in one row, in the order of the space's keys.

        Raises:
            ValueError: If the shape is another, or an entry is not a finite number.
        """
        given = self._row(observation)
        many = given.shape[1:] == self.observation_shape and given.ndim > len(self.observation_shape)
        if not many and given.shape != self.observation_shape:
            shape = ", ".join(map(str, self.observation_shape))
            raise ValueError(f"NumpyPolicy: expected an observation ({shape}) or many (B, {shape}); got {given.shape}")
        if not np.isfinite(given).all():
            raise ValueError("NumpyPolicy: entries of an observation are finite; got some that are not")
        a, d = self.arrays, self.description
        rows = given.reshape(len(given) if many else 1, self._entries)
        outputs = self._features(self._known(rows)) @ a["readout"].T + a["constant"]
        if d["choose"]:
            actions = outputs.argmax(1)
        elif d["squash"]:
            mean = outputs if d["limit"] is None else np.clip(outputs, -d["limit"], d["limit"])
            actions = a["low"] + 0.5 * (np.tanh(mean) + 1.0) * (a["high"] - a["low"])
        else:
            actions = np.minimum(np.maximum(outputs, a["low"]), a["high"])
        actions = actions.reshape(len(rows), *self.action_shape)
        return actions if many else actions[0]

    def _row(self, observation: Any) -> Any:
        if not isinstance(observation, dict):
            return np.asarray(observation, np.float32)
        keys = self.description["keys"]
        if keys is None or set(keys) != set(observation):
            expected = "an array" if keys is None else f"a dictionary of {', '.join(keys)}"
            raise ValueError(f"NumpyPolicy: expected {expected}; got a dictionary of {', '.join(observation)}")
        parts = {key: np.asarray(observation[key], np.float32) for key in keys}
        if all(list(part.shape) == keys[key] for key, part in parts.items()):
            return np.concatenate([part.ravel() for part in parts.values()])
        return np.concatenate([part.reshape(len(part), int(np.prod(part.shape[1:]))) for part in parts.values()], 1)

    def _known(self, x: Any) -> Any:
        parts = [x]
        for start, end in self._vectors:
            vector = x[:, end] if start is None else x[:, end] - x[:, start]
            found = np.empty((len(x), len(end), end.shape[1] + 1), np.float32)
            length = np.sqrt((vector * vector).sum(2) + np.float32(_SHORTEST**2), out=found[:, :, 0])
            np.divide(vector, length[:, :, None], out=found[:, :, 1:])
            parts.append(found.reshape(len(x), found.shape[1] * found.shape[2]))
        if self.description["angles"]:
            angles = x[:, self.description["angles"]]
            parts.append(np.stack([np.cos(angles), np.sin(angles)], 2).reshape(len(x), 2 * angles.shape[1]))
        return np.concatenate(parts, 1) if len(parts) > 1 else x

    def _quadratic(self, z: Any) -> Any:
        d, a = self.description, self.arrays
        m = d["pairs"]
        if not m + d["singles"]:
            return z
        u = np.tanh(z @ a["weight"].T + a["bias"])
        if "pieces" in a:
            u = self._splines(u)
        parts = [u[:, :m] * u[:, m : 2 * m], u[:, 2 * m :]]
        return np.concatenate([*parts, z] if d["linear"] else parts, 1)

    def _splines(self, u: Any) -> Any:
        """Quadratics ``(D, n, 3)``, constant first, of the place in each of n intervals of (-1, 1)."""
        pieces = self.arrays["pieces"]
        n = pieces.shape[1]
        if not np.isfinite(u).all():
            raise ValueError("observation: its numbers are so large that features overflow")
        place = (u + 1) * np.float32(n / 2)
        interval = np.minimum(place.astype(np.int64), n - 1)
        constant, slope, bend = np.moveaxis(pieces[np.arange(len(pieces)), interval], -1, 0)
        place = place - interval.astype(np.float32)
        return (bend * place + slope) * place + constant

    def _published(self, z: Any) -> Any:
        a = self.arrays
        u = 1 / (1 + np.exp(-np.clip(z @ a["weight"].T + a["bias"], -80, 80)))  # exp of more overflows
        far = np.abs(u[:, :, None] - a["centres"]) * a["scale"][:, None]
        kernel = np.where(far < 0.5, 0.75 - far * far, 0.5 * np.maximum(1.5 - far, 0) ** 2)
        factors = np.einsum("bdg,dgr->bdr", kernel, a["kernels"])
        return (factors + np.where(factors < 0, -1e-9, 1e-9).astype(np.float32)).prod(1)


def _refuse_bombs(path: str | Path) -> None:
    """Raise for entries that are larger than the file; `export_numpy` compresses none."""
    with zipfile.ZipFile(path) as file:
        if sum(entry.file_size for entry in file.infolist()) > Path(path).stat().st_size:
            raise ValueError("its entries unpack to more than the file")


def _together(vectors: list[list[int]], between: list[list[list[int]]]) -> list[tuple[Any, Any]]:
    """Entries ``(V, n)`` of where neighbours of one length start, or None, and end: a numpy call for all of them."""
    groups: list[tuple[list[list[int]] | None, list[list[int]]]] = []
    for start, end in [(None, v) for v in vectors] + [(a, b) for a, b in between]:
        last = groups[-1] if groups else None
        if last is not None and len(last[1][0]) == len(end) and (last[0] is None) == (start is None):
            last[1].append(end)
            if last[0] is not None and start is not None:
                last[0].append(start)
        else:
            groups.append((None if start is None else [start], [end]))
    return [(None if start is None else np.array(start), np.array(end)) for start, end in groups]
