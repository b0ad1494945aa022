"""A stand-in answers every JSON object: a value of the wrong type is a 400, as at its provider."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from liverouter.testing import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WAIT_S: Final = 60.0  # for an answer, however busy the machine is
_SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
_CHAT: Final = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": _SCHEMA}},
    "stop": ["end"],
    "n": 1,
    "max_tokens": 5,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_MESSAGES: Final = {
    "model": "m",
    "max_tokens": 9000,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "standin-signature-1"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}]},
    ],
    "system": [{"type": "text", "text": "s"}],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "stop_sequences": ["end"],
    "temperature": 1,
    "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
}
_GENERATE: Final = {
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": ""}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"content": "done"}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "stopSequences": ["end"],
        "candidateCount": 1,
        "maxOutputTokens": 9,
        "responseMimeType": "application/json",
        "responseSchema": _SCHEMA,
        "thinkingConfig": {"includeThoughts": True},
    },
}
_REQUESTS: Final[Mapping[str, tuple[str, dict[str, str], dict[str, Any]]]] = {  # by provider: path, headers, body
    "openai": ("/v1/chat/completions", {}, _CHAT),
    "anthropic": ("/v1/messages", {"anthropic-version": "2023-06-01"}, _MESSAGES),
    "vertex-ai": ("/v1/projects/p/locations/l/publishers/google/models/m:generateContent", {}, _GENERATE),
}
_ODD: Final[tuple[Any, ...]] = (None, True, -1, "x", [], [1], {"x": 1}, {"type": []})


def _places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of everything inside *value*, except inside a JSON schema."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*place, key)
        if item is not _SCHEMA:
            yield from _places(item, (*place, key))


def _with(body: dict[str, Any], place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return *body* with *value* at *place*."""
    changed: Any = copy.deepcopy(body)
    inside = changed
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    return dict(changed)


@pytest.mark.parametrize("provider", _REQUESTS)
def test_whatever_stands_in_a_request_is_taken_or_refused_in_good_order(provider: str) -> None:
    """Every value of a request replaced by half of the odd ones: 200 or 400, and the connection stays open."""
    path, headers, body = _REQUESTS[provider]
    headers = {"authorization": "Bearer standin-key", **headers}
    kept = httpx.Limits(keepalive_expiry=None)  # however long a pause between two requests is
    with (
        StandIn(provider, keep=1) as standin,
        httpx.Client(base_url=standin.base_url, timeout=WAIT_S, limits=kept) as client,
    ):
        assert client.post(path, headers=headers, json=body).status_code == 200
        for number, place in enumerate(_places(body)):
            for value in _ODD[number % 2 :: 2]:
                answer = client.post(path, headers=headers, json=_with(body, place, value))
                assert answer.status_code in {200, 400}, (place, value, answer.text)
        assert standin.accepted == 1
