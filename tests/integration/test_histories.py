"""A conversation goes on with whoever answers next, whatever another model, a library or a person left in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from langchain_core.messages import AIMessage, ChatMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage

from liverouter.events import HistoryFitted
from liverouter.testing import Failure, MemoryRouter, Reply, ToolCall
from tests.kit.dialects import DIALECTS
from tests.kit.everybody import ENGINES, TARGETS, World, add, named
from tests.kit.histories import BLOCKS, FILES, IMAGES, PDF, PIXEL, conversations
from tests.kit.standins import bodies, fallback, primary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage


HI: Final = HumanMessage("hi")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests."""
    with World() as entered:
        yield entered


def called(*identifiers: str, text: str = "", name: str = "add", **more: Any) -> AIMessage:
    """Return an answer with a call of each of these ids."""
    calls = [{"name": name, "args": {"a": at}, "id": one} for at, one in enumerate(identifiers)]
    return AIMessage(text, tool_calls=calls, **more)


def done(identifier: str, content: Any = "3") -> ToolMessage:
    """Return the result of a call."""
    return ToolMessage(content, tool_call_id=identifier)


def left_by(maker: str) -> AIMessage:
    """Return an answer with all that the models of *maker* leave in one."""
    return AIMessage(
        [{"type": "text", "text": "BLUE"}, *copy.deepcopy(BLOCKS[maker])], response_metadata={"model_provider": maker}
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A history as the field has them.

    Attributes:
        history: the messages.
        kept: texts that the provider gets.
        gone: texts that it does not.
        changes: what the debug event says, where the target has not *own* models of that kind.
        own: engines' dialects that take it as it is.
    """

    history: list[BaseMessage]
    kept: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    changes: str = ""
    own: tuple[tuple[str, str], ...] = ()


CLAUDES: Final = (("anthropic", "native"), ("vertex-ai claude", "native"))
KINDS: Final = {
    "blocks of Claude": Kind(
        [HI, left_by("anthropic"), HI], ("BLUE",), ("srvtoolu_1", "standin-signature"), "server_tool_use", CLAUDES
    ),
    "blocks of OpenAI": Kind(
        [HI, left_by("openai"), HI],
        ("BLUE", "I would rather not."),
        ("ws_1", "rs_1", "ig_1", "url_citation"),
        "web_search_call",
    ),
    "blocks of Gemini": Kind(
        [HI, left_by("google_genai"), HI], ("BLUE",), ("print(1)",), "executable_code", (("vertex-ai", "native"),)
    ),
    "blocks of somebody": Kind([HI, left_by("somebody"), HI], ("BLUE",), ("hm", "guard", "audio_1"), "non_standard"),
    "a summary in place of what was before": Kind(
        [HI, AIMessage([{"type": "compaction", "content": "SUMMARY"}, {"type": "text", "text": "BLUE"}]), HI],
        ("SUMMARY", "BLUE"),
    ),
    "a history that was trimmed": Kind(
        [done("call_1", "LOST"), AIMessage("BLUE"), HI], ("BLUE",), ("LOST",), "result without its call"
    ),
    "a call that was given up": Kind([HI, called("call_1"), HI], ("not carried out",), (), "call without its result"),
    "a run that ends with calls": Kind([HI, called("call_1", "call_2"), done("call_2", "BLUE")], ("BLUE",)),
    "results in another order and late": Kind(
        [HI, called("a", "b"), done("b", "RED"), HumanMessage("wait"), done("a", "BLUE"), HI], ("RED", "BLUE", "wait")
    ),
    "odd ids": Kind(
        [HI, called("functions.add:0", "x" * 64, ""), done("x" * 64, "RED"), done("functions.add:0", "BLUE")],
        ("RED", "BLUE", "not carried out"),
    ),
    "ids that are used again": Kind(
        [HI, called("call_0"), done("call_0", "RED"), called("call_0"), done("call_0", "BLUE")], ("RED", "BLUE")
    ),
    "an odd name of a tool": Kind([HI, called("a", name="server.add"), done("a", "BLUE")], ("server_add", "BLUE")),
    "empty messages": Kind(
        [HI, AIMessage(""), HumanMessage([]), AIMessage([]), HumanMessage("BLUE")], ("BLUE",), (), "empty message"
    ),
    "messages in a row": Kind(
        [HI, HumanMessage("RED"), AIMessage("x"), called("a", text="BLUE"), done("a")], ("RED", "BLUE")
    ),
    "system messages anywhere": Kind(
        [HI, SystemMessage("RED"), AIMessage("x"), SystemMessage([{"type": "text", "text": "BLUE"}]), HI],
        ("RED", "BLUE"),
    ),
    "an answer that nobody asked for": Kind([AIMessage("BLUE")], ("BLUE",)),
    "an image in a result": Kind([HI, called("a"), done("a", [IMAGES[0]]), AIMessage("x"), HI], (PIXEL[:40],)),
    "a file in a result": Kind([HI, called("a"), done("a", [FILES[0], {"type": "text", "text": "RED"}])], (PDF, "RED")),
    "data in a result": Kind([HI, called("a"), done("a", [{"type": "json", "json": {"x": "BLUE"}}])], ("BLUE",)),
    "an image that the model made": Kind(
        [HI, AIMessage([IMAGES[1], {"type": "text", "text": "BLUE"}]), HI], ("BLUE",), (PIXEL,), "image_url"
    ),
    "marks of a cache": Kind(
        [HumanMessage([{"type": "text", "text": "BLUE", "cache_control": {"type": "ephemeral"}}])], ("BLUE",)
    ),
    "a name with a space": Kind([HumanMessage("BLUE", name="Ada L."), AIMessage("x", name="Re Search"), HI], ("BLUE",)),
    "results in Anthropic's notation": Kind(
        [
            HI,
            AIMessage([{"type": "tool_use", "id": "t:1", "name": "add", "input": {"a": 1}}]),
            HumanMessage(
                [{"type": "tool_result", "tool_use_id": "t:1", "content": "RED"}, {"type": "text", "text": "BLUE"}]
            ),
        ],
        ("RED", "BLUE"),
    ),
    "functions of old": Kind(
        [
            ChatMessage(content="RED", role="user"),
            AIMessage("", additional_kwargs={"function_call": {"name": "add", "arguments": '{"a": 1}'}}),
            FunctionMessage(content="BLUE", name="add"),
        ],
        ("RED", "BLUE"),
    ),
}


@pytest.mark.parametrize("target", TARGETS, ids=named)
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_history_goes_on_anywhere(world: World, name: str, target: tuple[str, str]) -> None:
    """It is taken, what matters arrives, what only its maker knows does not, and an event without content says so."""
    kind = KINDS[name]
    passed = copy.deepcopy(kind.history)
    body = repr(world.ask(target, kind.history, tools=[add]))
    assert [text for text in kind.kept if text not in body] == []
    said = [change for event in world.events if isinstance(event, HistoryFitted) for change in event.changes]
    if target not in kind.own:
        assert [text for text in kind.gone if text in body] == []
        if not (name == "empty messages" and target[0] in ("openai", "azure-openai")):
            assert kind.changes in repr(said)
    assert not any(text in repr(said) for text in (*kind.kept, *kind.gone))
    assert kind.history == passed


@pytest.mark.parametrize("target", [t for t in TARGETS if t[0] not in ("anthropic", "vertex-ai", "vertex-ai claude")])
def test_file_by_its_address_is_told_as_text(world: World, target: tuple[str, str]) -> None:
    """Where the API takes none: the conversation goes on, whoever was sent it before."""
    block = {"type": "file", "url": "https://files.example/a.pdf", "mime_type": "application/pdf"}
    document = {"type": "document", "source": {"type": "url", "url": "https://files.example/b.pdf"}}
    said: Any = [block, document, {"type": "text", "text": "BLUE"}]
    body = repr(world.ask(target, [HumanMessage(said), AIMessage("x"), HI]))
    assert all(text in body for text in ("files.example/a.pdf", "files.example/b.pdf", "BLUE"))
    assert "a file by its address" in repr(world.events)


@pytest.mark.parametrize("target", TARGETS, ids=named)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=conversations())
def test_any_conversation_goes_on_anywhere(world: World, target: tuple[str, str], history: list[BaseMessage]) -> None:
    """Random tools, blocks, ids and roles: the strict stand-ins refuse none, and nothing that was passed changes."""
    passed = copy.deepcopy(history)
    world.ask(target, history, tools=[add])
    assert history == passed


@pytest.mark.parametrize("engine", ENGINES)
def test_one_conversation_is_answered_by_all_in_turn(world: World, engine: str) -> None:
    """What each one's model really answers, reasoning and calls, goes on with each other one, live."""
    client = world.clients[engine]
    history: list[BaseMessage] = [HI]
    order = [*DIALECTS.values(), *reversed(DIALECTS.values())]
    for dialect in order:
        standin = world.standins[dialect.provider]
        refused = len(standin.violations)
        standin.respond(
            Reply(tool_calls=(ToolCall("add", {"a": 1}), ToolCall("add", {"a": 2})), text="Well.", thinking="hm")
        )
        model = client.chat_model().bind_tools([add])
        message = model.invoke(history, model=f"{dialect.provider}/{dialect.model}")
        history += [message, *(done(str(call["id"])) for call in message.tool_calls)]
        assert standin.violations[refused:] == ()
    assert sum(isinstance(message, ToolMessage) for message in history) == 2 * len(order)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fallback_is_asked_as_if_it_were_the_primary(world: World, engine: str) -> None:
    """Whoever failed before it: no attempt bends the request of the next, neither tools nor schemas nor messages."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": add.args_schema.model_json_schema()}}  # type: ignore[union-attr]
    history: list[BaseMessage] = [SystemMessage("sys"), *KINDS["results in another order and late"].history]
    history[2].tool_calls[0]["args"] = {"a": 1, "note": {"x": 1}}  # type: ignore[attr-defined]
    tools: list[Any] = [
        add,
        {"type": "function", "function": {"name": "b", "parameters": {"type": "object", "properties": {}}}},
    ]
    passed = copy.deepcopy((form, history, tools[1]))
    names = list(DIALECTS)
    with MemoryRouter(primary(world.standins["openai"]), secrets=world.secrets) as client:
        for name, other in zip(names, [*names[1:], names[0]], strict=True):
            first, second = DIALECTS[name], DIALECTS[other]
            rows = {
                "litellm_enable": ENGINES[engine],
                "litellm_num_retries": 0,
                "litellm_allowed_fails": 100,
                **primary(world.standins[first.provider], first.model),
                "llm_fallback_config": fallback(world.standins[second.provider], second.model),
            }
            client.set(**rows)
            standin = world.standins[second.provider]
            model: Any = client.chat_model().bind_tools(tools)
            for options in ({}, {"response_format": form} if "openai" in other else {}):
                model.invoke(history, model=f"{second.provider}/{second.model}", **options)
                alone = bodies(standin)[-1]
                world.standins[first.provider].fail(Failure.SERVER_ERROR, times=1)
                answer = model.invoke(history, **options)
                assert answer.response_metadata["liverouter"]["failed_over"], (name, other)
                assert bodies(standin)[-1] == alone
    assert (form, history, tools[1]) == passed
