"""How many tokens a history has, whatever stands in it: what calls accept can be counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import convert_to_openai_messages
from langchain_core.messages.utils import count_tokens_approximately

from liverouter.routing.token_counts import count_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from liverouter.revision import Deployment

_COUNTED: Final = frozenset({"text", "image_url", "image", "tool_use"})  # blocks that litellm's counter knows
_DATA: Final = frozenset({"base64", "data", "file_data"})  # no words
_UNREAD: Final = frozenset({"type", "signature", "encrypted_content"})
_A_FILE: Final = 256  # tokens that a file, a recording or a film counts for, as an image does


def tokens_of_text(deployment: Deployment, text: str) -> int:
    """Return the tokens of *text* by the tokenizer of *deployment*'s model, or an estimate; fetches nothing."""
    if not text:
        return 0  # for which the estimate has one
    counted = count_tokens(deployment, text=text)
    return count_tokens_approximately([text], extra_tokens_per_message=0) if counted is None else counted


def tokens_of_messages(
    deployment: Deployment, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] | None
) -> int:
    """Return the tokens of *messages* and *tools*, in OpenAI's format, as `tokens_of_text` counts them."""
    counted = None
    readable = [_readable(message) for message in messages]
    if readable:
        counted = count_tokens(deployment, messages=convert_to_openai_messages(readable), tools=tools)
    if counted is not None:
        return counted
    return count_tokens_approximately(readable, tools=[*tools] if tools else None)


def _readable(message: BaseMessage) -> BaseMessage:
    """Return *message* with each block that no counter knows as a text of its words."""
    if not isinstance(message.content, list):
        return message
    blocks = [block if _is_counted(block) else {"type": "text", "text": _words(block)} for block in message.content]
    return message.model_copy(update={"content": blocks})


def _is_counted(block: Any) -> bool:
    return isinstance(block, str) or block.get("type") in _COUNTED


def _words(value: Any) -> str:
    """Return the words in *value*; what is data counts as `_A_FILE` tokens of one word each."""
    if isinstance(value, dict):
        data = frozenset() if value.get("type") == "text" else _DATA  # a document of Anthropic's may be a text
        words = ["x " * _A_FILE if name in data else _words(value[name]) for name in value if name not in _UNREAD]
        return " ".join(filter(None, words))
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(_words, value)))
    return value if isinstance(value, str) else json.dumps(value, default=str)
