"""What shells are told beside click's words: no blank behind ``KEY=``, whose value follows. fish needs no telling."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete, add_completion_class

_BASH_ADDS = "COMPREPLY+=($value)"
_ZSH_ADDS = "_describe -V unsorted completions_with_descriptions -U"


class _Typed(ShellComplete):
    """One who says what was typed; who is no shell, and does not, is told."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is typed, and that one.

        Raises:
            click.UsageError: the variables that shells set are not there, or make no sense.
        """
        try:
            return super().get_completion_args()
        except (LookupError, ValueError) as exc:
            raise click.UsageError("_LIVEROUTER_COMPLETE is for shells, which set COMP_WORDS too. Unset it") from exc


class _Bash(_Typed, BashComplete):
    source_template = BashComplete.source_template.replace(
        _BASH_ADDS, f"{_BASH_ADDS}\n            [[ $value == *= ]] && compopt -o nospace"
    )


class _Fish(_Typed, FishComplete):
    pass


class _Zsh(_Typed, ZshComplete):
    source_template = ZshComplete.source_template.replace(
        _ZSH_ADDS,
        "local -a ends\n"
        "        [[ $completions_with_descriptions[1] == *=:* ]] && ends=(-S '')\n"
        f'        {_ZSH_ADDS} "${{ends[@]}}"',
    )


def register() -> None:
    """Have these scripts printed in place of click's."""
    for kind in (_Bash, _Fish, _Zsh):
        add_completion_class(kind)
