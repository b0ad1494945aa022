"""litellm's list of models is read entry by entry, and says the same however it is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.routing import model_map
from tests.unit.test_profile import CLAUDE, GPT, deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"gpt-4o": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 7}}),
        json.dumps({"x": {"gpt-4o": {}}, "gpt-4o": {"litellm_provider": "openai", "max_input_tokens": 7}}, indent=4),
        json.dumps({"openai/gpt-4o": {"litellm_provider": "openai", "max_input_tokens": 7}}, indent=2),
    ],
)
def test_an_entry_is_found_in_any_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Today it is indented by four; by another layout all of it is parsed."""
    info = _info(monkeypatch, tmp_path, text, GPT)
    assert info is not None
    assert info["max_input_tokens"] == 7
    assert _info(monkeypatch, tmp_path, text, CLAUDE) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{\n    "gpt-4o": {"litellm_provider"', '{\n    "gpt-4o": 1\n}'])
def test_a_list_that_cannot_be_read_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """And nothing is raised."""
    assert _info(monkeypatch, tmp_path, text, GPT) is None


def _info(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, model: tuple[str, str]) -> Any:
    """Return what the list *text* has of *model*; no entry is remembered before or after."""
    (folder / "list.json").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(model_map, "_FILE", str(folder / "list.json"))
        model_map._entry.cache_clear()  # noqa: SLF001 - a process has one list
        try:
            return model_map.model_info(deployment(*model))
        finally:
            model_map._entry.cache_clear()  # noqa: SLF001
