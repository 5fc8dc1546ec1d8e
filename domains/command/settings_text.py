"""The settings of a verb written as a file that `settings_file` reads."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from domains.command.arguments import (
    REQUIRED,
    arguments_of,
    choices_of,
    fields_of,
    is_config,
    parameters_of,
    stands_at_the_top,
    word_of,
)
from domains.command.conversion import KIND


def settings_text(function: Callable[..., Any], values: Mapping[str, Any]) -> str:
    """A settings file with these values of the parameters, each with its sentence; required ones may be missing."""
    told = {argument.path: argument for argument in arguments_of(function)}
    lines = []
    for name, parameter in parameters_of(function).items():
        value = values.get(name, parameter.default)
        if value is REQUIRED or (parameter.default is REQUIRED and value is None):
            lines += [f"# {told[(name,)].help}", f"# {name}: (required)"]
        elif dataclasses.is_dataclass(value):
            top = stands_at_the_top(parameter.annotation)
            if not top:
                lines.append(f"{name}:")
            lines += _config_lines(value, parameter.annotation, "" if top else "  ")
        else:
            lines += [f"# {told[(name,)].help}", f"{name}: {scalar(value)}"]
    return "\n".join(lines)


def scalar(value: Any) -> str:
    """A value as one line of YAML.

    Example:
        >>> scalar(1e-05), scalar(("a", "b")), scalar(None), scalar({"drag": 0.5})
        ('1e-05', '["a", "b"]', 'null', '{"drag": 0.5}')
    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(name))}: {scalar(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(scalar(each) for each in value) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """A text in quotes; what cannot be seen is written by its number."""
    return "".join(
        letter
        if letter.isprintable()
        else (f"\\u{ord(letter):04x}" if ord(letter) < 2**16 else f"\\U{ord(letter):08x}")
        for letter in json.dumps(text, ensure_ascii=False)
    )


def _config_lines(config: Any, annotation: Any, indent: str) -> list[str]:
    lines = []
    if sum(is_config(each) for each in choices_of(annotation)) > 1:
        lines.append(f"{indent}{KIND}: {word_of(type(config))}")
    for field, kind, told in fields_of(type(config)):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{field.name}:  # {told}", *_config_lines(value, kind, f"{indent}  ")]
        else:
            lines += [f"{indent}# {told}", f"{indent}{field.name}: {scalar(value)}"]
    return lines
