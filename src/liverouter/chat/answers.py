"""An answer as the caller gets it: plain data only, naming the model that served and what that cost."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from langchain_core.exceptions import ModelAPIError
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import add_usage, subtract_usage
from langchain_core.messages.tool import tool_call

from liverouter.routing.attempt import finish_of
from liverouter.routing.model_map import cost_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from liverouter.call import Call

KEY: Final = "liverouter"  # of response_metadata
# Members of response_metadata and generation_info that are short texts; what a provider puts there may be anything.
_NAMES: Final = frozenset(
    {"model", "model_name", "id", "finish_reason", "stop_reason", "stop_sequence", "system_fingerprint", "service_tier"}
)
_LONGEST_NAME: Final = 200  # characters
_ENDS: Final = {  # how providers say why an answer ended, in the words of OpenAI, which litellm speaks too
    "completed": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "safety": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "recitation": "content_filter",
    "image_safety": "content_filter",
}
_PLAIN: Final = (str, int, float, bool, type(None))  # not written as a union, which would be made for each piece
_AN_HOUR: Final = "ephemeral_1h_input_tokens"
# Blocks that say what `tool_calls` does.
_IN_TOOL_CALLS: Final = frozenset({"function_call", "input_json_delta", "tool_use"})


def note(call: Call, chunk: ChatGenerationChunk) -> None:
    """Clean one chunk of a stream, in place, and note in *call* what it says of tokens and cost."""
    message = chunk.message
    _clean(call, message)
    chunk.generation_info = _plain_metadata(chunk.generation_info) if chunk.generation_info else None
    reason = finish_of(chunk)
    if reason and call.has_ended:  # some gateways say it twice, and LangChain would join the two words
        message.response_metadata, chunk.generation_info, reason = {}, None, ""
    call.has_ended = call.has_ended or bool(reason)
    _align(call, message, reason)
    if getattr(message, "usage_metadata", None) is not None:
        _count(call, message)


def finish(call: Call, result: ChatResult) -> None:
    """Clean a whole answer and sign it, in place.

    Raises:
        ModelAPIError: there is no message in it.
    """
    if not result.generations:
        raise ModelAPIError("the provider's answer has no message")
    for generation in result.generations:
        message = generation.message
        _clean(call, message)
        _read_empty_arguments(message)
        call.tokens = getattr(message, "usage_metadata", None)  # each message has the tokens of the whole answer
    price(call)
    for generation in result.generations:
        _align(call, generation.message, finish_of(generation))
        generation.message.response_metadata |= signature(call)
    if result.llm_output:
        result.llm_output = _plain_metadata(result.llm_output)
        if not call.is_structured:
            result.llm_output.pop("model_provider", None)  # as in `_align`: LangChain joins it with the message's


def price(call: Call) -> None:
    """Note what *call* cost, in US dollars, by litellm's price list; nothing where a cache answered."""
    call.cost_usd = 0.0 if call.is_cached else _cost_usd(call)


def _cost_usd(call: Call) -> float | None:
    """Return what *call* cost; None where prompts of both lives were written, and nobody says how much of each."""
    tokens: Any = call.tokens
    details = (tokens or {}).get("input_token_details") or {}
    if "1h" in call.cache_ttls and details.get("cache_creation") and _AN_HOUR not in details:
        if len(call.cache_ttls) > 1:
            return None
        tokens = {**tokens, "input_token_details": {**details, _AN_HOUR: details["cache_creation"]}}
    return cost_usd(call.served, tokens)


def signature(call: Call) -> dict[str, Any]:
    """Return what the last message of *call* carries in `response_metadata`."""
    snapshot, served = call.generation.snapshot, call.served
    return {
        KEY: {
            "provider": served.provider,
            "model": served.model,
            "deployment_id": served.id,
            "role": served.role,
            "revision": snapshot.revision,
            "failed_over": call.failed_over,
            "attempts": max(call.attempts, 1),
            "cost_usd": call.cost_usd,
            "name": call.generation.name,
            "engine": "native" if call.generation.is_native else "litellm",
        }
    }


def _clean(call: Call, message: BaseMessage) -> None:
    """Leave nothing of litellm's in *message*, and name the model that served in place of the group."""
    extra, metadata = message.additional_kwargs, message.response_metadata
    if (usage := getattr(message, "usage_metadata", None)) is not None:
        figures = _figures(usage)
        is_known = figures["input_tokens"] or figures["output_tokens"]  # litellm has 0 where a provider says nothing
        message.usage_metadata = figures if is_known else None  # type: ignore[attr-defined]  # an answer is an AIMessage
    if extra:
        if isinstance(message, AIMessage):
            extra.pop("tool_calls", None)  # the provider library's own objects; `.tool_calls` has the data
        for name, value in extra.items():
            extra[name] = _plain(value)
    if metadata:
        if not call.generation.is_native:
            metadata.pop("model_id", None)
            metadata.pop("response_cost", None)
            if "model_name" in metadata:
                metadata["model_name"] = call.served.model
        if (plain := _plain_metadata(metadata)) != metadata:  # pydantic takes its time over an assignment
            message.response_metadata = plain


def _read_empty_arguments(message: BaseMessage) -> None:
    """Have a call of a tool without arguments be a call, in place: LangChain's model for litellm wants JSON there."""
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        empty = [call for call in message.invalid_tool_calls if not (call["args"] or "").strip()]
        message.tool_calls += [tool_call(name=call["name"] or "", args={}, id=call["id"]) for call in empty]
        message.invalid_tool_calls = [call for call in message.invalid_tool_calls if call not in empty]


def _figures(usage: Mapping[str, Any]) -> Any:
    """Return *usage*, counts of tokens, with 0 for each that is none: providers may say anything."""
    return {
        name: _figures(value) if isinstance(value, dict) else value if type(value) is int else 0
        for name, value in usage.items()
    }


def _count(call: Call, message: Any) -> None:
    """Note in *call* the tokens that *message*, a piece of a stream, tells of.

    LangChain adds up what pieces tell. Where one tells the total so far, as some servers of OpenAI's API do each time,
    it is left with what came on top, in place.
    """
    known, usage = call.tokens, message.usage_metadata
    if known is None:
        call.tokens = usage
    elif all(usage[name] >= known[name] for name in ("input_tokens", "output_tokens")):
        call.tokens, message.usage_metadata = usage, subtract_usage(usage, known)
    else:
        call.tokens = add_usage(known, usage)


def _plain_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return *metadata* as plain data; of the members in `_NAMES` only texts and None, texts cut to 200 characters.

    LangChain joins the metadata of chunks, which fails where two values of one name have different types.
    """
    plain: dict[str, Any] = {}
    for name, value in metadata.items():
        if name not in _NAMES:
            plain[name] = _plain(value)
        elif value is None or isinstance(value, str):
            plain[name] = value and value[:_LONGEST_NAME]
    return plain


def _plain(value: Any) -> Any:
    """Return *value* with each pydantic object of a provider's library as a dict."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if dump is not None else value


def _align(call: Call, message: BaseMessage, reason: str) -> None:
    """Give *message*, or a piece of one, the shape that it has in both engines, in place.

    Text is a str, unless there is more in the content than text and tool calls: reasoning, citations, images.
    `response_metadata["finish_reason"]` says the *reason* of the end, unless that is "", in OpenAI's words.
    `usage_metadata` has the details of input and output tokens, {} where nothing is known of them.
    """
    content = message.content
    if isinstance(message, AIMessage):
        pieces: Any = getattr(message, "tool_call_chunks", None) or message.tool_calls
        if pieces:
            call.calls_tools = True
            _with_ids(call, pieces, message)
        if (usage := message.usage_metadata) is not None:
            usage.setdefault("input_token_details", {})
            usage.setdefault("output_token_details", {})
    if isinstance(content, list) and not call.is_structured:
        if all(_is_simple(block) for block in content):
            message.content = "".join(block if isinstance(block, str) else block.get("text", "") for block in content)
        else:
            call.is_structured = True
    if not call.is_structured:
        # It names the blocks of a content, and there are none; LangChain would read tool calls by it.
        message.response_metadata.pop("model_provider", None)
    if reason:
        word = _ENDS.get(reason.lower(), reason.lower())
        message.response_metadata["finish_reason"] = "tool_calls" if word == "stop" and call.calls_tools else word


def _with_ids(call: Call, pieces: Any, message: AIMessage) -> None:
    """Give each call of a tool among *pieces* of *message* an id, in place, where the server sends none, as some do.

    A result says by it which call it is of. A call has one id: LangChain makes two calls of pieces with two. So there
    is none for a name that comes after the server's id, and the server's goes where it comes after the name.
    """
    for piece in pieces:
        place, name, identifier = piece.get("index"), piece["name"], piece["id"]
        if name and not identifier and place not in call.nameless:
            piece["id"] = f"call_{uuid.uuid4().hex}"
            call.tool_ids[place] = None
            for same in message.tool_calls:
                if same["name"] == name and not same["id"]:
                    same["id"] = piece["id"]
                    break
        elif place is None:
            continue  # a call of its own
        elif name:
            call.tool_ids[place] = call.nameless.pop(place, None) or identifier
        elif identifier and call.tool_ids.get(place, identifier) is None:
            piece["id"] = None
        elif identifier and call.tool_ids.get(place) != identifier:
            call.nameless[place] = identifier


def _is_simple(block: Any) -> bool:
    """Tell whether *block* of a content is nothing but text, or part of a tool call."""
    if isinstance(block, str):
        return True
    kind = block.get("type")
    return kind in _IN_TOOL_CALLS or (
        kind == "text" and not block.get("citations") and not block.get("annotations") and "extras" not in block
    )
