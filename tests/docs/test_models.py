"""What people copy names models that the installed list knows, and that it says no end of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from liverouter.config.kinds import HINTS
from liverouter.config.settings import MODEL_HINT
from liverouter.providers import PROVIDERS
from liverouter.routing.model_map import model_info, retired_on
from tests.kit import pages
from tests.kit.deployments import deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES: Final = {"gpt": "openai", "claude": "anthropic", "gemini": "vertex-ai"}
MODEL: Final = re.compile(rf"\b(?:{'|'.join(FAMILIES)})-\d?[a-z]*[-.0-9a-z]*[0-9a-z]")
BLOCK: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE: Final = ("src/liverouter/cli", "src/liverouter/demo", "src/liverouter/testing/memory.py", "examples")


def texts() -> Iterator[str]:
    """Yield the blocks of every page, and what commands, demo, examples and hints say."""
    yield from BLOCK.findall(pages.text())
    for place in CODE:
        path = pages.ROOT / place
        for file in (path,) if path.is_file() else sorted(path.glob("*.*")):
            yield file.read_text(encoding="utf-8")
    yield from (*HINTS.values(), MODEL_HINT)


NAMED: Final = sorted({(FAMILIES[found.split("-")[0]], found) for text in texts() for found in MODEL.findall(text)})
BASES: Final = [field.example for field in PROVIDERS["azure-openai"].fields if field.alias == "base_model"]


@pytest.mark.parametrize(("provider", "model"), [*NAMED, *(("azure-openai", name) for name in BASES)])
def test_model_that_people_copy_has_no_end(provider: str, model: str) -> None:
    """By litellm's list as it is locked: whoever updates the lock names another one where this one is to end."""
    named = deployment(provider, model)
    assert model_info(named) is not None
    assert retired_on(named) is None


def test_models_are_found() -> None:
    """Of at least two providers, wherever people look first."""
    assert {provider for provider, _ in NAMED} >= {"openai", "anthropic"}
    assert len(NAMED) >= 5
    assert BASES
