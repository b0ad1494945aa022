"""litellm's list of models is read entry by entry, and says the same however it is written."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.revision import Rows
from liverouter.routing import model_map
from tests.kit.deployments import deployment
from tests.unit.test_profile import CLAUDE, GPT

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.mark.parametrize(
    ("day", "said"),
    [("2027-01-01", None), ("2027-01-02", "will be"), ("2027-01-31", "will be"), ("2027-02-01", "was")],
)
def test_the_end_of_a_model_is_told_a_month_ahead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, day: str, said: str | None
) -> None:
    """Where it stands, as a warning: it serves on."""
    entry = {"litellm_provider": "openai", "mode": "chat", "deprecation_date": "2027-02-01"}
    rows = {"llm_provider": "openai", "llm_model": "gpt-4o"}
    raw = Rows("e", 1, "c", datetime(2026, 1, 1, tzinfo=UTC), 0.0, rows, {})
    environment = Environment({"OPENAI_API_KEY": "sk-one"})
    with _listed(monkeypatch, tmp_path, json.dumps({"gpt-4o": entry})):
        found = validate(raw, environment=environment, keyring=None, today=date.fromisoformat(day))
    told = [(p.code, p.where, p.severity, p.message) for p in found.problems]
    message = f"openai/gpt-4o {said} retired on 2027-02-01, as litellm's list says"
    assert told == ([("LR326", "settings.llm_model", "warning", message)] if said else [])
    assert found.snapshot is not None


def _info(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, model: tuple[str, str]) -> Any:
    """Return what the list *text* has of *model*."""
    with _listed(monkeypatch, folder, text):
        return model_map.model_info(deployment(*model))


@contextlib.contextmanager
def _listed(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> Iterator[None]:
    """Have *text* be litellm's list inside the block; no entry is remembered before or after."""
    (folder / "list.json").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(model_map, "_FILE", str(folder / "list.json"))
        model_map._entry.cache_clear()  # noqa: SLF001 - a process has one list
        try:
            yield
        finally:
            model_map._entry.cache_clear()  # noqa: SLF001
