"""The arguments of a verb, which is a plain function: every leaf of its parameters and of their dataclasses.

A leaf has a path, as a settings file has it, and a flag, as tyro makes it. The fields of a parameter that is annotated
with `tyro.conf.OmitArgPrefixes` stand at the top of the file and need no prefix on the command line.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

REQUIRED = inspect.Parameter.empty
_ENTRY = re.compile(r"^(\w+): +(.*)")


@dataclasses.dataclass(frozen=True)
class Argument:
    """One value that a verb takes.

    Attributes:
        path: of its place in a settings file.
        flag: of the command line; empty where the place in the line says it.
        annotation: its type.
        default: or `REQUIRED`.
        help: a sentence of what it is, from the docstring of what it belongs to.
        words: what it may be, where those are few.
        switch: whether it is on or off, without a word behind the flag.
    """

    path: tuple[str, ...]
    flag: str
    annotation: Any
    default: Any
    help: str
    words: tuple[str, ...] = ()
    switch: bool = False


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """The arguments of a verb, in the order of its help.

    Example:
        >>> def verb(size: int = 3) -> None:
        ...     '''Do.
        ...
        ...     Args:
        ...         size: of it, m.
        ...     '''
        >>> [(found.flag, found.default, found.help) for found in arguments_of(verb)]
        [('--size', 3, 'of it, m.')]
    """
    return list(_of_function(function))


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a verb, with their types instead of the words for them."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters
    return {name: parameter.replace(annotation=hints[name]) for name, parameter in found.items()}


def stands_at_the_top(annotation: Any) -> bool:
    """Whether the fields of a parameter need no prefix."""
    import tyro

    return _marked(annotation, tyro.conf.OmitArgPrefixes[int])


def is_appended(annotation: Any) -> bool:
    """Whether a flag adds a value each time that it is given."""
    import tyro

    return _marked(annotation, tyro.conf.UseAppendAction[int])


def bare(annotation: Any) -> Any:
    """A type without what is annotated to it."""
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; of any other type itself."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def is_config(annotation: Any) -> bool:
    """Whether a type is a dataclass."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def word_of(config: type) -> str:
    """The word for a dataclass where one of several is wanted.

    Example:
        >>> word_of(inspect.BoundArguments)
        'bound-arguments'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "-", config.__name__).lower()


def described(documented: Any) -> dict[str, str]:
    r"""What a docstring says about each name under ``Args:`` or ``Attributes:``.

    Example:
        >>> def verb(size, rank): 'Do.\n\n    Args:\n        size: of it,\n            m.\n        rank: R.\n    '
        >>> described(verb)
        {'size': 'of it, m.', 'rank': 'R.'}
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in (inspect.getdoc(documented) or "").splitlines():
        if not line.strip():
            continue
        if not line.startswith(" "):
            inside = line.strip() in ("Args:", "Attributes:")
            continue
        if not inside:
            continue
        depth = len(line) - len(line.lstrip())
        entry = _ENTRY.match(line.strip())
        if depth == 4 and entry:
            name = entry[1]
            found[name] = entry[2]
        elif name:
            found[name] += f" {line.strip()}"
    return found


def fields_of(config: type) -> list[tuple[dataclasses.Field[Any], Any, str]]:
    """The fields of a dataclass that can be given, each with its type and its sentence."""
    told, hints = described(config), typing.get_type_hints(config, include_extras=True)
    return [(field, hints[field.name], told.get(field.name, "")) for field in dataclasses.fields(config) if field.init]


def _of_function(function: Callable[..., Any]) -> Iterator[Argument]:
    told = described(function)
    for name, parameter in parameters_of(function).items():
        annotation, default = parameter.annotation, parameter.default
        if dataclasses.is_dataclass(default):
            top, chosen = stands_at_the_top(annotation), _chosen_before(annotation)
            yield from _of_config(default, () if top else (name,), top, chosen)
        else:
            placed = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
            flag = "" if placed else f"--{name.replace('_', '-')}"
            yield _leaf((name,), flag, annotation, default, told.get(name, ""))


def _of_config(config: Any, path: tuple[str, ...], top: bool, chosen: bool) -> Iterator[Argument]:
    """The fields of a config at a place; with ``chosen`` no word says which of several dataclasses is meant."""
    for field, kind, told in fields_of(type(config)):
        value, place = getattr(config, field.name), (*path, field.name)
        if not dataclasses.is_dataclass(value):
            words = (place[-1],) if top else place
            yield _leaf(place, "--" + ".".join(word.replace("_", "-") for word in words), kind, value, told)
            continue
        others = [each for each in choices_of(kind) if is_config(each) and each is not type(value)]
        if others and not chosen:
            words = tuple(f"{'.'.join(place)}:{word_of(each)}" for each in (type(value), *others))
            yield Argument((*place, "kind"), "", kind, word_of(type(value)), told, words)
        yield from _of_config(value, place, top, chosen)
        for each in () if chosen else others:
            yield from _of_config(each(), place, top, chosen)


def _leaf(path: tuple[str, ...], flag: str, annotation: Any, default: Any, told: str) -> Argument:
    members = choices_of(annotation)
    words = [
        str(word) for each in members if typing.get_origin(each) is typing.Literal for word in typing.get_args(each)
    ]
    return Argument(path, flag, annotation, default, told, tuple(words), bare(annotation) is bool)


def _marked(annotation: Any, marked: Any) -> bool:
    marker = typing.get_args(marked)[1]
    return any(each is marker for each in getattr(annotation, "__metadata__", ()))


def _chosen_before(annotation: Any) -> bool:
    import tyro

    return _marked(annotation, tyro.conf.AvoidSubcommands[int])
