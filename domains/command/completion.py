"""Completion of the command in a shell: a script that knows every verb and flag, printed by ``separable --completion``.

All words are in the script, by the words before them; a key on the keyboard waits for no Python.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

from domains.command.arguments import arguments_of

SHELLS = ("bash", "zsh", "fish")
Words = Mapping[str, Sequence[str]]

_BASH = """\
# Completion of the `separable` command for bash. To have it in every shell:
#   separable --completion bash > ~/.local/share/bash-completion/completions/separable
_separable_words() {{
    case "$1" in
{cases}
    esac
}}
_separable() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        words="$(_separable_words "$path${{path:+ }}${{COMP_WORDS[i]}}")"
        [ -n "$words" ] || break
        path="$path${{path:+ }}${{COMP_WORDS[i]}}"
    done
    COMPREPLY=($(compgen -W "$(_separable_words "$path")" -- "$current"))
}}
complete -o default -F _separable separable
"""

_ZSH = """\
#compdef separable
# Completion of the `separable` command for zsh. To have it in every shell, in a folder of $fpath:
#   separable --completion zsh > "${{fpath[1]}}/_separable"
_separable_words() {{
    case "$1" in
{cases}
    esac
}}
_separable() {{
    local path_="" word found
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        found="$(_separable_words "$path_${{path_:+ }}$word")"
        [[ -n "$found" ]] || break
        path_="$path_${{path_:+ }}$word"
    done
    compadd -- ${{=$(_separable_words "$path_")}}
    _files
}}
if [[ "$funcstack[1]" == _separable ]]; then _separable "$@"; else compdef _separable separable; fi
"""

_FISH = """\
# Completion of the `separable` command for fish. To have it in every shell:
#   separable --completion fish > ~/.config/fish/completions/separable.fish
function __separable_words
    switch "$argv[1]"
{cases}
    end
end
function __separable_complete
    set -l tokens (commandline -opc)
    set -l path ""
    for word in $tokens[2..-1]
        set -l next (string trim -- "$path $word")
        test -n "$(__separable_words $next)"; or break
        set path $next
    end
    __separable_words $path | string split " "
end
complete -c separable -a "(__separable_complete)"
"""


def completion_script(shell: str, domains: Mapping[str, Sequence[str]], top: Mapping[str, tuple[str, str]]) -> str:
    """The script for a shell.

    Args:
        shell: bash, zsh or fish.
        domains: the verbs of each domain; a room of a domain is behind a dot.
        top: of each verb at the top the module and the function.

    Raises:
        ValueError: another shell.
    """
    if shell not in SHELLS:
        raise ValueError(f"--completion: expected one of {', '.join(SHELLS)}, got {shell!r}")
    words = completion_words(domains, top)
    if shell == "fish":
        cases = [f"        case '{path}'\n            echo '{' '.join(found)}'" for path, found in words.items()]
    else:
        cases = [f"        '{path}') echo '{' '.join(found)}' ;;" for path, found in words.items()]
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell].format(cases="\n".join(cases))


def completion_words(domains: Mapping[str, Sequence[str]], top: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """What may follow, by the words before it; of a verb its flags.

    A domain whose packages are not installed is told on stderr, and its flags are left out.
    """
    found = {"": [*top, *(domain for domain in domains if "." not in domain), "--help", "--version", "--completion"]}
    for name, (module, function) in top.items():
        found[name] = _flags(module, function)
    for domain, verbs in domains.items():
        rooms = [each.rpartition(".")[2] for each in domains if each.rpartition(".")[0] == domain]
        path = domain.replace(".", " ")
        found[path] = [*verbs, *rooms, "--help"]
        for verb in verbs:
            found[f"{path} {verb}"] = _flags(f"domains.{domain}.commands", verb.replace("-", "_"))
    return found


def _flags(module: str, function: str) -> list[str]:
    from domains.command.costs import cost_of
    from domains.command.verbs import COMMON

    try:
        arguments = arguments_of(getattr(importlib.import_module(module), function))
    except ModuleNotFoundError as missing:
        print(f"completion: without the flags of {module}, which needs {missing.name}", file=sys.stderr)
        return ["--help"]
    found = ["--help", *(flag for flag in COMMON if flag != "--dry-run" or cost_of(module, function))]
    for argument in arguments:
        if argument.flag:
            found.append(argument.flag)
            if argument.switch:
                head, _, tail = argument.flag[2:].rpartition(".")
                found.append(f"--{head}.no-{tail}" if head else f"--no-{tail}")
        elif argument.words:
            found += argument.words
    return list(dict.fromkeys(found))
