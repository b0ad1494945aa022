"""Agents built once, at import time, follow every later config: LangGraph's and Deep Agents', across providers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ModelRetryMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command
from pydantic import BaseModel

from liverouter.testing import Reply, StandIn, ToolCall
from liverouter.testing.standin.answers import default_reply
from tests.kit.standins import bodies, live, primary, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph.graph.state import CompiledStateGraph

    from liverouter.testing import Ask, MemoryRouter

MODES: Final = [True, False]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls_add(ask: Ask) -> Reply:
    """Add first, twice at once, then say so."""
    if ask.tools and not ask.tool_results and "add" in ask.user_text:
        return Reply(tool_calls=(ToolCall("add", {"a": 1, "b": 2}), ToolCall("add", {"a": 3, "b": 4})))
    return default_reply(ask)


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Every stand-in calls tools in parallel."""
    return {"answer": calls_add}


@pytest.fixture
def client(anthropic: StandIn, openai: StandIn) -> Iterator[MemoryRouter]:
    """Return a client on Anthropic which knows OpenAI's key too."""
    with live(anthropic, openai, llm_fallback_config=None) as entered:
        yield entered


def ask(agent: CompiledStateGraph[Any, Any, Any, Any], text: str, thread: str = "1") -> list[Any]:
    """Run one turn of a thread and return its history."""
    config: Any = {"configurable": {"thread_id": thread}}
    state = agent.invoke({"messages": [HumanMessage(text)]}, config)
    return list(state["messages"])


def who(messages: list[Any]) -> list[str]:
    """Return the providers that gave the answers in a history, in order."""
    return [served(message)["provider"] for message in messages if isinstance(message, AIMessage)]


class TestCreateAgent:
    def test_agent_follows_every_swap_in_one_thread(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn
    ) -> None:
        """One agent, one thread, parallel tool calls, through both providers with litellm and without."""
        agent = create_agent(client.chat_model(), [add], checkpointer=InMemorySaver())
        messages: list[Any] = []
        for standin in (anthropic, openai):
            for enabled in MODES:
                client.set(**primary(standin), litellm_enable=enabled)
                messages = ask(agent, "add, please")
                results = [m.content for m in messages[-3:-1]]
                assert results == ["3", "7"]
                assert messages[-1].content.endswith("says: 3; 7")
        assert who(messages) == ["anthropic"] * 4 + ["openai"] * 4
        assert (anthropic.violations, openai.violations) == ((), ())

    def test_stream_of_messages_stays_with_its_model(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn
    ) -> None:
        """`stream_mode="messages"`: a swap between the tool call and its result moves the next model call only."""
        agent: Any = create_agent(client.chat_model(), [add])
        swapped, seen = False, []
        for chunk, _ in agent.stream({"messages": [HumanMessage("add")]}, stream_mode="messages"):
            if isinstance(chunk, ToolMessage) and not swapped:
                swapped = True
                client.set(**primary(openai))
            if "liverouter" in getattr(chunk, "response_metadata", {}):
                seen.append(served(chunk)["provider"])
        assert seen == ["anthropic", "openai"]
        assert (anthropic.violations, openai.violations) == ((), ())

    async def test_events_arrive(self, client: MemoryRouter) -> None:
        """`astream_events` reports the model's tokens inside an agent."""
        agent = create_agent(client.chat_model(), [add])
        events = [event async for event in agent.astream_events({"messages": [HumanMessage("hi")]}, version="v2")]
        tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
        assert "".join(tokens) == "claude-sonnet-4-6 says: hi"

    def test_interrupted_run_resumes_on_another_provider(self, client: MemoryRouter, openai: StandIn) -> None:
        """A run that waits for approval goes on with the model in force when it is resumed."""
        agent = create_agent(
            client.chat_model(),
            [add],
            middleware=[HumanInTheLoopMiddleware(interrupt_on={"add": True})],
            checkpointer=InMemorySaver(),
        )
        config: Any = {"configurable": {"thread_id": "1"}}
        state = agent.invoke({"messages": [HumanMessage("add")]}, config)
        assert "__interrupt__" in state
        client.set(**primary(openai))
        approvals = {"decisions": [{"type": "approve"}, {"type": "approve"}]}
        state = agent.invoke(Command(resume=approvals), config)
        assert who(state["messages"]) == ["anthropic", "openai"]
        assert state["messages"][-1].content == "gpt-4o says: 3; 7"

    @pytest.mark.parametrize("enabled", MODES)
    def test_structured_answer_by_either_strategy(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn, *, enabled: bool
    ) -> None:
        """Provider and tool strategy both give the object, before and after a swap."""

        class Sum(BaseModel):
            """A sum."""

            total: int

        for strategy in (ProviderStrategy(Sum), ToolStrategy(Sum), Sum):
            client.set(**primary(anthropic), litellm_enable=enabled)
            agent: Any = create_agent(client.chat_model(), [], response_format=strategy)
            for standin in (anthropic, openai):
                client.set(**primary(standin))
                state = agent.invoke({"messages": [HumanMessage("What is 7?")]})
                assert state["structured_response"] == Sum(total=7), (strategy, standin)

    def test_retry_middleware_leaves_hopeless_errors_alone(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """A wrong key is not tried again; a server error is."""
        client.set(litellm_num_retries=1)
        retries = ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")
        agent = create_agent(client.chat_model(), [], middleware=[retries])
        for kind, hits in (("401", 1), ("403", 1), ("404", 1), ("500", 3)):
            anthropic.forget()
            anthropic.fail(kind)
            with pytest.raises(ModelError):
                agent.invoke({"messages": [HumanMessage("hi")]})
            assert anthropic.hits == hits, kind

    def test_many_threads_share_one_agent(self, client: MemoryRouter) -> None:
        """Concurrent runs of one agent do not meet."""
        agent = create_agent(client.chat_model(), [add], checkpointer=InMemorySaver())

        async def run(thread: int) -> str:
            config: Any = {"configurable": {"thread_id": str(thread)}}
            state = await agent.ainvoke({"messages": [HumanMessage(f"number {thread}")]}, config)
            return str(state["messages"][-1].content)

        async def main() -> list[str]:
            return list(await asyncio.gather(*map(run, range(20))))

        assert asyncio.run(main()) == [f"claude-sonnet-4-6 says: number {thread}" for thread in range(20)]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_react_agent_follows(client: MemoryRouter, openai: StandIn) -> None:
    """LangGraph's older prebuilt agent binds its tools once, and follows all the same."""
    agent = create_react_agent(client.chat_model(), [add], checkpointer=InMemorySaver())
    ask(agent, "add")
    client.set(**primary(openai))
    assert who(ask(agent, "add"))[-1] == "openai"


class TestDeepAgents:
    def test_deep_agent_follows_and_its_sub_agent_too(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn
    ) -> None:
        """An agent built once, and the sub-agent it delegates to, are served by the config in force."""
        delegate = ToolCall("task", {"description": "greet", "subagent_type": "greeter"})
        agent: Any = create_deep_agent(
            model=client.chat_model(),
            subagents=[{"name": "greeter", "description": "greets", "system_prompt": "Greet."}],
        )
        for standin, model in ((anthropic, "claude-sonnet-4-6"), (openai, "gpt-4o")):
            client.set(**primary(standin))
            standin.forget()
            standin.respond(Reply(tool_calls=(delegate,)), "hello from the sub-agent")
            state = agent.invoke({"messages": [HumanMessage("delegate")]})
            assert state["messages"][-1].content.startswith(f"{model} says: hello from the sub-agent")
            assert standin.hits == 3
            assert standin.violations == ()

    def test_smaller_context_window_has_the_history_summarised(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn
    ) -> None:
        """A history that fitted one model is shortened, by the new model, when a swap brings a smaller window."""
        agent: Any = create_deep_agent(model=client.chat_model(), checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        for turn in range(12):
            agent.invoke({"messages": [HumanMessage(f"turn {turn}: " + "many words " * 300)]}, config)
        assert "summar" not in repr(bodies(anthropic)[-1]["messages"]).lower()
        client.set(**primary(openai), llm_profile={"max_input_tokens": 12_000})
        state = agent.invoke({"messages": [HumanMessage("And now?")]}, config)
        assert served(state["messages"][-1])["provider"] == "openai"
        assert openai.hits >= 2  # the summary, then the answer
        sent = repr(bodies(openai)[-1]["messages"])
        assert "turn 1:" not in sent
        assert "And now?" in sent

    @pytest.mark.parametrize("enabled", MODES)
    @pytest.mark.parametrize("first", ["claude-haiku-4-5", "claude-unheard-of"])
    def test_guidance_fits_the_model_in_force(
        self, client: MemoryRouter, anthropic: StandIn, openai: StandIn, first: str, *, enabled: bool
    ) -> None:
        """Deep Agents' own advice to a model comes with that model and goes with it, whichever it was built with."""
        client.set(llm_model=first, litellm_enable=enabled)
        agent: Any = create_deep_agent(model=client.chat_model())
        advice = "<use_parallel_tool_calls>"
        for model, expected in (("claude-haiku-4-5", True), ("claude-unheard-of", False), ("claude-haiku-4-5", True)):
            client.set(llm_model=model)
            agent.invoke({"messages": [HumanMessage("hi")]})
            assert (advice in repr(bodies(anthropic)[-1].get("system"))) is expected, model
        client.set(**primary(openai))
        agent.invoke({"messages": [HumanMessage("hi")]})
        assert advice not in repr(bodies(openai)[-1])

    def test_prompt_is_cached_at_claude(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """Claude's prompt cache works without the middleware that knows ChatAnthropic only."""
        agent: Any = create_deep_agent(model=client.chat_model(), checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        agent.invoke({"messages": [HumanMessage("one")]}, config)
        state = agent.invoke({"messages": [HumanMessage("two")]}, config)
        body = bodies(anthropic)[-1]
        assert "cache_control" in body["system"][-1]
        assert "cache_control" in repr(body["messages"][-1])
        usage = state["messages"][-1].usage_metadata
        assert usage["input_token_details"]["cache_read"] > 1000  # the tools at least

    def test_budget_leaves_room_for_the_answer(self, client: MemoryRouter) -> None:
        """Deep Agents keeps `max_tokens` of the handle free in the input; it reads as what is configured."""
        client.set(llm_max_tokens=1234)
        assert client.chat_model().max_tokens == 1234

    def test_pinned_run_keeps_its_model(self, client: MemoryRouter, openai: StandIn) -> None:
        """Who wants one model for a whole run pins it."""
        agent: Any = create_deep_agent(model=client.chat_model().pinned())
        client.set(**primary(openai))
        state = agent.invoke({"messages": [SystemMessage("Be brief."), HumanMessage("hi")]})
        assert who(state["messages"]) == ["anthropic"]
