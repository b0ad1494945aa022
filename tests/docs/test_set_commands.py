"""What the documentation tells people to set is taken."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest

from liverouter.cli.assignments import parse_assignments, secret_problem
from liverouter.errors import ConfigError

ROOT: Final = Path(__file__).parents[2]
_COMMAND: Final = re.compile(r"liverouter set ((?:[^`\n\\]|\\\n)+)")
_ENDS: Final = re.compile(r"[<|]|or|.*[;,]")  # words of the sentence, or of the shell's line, that it stands in
_FOR_EXAMPLE: Final = re.compile("…|NAME|KEY=|VALUE")
_WRONG: Final = {"llm_provider=opnai"}  # told as what is refused


def commands() -> list[list[str]]:
    """Return the arguments of each `liverouter set` that stands whole somewhere."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    told = [text.replace("\\\n", " ") for page in pages for text in _COMMAND.findall(page.read_text(encoding="utf-8"))]
    whole = [shlex.split(text, comments=True) for text in told if text.count("'") % 2 == 0]
    found = [list(takewhile(lambda word: not _ENDS.fullmatch(word), words)) for words in whole]
    return [words for words in found if words and not _FOR_EXAMPLE.search(" ".join(words))]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_what_people_are_told_to_set_is_taken(arguments: list[str]) -> None:
    """By name and value; a secret by its name."""
    secrets = [arguments[index + 1] for index, part in enumerate(arguments[:-1]) if part == "--secret"]
    assert [problem for name in secrets if (problem := secret_problem(name))] == []
    pairs = [part for part in arguments if "=" in part and not part.startswith("-") and part not in _WRONG]
    try:
        parse_assignments(pairs)
    except ConfigError as error:
        pytest.fail(str(error))


def test_there_are_commands() -> None:
    """Else nothing is looked at."""
    assert len(commands()) > 30
