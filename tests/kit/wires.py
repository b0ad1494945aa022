"""Bare litellm, asking a stand-in: the measure of its wire format."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from liverouter.testing import StandIn
    from tests.kit.dialects import Dialect

PATIENCE_S = 60.0  # for an answer that comes, however busy the machine is
# litellm's own: its types, which pydantic reads when the first chunk is made, and how it looks for empty chunks
LITELLM_WARNINGS = (
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class .* `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
)
# google-genai's own: how it makes its HTTP client, and a coroutine that it leaves unawaited when it raises
NATIVE_WARNINGS = (
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:RuntimeWarning"),
)
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def user(text: str) -> list[dict[str, Any]]:
    """Return a history of one user turn."""
    return [{"role": "user", "content": text}]


async def complete(wire: Dialect, standin: StandIn, **request: Any) -> Any:
    """Ask through bare litellm, one attempt, and return a stream as its chunks."""
    import litellm

    asked = {
        "timeout": PATIENCE_S,
        "num_retries": 0,
        "max_retries": 0,
        "messages": user("hi"),
        **wire.litellm_params(standin),
    }
    answer = await litellm.acompletion(**{**asked, **request})
    return [chunk async for chunk in answer] if request.get("stream") else answer


def text_of(chunks: list[Any]) -> list[str]:
    """Return the pieces of text in a stream."""
    texts = (chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    return [text for text in texts if text]


async def close_clients() -> None:
    """Close the clients that litellm keeps for this event loop, and forget them.

    The client of Gemini's streams is kept for the whole process, with the timeout that was in force when it was made.
    """
    litellm = sys.modules["litellm"]
    cache = litellm.in_memory_llm_clients_cache
    kept, of_this_loop = cache.cache_dict, cache.update_cache_key_with_event_loop("")
    for key in [key for key in kept if key.endswith(of_this_loop)]:
        await kept.pop(key).close()
    vars(litellm).pop("module_level_aclient", None)  # made anew when it is next asked for
