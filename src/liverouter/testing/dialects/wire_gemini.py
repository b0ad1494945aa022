"""The body format of Gemini's generateContent on Vertex AI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_gemini import (
    GENERATION,
    REQUEST,
    camel,
    invalid,
    known_fields,
    list_at,
    message_at,
    object_at,
)
from liverouter.testing.dialects.checks_gemini_messages import check_declarations, check_schema, checked_contents
from liverouter.testing.dialects.checks_gemini_parameters import check_generation, check_tools
from liverouter.testing.dialects.models import gemini_model
from liverouter.testing.dialects.wire_openai import sse
from liverouter.testing.standin.answers import pieces
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

_FINISH: Mapping[Finish, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
}
_CREATED = "2026-01-01T00:00:00.000000Z"


class GenerateContent(Wire):
    """The body format of `:generateContent` and `:streamGenerateContent`."""

    splits_arguments = False
    stream_type = "text/event-stream"

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* and *stream* come from the path."""
        request = known_fields(body, REQUEST, "")
        if not request.get("contents"):
            raise invalid("Unable to submit request because at least one contents field is required.")
        contents = checked_contents(request["contents"])
        config = known_fields(request.get("generationConfig"), GENERATION, "generation_config")
        check_generation(config, gemini_model(model or ""))
        check_tools(request.get("tools"))
        check_schema(config.get("responseSchema"), "generation_config.response_schema")
        check_declarations(request.get("tools"))
        tools, choice, name = _tools(request)
        newest = contents[-1]["parts"]
        system = message_at(request.get("systemInstruction"), "system_instruction").get("parts")
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
                message_at(config.get("thinkingConfig"), "generation_config.thinking_config").get("includeThoughts")
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


def _is_user_turn(turn: JsonObject) -> bool:
    return turn["role"] == "user" and bool(text_of(turn["parts"]))


def _result_text(response: JsonObject) -> str:
    """Return the text of a `functionResponse`: the values of its `response`."""
    content = response.get("response")
    values = content.values() if isinstance(content, dict) else (content,)
    return " ".join(str(value) for value in values)


def _tools(request: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice, str | None]:
    """Return the functions declared, the choice left to the model, and the one function that it must call.

    Raises:
        RejectedError: an allowed function is not declared, or the configuration is malformed.
    """
    tools = tuple(
        Tool(str(one.get("name")), object_at(one.get("parameters") or one.get("parametersJsonSchema"), "parameters"))
        for group in objects(request.get("tools"))
        for one in map(camel, objects(camel(group).get("functionDeclarations")))
    )
    where = "tool_config.function_calling_config"
    config = message_at(message_at(request.get("toolConfig"), "tool_config").get("functionCallingConfig"), where)
    allowed = list_at(config.get("allowedFunctionNames"), f"{where}.allowed_function_names")
    for name in allowed:
        if name not in [tool.name for tool in tools]:
            raise invalid(f"allowed_function_names: '{name}' is not a declared function.")
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
    """Return the JSON schema that the text must match, {} for any JSON, None for any text."""
    if config.get("responseMimeType") != "application/json":
        return None
    schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    return schema if isinstance(schema, dict) else {}


def _parts(answer: Answer, text: str, *, split: bool = False) -> Iterable[JsonObject]:
    """Yield a candidate's parts: thinking, *text*, function calls; *split* cuts the texts as a stream does."""
    for piece in pieces(answer.thinking) if split else filter(None, (answer.thinking,)):
        yield {"text": piece, "thought": True}
    for piece in pieces(text) if split else filter(None, (text,)):
        yield {"text": piece}
    for call in answer.tool_calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments}}


def _candidate(parts: list[JsonObject], finish: Finish | None = None) -> JsonObject:
    """Return a candidate; a refused one has a safety rating instead of content."""
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
    """Return the usage; Gemini's `candidatesTokenCount` leaves out thinking."""
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
