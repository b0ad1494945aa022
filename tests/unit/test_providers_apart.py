"""What is one provider's stands in its file: the core compares no provider's name and knows none of its settings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import liverouter
from liverouter.providers import ALIASES, PROVIDERS, REJECTED

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(liverouter.__file__).parent
ELSEWHERE: Final = ("providers", "testing", "daemon/page")  # a provider's own file, and the stand-ins that speak for it
NAMES: Final = frozenset(
    {
        *PROVIDERS,
        *ALIASES,
        *REJECTED,
        *(spec.litellm_provider for spec in PROVIDERS.values()),
        *(field.name for spec in PROVIDERS.values() for field in spec.fields),
    }
    - {"litellm", "litellm_params"}  # an engine as well, and its own word
)
VARIABLES: Final = frozenset(field.name.upper() for spec in PROVIDERS.values() for field in spec.fields)
EXAMPLES: Final = re.compile(  # in hints, which show how a row or an edit is written
    r"\{\"provider\": \"openai\", \"model\": \"gpt-5\.4\"\}|\{\"secrets\": \{\"openai_api_key\": \"…\"\}\}"
)
ALLOWED: Final = {  # a module, or a folder -> what may be named there, and why
    "config": {"anthropic"},  # the hint where no provider is set shows one
    "demo": {"anthropic", "anthropic_api_base", "openai", "openai_api_base"},  # its story is told with two of them
}
WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
HEAVY: Final = ("anthropic", "cryptography", "google", "httpx", "langchain_core", "litellm", "openai", "pydantic")


def modules() -> list[Path]:
    """Return the modules that know of providers only what their specs say."""
    found = [path for path in ROOT.rglob("*.py") if not path.relative_to(ROOT).as_posix().startswith(ELSEWHERE)]
    assert len(found) > 50
    return sorted(found)


def allowed(path: Path) -> set[str]:
    """Return the names that the module at *path* may have in its texts."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return {name for part, names in ALLOWED.items() if any(p.startswith(part) for p in parts) for name in names}


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the texts of a module that are no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    docs = {id(node.body[0].value) for node in nodes if node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def named(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each provider, or setting of one, in the texts of *source*."""
    for text in texts(ast.parse(source)):
        if str(text.value).startswith("litellm."):  # where litellm keeps a thing
            continue
        for word in WORD.findall(EXAMPLES.sub("", str(text.value))):
            if word in NAMES or word in VARIABLES:
                yield text.lineno, word


def test_core_names_no_provider() -> None:
    """No `provider == "…"`, no `settings["…"]`, no table by provider: the spec has a hook for it, or gets one."""
    found = [
        (path.relative_to(ROOT).as_posix(), line, word)
        for path in modules()
        for line, word in named(path.read_text(encoding="utf-8"))
        if word not in allowed(path)
    ]
    assert found == [], "say it in liverouter/providers/"


@pytest.mark.parametrize(
    "source",
    [
        'if deployment.provider == "azure-openai": ...',
        'settings.get("azure_openai_base_model")',
        'os.environ["SNOWFLAKE_TOKEN"]',
        'prefix = ("vertex_ai/", "snowflake/")',
        'f"the {name} of vertex-ai"',
        'match name:\n    case "gemini": ...',
    ],
)
def test_name_is_found_wherever_it_stands(source: str) -> None:
    """The search is able to fail."""
    assert list(named(source))


def test_docstrings_and_examples_may_name_one() -> None:
    """What people read names providers, and that is all it does."""
    document, hint = '"""As for openai."""', '\'Write {"provider": "openai", "model": "gpt-5.4"}, or null\''
    source = f"{document}\nHINT = {hint}"
    assert list(named(source)) == []


def test_specs_load_nothing_heavy() -> None:
    """Validation and the command line read the specs; a provider's library is loaded when a model of it is made."""
    script = "import sys, liverouter.providers; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert set(run.stdout.split()).isdisjoint(HEAVY)
