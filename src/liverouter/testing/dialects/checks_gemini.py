"""What Gemini's generateContent refuses: names that it does not know, values of the wrong type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from liverouter.testing.standin.checks import unknown_keys
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import JsonObject, RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

# fields of the public API reference; the API takes each in camel case and in snake case, and no others
REQUEST = frozenset(
    {
        "cachedContent",
        "contents",
        "generationConfig",
        "labels",
        "modelArmorConfig",
        "safetySettings",
        "serviceTier",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
GENERATION = frozenset(
    {
        "audioTimestamp",
        "candidateCount",
        "enableAffectiveDialog",
        "frequencyPenalty",
        "imageConfig",
        "logprobs",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseFormat",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "routingConfig",
        "seed",
        "speechConfig",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    }
)
_SNAKE = re.compile(r"_([a-z])")


def camel(fields: Mapping[str, Any]) -> JsonObject:
    """Return *fields* under camel-case names; null is a field that was left out."""
    return {
        _SNAKE.sub(lambda found: found[1].upper(), name): value for name, value in fields.items() if value is not None
    }


def invalid(message: str) -> RejectedError:
    """Return the refusal of a request, as 400."""
    return RejectedError(Failure.BAD_REQUEST, message)


def wrong_value(where: str) -> RejectedError:
    """Return the refusal of the value at *where*."""
    return invalid(f"Invalid value at '{where}'.")


def object_at(value: object, where: str) -> JsonObject:
    """Return the object at *where*, an empty one where it was left out.

    Raises:
        RejectedError: it is no object.
    """
    if not isinstance(value, dict | None):
        raise wrong_value(where)
    return value or {}


def message_at(value: object, where: str) -> JsonObject:
    """Return the fields of the object at *where* under camel-case names; raises as `object_at` does."""
    return camel(object_at(value, where))


def list_at(value: object, where: str) -> list[Any]:
    """Return the list at *where*; as Google reads JSON, a lone object stands for a list of one."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list | None):
        raise wrong_value(where)
    return value or []


def known_fields(fields: object, known: frozenset[str], where: str) -> JsonObject:
    """Return the fields of the object at *where*, as `message_at` does; raise for a name that is not *known*."""
    named = message_at(fields, where)
    for name in unknown_keys(named, known):
        place = f" at '{where}'" if where else ""
        raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.')
    return named
