"""A Deep Agent whose planner, worker and summaries are named models: each follows its row, whoever is in use."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest
from deepagents import create_deep_agent
from deepagents.backends import StateBackend
from deepagents.middleware.summarization import SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from liverouter.routing import answer_body
from liverouter.testing import MemoryRouter, Reply, StandIn, ToolCall
from liverouter.testing.standin.answers import default_reply
from tests.kit.standins import bodies, primary, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import Ask
    from liverouter.testing.standin.script import Gate

PLANNER: Final = {"provider": "anthropic", "model": "claude-opus-4-1"}
WORKER: Final = {"provider": "openai", "model": "gpt-4o-mini"}
HAIKU: Final = {"provider": "anthropic", "model": "claude-haiku-4-5"}
WAIT_S: Final = 60.0


@pytest.fixture
def client(anthropic: StandIn, openai: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRouter]:
    """A client whose planner is at Anthropic and whose worker is at OpenAI."""
    monkeypatch.setattr(answer_body, "_END_S", WAIT_S)  # connections are counted, and half a second passes by itself
    rows = {**primary(anthropic), **openai.rows(), "litellm_timeout": 600, "llm:planner": PLANNER, "llm:worker": WORKER}
    with MemoryRouter(rows, secrets=anthropic.secrets() | openai.secrets()) as entered:
        yield entered


def team(client: MemoryRouter, **options: Any) -> Any:
    """Return an agent that plans and has a worker, built once, as at import time."""
    worker = {"name": "worker", "description": "Works.", "system_prompt": "Work.", "model": client.chat_model("worker")}
    return create_deep_agent(model=client.chat_model("planner"), subagents=[worker], **options)  # type: ignore[list-item]


def delegates(task: str) -> Reply:
    """Return what has the worker do *task*."""
    return Reply(text="So be it.", tool_calls=(ToolCall("task", {"description": task, "subagent_type": "worker"}),))


def run(agent: Any, method: str, text: str = "begin") -> list[tuple[str, str, int]]:
    """Run a turn; return name, model and revision of the planner's answers, of a stream of the worker's as well."""
    config, asked = {"configurable": {"thread_id": "1"}}, {"messages": [HumanMessage(text)]}
    match method:
        case "invoke":
            messages = agent.invoke(asked, config)["messages"]
        case "ainvoke":
            messages = asyncio.run(agent.ainvoke(asked, config))["messages"]
        case "stream":
            streamed = agent.stream(asked, config, stream_mode="messages", subgraphs=True)
            messages = [piece for _, (piece, _) in streamed]
        case _:
            messages = asyncio.run(_streamed(agent, asked, config))
    signed = [m for m in messages if isinstance(m, AIMessage) and "liverouter" in m.response_metadata]
    return [(told["name"], told["model"], told["revision"]) for told in map(served, signed)]


async def _streamed(agent: Any, asked: Any, config: Any) -> list[Any]:
    streamed = agent.astream(asked, config, stream_mode="messages", subgraphs=True)
    return [piece async for _, (piece, _) in streamed]


class TestSwaps:
    @pytest.mark.parametrize(("enabled", "method"), [(True, "astream"), (False, "ainvoke")])
    def test_worker_is_swapped_while_the_planner_is_asked(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn, method: str, *, enabled: bool
    ) -> None:
        """The next task goes to the new model; the planner's call, its history and its connection are left alone."""
        revision = client.set(litellm_enable=enabled)
        gates: list[Gate] = []

        def ends_the_first_task(ask: Ask) -> Reply:
            gates.append(anthropic.hold())
            return default_reply(ask)

        anthropic.respond(delegates("one"), delegates("two"))
        openai.respond(ends_the_first_task)
        with StandIn("anthropic") as other, ThreadPoolExecutor(1) as caller:
            answers = caller.submit(run, team(client), method)
            anthropic.wait_hits(2, WAIT_S)
            with gates[0] as gate:
                gate.wait_held(1, WAIT_S)
                before, connections = client.generation(), anthropic.accepted
                client.set(**{"llm:worker": HAIKU | {"api_base": other.api_base}})
                assert client.generation().models["planner"] is before.models["planner"]
            told = answers.result(WAIT_S)
            assert [answer for answer in told if answer[0] == "planner"] == [
                ("planner", "claude-opus-4-1", revision),
                ("planner", "claude-opus-4-1", revision),
                ("planner", "claude-opus-4-1", revision + 1),
            ]
            assert [answer for answer in told if answer[0] == "worker"] == (
                [("worker", "gpt-4o-mini", revision), ("worker", "claude-haiku-4-5", revision + 1)]
                if "stream" in method
                else []
            )
            assert (openai.hits, other.hits, anthropic.accepted) == (1, 1, connections)
            assert (anthropic.violations, openai.violations, other.violations) == ((), (), ())
        history = repr(bodies(anthropic)[-1]["messages"])
        assert "gpt-4o-mini says: one" in history
        assert "claude-haiku-4-5 says: two" in history

    @pytest.mark.parametrize(("enabled", "method"), [(True, "invoke"), (False, "stream")])
    def test_planner_changes_its_provider_while_the_worker_is_asked(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn, method: str, *, enabled: bool
    ) -> None:
        """In a conversation, there and back: its tool calls go along, and the worker's task ends as it began."""
        revision = client.set(litellm_enable=enabled)
        agent = team(client, checkpointer=InMemorySaver())
        anthropic.respond(delegates("one"))
        with StandIn("openai") as other, ThreadPoolExecutor(1) as caller:
            with openai.hold() as gate:
                answers = caller.submit(run, agent, method)
                gate.wait_held(1, WAIT_S)
                before, connections = client.generation(), openai.accepted
                client.set(**{"llm:planner": {"provider": "openai", "model": "gpt-4.1", "api_base": other.api_base}})
                assert client.generation().models["worker"] is before.models["worker"]
            assert [answer for answer in answers.result(WAIT_S) if answer[0] == "planner"] == [
                ("planner", "claude-opus-4-1", revision),
                ("planner", "gpt-4.1", revision + 1),
            ]
            assert openai.accepted == connections
            other.respond(delegates("two"))
            run(agent, method, "go on")
            client.set(**{"llm:planner": PLANNER})
            assert run(agent, method, "and back")[-1] == ("planner", "claude-opus-4-1", revision + 2)
            assert (anthropic.violations, openai.violations, other.violations) == ((), (), ())
        history = repr(bodies(anthropic)[-1]["messages"])
        assert all(f"gpt-4o-mini says: {task}" in history for task in ("one", "two"))


class TestSummaries:
    @pytest.mark.parametrize(("enabled", "method"), [(True, "ainvoke"), (False, "invoke")])
    def test_summaries_are_written_by_their_name_when_the_planner_s_window_is_full(
        self, client: MemoryRouter, openai: StandIn, method: str, *, enabled: bool
    ) -> None:
        """A swap of the planner to a smaller window has a history shortened; who does it follows a row of its own."""
        with StandIn("anthropic") as other:
            client.set(
                litellm_enable=enabled,
                llm_profile={"max_input_tokens": 2_000},  # the default's own
                **{"llm:planner": WORKER | {"model": "gpt-4.1"}, "llm:summary": HAIKU | {"api_base": other.api_base}},
            )
            planner, summary = client.chat_model("planner"), client.chat_model("summary")
            shortened = SummarizationMiddleware(
                planner, backend=StateBackend(), trigger=("fraction", 0.85), keep=("fraction", 0.1), summarizer=summary
            )
            agent: Any = create_deep_agent(model=planner, middleware=[shortened], checkpointer=InMemorySaver())

            def turn(number: int) -> str:
                return run(agent, method, f"turn {number}: " + "many words " * 600)[-1][1]

            assert {turn(number) for number in range(8)} == {"gpt-4.1"}
            assert other.hits == 0
            client.set(**{"llm:planner": WORKER | {"model": "gpt-3.5-turbo"}})
            assert turn(8) == "gpt-3.5-turbo"
            assert [body["model"] for body in bodies(other)] == ["claude-haiku-4-5"]
            assert "turn 1:" not in repr(bodies(openai)[-1])
            client.set(**{"llm:summary": WORKER})
            number = 9
            while (asked := {body["model"] for body in bodies(openai)}) != {"gpt-4.1", "gpt-3.5-turbo", "gpt-4o-mini"}:
                assert number < 20, asked
                number += turn(number) == "gpt-3.5-turbo"
            assert other.hits == 1
            counted = {(row["name"], row["model"]) for row in client.usage.drain()}
            assert {("summary", "claude-haiku-4-5"), ("summary", "gpt-4o-mini")} <= counted
            assert (openai.violations, other.violations) == ((), ())
