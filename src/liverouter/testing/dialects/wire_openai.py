"""The body format of OpenAI's chat completions, which Azure and Snowflake speak too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_openai_messages import check_response_format, check_tools, checked_messages
from liverouter.testing.dialects.checks_openai_parameters import PARAMETERS, check_model, check_parameters, invalid
from liverouter.testing.standin.answers import argument_pieces, pieces
from liverouter.testing.standin.checks import objects, text_of, tokens_of
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

CREATED = 1_767_225_600  # unix seconds; answers are the same on every run
_FINISH: Mapping[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}


def sse(data: JsonObject) -> bytes:
    """Return a server-sent event without a name."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class ChatCompletions(Wire):
    """The body format of `/chat/completions`."""

    splits_arguments = True
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self, *, more_parameters: Mapping[str, tuple[type, ...]] | None = None) -> None:
        """Accept *more_parameters* than OpenAI does."""
        self._types = {**PARAMETERS, **(more_parameters or {})}

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* where the path names the deployment."""
        del stream
        self.check(body, model)
        messages = checked_messages(body["messages"])
        check_tools(body)
        check_response_format(body.get("response_format"), messages)
        self.check_history(messages, model=model or body["model"])
        tools, choice, name = _tools(body)
        newest = messages[-1]
        results = _trailing_results(messages)
        max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
        stop = body.get("stop") or ()
        return Ask(
            model=model or body["model"],
            user_text=next((text_of(m.get("content")) for m in reversed(messages) if m["role"] == "user"), ""),
            system_text="\n".join(text_of(m.get("content")) for m in messages if m["role"] in {"system", "developer"}),
            tool_results=results if newest["role"] in {"tool", "function"} else (),
            input_tokens=tokens_of(messages, [body.get("tools"), body.get("functions")]),
            stream=bool(body.get("stream")),
            body=body,
            include_usage=not body.get("stream") or bool((body.get("stream_options") or {}).get("include_usage")),
            tools=tools,
            tool_choice=choice,
            tool_name=name,
            schema=_schema(body.get("response_format")),
            n=body.get("n") or 1,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            max_tokens=max_tokens,
            thinking=body.get("reasoning_effort") not in {None, "none"},
        )

    def check(self, body: JsonObject, model: str | None) -> None:
        """Raise for parameters that the API or its model does not take; *model* where the path names the deployment."""
        check_parameters(body, self._types, model=model)
        check_model(body, model or body["model"])

    def check_history(self, messages: list[JsonObject], *, model: str) -> None:
        """Raise for what a format derived from this one refuses of messages that OpenAI would take."""
        del messages, model

    def body(self, answer: Answer) -> JsonObject:
        """Write the whole answer."""
        choices = [
            {
                "index": index,
                "message": self._message(answer, text),
                "logprobs": None,
                "finish_reason": _finish(answer, text),
                **self.choice_extras(),
            }
            for index, text in enumerate(answer.texts)
        ]
        return {**_head(answer, "chat.completion"), "choices": choices, "usage": _usage(answer), **self.body_extras()}

    def body_extras(self) -> JsonObject:
        """Return what a format derived from this one adds to an answer."""
        return {}

    def choice_extras(self) -> JsonObject:
        """Return what a format derived from this one adds to a choice."""
        return {}

    @staticmethod
    def _message(answer: Answer, text: str) -> JsonObject:
        declines = _declines(answer, text)
        message: JsonObject = {
            "role": "assistant",
            "content": None if declines or (answer.tool_calls and not text) else text,
            "refusal": text if declines else None,
            "annotations": [],
        }
        if answer.thinking:
            message["reasoning_content"] = answer.thinking
        if answer.tool_calls:
            message["tool_calls"] = [
                _call(answer, index, call.name, json.dumps(call.arguments))
                for index, call in enumerate(answer.tool_calls)
            ]
        return message

    def frames(self, answer: Answer) -> Frames:
        """Write the answer as a stream: role, deltas, finish, usage if wanted, `[DONE]`."""
        head = _head(answer, "chat.completion.chunk")
        if answer.include_usage:
            head["usage"] = None

        def event(index: int, delta: JsonObject, finish: str | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **self.choice_extras()}
            return sse({**head, "choices": [choice]})

        indices = range(len(answer.texts))
        opening = [event(index, {"role": "assistant", "content": "", "refusal": None}) for index in indices]
        chunks = [event(index, delta) for index in indices for delta in _deltas(answer, answer.texts[index])]
        closing = [event(index, {}, _finish(answer, answer.texts[index])) for index in indices]
        if answer.include_usage:
            closing.append(sse({**head, "choices": [], "usage": _usage(answer)}))
        return Frames(
            self.stream_preamble(answer) + b"".join(opening), tuple(chunks), b"".join(closing) + b"data: [DONE]\n\n"
        )

    def stream_preamble(self, answer: Answer) -> bytes:
        """Return what a format derived from this one sends before the role."""
        del answer
        return b""

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error* as an event."""
        return b"data: " + error.body + b"\n\n"


def _trailing_results(messages: list[JsonObject]) -> tuple[str, ...]:
    """Return the texts of the tool results that end the history, oldest first."""
    results: list[str] = []
    for item in reversed(messages):
        if item["role"] not in {"tool", "function"}:
            break
        results.insert(0, text_of(item.get("content")))
    return tuple(results)


def _tools(body: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice, str | None]:
    """Return the tools offered, the choice left to the model, and the one tool that it must call.

    Raises:
        RejectedError: that tool is not offered, or its parameters are no object.
    """
    functions = [tool["function"] for tool in objects(body.get("tools")) if isinstance(tool.get("function"), dict)]
    functions += objects(body.get("functions"))
    tools = tuple(Tool(str(item.get("name")), item.get("parameters") or {}) for item in functions)
    for tool in tools:
        if not isinstance(tool.schema, dict):
            raise invalid(f"Invalid type for the parameters of '{tool.name}': expected an object.", "tools")
    match body.get("tool_choice", body.get("function_call")):
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            if name not in {tool.name for tool in tools}:
                raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
            return tools, "auto", name
        case "required":
            return tools, "any", None
        case "none":
            return tools, "none", None
        case _:
            return tools, "auto", None


def _schema(response_format: JsonObject | None) -> JsonObject | None:
    """Return the JSON schema that the text must match, {} for any JSON object, None for any text."""
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object"}:
            return {}
        case _:
            return None


def _head(answer: Answer, kind: str) -> JsonObject:
    return {
        "id": f"chatcmpl-standin-{answer.serial:06d}",
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }


def _call(answer: Answer, index: int, name: str, arguments: str) -> JsonObject:
    return {
        "id": f"call_standin{answer.serial:06d}{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _deltas(answer: Answer, text: str) -> Iterable[JsonObject]:
    """Yield a choice's deltas in a stream: thinking, *text*, then each tool call as its head and two pieces."""
    for piece in pieces(answer.thinking):
        yield {"reasoning_content": piece}
    for piece in pieces(text):
        yield {"refusal" if _declines(answer, text) else "content": piece}
    for index, call in enumerate(answer.tool_calls):
        yield {"tool_calls": [{"index": index, **_call(answer, index, call.name, "")}]}
        for piece in argument_pieces(call):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _declines(answer: Answer, text: str) -> bool:
    """Whether *text* is the model's own refusal; one without a text is that of a filter."""
    return answer.finish == "refusal" and bool(text)


def _finish(answer: Answer, text: str) -> str:
    return "stop" if _declines(answer, text) else _FINISH[answer.finish]


def _usage(answer: Answer) -> JsonObject:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.thinking_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
