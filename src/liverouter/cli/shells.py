"""What shells are told beside click's words: no blank behind ``KEY=``, whose value follows. fish needs no telling."""

from __future__ import annotations

from click.shell_completion import BashComplete, ZshComplete, add_completion_class

_BASH_ADDS = "COMPREPLY+=($value)"
_ZSH_ADDS = "_describe -V unsorted completions_with_descriptions -U"


class _Bash(BashComplete):
    source_template = BashComplete.source_template.replace(
        _BASH_ADDS, f"{_BASH_ADDS}\n            [[ $value == *= ]] && compopt -o nospace"
    )


class _Zsh(ZshComplete):
    source_template = ZshComplete.source_template.replace(
        _ZSH_ADDS,
        "local -a ends\n"
        "        [[ $completions_with_descriptions[1] == *=:* ]] && ends=(-S '')\n"
        f'        {_ZSH_ADDS} "${{ends[@]}}"',
    )


def register() -> None:
    """Have these scripts printed in place of click's."""
    add_completion_class(_Bash)
    add_completion_class(_Zsh)
