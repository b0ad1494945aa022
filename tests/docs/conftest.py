"""What examples run against: a configured database and one provider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from liverouter import default
from liverouter.testing import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts use the native engine: litellm's import would cost each of them seconds."""
    monkeypatch.setenv("LITELLM_ENABLE", "false")


@pytest.fixture
def provider(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A configured database, named by the environment, and its only provider."""
    with StandIn("openai") as standin:
        rows = {"llm_provider": "openai", "llm_model": "gpt-5.4", "openai_api_base": standin.base_url}
        with psycopg.connect(dsn) as connection:
            for key, value in rows.items():
                connection.execute("INSERT INTO liverouter.settings VALUES (%s, %s)", (key, json.dumps(value)))
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("LIVEROUTER_READY_TIMEOUT_S", "120")  # litellm is imported, on a busy machine
        monkeypatch.setattr(default, "_client", None)
        monkeypatch.setattr(default, "_model", None)
        monkeypatch.setattr(default, "_named", {})
        yield standin
        if default._client is not None:  # noqa: SLF001 - the one place that holds it
            default._client.close()  # noqa: SLF001
