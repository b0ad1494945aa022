"""The steps by which a history is made fit: what each makes of each case, without a provider."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from liverouter.chat.history import Takes, fitted
from liverouter.providers import PROVIDERS, History
from tests.kit.histories import IMAGES, PDF, PIXEL, conversations

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

OPENAI: Final = Takes(PROVIDERS["openai"].history("gpt-4o"))
CLAUDE: Final = Takes(PROVIDERS["anthropic"].history("claude-sonnet-4-6"))
NATIVE_CLAUDE: Final = replace(CLAUDE, own=frozenset({"anthropic"}), anthropic_blocks=True)
GEMINI: Final = Takes(PROVIDERS["vertex-ai"].history("gemini-2.5-flash"))
NATIVE_GEMINI: Final = replace(GEMINI, own=frozenset({"google_genai"}), gemini_blocks=True)
CORTEX: Final = Takes(PROVIDERS["snowflake-cortex"].history("claude-sonnet-4-6"))
ALL: Final = {
    "OpenAI": OPENAI,
    "Claude": CLAUDE,
    "Claude by its own class": NATIVE_CLAUDE,
    "Gemini": GEMINI,
    "Gemini by its own class": NATIVE_GEMINI,
    "Snowflake": CORTEX,
}
HI: Final = HumanMessage("hi")


def call(identifier: str | None, **args: Any) -> dict[str, Any]:
    """Return a call of a tool."""
    return {"name": "add", "args": args, "id": identifier, "type": "tool_call"}


def fit(messages: list[BaseMessage], taken: Takes) -> list[BaseMessage]:
    """Return the fitted history."""
    return fitted(messages, taken)[0]


def kinds(messages: list[BaseMessage]) -> str:
    """Return who speaks, one letter each."""
    return "".join(message.type[0] for message in messages)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25)
@given(history=conversations())
def test_every_history_becomes_one_that_is_fit(name: str, history: list[BaseMessage]) -> None:
    """Each call has its one result at once, under an id of its own that fits; nothing that was passed changes."""
    taken, passed = ALL[name], copy.deepcopy(history)
    made = fit(history, taken)
    assert history == passed
    assert made
    assert all(type(message) in (AIMessage, HumanMessage, SystemMessage, ToolMessage) for message in made)
    waiting: list[str] = []
    seen: list[str] = []
    for message in made:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id == waiting.pop(0)
            continue
        assert waiting == []
        if isinstance(message, AIMessage):
            waiting = [str(call["id"]) for call in message.tool_calls]
            seen += waiting
            assert message.content or message.tool_calls
    assert waiting == []
    assert len(seen) == len(set(seen))
    pattern = taken.api.call_ids
    assert pattern is None or all(pattern.fullmatch(identifier) for identifier in seen)
    if taken.api.takes_turns:
        spoken = kinds(made).lstrip("s")
        assert spoken.startswith("h")
        assert not {"s", "aa", "hh"} & {spoken[at : at + size] for at in range(len(spoken)) for size in (1, 2)}
        assert not taken.api.user_last or not spoken.endswith("a")


@pytest.mark.parametrize("name", ALL)
def test_a_plain_history_is_sent_as_it_is(name: str) -> None:
    """Nothing is noted, and what cannot be changed is not even copied."""
    history: list[BaseMessage] = [SystemMessage("sys"), HI, AIMessage("yes?"), HumanMessage("and?")]
    made, notes = fitted(history, ALL[name])
    assert [message.content for message in made] == ["sys", "hi", "yes?", "and?"]
    assert notes == {}
    assert made[1] is history[1]


@pytest.mark.parametrize("name", ALL)
def test_half_of_a_character_is_sent_nowhere(name: str) -> None:
    """Two that stand together are the character; wherever texts stand, and what was passed stays as it is."""
    half, pair = "a\ud83d", "\ud83d\ude00"
    history = [
        SystemMessage(half),
        HumanMessage([{"type": "text", "text": pair + half}]),
        AIMessage(half, tool_calls=[call(half, **{half: [{"x": half}]})]),
        ToolMessage(half, tool_call_id=half),
        AIMessage([{"type": "tool_use", "id": "b", "name": "add", "input": '{"x": "\\ud83d"}'}]),
        ToolMessage(half, tool_call_id="b"),
        HumanMessage(half),
    ]
    passed = copy.deepcopy(history)
    made, notes = fitted(history, ALL[name])
    assert history == passed
    sent = repr([(message.content, getattr(message, "tool_calls", None)) for message in made])
    assert "\\ud83d" not in sent
    assert sum(isinstance(message, ToolMessage) for message in made) == 2, "each answers its call"
    assert "\U0001f600a\ufffd" in sent
    assert notes["half of a character"] == len(history)


class TestCalls:
    def test_ids_are_made_anew_where_they_do_not_fit_and_always_the_same(self) -> None:
        """Of call and result alike, whatever follows; those that fit stay."""
        history = [HI, AIMessage("", tool_calls=[call("a:0"), call("b")]), ToolMessage("1", tool_call_id="a:0")]
        made = fit(history, OPENAI)
        assert isinstance(made[1], AIMessage)
        first, second = (found["id"] for found in made[1].tool_calls)
        assert second == "b"
        assert made[2].tool_call_id == first  # type: ignore[attr-defined]
        longer = fit([*history, ToolMessage("2", tool_call_id="b"), AIMessage("done"), HI], CLAUDE)
        assert [found["id"] for found in longer[1].tool_calls] == [first, second]  # type: ignore[attr-defined]

    def test_gemini_keeps_the_signature_in_an_id(self) -> None:
        """The other engine puts it there; elsewhere such an id is too long, or odd."""
        signed = "call_1__thought__c2ln+/=="
        history = [HI, AIMessage("", tool_calls=[call(signed)]), ToolMessage("1", tool_call_id=signed)]
        assert fit(history, GEMINI)[1].tool_calls[0]["id"] == signed  # type: ignore[attr-defined]
        assert fit(history, OPENAI)[1].tool_calls[0]["id"] != signed  # type: ignore[attr-defined]

    def test_equal_calls_are_one_where_calls_have_no_ids(self) -> None:
        """Of equal ones the other engine sends Gemini one, and would send both results."""
        history = [HI, AIMessage("", tool_calls=[call("a", x=1), call("b", x=1), call("c", x=2)])]
        assert len(fit(history, GEMINI)[1].tool_calls) == 2  # type: ignore[attr-defined]
        assert len(fit(history, OPENAI)[1].tool_calls) == 3  # type: ignore[attr-defined]

    def test_a_call_that_cannot_be_read_stays_where_it_was_answered(self) -> None:
        """Its error is the answer, from which a model learns; without one it never was."""
        broken: Any = {"name": "add", "args": "{", "id": "a", "error": None, "type": "invalid_tool_call"}
        answer = AIMessage("x", invalid_tool_calls=[broken])
        answered = fit([HI, answer, ToolMessage("bad JSON", tool_call_id="a", status="error")], OPENAI)
        assert kinds(answered) == "hat"
        unanswered, notes = fitted([HI, answer, HI], OPENAI)
        assert kinds(unanswered) == "hah"
        assert notes == Counter({"a tool call that cannot be read": 1})


class TestContent:
    def test_an_answer_goes_back_whole_to_the_class_that_gave_it(self) -> None:
        """With its reasoning and the blocks of its own tools, under the ids that are sent."""
        blocks: list[Any] = [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": ""},
            {"type": "tool_use", "id": "a:1", "name": "add", "input": {}},
        ]
        answer = AIMessage(blocks, tool_calls=[call("a:1")], response_metadata={"model_provider": "anthropic"})
        made: Any = fit([HI, answer, ToolMessage("1", tool_call_id="a:1")], NATIVE_CLAUDE)[1]
        assert [block["type"] for block in made.content] == ["thinking", "tool_use"]
        assert made.content[1]["id"] == made.tool_calls[0]["id"] != "a:1"
        assert fit([HI, answer], CLAUDE)[1].content == ""

    def test_files_in_results_follow_behind_the_last_result(self) -> None:
        """In one message of the user, which says whose they are; Claude takes them where they are."""
        history = [
            HI,
            AIMessage("", tool_calls=[call("a", x=1), call("b", x=2)]),
            ToolMessage([IMAGES[2]], tool_call_id="a"),
            ToolMessage([{"type": "text", "text": "two"}, {"type": "file", "base64": PDF}], tool_call_id="b"),
        ]
        made = fit(history, GEMINI)
        assert kinds(made) == "hatth"
        assert made[3].content == "two"
        assert [block["type"] for block in made[4].content] == ["text", "image", "text", "file"]  # type: ignore[index]
        assert PIXEL in repr(fit(history, CLAUDE)[2].content)

    def test_marks_go_where_they_are_known(self) -> None:
        """`cache_control` to Claude alone."""
        marked: list[Any] = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]
        for message in (SystemMessage(marked), HumanMessage(marked), AIMessage(marked)):
            assert "cache_control" in repr(fit([message, HI], CLAUDE))
            assert "cache_control" not in repr(fit([message, HI], OPENAI))

    def test_chunks_and_unknown_messages(self) -> None:
        """An answer that was streamed is an answer; what is no message of a conversation goes."""
        made, notes = fitted([HI, AIMessageChunk(content="well"), RemoveMessage("1"), HI], OPENAI)
        assert [type(message) for message in made] == [HumanMessage, AIMessage, HumanMessage]
        assert notes == Counter({"a message of type remove": 1})


def test_openai_s_class_remembers_by_its_newer_api_alone() -> None:
    """Chat completions have no place for reasoning and its own tools' calls; the API to which such a tool leads has."""
    from langchain_openai import ChatOpenAI

    native = PROVIDERS["openai"].native("gpt-4o")
    chat = ChatOpenAI(model="gpt-4o", api_key="sk-none")  # type: ignore[arg-type]  # made a secret there
    assert not native.remembers_in(chat, {})
    assert native.remembers_in(chat, {"tools": [{"type": "web_search"}]})


class TestTurns:
    def test_system_messages_are_one_on_top(self) -> None:
        """Where the API has one place for them; OpenAI takes them where they are."""
        history = [HI, SystemMessage("a"), AIMessage("x"), SystemMessage("b"), HI]
        assert kinds(fit(history, CLAUDE)) == "shah"
        assert fit(history, CLAUDE)[0].content == "a\n\nb"
        assert kinds(fit(history, OPENAI)) == "hsash"

    @pytest.mark.parametrize(
        ("model", "completes"),
        [
            ("claude-sonnet-4-5", True),
            ("claude-sonnet-4-5-20250929", True),
            ("claude-opus-4-20250514", True),
            ("claude-3-7-sonnet-20250219", True),
            ("claude-haiku-4-5@20251001", True),
            ("claude-sonnet-4-6", False),
            ("claude-opus-4-6-20260205", False),
            ("claude-opus-4-10", False),
            ("claude-sonnet-5", False),
            ("claude-next", False),
        ],
    )
    def test_a_begun_answer_is_left_to_models_that_complete_it(self, model: str, *, completes: bool) -> None:
        """To the others a user says to go on."""
        taken = Takes(PROVIDERS["anthropic"].history(model))
        assert kinds(fit([HI, AIMessage("The answer is")], taken)) == ("ha" if completes else "hah")

    def test_nothing_is_a_user_who_says_to_go_on(self) -> None:
        """No provider takes a conversation without a message."""
        for taken in ALL.values():
            assert kinds(fit([AIMessage("")], taken)) == "h"

    def test_what_an_api_takes_by_default(self) -> None:
        """The strictest: a new provider's file says what its API takes besides."""
        strict = History()
        assert strict.takes_turns
        assert strict.user_last
        assert not strict.rich_results | strict.system_anywhere
