"""Conversations as other models, libraries and people leave them, for tests of who takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF: Final = "JVBERi0xLjQK"
IMAGES: Final[tuple[dict[str, Any], ...]] = (
    {"type": "image", "base64": PIXEL, "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    {"type": "media", "mime_type": "image/png", "data": PIXEL},
    {"type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"},
)
FILES: Final[tuple[dict[str, Any], ...]] = (
    {"type": "file", "base64": PDF, "mime_type": "application/pdf"},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "t"},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}},
    {"type": "text-plain", "text": "a page", "mime_type": "text/plain"},
    {
        "type": "search_result",
        "source": "https://example.com",
        "title": "t",
        "content": [{"type": "text", "text": "found"}],
    },
)
SERVER_USE: Final = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
SERVER_RESULT: Final = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
BLOCKS: Final[dict[str, list[dict[str, Any]]]] = {  # `model_provider` -> what its models leave in an answer
    "anthropic": [
        {"type": "thinking", "thinking": "hm", "signature": "standin-signature-1"},
        SERVER_USE,
        SERVER_RESULT,
        {"type": "compaction", "content": "what was said before"},
    ],
    "openai": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "c", "outputs": []},
        {"type": "image_generation_call", "id": "ig_1", "result": PIXEL},
        {"type": "refusal", "refusal": "I would rather not."},
        {"type": "text", "text": "said", "annotations": [{"type": "url_citation", "url": "https://x.example"}]},
    ],
    "google_genai": [
        {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
        {"type": "executable_code", "executable_code": "print(1)", "language": "PYTHON", "id": "1"},
        {"type": "code_execution_result", "code_execution_result": "1", "outcome": 1},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ],
    "somebody": [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "reasoning_content", "reasoning_content": {"text": "hm"}},
        {"type": "non_standard", "value": {"type": "guard", "text": "hm"}},
        {"type": "server_tool_call", "id": "1", "name": "search", "args": {}},
        {"type": "server_tool_result", "tool_call_id": "1", "status": "success", "output": "1"},
        {"type": "audio", "id": "audio_1"},
    ],
}
IDS: Final = (
    *("toolu_1", "call_1", "call_1", "functions.add:0", "", "x" * 64, "call_2__thought__c2ln+/=="),
    "Ärger",
)

words = st.sampled_from(["hi", "and now?", "well", "", " ", "\n", "text "])
names = st.sampled_from([None, None, "Ada", "Research Agent", "naïve"])


def texts() -> SearchStrategy[Any]:
    """Return what may stand as content anywhere: a text, or blocks of text."""
    block = st.builds(lambda text: {"type": "text", "text": text}, words)
    marked = st.builds(lambda one: {**one, "cache_control": {"type": "ephemeral"}}, block)
    return words | st.lists(block | words | marked, max_size=3)


def spoken() -> SearchStrategy[BaseMessage]:
    """Return messages of users and systems."""
    media = st.sampled_from([*IMAGES, *FILES])
    result = st.builds(
        lambda identifier, content: {"type": "tool_result", "tool_use_id": identifier, "content": content},
        st.sampled_from(IDS),
        words | st.just([{"type": "text", "text": "3"}, IMAGES[2]]),
    )
    mixed = st.lists(media | result | st.builds(lambda text: {"type": "text", "text": text}, words), max_size=3)
    return (
        st.builds(HumanMessage, texts() | mixed, name=names)
        | st.builds(SystemMessage, texts())
        | st.builds(ChatMessage, words, role=st.sampled_from(["user", "assistant", "developer", "critic"]))
        | st.builds(FunctionMessage, words, name=st.sampled_from(["add", "other"]))
    )


def answers() -> SearchStrategy[BaseMessage]:
    """Return answers: texts and blocks of one maker's, calls good and bad."""
    call = st.builds(
        lambda name, identifier: {"name": name, "args": {"a": 1, "b": 2}, "id": identifier, "type": "tool_call"},
        st.sampled_from(["add", "add", "functions.add"]),
        st.sampled_from(IDS) | st.none(),
    )
    bad = st.builds(
        lambda identifier: {"name": "add", "args": "{a", "id": identifier, "error": None, "type": "invalid_tool_call"},
        st.sampled_from(IDS),
    )
    calls = st.lists(call, max_size=3)

    def make(maker: str) -> SearchStrategy[BaseMessage]:
        blocks = st.lists(
            st.sampled_from(BLOCKS[maker]) | st.builds(lambda text: {"type": "text", "text": text}, words), max_size=4
        )
        beside: SearchStrategy[dict[str, Any]] = st.sampled_from(
            [
                {},
                {"reasoning_content": "hm"},
                {"refusal": "No."},
                {"function_call": {"name": "add", "arguments": '{"a": 1}'}},
                {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "of somebody"}]},
            ]
        )
        return st.builds(
            AIMessage,
            content=texts() | blocks,
            tool_calls=calls,
            invalid_tool_calls=st.lists(bad, max_size=1),
            additional_kwargs=beside,
            response_metadata=st.just({"model_provider": maker}),
            name=names,
        )

    return st.sampled_from(sorted(BLOCKS)).flatmap(make)


def results() -> SearchStrategy[BaseMessage]:
    """Return results of tools, of calls that are there or not."""
    content = texts() | st.lists(st.sampled_from([*IMAGES, *FILES, {"type": "json", "json": {"a": 1}}]), max_size=2)
    return st.builds(
        ToolMessage,
        content,
        tool_call_id=st.sampled_from(IDS),
        name=names,
        status=st.sampled_from(["success", "error"]),
    )


def conversations() -> SearchStrategy[list[BaseMessage]]:
    """Return histories, in any order and cut anywhere."""
    exchange = st.tuples(answers(), st.lists(results(), max_size=3)).map(lambda pair: [pair[0], *pair[1]])
    one = st.lists(spoken(), min_size=1, max_size=2) | exchange | st.lists(results(), min_size=1, max_size=1)
    return st.lists(one, min_size=1, max_size=6).map(lambda parts: [message for part in parts for message in part])
