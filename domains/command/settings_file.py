"""Settings from a YAML or JSON file, as the defaults of a verb.

The keys are the names of the verb's arguments, a mapping for each dataclass::

    run: runs/policy
    steps: 20000
    options:
      wind: 1.5

Where one of several dataclasses is wanted, ``kind`` says which, in the command line's word for it. A file to begin with
is what ``--print-config`` prints.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from domains.command.arguments import (
    REQUIRED,
    arguments_of,
    choices_of,
    fields_of,
    is_config,
    parameters_of,
    stands_at_the_top,
)
from domains.command.conversion import Place, SettingsError, converted, plain
from domains.command.yaml_reader import read_yaml

_LARGEST = 1_000_000  # bytes


def defaults_from(path: Path, function: Callable[..., Any]) -> dict[str, Any]:
    """The defaults that a file gives the parameters of a verb.

    Args:
        path: a ``.json`` file, or YAML.
        function: the verb.

    Raises:
        SettingsError: the file is not there, broken, or holds a field that is unknown or of a wrong type.
    """
    held = _read(path)
    found: dict[str, Any] = {}
    parameters = parameters_of(function)
    taken = set()
    for name, parameter in parameters.items():
        if dataclasses.is_dataclass(parameter.default) and stands_at_the_top(parameter.annotation):
            own = {
                field.name
                for each in choices_of(parameter.annotation)
                if is_config(each)
                for field, *_ in fields_of(each)
            }
            part = {word: value for word, value in held.items() if plain(word) in own and plain(word) not in parameters}
            taken |= set(part)
            if part:
                found[name] = converted(part, parameter.annotation, parameter.default, Place(path))
    for word, value in held.items():
        if word in taken:
            continue
        name = plain(word)
        if name not in parameters or stands_at_the_top(parameters[name].annotation):
            raise SettingsError(f"{path}: {word}: no such setting{_nearest(name, function)}")
        if name in found:
            raise SettingsError(f"{path}: {name}: expected once, got it under two spellings")
        parameter = parameters[name]
        default = None if parameter.default is REQUIRED else parameter.default
        found[name] = converted(value, parameter.annotation, default, Place(path, name))
    _check_order(path, parameters, found)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise SettingsError(f"{path}: expected settings, got a file of {path.stat().st_size / 1e6:.1f} MB")
        text = path.read_text(encoding="utf-8")
        held = json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else read_yaml(text)
    except SettingsError:
        raise
    except (OSError, ValueError, RecursionError) as problem:
        words = " ".join(str(problem).split()) or "nested too deep"
        raise SettingsError(f"{path}: expected settings in YAML or JSON; {words}") from None
    if held is None:
        return {}
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise SettingsError(f"{path}: expected names and values, got a {type(held).__name__}")
    return held


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which may hold a name twice; the first value would be lost without a word."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"expected every name once, got {name} twice")
        found[name] = value
    return found


def _nearest(name: str, function: Callable[..., Any]) -> str:
    """Where a setting of that or a like name stands."""
    paths = [".".join(argument.path) for argument in arguments_of(function)]
    near = [path for path in paths if path.rpartition(".")[2] == name]
    near = near or difflib.get_close_matches(name, paths, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(paths)}"


def _check_order(path: Path, parameters: Mapping[str, inspect.Parameter], found: Mapping[str, Any]) -> None:
    """What has no flag is filled from the left: after one that the file gives none may be missing."""
    first = ""
    for name, parameter in parameters.items():
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            continue
        if name in found and parameter.default is REQUIRED:
            first = first or name
        elif first and parameter.default is REQUIRED:
            raise SettingsError(f"{path}: {name}: expected a value beside that of {first}, which stands before it")
