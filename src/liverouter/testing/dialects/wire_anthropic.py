"""The body format of Anthropic's messages, which Vertex and Snowflake speak too."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_anthropic import (
    LATEST,
    SIGNATURE,
    check_latest,
    invalid,
    is_user_turn,
)
from liverouter.testing.dialects.checks_anthropic_messages import check_system, check_tools, checked_messages
from liverouter.testing.dialects.checks_anthropic_parameters import check_model, check_parameters, check_thinking
from liverouter.testing.dialects.models import claude_model
from liverouter.testing.standin.answers import argument_pieces, pieces
from liverouter.testing.standin.checks import objects, text_of, tokens_of, unknown_keys
from liverouter.testing.standin.wire import (
    Answer,
    Ask,
    Finish,
    Frames,
    HttpReply,
    JsonObject,
    Tool,
    ToolChoice,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
            raise invalid(f"{key}: Extra inputs are not permitted")
        for key in self._required:
            if body.get(key) is None:
                raise invalid(f"{key}: Field required")
        messages = checked_messages(body["messages"], model or body["model"])
        check_system(body.get("system"))
        check_tools(body)
        if self.version_of(body) == LATEST:
            check_latest(body, messages)
        check_parameters(body)
        name_of = model or body["model"]
        self.check_model(body, name_of)
        tools, choice, name = _tools(body)
        check_thinking(body, messages, claude_model(name_of), forced=choice == "any" or name is not None)
        newest = messages[-1]
        tokens = tokens_of(messages, [body.get("system"), body.get("tools")])
        read, written = self._cache(body)
        return Ask(
            model=name_of,
            user_text=next((text_of(m["content"]) for m in reversed(messages) if is_user_turn(m)), ""),
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

    def check_model(self, body: JsonObject, name: str) -> None:
        """Raise for parameters that the model *name* does not take."""
        check_model(body, claude_model(name))

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


def _tools(body: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice, str | None]:
    """Return the tools offered, the choice left to the model, and the one tool that it must call.

    Raises:
        RejectedError: that tool is not offered, or `tool_choice` is malformed.
    """
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
                raise invalid(f"Tool '{name}' not found in provided tools")
            return tools, "auto", name
        case {"type": "auto" | "any" | "none" as kind}:
            return tools, kind, None
        case _:
            raise invalid(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
            )


def _schema(body: JsonObject) -> JsonObject | None:
    """Return the JSON schema that the text must match, from the parameter's older or its newer name."""
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
    """Return the usage; Anthropic's `input_tokens` leaves out what the prompt cache read and wrote."""
    return {
        "input_tokens": answer.input_tokens - answer.cache_read_tokens - answer.cache_write_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_read_input_tokens": answer.cache_read_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": answer.cache_write_tokens, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
