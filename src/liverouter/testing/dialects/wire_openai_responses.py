"""The body format of OpenAI's Responses API: items in, items out, and a stream of events named by their type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_openai_responses import check_request, checked_items, checked_tools
from liverouter.testing.dialects.wire_anthropic import event
from liverouter.testing.dialects.wire_openai import CREATED
from liverouter.testing.standin.answers import argument_pieces, pieces
from liverouter.testing.standin.checks import objects, text_of, tokens_of
from liverouter.testing.standin.wire import Answer, Ask, Frames, HttpReply, JsonObject, Tool, ToolCall, ToolChoice, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


class Responses(Wire):
    """The body format of `/responses`. It remembers which items it made, as the API does."""

    splits_arguments = True
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self) -> None:
        """Remember nothing."""
        self._made: set[str] = set()

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* and *stream* are the body's."""
        del model, stream
        check_request(body)
        items = checked_items(body["input"], self._made)
        tools = checked_tools(body)
        choice, name = _choice(body.get("tool_choice"), tools)
        said = [item for item in items if item.get("type", "message") == "message"]
        results = [item for item in items if item.get("type") == "function_call_output"]
        is_midway = bool(items) and items[-1].get("type") == "function_call_output"
        users = [text_of(item.get("content")) for item in said if item["role"] == "user"]
        return Ask(
            model=body["model"],
            user_text=users[-1] if users else "",
            system_text="\n".join(text_of(i.get("content")) for i in said if i["role"] in {"system", "developer"}),
            tool_results=tuple(str(item.get("output")) for item in results) if is_midway else (),
            input_tokens=tokens_of(items, [body.get("tools")]),
            stream=bool(body.get("stream")),
            body=body,
            tools=tools,
            tool_choice=choice,
            tool_name=name,
            schema=_schema(body.get("text")),
            max_tokens=body.get("max_output_tokens"),
            searches=any(str(tool.get("type")).startswith("web_search") for tool in objects(body.get("tools"))),
            thinking=(body.get("reasoning") or {}).get("effort") not in {None, "none"},
        )

    def body(self, answer: Answer) -> JsonObject:
        """Write the whole answer."""
        items = list(_items(answer))
        self._made |= {item["id"] for item in items}
        return {**_head(answer), "status": _status(answer), "output": items, "usage": _usage(answer), **_why(answer)}

    def frames(self, answer: Answer) -> Frames:
        """Write the answer as a stream: created, each item as it comes, completed."""
        head = {**_head(answer), "status": "in_progress", "output": [], "usage": None}
        chunks = [
            event({**data, "output_index": index})
            for index, item in enumerate(_items(answer))
            for data in _events(item)
        ]
        end = "response.incomplete" if answer.finish == "length" else "response.completed"
        return Frames(
            opening=event({"type": "response.created", "response": head}),
            chunks=tuple(chunks),
            closing=event({"type": end, "response": self.body(answer)}),
        )

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error* as an `error` event."""
        told = json.loads(error.body)["error"]
        return event({"type": "error", "code": told.get("code"), "message": told["message"], "param": None})


def _choice(choice: object, tools: tuple[Tool, ...]) -> tuple[ToolChoice, str | None]:
    """Return the choice left to the model, and the one function that it must call."""
    match choice:
        case {"type": "function", "name": str(name)} if name in {tool.name for tool in tools}:
            return "auto", name
        case "required":
            return "any", None
        case "none":
            return "none", None
        case _:
            return "auto", None


def _schema(text: JsonObject | None) -> JsonObject | None:
    match (text or {}).get("format"):
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
        case {"type": "json_object"}:
            return {}
        case _:
            return None


def _head(answer: Answer) -> JsonObject:
    return {
        "id": f"resp_standin{answer.serial:06d}",
        "object": "response",
        "created_at": CREATED,
        "model": answer.model,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
    }


def _status(answer: Answer) -> str:
    return "incomplete" if answer.finish == "length" else "completed"


def _why(answer: Answer) -> JsonObject:
    return {"incomplete_details": {"reason": "max_output_tokens"}} if answer.finish == "length" else {}


def _items(answer: Answer) -> Iterator[JsonObject]:
    """Yield what the answer is made of: reasoning, a search, the message, calls of functions."""
    if answer.thinking:
        yield {
            "id": f"rs_standin{answer.serial:06d}",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": answer.thinking}],
        }
    if answer.searches:
        action = {"type": "search", "query": "x"}
        yield {
            "id": f"ws_standin{answer.serial:06d}",
            "type": "web_search_call",
            "status": "completed",
            "action": action,
        }
    text = answer.texts[0]
    part: JsonObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if answer.finish == "refusal":
        part = {"type": "refusal", "refusal": text or "I cannot help with that."}
    if text or answer.finish == "refusal":
        yield {
            "id": f"msg_standin{answer.serial:06d}",
            "type": "message",
            "role": "assistant",
            "status": _status(answer),
            "content": [part],
        }
    for index, call in enumerate(answer.tool_calls):
        yield {
            "id": f"fc_standin{answer.serial:06d}{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_standin{answer.serial:06d}{index}",
            "name": call.name,
            "arguments": json.dumps(call.arguments),
        }


def _events(item: JsonObject) -> Iterator[JsonObject]:
    """Yield the events by which *item* comes."""
    match item["type"]:
        case "reasoning":
            yield {"type": "response.output_item.added", "item": {**item, "summary": []}}
            head = {"item_id": item["id"], "summary_index": 0}
            yield {
                "type": "response.reasoning_summary_part.added",
                **head,
                "part": {"type": "summary_text", "text": ""},
            }
            for piece in pieces(item["summary"][0]["text"]):
                yield {"type": "response.reasoning_summary_text.delta", **head, "delta": piece}
        case "message":
            yield {"type": "response.output_item.added", "item": {**item, "content": []}}
            yield from _part_events(item["content"][0], {"item_id": item["id"], "content_index": 0})
        case "function_call":
            yield {"type": "response.output_item.added", "item": {**item, "arguments": ""}}
            for piece in argument_pieces(ToolCall(item["name"], json.loads(item["arguments"]))):
                yield {"type": "response.function_call_arguments.delta", "item_id": item["id"], "delta": piece}
        case _:
            yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress"}}
    yield {"type": "response.output_item.done", "item": item}


def _part_events(part: JsonObject, head: JsonObject) -> Iterator[JsonObject]:
    """Yield the events by which *part* of a message comes; *head* says where it is."""
    if part["type"] == "refusal":
        yield {"type": "response.refusal.delta", **head, "delta": part["refusal"]}
        yield {"type": "response.refusal.done", **head, "refusal": part["refusal"]}
        return
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **head, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **head, "text": part["text"], "logprobs": []}


def _usage(answer: Answer) -> JsonObject:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cache_read_tokens},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.thinking_tokens},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
