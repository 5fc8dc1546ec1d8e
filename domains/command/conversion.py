"""A value from a settings file as the type that an argument is annotated with, or a refusal that names it."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domains.command.arguments import bare, choices_of, fields_of, is_config, word_of

KIND = "kind"


class SettingsError(ValueError):
    """A settings file that cannot be read, or does not fit the verb."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in which file a value stands."""

    file: Path
    path: str = ""

    def at(self, name: str) -> Place:
        """A place inside this one."""
        return Place(self.file, f"{self.path}.{name}" if self.path else name)

    def wrong(self, expected: str, got: Any) -> SettingsError:
        """What to raise where another value was expected."""
        return SettingsError(f"{self.file}: {self.path or 'settings'}: expected {expected}, got {got!r}")


def converted(value: Any, annotation: Any, default: Any, place: Place) -> Any:
    """A value of the annotated type; ``default`` fills the fields that a mapping leaves out."""
    members = choices_of(annotation)
    configs = [each for each in members if is_config(each)]
    if configs and isinstance(value, Mapping):
        return _config(value, configs, default, place)
    if len(members) == 1:
        return _one(value, members[0], place)
    # Text takes what nothing else does.
    for member in sorted(members, key=lambda each: each in (str, Path)):
        try:
            return _one(value, member, place)
        except SettingsError:
            continue
    raise place.wrong(" or ".join(_told(member) for member in members), value)


def _config(value: Mapping[str, Any], configs: Sequence[type], default: Any, place: Place) -> Any:
    given = dict(value)
    chosen = type(default) if type(default) in configs else configs[0]
    if len(configs) > 1 and KIND in given:
        word = given.pop(KIND)
        known = {word_of(each): each for each in configs}
        if word not in known:
            raise place.at(KIND).wrong("one of " + ", ".join(known), word)
        chosen = known[word]
    start: Any = default if type(default) is chosen else None
    hints = {field.name: (kind, getattr(start, field.name, None)) for field, kind, _ in fields_of(chosen)}
    changes = {}
    for word, each in given.items():
        name = plain(word)
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1)
            raise SettingsError(
                f"{place.file}: {place.at(str(word)).path}: no such setting"
                + (f"; did you mean {place.at(near[0]).path}?" if near else "")
            )
        if name in changes:
            raise SettingsError(f"{place.file}: {place.at(name).path}: expected once, got it under two spellings")
        changes[name] = converted(each, *hints[name], place.at(name))
    try:
        return chosen(**changes) if start is None else dataclasses.replace(start, **changes)
    except (ValueError, TypeError) as refused:
        raise SettingsError(f"{place.file}: {place.path or 'settings'}: {refused}") from None


def _one(value: Any, annotation: Any, place: Place) -> Any:
    """A value of one type that is no dataclass."""
    annotation = bare(annotation)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if annotation in (None, type(None)):
        fits, found = value is None, None
    elif origin is typing.Literal:
        fits, found = any(value == each and type(value) is type(each) for each in inner), value
    elif annotation is bool:
        fits, found = isinstance(value, bool), value
    elif annotation is int:
        fits, found = isinstance(value, int) and not isinstance(value, bool), value
    elif annotation is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if fits and isinstance(value, int) and abs(value) > sys.float_info.max:
            raise place.wrong("a number of at most 1.8e308", "a greater one")
        found = float(value) if fits else None
    elif annotation in (str, Path):
        fits, found = isinstance(value, str), annotation(value) if isinstance(value, str) else None
    elif origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _several(value, origin, inner, place)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise place.wrong(_told(annotation), value)
        return {
            _one(name, inner[0], place.at(str(name))): converted(each, inner[1], None, place.at(str(name)))
            for name, each in value.items()
        }
    elif isinstance(annotation, type):
        fits, found = isinstance(value, annotation), value
    else:
        return value
    if not fits:
        raise place.wrong(_told(annotation), value)
    return found


def _several(value: Any, origin: Any, inner: tuple[Any, ...], place: Place) -> Any:
    if not isinstance(value, list):
        raise place.wrong("a list", value)
    kinds = inner
    if origin is not tuple or (len(inner) == 2 and inner[1] is Ellipsis):
        kinds = (inner[0],) * len(value)
    if len(kinds) != len(value):
        raise place.wrong(f"a list of {len(kinds)}", value)
    found = [
        converted(each, kind, None, place.at(str(index + 1)))
        for index, (each, kind) in enumerate(zip(value, kinds, strict=True))
    ]
    return found if origin is list else tuple(found)


def _told(annotation: Any) -> str:
    annotation = bare(annotation)
    if annotation in (None, type(None)):
        return "nothing (null)"
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(str(word) for word in typing.get_args(annotation))
    if is_config(annotation):
        return "names and values"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if annotation in words:
        return words[annotation]
    origin = typing.get_origin(annotation)
    return "names and values" if isinstance(origin, type) and issubclass(origin, Mapping) else "a list"


def plain(word: str) -> str:
    """The name that is meant: words may be joined as on the command line."""
    return word.replace("-", "_")
