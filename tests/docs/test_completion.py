"""Tab completes what the page says, in a real bash; for the other shells the script is made."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from liverouter.cli.app import run
from tests.kit import pages

PAGE: Final = (pages.ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
SHELLS: Final = {shell: line for line, shell in re.findall(r"(_LIVEROUTER_COMPLETE=([a-z]+)_source liverouter)", PAGE)}
ENVIRONMENT: Final = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def bash_says(script: str) -> str:
    """Return what *script* prints."""
    return subprocess.run(
        ["/bin/bash", "-c", script], capture_output=True, text=True, check=True, timeout=100, env=ENVIRONMENT
    ).stdout


@pytest.fixture(scope="module")
def script() -> str:
    """What bash is told by the line of the page."""
    return bash_says(SHELLS["bash"])


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ro", ["rollback"]),
        ("keys ro", ["rotate"]),
        ("set llm_te", ["llm_temperature="]),
        ("set --secret open", ["openai_api_key", "openai_compatible_api_key"]),
        ("unset snowflake_t", ["snowflake_token"]),
        ("history --li", ["--limit"]),
    ],
)
def test_bash_offers_what_fits(script: str, typed: str, offered: list[str]) -> None:
    """Commands, options, settings and secrets; no database is asked."""
    words = f"liverouter {typed}".split()
    setup = f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
    assert bash_says(f'{setup}; _liverouter_completion liverouter; echo "${{COMPREPLY[@]}}"').split() == offered


def test_bash_puts_no_blank_before_a_value() -> None:
    """Somebody types part of a setting, Tab, a value, and the line is one assignment; behind a command is a blank."""
    typed = b"liverouter set llm_te\t0.5 llm_mo\tgpt-5.4\nliverouter rollb\t3\nexit\n"
    setup = f'eval "$({SHELLS["bash"]})"; liverouter() {{ printf "<%s>" "$@"; }}\n'.encode()
    terminal, shell_s = pty.openpty()
    os.write(terminal, setup + typed)
    with subprocess.Popen(
        ["/bin/bash", "--norc", "-i"],
        stdin=shell_s,
        stdout=shell_s,
        stderr=shell_s,
        start_new_session=True,
        env=ENVIRONMENT | {"TERM": "dumb", "HISTFILE": "/dev/null"},
    ):
        os.close(shell_s)
        said = b""
        with contextlib.suppress(OSError):  # EIO: it has ended
            while piece := os.read(terminal, 4096):
                said += piece
    os.close(terminal)
    assert b"<set><llm_temperature=0.5><llm_model=gpt-5.4>" in said
    assert b"<rollback><3>" in said


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_a_script(shell: str) -> None:
    """It asks this program again for what fits."""
    assert f"_LIVEROUTER_COMPLETE={shell}_complete" in bash_says(SHELLS[shell])


@pytest.mark.parametrize(
    ("shell", "typed"), [("bash", {}), ("fish", {}), ("zsh", {"COMP_WORDS": "liverouter", "COMP_CWORD": "x"})]
)
def test_who_is_no_shell_is_told(
    shell: str, typed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable was set by hand: that is wrong usage, told in a line."""
    for name, value in {"_LIVEROUTER_COMPLETE": f"{shell}_complete", **typed}.items():
        monkeypatch.setenv(name, value)
    assert run(["show"]) == 2
    assert capsys.readouterr().err.count("_LIVEROUTER_COMPLETE is for shells") == 1
