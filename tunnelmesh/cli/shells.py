"""The scripts that complete commands in bash, zsh and fish.

All three do the same: they follow the words so far down the tree of commands as far as they lead,
and offer what may come there.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PEERS = "@peers"
"""Stands for the names of the peers, which the running service is asked for."""

FILES = "@files"
"""Stands for files and directories."""


@dataclass(frozen=True, slots=True)
class Word:
    """A command or an option.

    :ivar help: what it is, in a few words.
    :ivar values: for an option that takes a value: what it may be, also :data:`PEERS` or
        :data:`FILES`; None if it takes none.
    """

    text: str
    help: str = ""
    values: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """What may come after a command.

    :ivar path: its words, ``tunnelmesh`` first.
    :ivar operands: what its operands may be, also :data:`PEERS` or :data:`FILES`.
    """

    path: str
    commands: tuple[Word, ...]
    options: tuple[Word, ...]
    operands: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All that may come."""
        texts = [word.text for word in (*self.commands, *self.options)]
        return (*texts, *self.operands)


_ASK = r"""tunnelmesh peers --json 2>/dev/null | sed -n 's/^    "name": "\(.*\)",$/\1/p'"""
"""The peers' names: in the list as it is printed, those of its own entries."""

_BASH = r"""# Completion of tunnelmesh for bash, made by 'tunnelmesh completion bash'.

declare -gA _tunnelmesh_words=(
WORDS
)

declare -gA _tunnelmesh_values=(
VALUES
)

_tunnelmesh() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local path=tunnelmesh offered word i
    # bash cuts --shell=bash in three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="$path ${COMP_WORDS[i]}"
        [[ -n ${_tunnelmesh_words[$word]+x} ]] && path=$word
    done
    offered=${_tunnelmesh_values["$path $before"]-${_tunnelmesh_words[$path]}}
    COMPREPLY=()
    for word in $offered; do
        case $word in
            @peers) COMPREPLY+=($(compgen -W "$(ASK)" -- "$current")) ;;
            @files)
                compopt -o filenames 2>/dev/null
                COMPREPLY+=($(compgen -f -- "$current"))
                ;;
            -*) [[ $current == -* && $word == "$current"* ]] && COMPREPLY+=("$word") ;;
            *) [[ $word == "$current"* ]] && COMPREPLY+=("$word") ;;
        esac
    done
}

complete -F _tunnelmesh tunnelmesh
"""

_ZSH = r"""#compdef tunnelmesh
# Completion of tunnelmesh for zsh, made by 'tunnelmesh completion zsh'.

_tunnelmesh() {
    local -A words_of values_of
    words_of=(
WORDS
    )
    values_of=(
VALUES
    )
    local current=$words[CURRENT] before=$words[CURRENT-1]
    local at=tunnelmesh offered word i
    if [[ $current == --*=* ]]; then
        before=${current%%=*}
        compset -P '*='
    fi
    for ((i = 2; i < CURRENT; i++)); do
        word="$at $words[i]"
        (( $+words_of[$word] )) && at=$word
    done
    offered=$words_of[$at]
    word="$at $before"
    (( $+values_of[$word] )) && offered=$values_of[$word]
    for word in ${=offered}; do
        case $word in
            @peers) compadd -- ${(f)"$(ASK)"} ;;
            @files) _files ;;
            -*) [[ $current == -* ]] && compadd -- $word ;;
            *) compadd -- $word ;;
        esac
    done
}

# Loaded by its name the first time, or sourced.
if [[ $funcstack[1] == _tunnelmesh ]]; then
    _tunnelmesh "$@"
else
    compdef _tunnelmesh tunnelmesh
fi
"""

_FISH = r"""# Completion of tunnelmesh for fish, made by 'tunnelmesh completion fish'.

set -g __tunnelmesh_paths PATHS

function __tunnelmesh_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l path tunnelmesh
    for word in $words
        contains -- "$path $word" $__tunnelmesh_paths; and set path "$path $word"
    end
    test "$path" = "$argv"
end

function __tunnelmesh_peers
    ASK
end

complete -c tunnelmesh -f
LINES
"""


def _table(rows: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((shlex.quote(key), shlex.quote(" ".join(words))) for key, words in rows.items())


def _tables(levels: Sequence[Level], row: str) -> tuple[str, str]:
    """The words of each level, and the values of each option that takes one."""
    values = {
        f"{level.path} {option.text}": option.values
        for level in levels
        for option in level.options
        if option.values is not None
    }
    return tuple(  # type: ignore[return-value]
        "\n".join(row.format(*each) for each in _table(rows))
        for rows in ({level.path: level.words for level in levels}, values)
    )


def bash(levels: Sequence[Level]) -> str:
    """The script for bash."""
    words, values = _tables(levels, "    [{}]={}")
    return _BASH.replace("WORDS\n", words + "\n", 1).replace("VALUES", values).replace("ASK", _ASK)


def zsh(levels: Sequence[Level]) -> str:
    """The script for zsh."""
    words, values = _tables(levels, "        {} {}")
    return _ZSH.replace("WORDS\n", words + "\n", 1).replace("VALUES", values).replace("ASK", _ASK)


def fish(levels: Sequence[Level]) -> str:
    """The script for fish."""
    lines = []
    for level in levels:
        start = f"complete -c tunnelmesh -n {shlex.quote(f'__tunnelmesh_at {level.path}')}"
        for word in level.commands:
            lines.append(f"{start} -a {word.text} -d {shlex.quote(word.help)}")
        for operand in level.operands:
            lines.append(f"{start} {_fish_values((operand,))}")
        for option in level.options:
            flag = f"-l {option.text[2:]}" if option.text[:2] == "--" else f"-s {option.text[1:]}"
            if option.values is not None:
                flag += f" -r {_fish_values(option.values)}"
            lines.append(f"{start} {flag} -d {shlex.quote(option.help)}")
    paths = " ".join(shlex.quote(level.path) for level in levels)
    script = _FISH.replace("PATHS", paths).replace("ASK", _ASK)
    return script.replace("LINES", "\n".join(lines))


def _fish_values(values: Sequence[str]) -> str:
    if FILES in values:
        return "-F"
    words = ["(__tunnelmesh_peers)" if value == PEERS else value for value in values]
    return f"-f -a {shlex.quote(' '.join(words))}"


SCRIPTS: Mapping[str, Callable[[Sequence[Level]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""What makes each."""
