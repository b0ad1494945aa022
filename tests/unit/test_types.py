"""What a type checker reads of us when it checks code that uses us: nothing of the providers' libraries.

litellm's, OpenAI's and Anthropic's are some thousand modules each, which take mypy minutes.
"""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAVY: Final = {
    *("anthropic", "litellm", "openai"),
    *("langchain_anthropic", "langchain_google_genai", "langchain_litellm", "langchain_openai"),
}
SOURCE: Final = ROOT / "src"


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, None where there is none."""
    path = SOURCE.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a checker follows from *tree*: of ``if TYPE_CHECKING`` the first branch alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from imports(ast.Module(node.body, []))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


@functools.cache
def imported(file: Path) -> frozenset[str]:
    """Return the modules that a checker follows from *file*."""
    return frozenset(imports(ast.parse(file.read_text(encoding="utf-8"))))


def reached(start: str) -> dict[str, str]:
    """Return every module that a checker comes to from *start*, and whose import leads there."""
    found, waiting = {start: ""}, [start]
    while waiting:
        name = waiting.pop()
        file = file_of(name) or file_of(name.rpartition(".")[0])
        if not name.startswith("liverouter") or file is None:
            continue
        for other in imported(file):
            if other not in found:
                found[other] = name
                waiting.append(other)
    return found


@pytest.mark.parametrize("start", ["liverouter", "liverouter.events", "liverouter.testing"])
def test_checkers_are_spared_the_libraries_of_providers(start: str) -> None:
    """Whatever is imported from there, lazily or not."""
    found = reached(start)
    assert {module: by for module, by in found.items() if module.partition(".")[0] in HEAVY} == {}
    assert "liverouter.errors" in {module.rpartition(".")[0] for module in found}
