"""The body format of Gemini's generateContent on Vertex AI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from liverouter.testing.dialects.wire_openai import sse
from liverouter.testing.standin.answers import pieces
from liverouter.testing.standin.checks import are_texts, objects, text_of, tokens_of, unknown_keys
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

_FINISH: Mapping[Finish, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
}
# fields of the public API reference; the API takes each in camel case and in snake case, and no others
_REQUEST = frozenset(
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
_GENERATION = frozenset(
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
_PART = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mediaResolution",
        "text",
        "thought",
        "thoughtSignature",
        "videoMetadata",
    }
)
_CREATED = "2026-01-01T00:00:00.000000Z"
_SNAKE = re.compile(r"_([a-z])")


def _camel(fields: Mapping[str, Any]) -> JsonObject:
    """Return *fields* under camel-case names; null is a field that was left out."""
    return {
        _SNAKE.sub(lambda found: found[1].upper(), name): value for name, value in fields.items() if value is not None
    }


class GenerateContent(Wire):
    """The body format of `:generateContent` and `:streamGenerateContent`."""

    splits_arguments = False
    stream_type = "text/event-stream"

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* and *stream* come from the path."""
        request = _known(body, _REQUEST, "")
        if not request.get("contents"):
            raise _invalid("Unable to submit request because at least one contents field is required.")
        contents = _checked_contents(request["contents"])
        config = _known(request.get("generationConfig"), _GENERATION, "generation_config")
        _check_types(config)
        tools, choice, name = _tools(request)
        newest = contents[-1]["parts"]
        system = _message(request.get("systemInstruction"), "system_instruction").get("parts")
        return Ask(
            model=model or "",
            user_text=next((text_of(turn["parts"]) for turn in reversed(contents) if _is_user_turn(turn)), ""),
            system_text=text_of(system),
            tool_results=tuple(_result_text(part["functionResponse"]) for part in newest if "functionResponse" in part),
            input_tokens=tokens_of(contents, [system, request.get("tools")]),
            stream=bool(stream),
            body=body,
            tools=tools,
            tool_choice=choice,
            tool_name=name,
            schema=_schema(config),
            n=config.get("candidateCount") or 1,
            stop=tuple(config.get("stopSequences") or ()),
            max_tokens=config.get("maxOutputTokens"),
            thinking=bool(
                _message(config.get("thinkingConfig"), "generation_config.thinking_config").get("includeThoughts")
            ),
        )

    def body(self, answer: Answer) -> JsonObject:
        """Write the whole answer."""
        candidates = [
            {**_candidate(list(_parts(answer, text)), answer.finish), "index": index}
            for index, text in enumerate(answer.texts)
        ]
        return _response(answer, candidates, usage=_usage(answer))

    def frames(self, answer: Answer) -> Frames:
        """Write the answer as a stream: an empty part, parts, the finish reason."""
        chunks = [
            sse(_response(answer, [{**_candidate([part]), "index": index}]))
            for index, text in enumerate(answer.texts)
            for part in _parts(answer, text, split=True)
        ]
        indices = range(len(answer.texts))
        begun = [{**_candidate([{"text": ""}]), "index": index} for index in indices]
        finished = [{**_candidate([{"text": ""}], answer.finish), "index": index} for index in indices]
        return Frames(
            opening=sse(_response(answer, begun)),
            chunks=tuple(chunks),
            closing=sse(_response(answer, finished, usage=_usage(answer))),
        )

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error* as an event."""
        return b"data: " + error.body + b"\n\n"


def _invalid(message: str) -> RejectedError:
    return RejectedError(Failure.BAD_REQUEST, message)


def _wrong_value(where: str) -> RejectedError:
    return _invalid(f"Invalid value at '{where}'.")


def _object(value: object, where: str) -> JsonObject:
    """Return the object at *where*, an empty one where it was left out.

    Raises:
        RejectedError: it is no object.
    """
    if not isinstance(value, dict | None):
        raise _wrong_value(where)
    return value or {}


def _message(value: object, where: str) -> JsonObject:
    """Return the fields of the object at *where* under camel-case names; raises as `_object` does."""
    return _camel(_object(value, where))


def _repeated(value: object, where: str) -> list[Any]:
    """Return the list at *where*; as Google reads JSON, a lone object stands for a list of one."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list | None):
        raise _wrong_value(where)
    return value or []


def _check_types(config: JsonObject) -> None:
    """Raise for a member of `generationConfig` that the stand-in reads and that has a wrong type."""
    for name in ("candidateCount", "maxOutputTokens"):
        if not isinstance(config.get(name), int | None) or isinstance(config.get(name), bool):
            raise _wrong_value(f"generation_config.{name}")
    if not are_texts(_repeated(config.get("stopSequences"), "generation_config.stop_sequences")):
        raise _wrong_value("generation_config.stop_sequences")


def _known(fields: object, known: frozenset[str], where: str) -> JsonObject:
    """Return the object at *where* under camel-case names, as `_message` does; raise for a name that is not *known*."""
    named = _message(fields, where)
    for name in unknown_keys(named, known):
        place = f" at '{where}'" if where else ""
        raise _invalid(f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.')
    return named


def _checked_contents(contents: object) -> list[JsonObject]:
    turns: list[JsonObject] = []
    calls = 0
    for at, turn in enumerate(_repeated(contents, "contents")):
        named = _known(turn, frozenset({"role", "parts"}), f"contents[{at}]")
        if named.get("role", "user") not in ("user", "model", "function"):
            raise _invalid("Please use a valid role: user, model.")
        parts = [
            _checked_part(part, f"contents[{at}].parts[{spot}]")
            for spot, part in enumerate(_repeated(named.get("parts"), f"contents[{at}].parts"))
        ]
        if not parts:
            raise _invalid("Unable to submit request because it must include at least one parts field.")
        if (answers := sum("functionResponse" in part for part in parts)) != calls:
            raise _invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                f"parts of the function call turn. ({answers} for {calls})"
            )
        calls = sum("functionCall" in part for part in parts)
        turns.append({"role": named.get("role", "user"), "parts": parts})
    if calls:
        raise _invalid("Please ensure that function response turn comes immediately after a function call turn.")
    return turns


def _checked_part(part: object, where: str) -> JsonObject:
    named = _known(part, _PART, where)
    for name in ("functionCall", "functionResponse", "inlineData", "fileData"):
        _object(named.get(name), f"{where}.{name}")
    if not isinstance(named.get("text", ""), str):
        raise _wrong_value(f"{where}.text")
    return named


def _is_user_turn(turn: JsonObject) -> bool:
    return turn["role"] == "user" and bool(text_of(turn["parts"]))


def _result_text(response: JsonObject) -> str:
    content = response.get("response")
    values = content.values() if isinstance(content, dict) else (content,)
    return " ".join(str(value) for value in values)


def _tools(request: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice, str | None]:
    tools = tuple(
        Tool(str(one.get("name")), _object(one.get("parameters") or one.get("parametersJsonSchema"), "parameters"))
        for group in objects(request.get("tools"))
        for one in map(_camel, objects(_camel(group).get("functionDeclarations")))
    )
    where = "tool_config.function_calling_config"
    config = _message(_message(request.get("toolConfig"), "tool_config").get("functionCallingConfig"), where)
    allowed = _repeated(config.get("allowedFunctionNames"), f"{where}.allowed_function_names")
    for name in allowed:
        if name not in [tool.name for tool in tools]:
            raise _invalid(f"allowed_function_names: '{name}' is not a declared function.")
    match str(config.get("mode", "AUTO")).upper():
        case "ANY" if len(allowed) == 1:
            return tools, "auto", allowed[0]
        case "ANY":
            return tools, "any", None
        case "NONE":
            return tools, "none", None
        case _:
            return tools, "auto", None


def _schema(config: JsonObject) -> JsonObject | None:
    if config.get("responseMimeType") != "application/json":
        return None
    schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    return schema if isinstance(schema, dict) else {}


def _parts(answer: Answer, text: str, *, split: bool = False) -> Iterable[JsonObject]:
    for piece in pieces(answer.thinking) if split else filter(None, (answer.thinking,)):
        yield {"text": piece, "thought": True}
    for piece in pieces(text) if split else filter(None, (text,)):
        yield {"text": piece}
    for call in answer.tool_calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments}}


def _candidate(parts: list[JsonObject], finish: Finish | None = None) -> JsonObject:
    if finish == "refusal":
        rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
        return {"finishReason": _FINISH[finish], "safetyRatings": [rating]}
    candidate: JsonObject = {"content": {"role": "model", "parts": parts}}
    if finish is not None:
        candidate["finishReason"] = _FINISH[finish]
    return candidate


def _response(answer: Answer, candidates: list[JsonObject], *, usage: JsonObject | None = None) -> JsonObject:
    response: JsonObject = {"candidates": candidates}
    if usage is not None:
        response["usageMetadata"] = usage
    return {
        **response,
        "modelVersion": answer.model,
        "createTime": _CREATED,
        "responseId": f"standin{answer.serial:06d}",
    }


def _usage(answer: Answer) -> JsonObject:
    usage = {
        "promptTokenCount": answer.input_tokens,
        "candidatesTokenCount": answer.output_tokens - answer.thinking_tokens,
        "totalTokenCount": answer.input_tokens + answer.output_tokens,
    }
    if answer.thinking_tokens:
        usage["thoughtsTokenCount"] = answer.thinking_tokens
    if answer.cache_read_tokens:
        usage["cachedContentTokenCount"] = answer.cache_read_tokens
    return usage
