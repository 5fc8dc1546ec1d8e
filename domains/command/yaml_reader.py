"""YAML as plain data, by the rules of version 1.2: no is a word, 1e-3 a number, 1:30 and dates are text.

What a settings file has no use for is refused: anchors, tags, a name twice.
"""

import re
from typing import Any, ClassVar

_DEEPEST = 50  # levels of nesting
# Of YAML 1.2's core schema, in decimal; PyYAML follows 1.1, where no means false and 010 means 8.
_WORDS = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    "float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
}


def read_yaml(text: str) -> Any:
    r"""Plain data from YAML.

    Raises:
        ValueError: the text is not YAML, or has anchors, tags, or a name twice.
        ImportError: there is no PyYAML.

    Example:
        >>> read_yaml("rank: 4\nrate: 1e-3\nbox: [1, 2]\nname: no")
        {'rank': 4, 'rate': 0.001, 'box': [1, 2], 'name': 'no'}
    """
    try:
        import yaml
    except ModuleNotFoundError:
        raise ImportError(
            "settings in YAML need PyYAML: pip install 'separable[command]', or write them as JSON"
        ) from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """The safe one, and stricter."""

        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ValueError(f"expected no anchors, got one in line {line}")
            if getattr(event, "tag", None):
                raise ValueError(f"expected no tags, got {event.tag} in line {line}")
            self.depth += 1
            if self.depth > _DEEPEST:
                raise ValueError(f"expected no more than {_DEEPEST} levels, got more in line {line}")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = set()
            for name in (key.value for key, _ in node.value if isinstance(key.value, str)):
                if name in names:
                    raise ValueError(f"expected every name once, got {name} twice")
                names.add(name)
            return super().construct_mapping(node, deep)

    for kind, (pattern, first) in _WORDS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, first)
    Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: _float(node.value))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as problem:
        raise ValueError(str(problem)) from None


def _float(word: str) -> float:
    return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
