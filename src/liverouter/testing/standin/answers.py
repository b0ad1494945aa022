"""What a stand-in answers: deterministic, and naming who served. Pure."""

import json
import math

from liverouter.testing.standin.schemas import minimal_object
from liverouter.testing.standin.wire import Answer, Ask, Finish, Reply, ToolCall

CHARS_PER_TOKEN = 4
_ECHO_CHARS = 200  # of the user's text; a summary of a long history must be shorter than the history
_MAX_PIECES = 256


def count_tokens(text: str) -> int:
    """Return the tokens of *text*: one per four characters, rounded up."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def default_reply(ask: Ask) -> Reply:
    """Return what a stand-in says when nothing is scripted.

    A forced tool is called with the smallest arguments its schema allows; a wanted schema is met by its smallest
    instance; a user turn that names an offered tool calls it. Everything else is answered
    `"<model> says: <last user text>"`.
    """
    thinking = f"{ask.model} thinks." if ask.thinking else ""
    named = ask.tool_name or next((tool.name for tool in ask.tools if tool.name in ask.user_text), None)
    if ask.tools and (ask.must_call_tool or (named and ask.tool_choice != "none" and not ask.tool_results)):
        tool = next((tool for tool in ask.tools if tool.name == named), ask.tools[0])
        return Reply(tool_calls=(ToolCall(tool.name, minimal_object(tool.schema, ask.user_text)),), thinking=thinking)
    if ask.schema is not None:
        return Reply(text=json.dumps(minimal_object(ask.schema, ask.user_text)), thinking=thinking)
    said = "; ".join(ask.tool_results) or ask.user_text
    return Reply(text=f"{ask.model} says: {said[:_ECHO_CHARS]}", thinking=thinking)


def compose(ask: Ask, reply: Reply, *, serial: int) -> Answer:
    """Return *reply* as the provider would finish it: stop sequences, token limit, choices and usage applied."""
    text, finish, matched = _cut(ask, reply.text)
    if reply.tool_calls:
        finish = "tool_calls"
    finish = reply.finish or finish
    texts = (text, *(f"{text} ({choice})" for choice in range(2, ask.n + 1)))
    called = "".join(call.name + json.dumps(call.arguments) for call in reply.tool_calls)
    thinking_tokens = count_tokens(reply.thinking)
    output_tokens = sum(map(count_tokens, texts)) + count_tokens(called) + thinking_tokens
    return Answer(
        serial=serial,
        model=ask.model,
        texts=texts,
        tool_calls=reply.tool_calls,
        thinking=reply.thinking,
        finish=finish,
        stop_sequence=matched,
        input_tokens=ask.input_tokens if reply.input_tokens is None else reply.input_tokens,
        output_tokens=max(1, output_tokens) if reply.output_tokens is None else reply.output_tokens,
        thinking_tokens=thinking_tokens,
        cache_read_tokens=ask.cache_read_tokens if reply.cached_tokens is None else reply.cached_tokens,
        cache_write_tokens=ask.cache_write_tokens if reply.cached_tokens is None else 0,
        include_usage=ask.include_usage,
        searches=ask.searches and not reply.tool_calls,
    )


def _cut(ask: Ask, text: str) -> tuple[str, Finish, str | None]:
    """Return *text* up to the first stop sequence or the token limit, how it ends, and the stop sequence it met."""
    finish: Finish = "stop"
    found = [(text.index(mark), mark) for mark in ask.stop if mark and mark in text]
    matched = None
    if found:
        at, matched = min(found)
        text, finish = text[:at], "stop_sequence"
    if ask.max_tokens is not None and count_tokens(text) > ask.max_tokens:
        text, finish, matched = text[: ask.max_tokens * CHARS_PER_TOKEN], "length", None
    return text, finish, matched


def pieces(text: str) -> tuple[str, ...]:
    """Split *text* at words into at most 256 pieces; joined they are the text again."""
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    size = math.ceil(len(words) / _MAX_PIECES)
    joined = ("".join(words[at : at + size]) for at in range(0, len(words), size))
    return tuple(piece for piece in joined if piece)


def argument_pieces(call: ToolCall) -> tuple[str, str]:
    """Split a call's arguments, as JSON, in the middle."""
    text = json.dumps(call.arguments)
    half = len(text) // 2
    return text[:half], text[half:]
