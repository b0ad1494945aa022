"""`litellm_enable` is switched by a row while calls are made: none fails, none is answered in another shape."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from liverouter import LiveRouter
from liverouter.events import ConfigApplied
from liverouter.testing import EventLog, Failure
from tests.kit.dialects import DIALECTS
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS, WEATHER
from tests.kit.world import METHODS, World, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage, BaseMessage

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

ENDS: Final = {"text": "stop", "tool": "tool_calls"}
ASKS: Final = {"text": "hi there", "tool": "call get_weather now"}  # the stand-ins call a tool that is named
USAGE: Final = {"input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details"}


def shape(answer: AIMessage) -> dict[str, Any]:
    """Return what a caller may rely on whichever engine answers."""
    told = answer.response_metadata["liverouter"]
    return {
        "content": answer.content,
        "calls": [(call["name"], call["args"], call["type"]) for call in answer.tool_calls],
        "invalid": answer.invalid_tool_calls,
        "usage": set(answer.usage_metadata or {}),
        "finish": answer.response_metadata["finish_reason"],
        "model": answer.response_metadata["model_name"],
        "dialect": answer.response_metadata.get("model_provider"),  # of the content's blocks
        "told": {name: type(value).__name__ for name, value in told.items()},
    }


@pytest.fixture(scope="module", params=DIALECTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect, whose engine is switched."""
    with World(request.param, fallback="", litellm_num_retries=1, llm_max_tokens=100) as made:
        yield made


class TestShape:
    def test_answers_of_both_engines_have_one_shape(self, world: World) -> None:
        """Content, tool calls, the keys of usage, the finish marker and our own metadata, whole and streamed."""
        seen: dict[bool, list[dict[str, Any]]] = {}
        for enabled in (True, False):
            world.live.set(litellm_enable=enabled)
            methods = ("ainvoke", "stream") if enabled else ("invoke", "astream")
            answers = [ask(world.model, m, text, tools=[WEATHER]) for m in methods for text in ASKS.values()]
            engines = {answer.response_metadata["liverouter"]["engine"] for answer in answers}
            assert engines == {"litellm" if enabled else "native"}
            seen[enabled] = [shape(answer) for answer in answers]
        assert seen[True] == seen[False]
        for met in seen[False]:
            assert isinstance(met["content"], str)
            assert met["usage"] == USAGE
            assert met["finish"] == ENDS["tool" if met["calls"] else "text"]


class TestConversation:
    def test_tool_calls_go_on_across_the_switch(self, world: World) -> None:
        """A call made in one engine, its result sent in the other and the answer sent back, in both directions."""
        history: list[BaseMessage] = []
        for enabled, method in ((True, "invoke"), (False, "stream"), (True, "stream"), (False, "invoke")):
            world.live.set(litellm_enable=enabled)
            history.append(HumanMessage("call get_weather now"))
            called = _say(world, method, history)
            assert [call["name"] for call in called.tool_calls] == ["get_weather"]
            history += [called, ToolMessage("it rains", tool_call_id=str(called.tool_calls[0]["id"]))]
            world.live.set(litellm_enable=not enabled)
            answered = _say(world, method, history)
            assert "it rains" in str(answered.content)
            history.append(answered)
        assert world.primary.violations == ()


def _say(world: World, method: str, history: list[BaseMessage]) -> AIMessage:
    """Return the next turn of *history*."""
    model: Any = world.model
    if method == "invoke":
        return model.invoke(history, tools=[WEATHER])  # type: ignore[no-any-return]
    first, *others = model.stream(history, tools=[WEATHER])
    return sum(others, first)  # type: ignore[no-any-return]


class TestUnderLoad:
    def test_no_call_fails_while_the_engine_changes(self, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four callers with tools, four switches by a row, a primary that fails at times: every call is answered."""
        events = EventLog()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-key")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-key")
        with World("openai") as world, psycopg.connect(dsn, autocommit=True) as db:
            bases = (world.primary.api_base, world.fallback.api_base)
            monkeypatch.setenv("LIVEROUTER_API_BASES", ",".join(bases))  # where the keys may go
            entry = _spare(world)
            _write(
                db,
                llm_provider="openai",
                llm_model="gpt-4o",
                openai_api_base=world.primary.api_base,
                llm_fallback_config=entry,
                litellm_num_retries=1,
                litellm_allowed_fails=1000,  # the primary stays in the walk, so that both serve to the end
            )
            with LiveRouter(database_url=dsn, observers=(events,)) as live:
                served, errors = _switched(live, world, db, events)
        assert errors == []
        roles = {(told["engine"], told["role"]) for told, _ in served}
        assert roles == {(engine, role) for engine in ("litellm", "native") for role in ("primary", "fallback")}
        assert {frozenset(told) for told, _ in served} == {frozenset(served[0][0])}
        kinds = {(type(met["content"]), frozenset(met["usage"]), met["finish"]) for _, met in served}
        assert kinds == {(str, frozenset(USAGE), end) for end in ENDS.values()}
        assert all(standin.violations == () for standin in world.standins)


def _switched(
    live: LiveRouter, world: World, db: psycopg.Connection[Any], events: EventLog
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], list[Exception]]:
    """Call by every method while the engine changes; return what was told and met, and the errors."""
    model, stop = live.chat_model(), threading.Event()
    served: list[tuple[dict[str, Any], dict[str, Any]]] = []
    errors: list[Exception] = []
    more = threading.Condition()

    def call(method: str) -> None:
        texts = list(ASKS.values())
        while not stop.is_set():
            texts.reverse()
            try:
                answer = ask(model, method, texts[0], tools=[WEATHER])
                with more:
                    served.append((answer.response_metadata["liverouter"], shape(answer)))
                    more.notify_all()
            except Exception as exc:  # noqa: BLE001 - any failure is what the test is about
                with more:
                    errors.append(exc)
                    more.notify_all()
                return

    callers = [threading.Thread(target=call, args=(method,)) for method in METHODS]
    for caller in callers:
        caller.start()
    try:
        for number in range(4):
            engine = "litellm" if number % 2 else "native"
            events.wait_for(ConfigApplied, revision=_write(db, litellm_enable=engine == "litellm"))
            for role in ("fallback", "primary"):
                if role == "fallback":
                    world.primary.fail(Failure.UNAVAILABLE)
                else:
                    world.primary.heal()
                with more:
                    since = len(served)
                    more.wait_for(
                        lambda since=since, wanted=(engine, role): (  # type: ignore[misc]
                            errors or any((told["engine"], told["role"]) == wanted for told, _ in served[since:])
                        ),
                        60,
                    )
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    return served, errors


def _spare(world: World) -> dict[str, Any]:
    """Return the fallback's entry, whose key is in the environment."""
    entry = DIALECTS["anthropic"].entry(world.fallback)
    return {name: value for name, value in entry.items() if name != "api_key"}


def _write(db: psycopg.Connection[Any], **rows: Any) -> int:
    """Write *rows* in one transaction and return the revision."""
    with db.transaction():
        for key, value in rows.items():
            db.execute(
                "INSERT INTO liverouter.settings (key, value) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )
    row = db.execute("SELECT max(revision) FROM liverouter.revisions").fetchone()
    assert row is not None
    return int(row[0])
