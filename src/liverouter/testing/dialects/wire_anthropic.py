"""The body format of Anthropic's messages, which Vertex and Snowflake speak too."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from liverouter.testing.standin.answers import argument_pieces, pieces
from liverouter.testing.standin.checks import objects, text_of, tokens_of, unknown_keys
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import (
    Answer,
    Ask,
    Finish,
    Frames,
    HttpReply,
    JsonObject,
    RejectedError,
    Tool,
    ToolChoice,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LATEST = "2026-10-21"  # the API version that the official SDKs send; litellm sends 2023-06-01
VERSIONS = ("2023-01-01", "2023-06-01", LATEST)
SIGNATURE = "standin-signature-"  # begins the signature of every thinking block given; others are refused

_FINISH: Mapping[Finish, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}
_KNOWN = frozenset(  # the body parameters of the public API reference, betas included
    {
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_BLOCKS: Mapping[str, frozenset[str]] = {  # content blocks whose keys are checked; the API takes no others
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "cache_control", "citations", "context", "title"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_REMOVED = frozenset({"temperature", "top_k", "top_p"})  # by the latest version, with any value
_MIN_BUDGET = 1024  # tokens; the least that thinking takes


def event(data: JsonObject) -> bytes:
    """Return a server-sent event named by its type."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


class Messages(Wire):
    """The body format of `/v1/messages`."""

    splits_arguments = True
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(
        self,
        *,
        more_parameters: Iterable[str] = (),
        fewer_parameters: Iterable[str] = (),
        required: tuple[str, ...] = ("model", "messages", "max_tokens"),
        version: str = "2023-06-01",
    ) -> None:
        """Accept more and fewer parameters than Anthropic does, and insist on those *required*."""
        self._known = _KNOWN.union(more_parameters).difference(fewer_parameters)
        self._required = required
        self._version = version
        self._cached: set[bytes] = set()

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* and *stream* come from the path on Vertex."""
        for key in unknown_keys(body, self._known):
            raise _invalid(f"{key}: Extra inputs are not permitted")
        for key in self._required:
            if body.get(key) is None:
                raise _invalid(f"{key}: Field required")
        messages = _checked_messages(body["messages"])
        if self.version_of(body) == LATEST:
            _check_latest(body, messages)
        _check_numbers(body)
        tools, choice, name = _tools(body)
        _check_thinking(body, messages, forced=choice == "any" or name is not None)
        newest = messages[-1]
        tokens = tokens_of(messages, [body.get("system"), body.get("tools")])
        read, written = self._cache(body)
        return Ask(
            model=model or body["model"],
            user_text=next((text_of(m["content"]) for m in reversed(messages) if _is_user_turn(m)), ""),
            system_text=text_of(body.get("system")),
            tool_results=tuple(
                text_of(block.get("content")) for block in objects(newest["content"]) if block["type"] == "tool_result"
            ),
            input_tokens=tokens + read + written,
            stream=bool(body.get("stream")) if stream is None else stream,
            body=body,
            tools=tools,
            tool_choice=choice,
            tool_name=name,
            schema=_schema(body),
            stop=tuple(body.get("stop_sequences") or ()),
            max_tokens=body["max_tokens"],
            thinking=(body.get("thinking") or {}).get("type") in {"enabled", "adaptive"},
            cache_read_tokens=read,
            cache_write_tokens=written,
        )

    def version_of(self, body: JsonObject) -> str:
        """Return the API version that the request asks for."""
        del body
        return self._version

    def _cache(self, body: JsonObject) -> tuple[int, int]:
        """Return the tokens read from and written to the prompt cache: together all up to the last marked block.

        Read is the longest beginning that an earlier request marked the end of.
        """
        blocks = [*objects(body.get("tools")), *objects(body.get("system"))]
        for message in body["messages"]:
            blocks += objects(message["content"])
        marked = [at for at, block in enumerate(blocks) if block.get("cache_control")]
        if not marked:
            return 0, 0
        plain = [{key: value for key, value in block.items() if key != "cache_control"} for block in blocks]
        prefixes = [plain[: at + 1] for at in range(marked[-1] + 1)]
        digests = [hashlib.sha256(json.dumps(prefix, sort_keys=True).encode()).digest() for prefix in prefixes]
        known = [at for at, digest in enumerate(digests) if digest in self._cached]
        read = tokens_of(prefixes[known[-1]]) if known else 0
        self._cached.update(digests[at] for at in marked)
        return read, tokens_of(prefixes[-1]) - read

    def body(self, answer: Answer) -> JsonObject:
        """Write the whole answer."""
        return {
            **_head(answer),
            "content": [full for full, _, _ in _blocks(answer)],
            "stop_reason": _FINISH[answer.finish],
            "stop_sequence": answer.stop_sequence,
            "usage": _usage(answer, answer.output_tokens),
        }

    def frames(self, answer: Answer) -> Frames:
        """Write the answer as a stream of named events."""
        start = {**_head(answer), "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(answer, 1)}
        chunks: list[bytes] = []
        for index, (_, empty, deltas) in enumerate(_blocks(answer)):
            events = [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
            begin = event({"type": "content_block_start", "index": index, "content_block": empty})
            end = event({"type": "content_block_stop", "index": index})
            events = events or [b""]
            events[0] = begin + events[0]
            events[-1] += end
            chunks += events
        delta = {"stop_reason": _FINISH[answer.finish], "stop_sequence": answer.stop_sequence}
        usage = _usage(answer, answer.output_tokens)  # cumulative, as in message_start
        return Frames(
            opening=event({"type": "message_start", "message": start}) + event({"type": "ping"}),
            chunks=tuple(chunks),
            closing=event({"type": "message_delta", "delta": delta, "usage": usage}) + event({"type": "message_stop"}),
        )

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error* as an `error` event."""
        return b"event: error\ndata: " + error.body + b"\n\n"


def _invalid(message: str) -> RejectedError:
    return RejectedError(Failure.BAD_REQUEST, message)


def _is_user_turn(message: JsonObject) -> bool:
    """Whether a person speaks here, not a tool."""
    return message["role"] == "user" and (isinstance(message["content"], str) or bool(text_of(message["content"])))


def _checked_messages(messages: Any) -> list[JsonObject]:
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages: at least one message is required")
    used: list[str] = []
    for at, message in enumerate(messages):
        where = f"messages.{at}"
        if not isinstance(message, dict) or message.get("role") not in {"user", "assistant"}:
            raise _invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        for key in unknown_keys(message, frozenset({"role", "content"})):
            raise _invalid(f"{where}.{key}: Extra inputs are not permitted")
        content = message.get("content")
        if not isinstance(content, str | list):
            raise _invalid(f"{where}.content: Input should be a valid list")
        if content in ("", []) and not (message["role"] == "assistant" and at == len(messages) - 1):
            raise _invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        for spot, block in enumerate(objects(content)):
            _check_block(block, f"{where}.content.{spot}")
        answered = {block["tool_use_id"] for block in objects(content) if block["type"] == "tool_result"}
        if missing := [name for name in used if name not in answered]:
            found = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
            raise _invalid(
                f"messages.{at - 1}: {found}. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the next message."
            )
        if stray := answered.difference(used):
            raise _invalid(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(sorted(stray))}"
            )
        used = [block["id"] for block in objects(content) if block["type"] == "tool_use"]
    return messages


def _check_block(block: JsonObject, where: str) -> None:
    kind = block.get("type")
    if not isinstance(kind, str):
        raise _invalid(f"{where}.type: Field required")
    known = _BLOCKS.get(kind)
    if known is None:
        return
    for key in unknown_keys(block, known):
        raise _invalid(f"{where}.{kind}.{key}: Extra inputs are not permitted")
    needed = {"text": ("text",), "tool_use": ("id", "name", "input"), "tool_result": ("tool_use_id",)}.get(kind, ())
    for key in needed:
        if key not in block:
            raise _invalid(f"{where}.{kind}.{key}: Field required")
    if kind == "text" and not block["text"]:
        raise _invalid("messages: text content blocks must be non-empty")
    if kind == "thinking" and not str(block.get("signature")).startswith(SIGNATURE):
        raise _invalid(f"{where}: Invalid `signature` in `thinking` block")


def _check_latest(body: JsonObject, messages: list[JsonObject]) -> None:
    """Refuse what API version 2026-10-21 removed."""
    for key in body:
        if key in _REMOVED:
            raise _invalid(f"{key}: Extra inputs are not permitted")
    for at, message in enumerate(messages):
        for spot, block in enumerate(objects(message["content"])):
            where = f"messages.{at}.content.{spot}"
            if message["role"] == "assistant" and block["type"] == "document":
                raise _invalid(f"{where}: `document` blocks are not permitted in `assistant` messages")
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                raise _invalid(f"{where}.text.citations: Extra inputs are not permitted")


def _check_numbers(body: JsonObject) -> None:
    if isinstance(body["max_tokens"], bool) or not isinstance(body["max_tokens"], int):
        raise _invalid("max_tokens: Input should be a valid integer")
    if body["max_tokens"] < 1:
        raise _invalid("max_tokens: Input should be greater than or equal to 1")
    for key in ("temperature", "top_p"):
        if (value := body.get(key)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid(f"{key}: Input should be a valid number")
        if not 0 <= value <= 1:
            raise _invalid(f"{key}: range: 0..1")


def _check_thinking(body: JsonObject, messages: list[JsonObject], *, forced: bool) -> None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens", 0)
    if budget < _MIN_BUDGET:
        raise _invalid(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_BUDGET}")
    if budget >= body["max_tokens"]:
        raise _invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) != 1:
        raise _invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if forced:
        raise _invalid("Thinking may not be enabled when tool_choice forces tool use.")
    in_loop = bool(objects(messages[-1]["content"])) and objects(messages[-1]["content"])[0]["type"] == "tool_result"
    if (
        in_loop
        and (blocks := objects(messages[-2]["content"]))
        and blocks[0]["type"] not in {"thinking", "redacted_thinking"}
    ):
        raise _invalid(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{blocks[0]['type']}`. When `thinking` is enabled, a final `assistant` message must start with a "
            "thinking block."
        )


def _tools(body: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice, str | None]:
    tools = tuple(
        Tool(str(tool["name"]), tool["input_schema"])
        for tool in objects(body.get("tools"))
        if "name" in tool and isinstance(tool.get("input_schema"), dict)
    )
    match body.get("tool_choice"):
        case None:
            return tools, "auto", None
        case {"type": "tool", "name": str(name)}:
            if name not in {tool.name for tool in tools}:
                raise _invalid(f"Tool '{name}' not found in provided tools")
            return tools, "auto", name
        case {"type": "auto" | "any" | "none" as kind}:
            return tools, kind, None
        case _:
            raise _invalid(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
            )


def _schema(body: JsonObject) -> JsonObject | None:
    output_format = body.get("output_format") or (body.get("output_config") or {}).get("format")
    match output_format:
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
        case _:
            return None


def _head(answer: Answer) -> JsonObject:
    return {"id": f"msg_standin{answer.serial:06d}", "type": "message", "role": "assistant", "model": answer.model}


def _blocks(answer: Answer) -> Iterable[tuple[JsonObject, JsonObject, list[JsonObject]]]:
    """Yield each content block whole, as it starts in a stream, and the deltas that follow."""
    if answer.thinking:
        signature = f"{SIGNATURE}{answer.serial}"
        block = {"type": "thinking", "thinking": answer.thinking, "signature": signature}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(answer.thinking)]
        yield (
            block,
            {**block, "thinking": "", "signature": ""},
            [*deltas, {"type": "signature_delta", "signature": signature}],
        )
    if text := answer.texts[0]:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        yield {"type": "text", "text": text}, {"type": "text", "text": ""}, deltas
    for index, call in enumerate(answer.tool_calls):
        block = {"type": "tool_use", "id": f"toolu_standin{answer.serial:06d}{index}", "name": call.name}
        parts = ["", *argument_pieces(call)]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        yield {**block, "input": call.arguments}, {**block, "input": {}}, deltas


def _usage(answer: Answer, output_tokens: int) -> JsonObject:
    return {
        "input_tokens": answer.input_tokens - answer.cache_read_tokens - answer.cache_write_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_read_input_tokens": answer.cache_read_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": answer.cache_write_tokens, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
