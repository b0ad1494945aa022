"""What Snowflake's chat completions refuse beyond what OpenAI's do: they speak for the models of many makers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from liverouter.testing.dialects.checks_openai_parameters import invalid
from liverouter.testing.standin.checks import objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from liverouter.testing.standin.wire import JsonObject

_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_history(messages: Sequence[JsonObject], *, model: str) -> None:
    """Raise for a list where a text would do, an empty answer, odd ids, and a last answer, which none completes."""
    for at, message in enumerate(messages):
        where, content = f"messages[{at}]", message.get("content")
        parts = objects(content)
        if parts and all(part.get("type") == "text" for part in parts) and "claude" not in model:
            raise invalid(f"{where}.content: expected a string", f"{where}.content")
        if message["role"] == "assistant" and not content and not message.get("tool_calls"):
            raise invalid(f"{where}: the content of an assistant message is empty", f"{where}.content")
        for call in objects(message.get("tool_calls")):
            if not _ID.fullmatch(str(call.get("id"))):
                raise invalid(f"{where}.tool_calls: an id has characters other than [a-zA-Z0-9_-]", where)
    if messages[-1]["role"] == "assistant":
        raise invalid("messages: the last message must be of the user or of a tool", "messages")
