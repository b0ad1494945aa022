"""The body format of OpenAI's chat completions, which Azure and Snowflake speak too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_openai_messages import (
    check_response_format,
    check_tools,
    checked_messages,
    invalid,
)
from liverouter.testing.standin.answers import argument_pieces, pieces
from liverouter.testing.standin.checks import are_texts, objects, text_of, tokens_of, unknown_keys
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
_NUMBER = (int, float)
_TYPES: Mapping[str, tuple[type, ...]] = {  # the body parameters of the public API reference, with their JSON types
    "audio": (dict,),
    "frequency_penalty": _NUMBER,
    "function_call": (str, dict),
    "functions": (list,),
    "logit_bias": (dict,),
    "logprobs": (bool,),
    "max_completion_tokens": (int,),
    "max_tokens": (int,),
    "messages": (list,),
    "metadata": (dict,),
    "modalities": (list,),
    "model": (str,),
    "moderation": (dict,),
    "n": (int,),
    "parallel_tool_calls": (bool,),
    "prediction": (dict,),
    "presence_penalty": _NUMBER,
    "prompt_cache_key": (str,),
    "prompt_cache_options": (dict,),
    "prompt_cache_retention": (str,),
    "reasoning_effort": (str,),
    "response_format": (dict,),
    "safety_identifier": (str,),
    "seed": (int,),
    "service_tier": (str,),
    "stop": (str, list),
    "store": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "temperature": _NUMBER,
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_logprobs": (int,),
    "top_p": _NUMBER,
    "user": (str,),
    "verbosity": (str,),
    "web_search_options": (dict,),
}
_MAX_CHOICES = 128


def sse(data: JsonObject) -> bytes:
    """Return a server-sent event without a name."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class ChatCompletions(Wire):
    """The body format of `/chat/completions`."""

    splits_arguments = True
    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self, *, more_parameters: Mapping[str, tuple[type, ...]] | None = None) -> None:
        """Accept *more_parameters* than OpenAI does."""
        self._types = {**_TYPES, **(more_parameters or {})}
        self._known = frozenset(self._types)

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* where the path names the deployment."""
        del stream
        self._check_parameters(body, model_in_path=model is not None)
        messages = checked_messages(body["messages"])
        check_tools(body)
        check_response_format(body.get("response_format"))
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

    def _check_parameters(self, body: JsonObject, *, model_in_path: bool) -> None:
        """Raise for a parameter that is unknown, missing, of the wrong type or out of its range."""
        for key in unknown_keys(body, self._known):
            raise invalid(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
        for key in ("messages",) if model_in_path else ("model", "messages"):
            if body.get(key) is None:
                raise invalid(f"Missing required parameter: '{key}'.", key, "missing_required_parameter")
        for key, value in body.items():
            if value is not None and not _has_type(value, self._types[key]):
                raise invalid(f"Invalid type for '{key}': got {type(value).__name__} instead.", key, "invalid_type")
        if isinstance(body.get("stop"), list) and not are_texts(body["stop"]):
            raise invalid("Invalid type for 'stop': expected strings.", "stop", "invalid_type")
        if not 1 <= (1 if body.get("n") is None else body["n"]) <= _MAX_CHOICES:
            raise invalid(f"Invalid 'n': expected a value from 1 to {_MAX_CHOICES}.", "n", "integer_out_of_range")
        if body.get("stream_options") is not None and not body.get("stream"):
            raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")

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
                "finish_reason": _FINISH[answer.finish],
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
        message: JsonObject = {
            "role": "assistant",
            "content": None if answer.tool_calls and not text else text,
            "refusal": None,
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
        closing = [event(index, {}, _FINISH[answer.finish]) for index in indices]
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


def _has_type(value: object, allowed: tuple[type, ...]) -> bool:
    """Whether a JSON value has one of the types; true and false are no numbers."""
    return bool in allowed if isinstance(value, bool) else isinstance(value, allowed)


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
        yield {"content": piece}
    for index, call in enumerate(answer.tool_calls):
        yield {"tool_calls": [{"index": index, **_call(answer, index, call.name, "")}]}
        for piece in argument_pieces(call):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


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
