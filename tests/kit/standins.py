"""The handle over stand-ins: rows in memory, everything behind them real."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing import MemoryRouter, service_account_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from langchain_core.messages import BaseMessage

    from liverouter.chat.model import LiveChatModel
    from liverouter.testing import StandIn

KEY: Final = "sk-test-0123456789abcdef"
MODELS: Final[Mapping[str, str]] = {
    "anthropic": "claude-sonnet-4-6",
    "azure-openai": "gpt-4o",
    "openai": "gpt-4o",
    "snowflake-cortex": "llama3.1-70b",
    "vertex-ai": "gemini-2.5-flash",
}


def settings(standin: StandIn) -> dict[str, Any]:
    """Return the rows that send *standin*'s provider to it."""
    match standin.provider:
        case "azure-openai":
            return {"azure_openai_endpoint": standin.api_base}
        case "vertex-ai":
            return {"vertex_ai_api_base": standin.api_base, "vertex_ai_project_id": "project"}
        case "snowflake-cortex":
            return {"snowflake_api_base": standin.api_base}
        case name:
            return {f"{name}_api_base": standin.api_base}


def secrets(standin: StandIn) -> dict[str, str]:
    """Return the secrets that *standin*'s provider needs, and no other provider has."""
    key = f"{KEY}-{standin.provider}"
    match standin.provider:
        case "azure-openai":
            return {"azure_openai_api_key": key}
        case "vertex-ai":
            return {"vertex_ai_credentials": service_account_json(standin.base_url)}
        case "snowflake-cortex":
            return {"snowflake_token": key}
        case name:
            return {f"{name}_api_key": key}


def primary(standin: StandIn, model: str | None = None) -> dict[str, Any]:
    """Return the rows that make *standin* the primary."""
    return {"llm_provider": standin.provider, "llm_model": model or MODELS[standin.provider], **settings(standin)}


def fallback(standin: StandIn, model: str | None = None, **members: Any) -> dict[str, Any]:
    """Return an entry of `llm_fallback_config` for *standin*."""
    return {"provider": standin.provider, "model": model or MODELS[standin.provider], **settings(standin), **members}


def live(first: StandIn, *others: StandIn, model: str | None = None, **rows: Any) -> MemoryRouter:
    """Return a client whose primary is *first* and whose fallbacks are *others*; enter it."""
    everything = {
        **primary(first, model),
        "llm_fallback_config": [fallback(other) for other in others] or None,
        "litellm_timeout": 5,
        **rows,
    }
    held: dict[str, str] = {}
    for standin in (first, *others):
        held |= secrets(standin)
    return MemoryRouter(everything, secrets=held)


def served(message: BaseMessage) -> dict[str, Any]:
    """Return who served *message*."""
    found: dict[str, Any] = message.response_metadata["liverouter"]
    return found


def run(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine on a loop of its own, as a caller's script does."""
    return asyncio.run(make())


async def collect(model: LiveChatModel, text: str = "hi", **kwargs: Any) -> BaseMessage:
    """Stream an answer and return its chunks merged."""
    whole: Any = None
    async for chunk in model.astream(text, **kwargs):
        whole = chunk if whole is None else whole + chunk
    merged: BaseMessage = whole
    return merged


def bodies(standin: StandIn) -> list[dict[str, Any]]:
    """Return the JSON bodies that *standin* was sent, oldest first."""
    return [request.body for request in standin.requests if request.body is not None]
