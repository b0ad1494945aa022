"""litellm changes weekly: only public names of it are used, none is subclassed, what is changed is in one file."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[2] / "src" / "liverouter"
PATCHES: Final = SOURCE / "routing" / "litellm_patches.py"


def faults(tree: ast.Module) -> list[str]:
    """Return what *tree* uses of litellm, or makes of it, that it may not."""
    names: set[str] = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_litellms(node.module):
            names |= {alias.asname or alias.name for alias in node.names}
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [f"import of {part}" for part in parts if part.startswith("_")]
        elif isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names if _is_litellms(alias.name)}
            found += [f"import of {a.name}" for a in node.names if _is_litellms(a.name) and "._" in a.name]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found += [f"class {node.name}" for base in node.bases if _root(base) in names]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and _root(node) in names:
            found.append(f"name {node.attr}")
    return found


def _is_litellms(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "litellm"


def _root(node: ast.expr) -> str:
    """Return the name that a dotted expression begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    "text",
    [
        "from litellm import Router\nclass Mine(Router): ...",
        "import litellm\nclass Mine(litellm.Router): ...",
        "import litellm\nlitellm.Router._acompletion",
        "from litellm._logging import verbose_logger",
        "from litellm.utils import _is_private",
    ],
)
def test_fault_is_found(text: str) -> None:
    """Each way that broke with a newer litellm."""
    assert faults(ast.parse(text))


def test_public_names_alone() -> None:
    """But for the file of patches, each of which has its reason there."""
    paths = [path for path in SOURCE.rglob("*.py") if path != PATCHES]
    assert len(paths) > 50
    found = {path.name: faults(ast.parse(path.read_text(encoding="utf-8"))) for path in paths}
    assert {name: told for name, told in found.items() if told} == {}
