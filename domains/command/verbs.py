"""A verb from the words of the command line: its flags, and those that every verb has beside them.

--config FILE     values that are the defaults of the flags
--print-config    write such a file, and stop
--dry-run         tell the cost, and stop; only where a verb takes long
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from domains.command.arguments import REQUIRED, bare, is_appended, parameters_of
from domains.command.conversion import SettingsError
from domains.command.settings_file import defaults_from
from domains.command.settings_text import settings_text

Verb = Callable[..., Any]
COMMON = {
    "--config": "a YAML or JSON file whose values are the defaults of the other flags.",
    "--print-config": "print the settings as such a file, and stop.",
    "--dry-run": "print parameters, memory and time that this would cost, and stop.",
}
_FILE, _PRINT, _DRY = "settings_file_", "print_settings_", "dry_run_"


def run_verb(verb: Verb, words: Sequence[str], prog: str, cost: Verb | None = None) -> None:
    """Run a verb.

    Args:
        verb: a plain function.
        words: behind its name on the command line.
        prog: what help calls it.
        cost: takes what the verb takes, and gives a `separable.records.Cost`.

    Raises:
        SettingsError: the settings file does not fit.
        SystemExit: the words do not, with 2, or were asked to be explained, with 0.

    Example:
        >>> def double(number: int, /) -> None: print(2 * number)
        >>> run_verb(double, ["21"], "double")
        42
    """
    helped = any(word in ("-h", "--help") for word in words)
    file = None if helped else _file_of(words)
    defaults = {} if file is None else _without_appended(defaults_from(file, verb), verb, words)

    def call(*given: Any, **named: Any) -> None:
        named.pop(_FILE)
        printed, dry = named.pop(_PRINT), named.pop(_DRY, False)
        if printed:
            places = [name for name, each in parameters_of(verb).items() if each.kind is each.POSITIONAL_ONLY]
            print(settings_text(verb, {**dict(zip(places, given, strict=True)), **named}))
        elif dry and cost is not None:
            print(cost(*given, **named).text())
            print("nothing was started")
        else:
            verb(*given, **named)

    parameters = _with_common(verb, defaults, cost is not None, "--print-config" in words)
    call.__name__, call.__doc__ = verb.__name__, verb.__doc__
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    tyro.cli(call, prog=prog, args=list(words))


def _without_appended(defaults: dict[str, Any], verb: Verb, words: Sequence[str]) -> dict[str, Any]:
    """The defaults but for those to which flags among the words would add, since flags go before the file."""
    given = {word.partition("=")[0].replace("_", "-") for word in words}
    parameters = parameters_of(verb)
    return {
        name: value
        for name, value in defaults.items()
        if not (is_appended(parameters[name].annotation) and f"--{name.replace('_', '-')}" in given)
    }


def _with_common(verb: Verb, defaults: dict[str, Any], long: bool, printed: bool) -> list[inspect.Parameter]:
    """The parameters of a verb with these defaults, and of what every verb has."""
    found = []
    for name, parameter in parameters_of(verb).items():
        if name in defaults:
            parameter = parameter.replace(default=defaults[name])
        elif printed and parameter.default is REQUIRED:  # a file to begin with can be had without it
            parameter = parameter.replace(default=None, annotation=parameter.annotation | None)
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:  # help says which path is which
            parameter = parameter.replace(annotation=_named(parameter.annotation, name))
        found.append(parameter)
    switch: Any = tyro.conf.FlagCreatePairsOff[bool]
    common: list[tuple[str, str, Any, Any]] = [
        (_FILE, "--config", Path | None, None),
        (_PRINT, "--print-config", switch, False),
        (_DRY, "--dry-run", switch, False),
    ]
    for name, flag, kind, default in common if long else common[:2]:
        metavar = "FILE" if name == _FILE else None
        annotation: Any = Annotated[kind, tyro.conf.arg(name=flag[2:], help=COMMON[flag], metavar=metavar)]
        found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return found


def _named(annotation: Any, name: str) -> Any:
    """A type that help shows by the name of the argument."""
    shown, members = name.upper().replace("_", "-"), typing.get_args(bare(annotation))
    if typing.get_origin(bare(annotation)) is tuple:
        shown = f"[{shown} ...]" if members[1:] == (...,) else " ".join([shown] * len(members))
    return Annotated[annotation, tyro.conf.arg(metavar=shown)]


def _file_of(words: Sequence[str]) -> Path | None:
    """The settings file that the words name; it has to be read before the others can be understood."""
    found = None
    for place, word in enumerate(words):
        if word.startswith("--config="):
            found = word.removeprefix("--config=")
        elif word == "--config":
            if place + 1 == len(words):
                raise SettingsError("--config: expected a file behind it, got nothing")
            found = words[place + 1]
    return None if found is None else Path(found)
